//! How often the intervals cover.

use rand::Rng;
use rayon::prelude::*;

use super::Share;
use super::traffic::{binomial, normal, poisson, uniform};
use quality_stats::calibration::{Binning, calibration};
use quality_stats::confidence_sequence;
use quality_stats::correlation::{Pairs, pearson, spearman};
use quality_stats::optimisation::validate;
use quality_stats::proportion::{clopper_pearson, wilson};
use quality_stats::shortcut::difference_of_quantiles;
use quality_stats::{Interval, Seed, StatsError, betting, bootstrap, poisson as rate, quantile, recovery, roc};

/// An interval to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// `BCa` mean of lognormal latencies (σ 0.5).
    Mean,
    /// Studentised bootstrap of the variance of the same.
    Variance,
    /// `BCa` mean of nDCG-like scores.
    Score,
    /// `BCa` paired difference of outcomes.
    Paired,
    /// Cluster bootstrap, sessions of 1 to 9 queries.
    Cluster,
    /// `BCa` difference of two means.
    TwoMeans,
    /// Wilson at 3 %.
    Wilson,
    /// Clopper–Pearson at 3 %.
    ClopperPearson,
    /// Poisson rate.
    Rate,
    /// Order statistics of P95.
    P95,
    /// Difference of two P95.
    TwoP95,
    /// Paired reduction of P95 by replay.
    PairedP95,
    /// Fisher z at r = 0.9.
    Pearson,
    /// Bonett–Wright at Pearson 0.9.
    Spearman,
    /// `DeLong` on logits at AUC 0.8.
    Auc,
    /// ECE of a model over-confident by 8 points.
    Ece,
    /// ECE of a calibrated model.
    EceCalibrated,
    /// t on logarithms (n = 8 in any case).
    Recovery,
    /// Proportion confidence sequence: covers at every one of 50 looks.
    Sequence,
    /// Betting confidence sequence of a mean level: covers at every one of 10 looks.
    Betting,
}

impl Trial {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Mean,
        Self::Variance,
        Self::Score,
        Self::Paired,
        Self::Cluster,
        Self::TwoMeans,
        Self::Wilson,
        Self::ClopperPearson,
        Self::Rate,
        Self::P95,
        Self::TwoP95,
        Self::PairedP95,
        Self::Pearson,
        Self::Spearman,
        Self::Auc,
        Self::Ece,
        Self::EceCalibrated,
        Self::Recovery,
        Self::Sequence,
        Self::Betting,
    ];

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean latency, BCa",
            Self::Variance => "variance of latency, studentised",
            Self::Score => "mean score (nDCG), BCa",
            Self::Paired => "paired Δ of outcomes, BCa",
            Self::Cluster => "mean by session, cluster BCa",
            Self::TwoMeans => "Δ of two means, BCa",
            Self::Wilson => "share 3 %, Wilson",
            Self::ClopperPearson => "share 3 %, Clopper–Pearson",
            Self::Rate => "rate, exact Poisson",
            Self::P95 => "P95, order statistics",
            Self::TwoP95 => "ΔP95 of two runs",
            Self::PairedP95 => "ΔP95 by replay, Harrell–Davis",
            Self::Pearson => "Pearson .9, Fisher z",
            Self::Spearman => "Spearman, Bonett–Wright",
            Self::Auc => "ROC AUC .8, DeLong on logits",
            Self::Ece => "ECE .08",
            Self::EceCalibrated => "ECE 0 (calibrated model)",
            Self::Recovery => "recovery time, t on logs, n = 8",
            Self::Sequence => "share 3 % at all of 50 looks, confidence sequence",
            Self::Betting => "mean level at all of 10 looks, betting",
        }
    }
}

/// How often the interval of `trial` with n observations holds the truth.
pub fn coverage(trial: Trial, n: usize, runs: u64) -> Result<Share, StatsError> {
    let seed = Seed::new("coverage", &format!("{trial:?} {n}"));
    let hits = (0..runs)
        .into_par_iter()
        .map(|run| {
            let mut rng = seed.generator(run);
            let resampling = Seed::new("coverage", &format!("{trial:?} {n} {run}"));
            let covers = one(trial, n, &mut rng, &resampling);
            // A sample without variation has no interval: not covered.
            Ok(u64::from(match covers {
                Err(StatsError::NoVariation { .. }) => false,
                other => other?,
            }))
        })
        .try_reduce(|| 0, |a, b| Ok(a + b))?;
    Ok(Share { hits, runs })
}

