//! Synthetic services: how many requests a look sees, and how many of them are bad.

use rand::Rng;
use rand_distr::{Binomial, Distribution, Gamma, Poisson, StandardNormal};

use super::INTERVAL;

/// How load and quality move in time. The mean share of bad requests is the same in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Poisson requests, each bad independently.
    Flat,
    /// The same under a daily wave of ±50 %.
    Diurnal,
    /// The load of each look is exponential (variance of the counts ≫ their mean), and each look has its
    /// own share of bad requests: gamma with coefficient of variation 0.5.
    Bursty,
    /// The share of bad requests wanders: its logarithm is AR(1) with σ = 0.5 and a memory of 5 minutes.
    Wandering,
}

impl Traffic {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Flat, Self::Diurnal, Self::Bursty, Self::Wandering];

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Diurnal => "diurnal",
            Self::Bursty => "bursty",
            Self::Wandering => "AR(1)",
        }
    }

    /// Whether requests are independent given the load.
    pub const fn is_independent(self) -> bool {
        matches!(self, Self::Flat | Self::Diurnal)
    }
}

/// Memory of the wandering share from look to look: e^(−15 s/5 min).
const MEMORY: f64 = 0.951_229_424_500_714;
const WANDER: f64 = 0.5;

/// A service that is looked at.
pub struct Service<'a, R> {
    rng: &'a mut R,
    traffic: Traffic,
    /// Requests per second, on average.
    rate: f64,
    look: f64,
    phase: f64,
    wander: f64,
}

impl<'a, R: Rng> Service<'a, R> {
    /// A service in its stationary state.
    pub fn new(rng: &'a mut R, traffic: Traffic, rate: f64) -> Self {
        let phase = std::f64::consts::TAU * uniform(rng);
        let wander = WANDER * normal(rng);
        Self {
            rng,
            traffic,
            rate,
            look: 0.0,
            phase,
            wander,
        }
    }

    /// The next look: (requests, bad requests) when bad ones have the mean share `share`.
    pub fn look(&mut self, share: f64) -> (f64, f64) {
        let state = self.state();
        self.draw(state, 1.0, share)
    }

    /// What the next look is like: load and share of bad requests as multiples of their means.
    pub fn state(&mut self) -> (f64, f64) {
        self.look += 1.0;
        match self.traffic {
            Traffic::Flat => (1.0, 1.0),
            Traffic::Diurnal => {
                let hour_angle = std::f64::consts::TAU * self.look * INTERVAL / 86_400.0;
                (1.0 + 0.5 * (hour_angle + self.phase).sin(), 1.0)
            }
            Traffic::Bursty => (gamma(self.rng, 1.0), gamma(self.rng, 4.0) / 4.0),
            Traffic::Wandering => {
                self.wander = MEMORY * self.wander + (1.0 - MEMORY * MEMORY).sqrt() * WANDER * normal(self.rng);
                (1.0, (self.wander - 0.5 * WANDER * WANDER).exp())
            }
        }
    }

    /// (requests, bad requests) of a look in this state for a `part` of the load, when bad ones have the
    /// mean share `share`.
    pub fn draw(&mut self, (load, quality): (f64, f64), part: f64, share: f64) -> (f64, f64) {
        let n = poisson(self.rng, self.rate * INTERVAL * load * part);
        (n, binomial(self.rng, n, (share * quality).min(1.0)))
    }
}

/// A uniform number in [0, 1).
pub fn uniform(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A standard normal number.
pub fn normal(rng: &mut impl Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// A gamma number of scale 1.
pub fn gamma(rng: &mut impl Rng, shape: f64) -> f64 {
    Gamma::new(shape, 1.0).map_or(0.0, |law| law.sample(rng))
}

/// A Poisson count.
pub fn poisson(rng: &mut impl Rng, mean: f64) -> f64 {
    // A mean of 0 has no law in the library: nothing arrives.
    Poisson::new(mean).map_or(0.0, |law| law.sample(rng))
}

/// A binomial count.
pub fn binomial(rng: &mut impl Rng, n: f64, p: f64) -> f64 {
    Binomial::new(n as u64, p).map_or(0.0, |law| law.sample(rng) as f64)
}
