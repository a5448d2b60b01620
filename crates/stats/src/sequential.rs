//! Sequential detection: evidence that may be looked at every few seconds.
//!
//! An e-SR detector after Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for
//! sequential change detection" (New England Journal of Statistics in Data Science, 2023). Against
//! H0 each ratio `ρ_k` has its own log evidence `ℓ_k` of a look, and
//!
//! ```text
//! R_k ← (R_k + 1) · exp(ℓ_k),   M = Σ_k w_k R_k,   alarm at M ≥ c
//! ```
//!
//! The average run length to a false alarm is at least c looks, and P(false alarm within N looks) ≤ N/c,
//! whenever each exp(ℓ) has mean at most 1 under H0.
//!
//! With s bad requests of n, ℓ = θ·s − n·C(θ). At design effect D = 1 it is the binomial log likelihood
//! ratio of p1 = ρ·p0 against p0: θ is the log odds ratio and C = ln(1 + p0(e^θ − 1)). Requests of real
//! services share causes, so that their counts vary D times as much. For D > 1 the evidence is that of
//! counts whose share is gamma-distributed with just that variance, for which exp(ℓ) has mean 1 exactly in
//! the Poisson limit (the negative binomial; Johnson, Kemp & Kotz, *Univariate Discrete Distributions*,
//! ch. 5):
//!
//! ```text
//! e^θ = ρ'·D / (1 + ρ'·(D − 1)),   C = −ln(1 − κ·ln(1 + p0(e^θ − 1))) / κ,   κ = (D − 1)(1 − p0)/p0
//! ```
//!
//! with ρ' the odds ratio. Less dispersed counts, independent requests among them, make the mean smaller
//! (exp is convex), so the guarantee holds for them at every D. Dividing the likelihood ratio by D, the
//! common alternative, has the right variance but not the right tail: with bursts its mean is infinite for
//! the larger ratios. That the counts are no worse than gamma, and that D is known from a baseline, is an
//! assumption; simulation measures what is left, and the report prints D.

use super::{StatsError, check};

pub use super::design_effect::{DesignEffect, PRIOR_DESIGN_EFFECT, PRIOR_WEIGHT, design_effect, rate_design_effect};

/// The ratios to the limit that a detector looks for, as multiples of the share or divisors of the rate.
pub const RATIOS: [f64; 6] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0];

/// The weight of each of [`RATIOS`] in the mixture; they sum to 1.
///
/// Any fixed weights keep the guarantee. A share that doubles is the least change that a busy service must
/// see within two looks, so 1.5 to 3 carry most; a larger one has evidence to spare in a single look, and a
/// smaller one takes many looks in any case. A weight w costs ln(1/w) of ln c.
pub const WEIGHTS: [f64; RATIOS.len()] = [0.1, 0.2, 0.3, 0.2, 0.1, 0.1];

/// [`WEIGHTS`] of the first `live` ratios, scaled to sum to 1; 0 for the others.
pub(super) fn weights(live: usize) -> [f64; RATIOS.len()] {
    let total: f64 = WEIGHTS[..live].iter().sum();
    std::array::from_fn(|k| if k < live { WEIGHTS[k] / total } else { 0.0 })
}

/// What the likelihood ratios compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watches {
    Share,
    Rate,
}

impl Watches {
    const fn name(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Rate => "rate",
        }
    }
}

/// An e-SR detector of one trigger. A look allocates nothing.
///
/// Its state is a function of the looks since [`start`](Self::start): replaying them gives the same
/// detector, bit for bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    watches: Watches,
    /// How many of the ratios can be tested (a share cannot exceed 1).
    live: usize,
    /// Weight of each ratio.
    weights: [f64; RATIOS.len()],
    effect: f64,
    /// Σ n and Σ n² over the looks since the start (seconds, for a rate).
    sizes: [f64; 2],
    /// θ: what one bad request adds to `ℓ_k`, or one request of a rate.
    per_event: [f64; RATIOS.len()],
    /// −C(θ): what one request adds, bad or not, or one second of a rate.
    per_exposure: [f64; RATIOS.len()],
    log_r: [f64; RATIOS.len()],
    /// End of the last look after which `R_k` was below 1, or the start.
    below_until: [i64; RATIOS.len()],
    started: bool,
    last: Option<i64>,
    looks: u64,
}

impl Detector {
    /// A detector of H0: the share of bad requests is at most `p0`, in [1e-9, 0.8), when their counts vary
    /// `design_effect` ≥ 1 times as much as those of independent requests.
    ///
    /// Ratios with p1 = ρ·p0 ≥ 1 are left out.
    pub fn share(p0: f64, design_effect: f64) -> Result<Self, StatsError> {
        let weights = ShareWeights::new(p0, design_effect)?;
        let mut detector = Self::silent(Watches::Share, weights.live, design_effect);
        detector.per_event = weights.per_bad;
        detector.per_exposure = weights.per_request;
        Ok(detector)
    }

