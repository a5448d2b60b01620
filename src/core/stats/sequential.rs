//! Sequential detection: evidence that may be looked at every few seconds.
//!
//! An e-SR detector after Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for
//! sequential change detection" (New England Journal of Statistics in Data Science, 2023). Against
//! H0 each ratio `ρ_k` has its own likelihood ratio `ℓ_k` of a look, and
//!
//! ```text
//! R_k ← (R_k + 1) · exp(ℓ_k / D),   M = mean_k R_k,   alarm at M ≥ c
//! ```
//!
//! The average run length to a false alarm is at least c looks, and P(false alarm within N looks) ≤ N/c,
//! whenever the tempered likelihood ratios have mean at most 1 under H0. For independent requests that
//! holds at every design effect D ≥ 1 (Jensen's inequality: x^(1/D) is concave). For clustered requests
//! division by D is a heuristic; simulation certifies it and the report prints D.

use super::{StatsError, check};

pub use super::design_effect::{DesignEffect, PRIOR_DESIGN_EFFECT, PRIOR_WEIGHT, design_effect, rate_design_effect};

/// The ratios to the limit that a detector looks for, as multiples of the share or divisors of the rate.
pub const RATIOS: [f64; 6] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0];

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
    /// `ℓ_k / D` of one bad request, or of one request of a rate.
    per_event: [f64; RATIOS.len()],
    /// `ℓ_k / D` of one good request, or of one second of a rate.
    per_exposure: [f64; RATIOS.len()],
    log_r: [f64; RATIOS.len()],
    /// End of the last look after which `R_k` was below 1, or the start.
    below_until: [i64; RATIOS.len()],
    started: bool,
    last: Option<i64>,
    looks: u64,
}

impl Detector {
    /// A detector of H0: the share of bad requests is at most `p0`, in (0, 0.8).
    ///
    /// ℓ = s ln(p1/p0) + (n−s) ln((1−p1)/(1−p0)) with p1 = ρ·p0, divided by `design_effect` ≥ 1.
    /// Ratios with p1 ≥ 1 are left out.
    pub fn share(p0: f64, design_effect: f64) -> Result<Self, StatsError> {
        let p0 = check::open_unit("limit of the share", p0)?;
        let design_effect = check::design_effect(design_effect)?;
        let live = RATIOS.iter().take_while(|&&ratio| ratio * p0 < 1.0).count();
        if live == 0 {
            return Err(StatsError::OutOfRange {
                what: "limit of the share",
                value: p0,
                range: "(0, 0.8)",
            });
        }
        let mut detector = Self::silent(Watches::Share, live);
        for (k, ratio) in RATIOS.iter().enumerate().take(live) {
            detector.per_event[k] = ratio.ln() / design_effect;
            detector.per_exposure[k] = ((-ratio * p0).ln_1p() - (-p0).ln_1p()) / design_effect;
        }
        Ok(detector)
    }

    /// A detector of H0: the Poisson rate is at least `rate`, in requests per second.
    ///
    /// ℓ = N ln ρ − (ρ−1) λ0 t with ρ one over each of [`RATIOS`], divided by `design_effect` ≥ 1.
    pub fn floor(rate: f64, design_effect: f64) -> Result<Self, StatsError> {
        let rate = check::positive("floor of the rate", rate)?;
        let design_effect = check::design_effect(design_effect)?;
        let mut detector = Self::silent(Watches::Rate, RATIOS.len());
        for (k, ratio) in RATIOS.iter().enumerate() {
            detector.per_event[k] = -ratio.ln() / design_effect;
            detector.per_exposure[k] = (1.0 - 1.0 / ratio) * rate / design_effect;
        }
        Ok(detector)
    }

