//! The operator on the real control plane, each test in a namespace of its own. Run by `make test`, or
//! `cargo build --workspace --bins && cargo run -p bed -- run --scrape-interval 1s -- cargo test --test cluster`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod bad_data;
mod checkpoints;
mod connections;
mod containers;
mod drills;
mod evidence;
mod gate;
mod history;
mod incidents;
mod leader;
mod modes;
mod monitoring;
mod mutated;
mod notifications;
mod page;
mod plugin;
mod presets;
mod refusals;
mod refused;
mod requests;
mod restarts;
mod rollback;
mod scene;
mod snapshots;
mod transfer;
mod undecodable;
mod verification;

use stage::proxy;
