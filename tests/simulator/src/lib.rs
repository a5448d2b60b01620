//! Simulation: what the statistics promise, measured.
//!
//! Pure and seeded, as the rest of the core: the same arguments give the same tables. [`rollout`] counts
//! false alarms and delays of the detectors beside models of other tools' rules, [`coverage`] counts how
//! often intervals cover, [`releases`] compares two releases, [`trace`] replays a recorded service, [`tables`]
//! writes it all as Markdown and [`short`] the goals alone.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]
// Counts are summed into floats throughout; comparisons with 0 are exact by construction.
#![expect(clippy::float_cmp, reason = "comparison with an exact 0 is what is meant")]

pub mod coverage;
pub mod layouts;
pub mod releases;
pub mod rollout;
pub mod rules;
pub mod short;
pub mod tables;
pub mod throughput;
pub mod trace;
pub mod traffic;

/// Seconds between looks.
pub const INTERVAL: f64 = 15.0;
/// Looks of the hour that a rollout is watched.
pub const LOOKS: usize = 240;
/// Looks of one block from which the design effect is estimated (5 minutes).
pub const BLOCK: usize = 20;
/// Blocks of the baseline (6 hours).
pub const BASELINE_BLOCKS: usize = 72;

/// A share of simulated runs with its simulation error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Runs in which it happened.
    pub hits: u64,
    /// Runs.
    pub runs: u64,
}

impl Share {
    /// The share itself.
    pub fn value(&self) -> f64 {
        self.hits as f64 / self.runs as f64
    }

    /// One standard error of the share; at 0 or all of n, that of one more or less.
    pub fn error(&self) -> f64 {
        let hits = (self.hits as f64).clamp(1.0, (self.runs as f64 - 1.0).max(1.0));
        let p = hits / self.runs as f64;
        (p * (1.0 - p) / self.runs as f64).sqrt()
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.2} % ± {:.2}", 100.0 * self.value(), 100.0 * self.error())
    }
}
