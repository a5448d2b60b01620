//! quality-officer: judges ML-inference Deployments with statistics and rolls a breaching release back.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod core;
