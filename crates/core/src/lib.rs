//! The pure core: no client, no I/O, no clock, no unseeded randomness. It decides; the operator acts.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod counters;
pub mod drill;
pub mod format;
pub mod gate;
pub mod history;
pub mod incident;
pub mod judge;
pub mod lease;
pub mod notification;
pub mod plan;
pub mod policy;
pub mod postmortem;
pub mod quality;
pub mod quarantine;
pub mod readiness;
pub mod report;
pub mod retention;
pub mod review;
pub mod slo;
