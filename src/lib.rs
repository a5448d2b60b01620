//! quality-officer: judges ML-inference Deployments with statistics and rolls a breaching release back.
//!
//! Layers, each of which knows only those before it: [`core`] (pure: decides) ← `api` (types of the
//! resources) ← `evidence` (reads metrics) ← `controllers` (acts) ← the binaries.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

#[cfg(feature = "operator")]
pub mod api;
#[cfg(feature = "operator")]
pub mod check;
#[cfg(feature = "operator")]
pub mod client;
#[cfg(feature = "operator")]
pub mod config;
#[cfg(feature = "operator")]
pub mod controllers;
pub mod core;
#[cfg(feature = "operator")]
pub mod evidence;
#[cfg(feature = "operator")]
pub mod exports;
#[cfg(feature = "operator")]
pub mod leader;
#[cfg(feature = "operator")]
pub mod meters;
#[cfg(feature = "operator")]
pub mod page;
#[cfg(feature = "operator")]
pub mod plugin;
#[cfg(feature = "operator")]
pub mod server;
#[cfg(feature = "operator")]
pub mod transfer;
#[cfg(feature = "operator")]
pub mod validate;