    const fn silent(watches: Watches, live: usize) -> Self {
        Self {
            watches,
            live,
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
        self.update(at, bad, n - bad)
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
        let empty = events == 0.0 && exposure == 0.0;
        self.looks += u64::from(!empty);
        for k in 0..self.live {
            if !empty {
                self.log_r[k] =
                    log_one_plus(self.log_r[k]) + events * self.per_event[k] + exposure * self.per_exposure[k];
            }
            if self.log_r[k] < 0.0 {
                self.below_until[k] = at;
            }
        }
        Ok(())
    }

    /// ln M, minus infinity before the first look.
    pub fn log_evidence(&self) -> f64 {
        let (winner, most) = self.winner();
        if most == f64::NEG_INFINITY {
            return most;
        }
        let sum: f64 = (0..self.live)
            .map(|k| if k == winner { 1.0 } else { (self.log_r[k] - most).exp() })
            .sum();
        most + (sum / self.live as f64).ln()
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
mod tests {
    use super::*;

    #[test]
    fn three_triggers_at_fifteen_seconds_need_72_000_to_one() {
        assert!((threshold(3, 240.0, 0.01).unwrap() - 72_000.0).abs() < 1e-6);
        assert!(threshold(0, 240.0, 0.01).is_err());
        assert!(threshold(1, 240.0, 0.0).is_err());
        assert!(threshold(1, f64::NAN, 0.01).is_err());
    }

    #[test]
    fn the_recursion_is_the_definition() {
        let mut detector = Detector::share(0.01, 2.0).unwrap();
        detector.start(0);
        let mut r = [0.0_f64; 6];
        for (at, (n, bad)) in (1_i64..).zip([(1500.0, 10.0), (1400.0, 31.0), (1600.0, 29.5)]) {
            detector.look(15 * at, n, bad).unwrap();
            for (k, ratio) in RATIOS.iter().enumerate() {
                let p1 = ratio * 0.01;
                let l: f64 = bad * (p1 / 0.01_f64).ln() + (n - bad) * ((1.0 - p1) / 0.99).ln();
                r[k] = (r[k] + 1.0) * (l / 2.0).exp();
            }
        }
        let expected = r.iter().sum::<f64>() / 6.0;
        assert!((detector.evidence() / expected - 1.0).abs() < 1e-10);
        assert_eq!(detector.looks(), 3);
    }

    #[test]
    fn onset_is_the_end_of_the_last_look_below_one() {
        let mut detector = Detector::share(0.01, 1.0).unwrap();
        detector.start(1_000);
        assert_eq!(detector.onset(), None);
        for look in 1..=20 {
            detector.look(1_000 + 15 * look, 1500.0, 5.0).unwrap();
        }
        assert_eq!(detector.onset(), None);
        for look in 21..=24 {
            detector.look(1_000 + 15 * look, 1500.0, 45.0).unwrap();
        }
        assert_eq!(detector.onset(), Some(1_300));
        assert_eq!(detector.likely_ratio(), Some(3.0));
    }

    #[test]
    fn a_breach_from_the_first_look_began_at_the_start() {
        let mut detector = Detector::share(0.01, 1.0).unwrap();
        detector.start(1_000);
        detector.look(1_015, 1500.0, 60.0).unwrap();
        assert_eq!(detector.onset(), Some(1_000));
    }

    #[test]
    fn a_rate_below_the_floor_gathers_evidence() {
        let mut detector = Detector::floor(80.0, 1.0).unwrap();
        detector.start(0);
        for look in 1..=240 {
            detector.look_rate(15 * look, 15.0, 1500.0).unwrap();
        }
        assert!(detector.evidence() < 1.0);
        for look in 241..=242 {
            detector.look_rate(15 * look, 15.0, 600.0).unwrap();
        }
        assert!(detector.evidence() > 72_000.0);
        assert_eq!(detector.onset(), Some(3_600));
    }

    #[test]
    fn bad_looks_are_refused_and_change_nothing() {
        let mut detector = Detector::share(0.05, 1.0).unwrap();
        detector.start(0);
        detector.look(15, 100.0, 9.0).unwrap();
        let before = detector.clone();
        for (n, bad) in [
            (f64::NAN, 0.0),
            (100.0, f64::NAN),
            (f64::INFINITY, 1.0),
            (-1.0, 0.0),
            (100.0, -1.0),
            (1.0, 2.0),
        ] {
            assert!(detector.look(30, n, bad).is_err());
        }
        assert!(detector.look_rate(30, 15.0, 3.0).is_err());
        assert_eq!(
            detector.look(15, 100.0, 0.0),
            Err(StatsError::OutOfOrder { at: 15, last: 15 })
        );
        assert_eq!(detector, before);
    }

    #[test]
    fn a_look_without_requests_is_no_evidence() {
        let mut detector = Detector::share(0.05, 1.0).unwrap();
        detector.start(0);
        for look in 1..=100_000 {
            detector.look(look, 0.0, 0.0).unwrap();
        }
        assert_eq!(detector.evidence(), 0.0);
        assert_eq!(detector.onset(), None);
    }

    #[test]
    fn limits_that_mean_nothing_are_refused() {
        for p0 in [0.0, 1.0, 0.9, -0.1, f64::NAN, f64::INFINITY] {
            assert!(Detector::share(p0, 1.0).is_err());
        }
        for effect in [0.0, 0.5, f64::NAN, f64::INFINITY, -1.0] {
            assert!(Detector::share(0.01, effect).is_err());
            assert!(Detector::floor(80.0, effect).is_err());
        }
        assert!(Detector::floor(0.0, 1.0).is_err());
        assert!(Detector::share(0.3, 1.0).is_ok());
    }

    #[test]
    fn endless_breach_stays_finite() {
        let mut detector = Detector::share(0.01, 1.0).unwrap();
        detector.start(0);
        for look in 1..=10_000 {
            detector.look(look, 1e9, 1e9).unwrap();
        }
        assert!(detector.log_evidence().is_finite());
        assert_eq!(detector.evidence(), f64::MAX);
    }
}
