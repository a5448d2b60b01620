//! quality-officer: judges ML-inference Deployments with statistics and rolls a breaching release back.
//!
//! This package is the operator itself. It stands on crates, each of which knows only those before it: `quality-stats`
//! (statistics) ← `quality-core` (decides) ← `quality-api` (the kinds) ← `quality-sources` (reads metrics and evaluation
//! files) ← `quality-render` (reports).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod check;
pub mod client;
pub mod config;
pub mod controllers;
pub mod leader;
pub mod metrics;
pub mod server;
pub mod validate;