    /// A detector of H0: the rate is at least `rate`, in requests per second, when its counts vary
    /// `design_effect` ≥ 1 times as much as a Poisson process.
    ///
    /// The same with ρ one over each of [`RATIOS`]; at D = 1 it is ℓ = N ln ρ − (ρ−1) λ0 t.
    pub fn floor(rate: f64, design_effect: f64) -> Result<Self, StatsError> {
        let rate = check::between("floor of the rate", rate, 1e-9, 1e12, "[1e-9, 1e12]")?;
        let effect = check::design_effect(design_effect)?;
        let mut detector = Self::silent(Watches::Rate, RATIOS.len(), effect);
        for (k, ratio) in RATIOS.iter().enumerate() {
            let tilt = effect / (ratio + effect - 1.0);
            detector.per_event[k] = tilt.ln();
            detector.per_exposure[k] = -mixed(tilt - 1.0, effect - 1.0) * rate;
        }
        Ok(detector)
    }

    fn silent(watches: Watches, live: usize, effect: f64) -> Self {
        Self {
            watches,
            live,
            weights: weights(live),
            effect,
            sizes: [0.0; 2],
            per_event: [0.0; RATIOS.len()],
            per_exposure: [0.0; RATIOS.len()],
            log_r: [f64::NEG_INFINITY; RATIOS.len()],
            below_until: [0; RATIOS.len()],
            started: false,
            last: None,
            looks: 0,
        }
    }

    /// Forgets all evidence (R = 0); a breach that the next looks show began after `at`, in Unix seconds.
    ///
    /// A detector that was never started takes the end of its first look for the start.
    pub fn start(&mut self, at: i64) {
        self.log_r = [f64::NEG_INFINITY; RATIOS.len()];
        self.below_until = [at; RATIOS.len()];
        self.started = true;
        self.sizes = [0.0; 2];
        self.last = None;
        self.looks = 0;
    }

    /// Takes the `n` requests since the last look, `bad` of them bad (real-valued counts), at `at`,
    /// the Unix second at which the interval ended.
    ///
    /// A look without requests changes no evidence. A refused look changes nothing at all.
    pub fn look(&mut self, at: i64, n: f64, bad: f64) -> Result<(), StatsError> {
        self.expect(Watches::Share)?;
        let n = check::count("requests of a look", n)?;
        let bad = check::count("bad requests of a look", bad)?;
        if bad > n {
            return Err(StatsError::OutOfRange {
                what: "bad requests of a look",
                value: bad,
                range: "[0, n]",
            });
        }
        self.update(at, bad, n)
    }

    /// Takes the `count` requests of `seconds` of exposure, at `at`, the Unix second at which they ended.
    pub fn look_rate(&mut self, at: i64, seconds: f64, count: f64) -> Result<(), StatsError> {
        self.expect(Watches::Rate)?;
        let seconds = check::count("seconds of a look", seconds)?;
        let count = check::count("requests of a look", count)?;
        self.update(at, count, seconds)
    }

    fn expect(&self, given: Watches) -> Result<(), StatsError> {
        if self.watches == given {
            Ok(())
        } else {
            Err(StatsError::WrongDetector {
                watches: self.watches.name(),
            })
        }
    }

    fn update(&mut self, at: i64, events: f64, exposure: f64) -> Result<(), StatsError> {
        match self.last {
            // Counting an interval twice would double its evidence.
            Some(last) if at <= last => return Err(StatsError::OutOfOrder { at, last }),
            None if !self.started => self.start(at),
            Some(_) | None => {}
        }
        self.last = Some(at);
        let empty = exposure == 0.0;
        self.looks += u64::from(!empty);
        let weight = self.weight(exposure);
        for k in 0..self.live {
            if !empty {
                self.log_r[k] = log_one_plus(self.log_r[k])
                    + weight * (events * self.per_event[k] + exposure * self.per_exposure[k]);
            }
            if self.log_r[k] < 0.0 {
                self.below_until[k] = at;
            }
        }
        Ok(())
    }

    /// How much a look of this size counts: less than 1 when it is larger than the looks before.
    ///
    /// What the requests of one look share grows with their number: the design effect of n requests is
    /// 1 + (n − 1)·ρ (Kish 1965), so a burst of requests has a larger one than the looks from which D was
    /// estimated, whose typical size is Σn²/Σn.
    fn weight(&mut self, size: f64) -> f64 {
        self.sizes[0] += size;
        self.sizes[1] += size * size;
        let typical = self.sizes[1] / self.sizes[0];
        if typical > 0.0 && size > typical && typical.is_finite() {
            self.effect / (1.0 + (self.effect - 1.0) * size / typical)
        } else {
            1.0
        }
    }

    /// ln M, minus infinity before the first look.
    pub fn log_evidence(&self) -> f64 {
        log_weighted_sum(&self.log_r[..self.live], &self.weights)
    }

