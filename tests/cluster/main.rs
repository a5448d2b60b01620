//! The operator on the real control plane, each test in a namespace of its own. Run by `make test`, or
//! `cargo run -p bed -- run --scrape-interval 1s -- cargo test --test cluster`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod bad_data;
mod checkpoints;
mod drills;
mod evidence;
mod history;
mod incidents;
mod modes;
mod page;
mod plugin;
mod proxy;
mod refusals;
mod restarts;
mod rollback;
mod scene;
mod transfer;
mod verification;
