//! quality-officer: judges ML-inference Deployments with statistics and rolls a breaching release back.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

#[cfg(feature = "operator")]
pub mod api;
#[cfg(feature = "operator")]
pub mod config;
pub mod core;
#[cfg(feature = "operator")]
pub mod evidence;
#[cfg(feature = "operator")]
pub mod validate;