#[expect(clippy::too_many_lines, reason = "one arm a trial")]
fn one(trial: Trial, n: usize, rng: &mut impl Rng, seed: &Seed) -> Result<bool, StatsError> {
    let size = n as f64;
    let (interval, truth): (Interval, f64) = match trial {
        Trial::Mean => (bootstrap::mean(&latencies(rng, n), seed)?.ci95, 0.125_f64.exp()),
        Trial::Variance => {
            let truth = 0.25_f64.exp() * (0.25_f64.exp() - 1.0);
            (bootstrap::variance(&latencies(rng, n), seed)?.ci95, truth)
        }
        Trial::Score => {
            // The square root of a uniform number: mean 2/3.
            let scores: Vec<f64> = (0..n).map(|_| uniform(rng).sqrt()).collect();
            (bootstrap::mean(&scores, seed)?.ci95, 2.0 / 3.0)
        }
        Trial::Paired => {
            let (new, old): (Vec<f64>, Vec<f64>) = (0..n)
                .map(|_| {
                    let ease = uniform(rng);
                    (outcome(rng, 0.9 * ease.sqrt()), outcome(rng, 0.8 * ease.sqrt()))
                })
                .unzip();
            (bootstrap::paired_difference(&new, &old, seed)?.ci95, 0.1 * 2.0 / 3.0)
        }
        Trial::Cluster => {
            let (mut values, mut labels) = (Vec::new(), Vec::new());
            for session in 0..n as u64 {
                let ease = uniform(rng);
                for _ in 0..=(uniform(rng) * 9.0) as usize {
                    values.push(outcome(rng, ease));
                    labels.push(session);
                }
            }
            (bootstrap::cluster_mean(&values, &labels, seed)?.ci95, 0.5)
        }
        Trial::TwoMeans => {
            let (new, old) = (latencies(rng, n), latencies(rng, n));
            (bootstrap::difference_of_means(&new, &old, seed)?.ci95, 0.0)
        }
        Trial::Wilson => (wilson(binomial(rng, size, 0.03), size, 1.0)?.ci95, 0.03),
        Trial::ClopperPearson => (clopper_pearson(binomial(rng, size, 0.03), size)?.ci95, 0.03),
        Trial::Rate => (rate::rate(poisson(rng, size), 1.0, 1.0)?.ci95, size),
        Trial::P95 => (quantile::quantile(&latencies(rng, n), 0.95, 1.0)?.ci95, P95_LATENCY),
        Trial::TwoP95 => {
            let (mut new, mut old) = (latencies(rng, n), latencies(rng, n));
            new.sort_unstable_by(f64::total_cmp);
            old.sort_unstable_by(f64::total_cmp);
            (difference_of_quantiles(&new, &old, 0.95, seed)?.ci95, 0.0)
        }
        Trial::PairedP95 => {
            let before = latencies(rng, n);
            // 5 % faster, with noise of its own that leaves the P95 ratio at its median.
            let after: Vec<f64> = before.iter().map(|x| 0.95 * x * (0.1 * normal(rng)).exp()).collect();
            let spread = 0.25_f64 + 0.01;
            let truth = P95_LATENCY - 0.95 * (Z95 * spread.sqrt()).exp();
            (validate(&before, &after, 1, seed)?.p95_reduction.ci95, truth)
        }
        Trial::Pearson | Trial::Spearman => {
            let (x, y): (Vec<f64>, Vec<f64>) = (0..n)
                .map(|_| {
                    let x = normal(rng);
                    (x, 0.9 * x + 0.19_f64.sqrt() * normal(rng))
                })
                .unzip();
            if trial == Trial::Pearson {
                (pearson(&x, &y, Pairs::Independent)?.ci95, 0.9)
            } else {
                // Spearman of a bivariate normal: 6/π·asin(r/2) (Pearson 1907).
                let truth = 6.0 / std::f64::consts::PI * 0.45_f64.asin();
                (spearman(&x, &y, Pairs::Independent)?.ci95, truth)
            }
        }
        Trial::Auc => {
            // Φ(δ/√2) = .8.
            let shift = 0.841_621_233_572_914_3 * std::f64::consts::SQRT_2;
            let positives: Vec<f64> = (0..n / 2).map(|_| normal(rng) + shift).collect();
            let negatives: Vec<f64> = (0..n / 2).map(|_| normal(rng)).collect();
            (roc::auc(&positives, &negatives)?.ci95, 0.8)
        }
        Trial::Ece | Trial::EceCalibrated => {
            let excess = if trial == Trial::Ece { 0.08 } else { 0.0 };
            let (confidences, correct): (Vec<f64>, Vec<bool>) = (0..n)
                .map(|_| {
                    let p = 0.1 + 0.8 * uniform(rng);
                    (p, uniform(rng) < p - excess)
                })
                .unzip();
            (
                calibration(&confidences, &correct, Binning::EqualWidth, seed)?.ece.ci95,
                excess,
            )
        }
        Trial::Recovery => {
            let times: Vec<f64> = (0..8).map(|_| (0.4 * normal(rng)).exp()).collect();
            (recovery::typical_time(&times)?.ci95, 1.0)
        }
        Trial::Sequence => {
            let (mut bad, mut seen) = (0.0, 0.0);
            for _ in 0..50 {
                seen += size;
                bad += binomial(rng, size, 0.03);
                if !confidence_sequence::proportion(bad, seen, 1.0, 10.0 * size)?
                    .ci95
                    .contains(0.03)
                {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        Trial::Betting => {
            let levels: Vec<f64> = (0..n).map(|_| uniform(rng).sqrt()).collect();
            for seen in (1..=10).map(|look| look * n / 10) {
                if !betting::mean(&levels[..seen])?.ci95.contains(2.0 / 3.0) {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
    };
    Ok(interval.contains(truth))
}

const Z95: f64 = 1.644_853_626_951_472_7;
/// e^(Z95/2): P95 of the lognormal with median 1 and σ 0.5.
const P95_LATENCY: f64 = 2.276_016_608_514_317_4;

fn latencies(rng: &mut impl Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| (0.5 * normal(rng)).exp()).collect()
}

fn outcome(rng: &mut impl Rng, p: f64) -> f64 {
    f64::from(u8::from(uniform(rng) < p))
}
