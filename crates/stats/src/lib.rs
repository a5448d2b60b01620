//! Statistics, one method a file. Every function is pure: the same arguments give the same bytes.
//!
//! Intervals cover 95 % and are two-sided unless a function says otherwise. Bad input (empty, NaN,
//! infinite, negative counts, too few values) is a [`StatsError`] that names what was wrong and, where
//! that is the reason, how many values would do.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]
#![expect(
    clippy::float_cmp,
    reason = "exact comparison with 0, 1 and shared bucket edges is what is meant"
)]

mod alias;
mod bca;
pub mod betting;
pub mod bootstrap;
pub mod calibration;
mod check;
pub mod comparison;
pub mod confidence_sequence;
pub mod conflict;
pub mod correlation;
pub mod design_effect;
pub mod estimate;
pub mod histogram;
pub mod latency;
pub mod mixture;
pub mod modality;
mod multinomial;
pub mod native;
pub mod optimisation;
pub mod poisson;
pub mod proportion;
pub mod quantile;
pub mod ranking;
pub mod recovery;
pub mod resample;
pub mod roc;
pub mod rolling;
pub mod sequential;
pub mod shortcut;
pub mod special;
pub mod trend;
pub mod uplift;

pub use estimate::{Estimate, Interval, Method, StatsError};
pub use resample::Seed;
