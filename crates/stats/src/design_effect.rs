//! How much more the counts of a service vary than independent requests would make them.
//!
//! The design effect D (Kish, *Survey Sampling*, 1965) is the variance of block counts over the variance
//! that independent requests would give. Real services have D well above 1: requests share causes.

use serde::{Deserialize, Serialize};

/// The design effect of a service of which nothing is known yet.
pub const PRIOR_DESIGN_EFFECT: f64 = 4.0;
/// How many blocks the prior counts for.
///
/// The logarithm of an estimate from b blocks has variance 2/b, so that w blocks are a prior of standard
/// deviation √(2/w): with 4, two services of three have a D between 2 and 8. The measured false alarms and
/// delays of other weights are what decided.
pub const PRIOR_WEIGHT: f64 = 4.0;

/// A design effect and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DesignEffect {
    /// The value to use: at least 1; below the prior, shrunk towards it.
    pub value: f64,
    /// The estimate before shrinkage; `None` where the blocks cannot tell (fewer than two, or no bad
    /// request at all).
    pub raw: Option<f64>,
    /// Blocks that the estimate rests on.
    pub blocks: usize,
}

/// Design effect of a share from baseline blocks of (requests n, bad requests S).
///
/// D = max(1, Σ (S−np)²/(np(1−p)) / (blocks−1)) with p the pooled share, times 1 + 2r with r the correlation
/// of neighbouring blocks where positive: what varies more slowly than a block is not seen inside one. A D
/// below the prior is shrunk to exp((w·ln prior + blocks·ln D)/(w + blocks)); one above it stands, since too
/// small a D costs false alarms and too large a one only time. Blocks are given in order of time. Use `prior`
/// [`PRIOR_DESIGN_EFFECT`] with [`PRIOR_WEIGHT`] and blocks of 5 minutes. Blocks without requests or with
/// impossible counts are left out; a prior below 1 or not finite counts as 4, a weight that is negative or
/// not finite as 4.
pub fn design_effect(blocks: &[(f64, f64)], prior: f64, prior_weight: f64) -> DesignEffect {
    let usable = || {
        blocks
            .iter()
            .copied()
            .filter(|&(n, bad)| n.is_finite() && bad.is_finite() && n > 0.0 && bad >= 0.0 && bad <= n)
    };
    let (count, total, bad) = usable().fold((0_usize, 0.0, 0.0), |(count, total, bad), (n, s)| {
        (count + 1, total + n, bad + s)
    });
    let p = bad / total;
    let raw = (count >= 2 && p > 0.0 && p < 1.0)
        .then(|| dispersion(usable().map(|(n, s)| (s - n * p) / (n * p * (1.0 - p)).sqrt()), count));
    shrink(raw, count, prior, prior_weight)
}

/// Design effect of a rate from the request counts of baseline blocks of equal length: variance over
/// mean, shrunk as [`design_effect`] does. Counts that are negative or not finite are left out.
pub fn rate_design_effect(counts: &[f64], prior: f64, prior_weight: f64) -> DesignEffect {
    let usable = || {
        counts
            .iter()
            .copied()
            .filter(|count| count.is_finite() && *count >= 0.0)
    };
    let blocks = usable().count();
    let mean = usable().sum::<f64>() / blocks as f64;
    let raw =
        (blocks >= 2 && mean > 0.0).then(|| dispersion(usable().map(|count| (count - mean) / mean.sqrt()), blocks));
    shrink(raw, blocks, prior, prior_weight)
}

/// Mean square of the standardised residuals, and how much more their slow part varies in the long run.
fn dispersion(residuals: impl Iterator<Item = f64>, blocks: usize) -> f64 {
    let (mut squares, mut lagged, mut previous) = (0.0, 0.0, 0.0);
    for residual in residuals {
        squares += residual * residual;
        lagged += residual * previous;
        previous = residual;
    }
    let correlation = if squares > 0.0 {
        (lagged / squares).clamp(0.0, 0.9)
    } else {
        0.0
    };
    squares / (blocks - 1) as f64 * (1.0 + 2.0 * correlation)
}

fn shrink(raw: Option<f64>, blocks: usize, prior: f64, prior_weight: f64) -> DesignEffect {
    let prior = if prior.is_finite() && prior >= 1.0 {
        prior
    } else {
        PRIOR_DESIGN_EFFECT
    };
    let weight = if prior_weight.is_finite() && prior_weight >= 0.0 {
        prior_weight
    } else {
        PRIOR_WEIGHT
    };
    let value = match raw {
        Some(raw) if weight + blocks as f64 > 0.0 => {
            let raw = raw.max(1.0);
            let own = blocks as f64 / (weight + blocks as f64);
            prior * (raw / prior).powf(if raw < prior { own } else { 1.0 })
        }
        _ => prior,
    };
    // An overflow of absurd counts must not become a detector that never speaks.
    let value = if value.is_finite() { value.max(1.0) } else { prior };
    DesignEffect {
        value,
        raw: raw.filter(|raw| raw.is_finite()),
        blocks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identical_blocks_shrink_from_the_prior_towards_one() {
        let effect = design_effect(&[(1000.0, 10.0); 72], 4.0, 4.0);
        assert_eq!(effect.raw, Some(0.0));
        assert_eq!(effect.blocks, 72);
        assert!((effect.value - 4.0_f64.powf(4.0 / 76.0)).abs() < 1e-12);
    }

    #[test]
    fn blocks_that_swing_raise_it() {
        let blocks = [(1000.0, 0.0), (1000.0, 20.0)].repeat(36);
        let effect = design_effect(&blocks, 4.0, 4.0);
        // (10² / 9.9) · 72/71
        assert!((effect.raw.unwrap() - 100.0 / 9.9 * 72.0 / 71.0).abs() < 1e-12);
    }

    #[test]
    fn slow_waves_raise_it_further() {
        let slow: Vec<(f64, f64)> = (0..72)
            .map(|i| (1000.0, if i / 6 % 2 == 0 { 0.0 } else { 20.0 }))
            .collect();
        let quick = design_effect(&[(1000.0, 0.0), (1000.0, 20.0)].repeat(36), 4.0, 4.0);
        let slow = design_effect(&slow, 4.0, 4.0);
        assert!(slow.raw.unwrap() > 2.2 * quick.raw.unwrap());
    }

    #[test]
    fn without_data_the_prior_stands() {
        for blocks in [
            vec![],
            vec![(100.0, 3.0)],
            vec![(100.0, 0.0); 10],
            vec![(f64::NAN, 1.0); 5],
        ] {
            let effect = design_effect(&blocks, 4.0, 4.0);
            assert_eq!((effect.value, effect.raw), (4.0, None));
        }
        assert_eq!(rate_design_effect(&[], 4.0, 4.0).value, 4.0);
        assert_eq!(rate_design_effect(&[0.0; 9], f64::NAN, -1.0).value, 4.0);
    }

    #[test]
    fn a_rate_is_variance_over_mean() {
        let effect = rate_design_effect(&[80.0, 120.0, 100.0], 4.0, 0.0);
        assert_eq!(effect.raw, Some(4.0));
        assert_eq!(effect.value, 4.0);
    }
}
