//! How much wider than binomial this service's counts vary: the design effects of its own history.

use crate::{
    counters::Look,
    judge::{DesignEffects, latency},
    policy::Policy,
};
use quality_stats::sequential::{PRIOR_DESIGN_EFFECT, PRIOR_WEIGHT, design_effect, rate_design_effect};

/// Length of a block of history, seconds (`docs/STATISTICS.md`, Definitions).
pub const BLOCK_SECONDS: i64 = 300;
/// How far back the history goes, seconds.
pub const HISTORY_SECONDS: i64 = 6 * 3_600;

/// The design effects from looks of one block each; stretches `excluded` (begin, end) hold incidents.
pub fn design_effects(policy: &Policy, looks: &[Look], excluded: &[(i64, i64)]) -> DesignEffects {
    let usable = |look: &&Look| {
        !excluded
            .iter()
            .any(|(begin, end)| look.at > *begin && look.at - BLOCK_SECONDS < *end)
    };
    let blocks: Vec<&Look> = looks.iter().filter(usable).collect();
    let errors: Vec<(f64, f64)> = blocks
        .iter()
        .filter_map(|look| look.errors.ok())
        .map(|counts| (counts.n, counts.bad))
        .collect();
    let slow: Vec<(f64, f64)> = policy
        .latency
        .map(|objective| {
            let histograms = blocks.iter().filter_map(|look| look.latency.as_ref().ok());
            histograms
                .filter_map(|histogram| latency::slow_counts(objective, histogram))
                .map(|counts| (counts.n, counts.bad))
                .collect()
        })
        .unwrap_or_default();
    // Only whole blocks can be compared by their counts; scrapes do not fall exactly on their ends.
    let completed: Vec<f64> = blocks
        .iter()
        .filter_map(|look| look.completed.ok())
        .filter(|completed| (completed.seconds / BLOCK_SECONDS as f64 - 1.0).abs() <= 0.1)
        .map(|completed| completed.count * BLOCK_SECONDS as f64 / completed.seconds)
        .collect();
    let error_rate = design_effect(&errors, PRIOR_DESIGN_EFFECT, PRIOR_WEIGHT);
    DesignEffects {
        error_rate: error_rate.value,
        latency: design_effect(&slow, PRIOR_DESIGN_EFFECT, PRIOR_WEIGHT).value,
        throughput: rate_design_effect(&completed, PRIOR_DESIGN_EFFECT, PRIOR_WEIGHT).value,
        blocks: errors.len().max(slow.len()),
    }
}
