//! Evaluation evidence from real servers: an MLflow tracking server and an S3 server, judged once with no cluster. Run
//! by `make test`, or `cargo run -p bed -- run --no-kwok --mlflow -- cargo test --workspace --test evidence`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod check;
mod faults;
mod guide;
mod runs;
mod sources;
mod trace;

use stage::proxy;