    /// M, "evidence M : 1"; the largest finite number where M is beyond it.
    pub fn evidence(&self) -> f64 {
        self.log_evidence().exp().min(f64::MAX)
    }

    /// When the breach began: the end of the last look after which the winning `R_k` was below 1, or the
    /// start. `None` while the winner itself is below 1: there is nothing that began.
    pub fn onset(&self) -> Option<i64> {
        let (winner, most) = self.winner();
        (most >= 0.0).then(|| self.below_until[winner])
    }

    /// The ratio to the limit that the looks support most, one of [`RATIOS`] (a divisor for a rate);
    /// `None` before the first look.
    pub fn likely_ratio(&self) -> Option<f64> {
        let (winner, most) = self.winner();
        (most > f64::NEG_INFINITY).then(|| RATIOS[winner])
    }

    /// Looks with requests since the start.
    pub const fn looks(&self) -> u64 {
        self.looks
    }

    fn winner(&self) -> (usize, f64) {
        let mut winner = (0, self.log_r[0]);
        for (k, &log_r) in self.log_r.iter().enumerate().take(self.live).skip(1) {
            if log_r > winner.1 {
                winner = (k, log_r);
            }
        }
        winner
    }
}

/// What requests add to the log evidence of each ratio against H0: the share is at most p0.
pub(super) struct ShareWeights {
    /// How many of the ratios can be tested: ρ·p0 < 1.
    pub(super) live: usize,
    /// θ, for each bad request.
    pub(super) per_bad: [f64; RATIOS.len()],
    /// −C(θ), for each request.
    pub(super) per_request: [f64; RATIOS.len()],
}

impl ShareWeights {
    pub(super) fn new(p0: f64, design_effect: f64) -> Result<Self, StatsError> {
        let p0 = check::between("limit of the share", p0, 1e-9, 0.8, "[1e-9, 0.8)")?;
        let effect = check::design_effect(design_effect)?;
        let live = RATIOS.iter().take_while(|&&ratio| ratio * p0 < 1.0).count();
        if live == 0 {
            return Err(StatsError::OutOfRange {
                what: "limit of the share",
                value: p0,
                range: "[1e-9, 0.8)",
            });
        }
        let mut weights = Self {
            live,
            per_bad: [0.0; RATIOS.len()],
            per_request: [0.0; RATIOS.len()],
        };
        for (k, ratio) in RATIOS.iter().enumerate().take(live) {
            let odds_ratio = ratio * (1.0 - p0) / (1.0 - ratio * p0);
            let tilt = odds_ratio * effect / (1.0 + odds_ratio * (effect - 1.0));
            let bernoulli = (p0 * (tilt - 1.0)).ln_1p();
            weights.per_bad[k] = tilt.ln();
            weights.per_request[k] = -mixed(bernoulli, (effect - 1.0) * (1.0 - p0) / p0);
        }
        Ok(weights)
    }
}

/// The evidence c = m·N/α at which one of `triggers` streaming triggers may act, so that at most
/// `false_rollback_rate` (α) of healthy periods of `looks_per_period` (N) looks see any of them act.
///
/// A union bound over triggers on P(M reaches c within N looks) ≤ N/c.
pub fn threshold(triggers: usize, looks_per_period: f64, false_rollback_rate: f64) -> Result<f64, StatsError> {
    if triggers == 0 {
        return Err(StatsError::Empty { what: "triggers" });
    }
    let looks = check::finite("looks per period", looks_per_period)?;
    if looks < 1.0 {
        return Err(StatsError::OutOfRange {
            what: "looks per period",
            value: looks,
            range: "[1, inf)",
        });
    }
    let rate = check::open_unit("false rollback rate", false_rollback_rate)?;
    check::finite("threshold", triggers as f64 * looks / rate)
}

/// The cumulant of a count whose cumulant given its share is `plain`, when the share is gamma-distributed
/// with this variance per request: −ln(1 − v·plain)/v, and `plain` itself at v = 0.
fn mixed(plain: f64, variance: f64) -> f64 {
    if variance == 0.0 {
        plain
    } else {
        -(-variance * plain).ln_1p() / variance
    }
}

/// ln Σ w·e^x over `logs` and their `weights`, minus infinity where all are.
pub(super) fn log_weighted_sum(logs: &[f64], weights: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    let sum: f64 = logs
        .iter()
        .zip(weights)
        // The largest needs no exponential.
        .map(|(&log, weight)| {
            if log == most {
                *weight
            } else {
                weight * (log - most).exp()
            }
        })
        .sum();
    most + sum.ln()
}

/// ln(1 + e^x); saves the two transcendentals where the result is x or 0 to the last bit.
pub(super) fn log_one_plus(x: f64) -> f64 {
    if x > 37.0 {
        x
    } else if x < -750.0 {
        0.0
    } else {
        x.exp().ln_1p()
    }
}

#[cfg(test)]
mod tests;
