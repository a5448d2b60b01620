//! Two releases side by side: how often the new one is called worse although it is not, and how soon when
//! it is.

use rayon::prelude::*;

use super::rollout::baseline_effect;
use super::traffic::{Service, Traffic};
use super::{BASELINE_BLOCKS, BLOCK, INTERVAL, LOOKS, Share};
use quality_stats::comparison::Comparison;
use quality_stats::{Seed, StatsError};

/// The evidence at which the new release is called worse: by Ville's inequality at most one of 100 good
/// ones ever is.
pub const CALLED_WORSE: f64 = 100.0;
/// The share of bad requests of the old release.
const SHARE: f64 = 0.01;
/// During an outage of what both call, from the look to the look, this many times as many requests are bad.
const OUTAGE: (std::ops::Range<usize>, f64) = (100..140, 20.0);

/// What moves the shares of the two releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Causes {
    /// Load and quality move for both at once.
    Shared,
    /// Each release has its own load and quality, independent of the other's.
    Own,
    /// As shared, and ten minutes in which what both call is out.
    Outage,
}

impl Causes {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Shared, Self::Own, Self::Outage];

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Own => "each its own",
            Self::Outage => "shared, and an outage",
        }
    }
}

/// Two releases that run beside each other for an hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rollout {
    /// How load and quality move.
    pub traffic: Traffic,
    /// For which of the two.
    pub causes: Causes,
    /// Requests per second of both together.
    pub rate: f64,
    /// The part of them that the new release serves.
    pub part: f64,
    /// The new release's share of bad requests over the old one's 1 %.
    pub ratio: f64,
}

/// How often the new release was called worse, and the median seconds until then (`None`: in fewer than
/// half of the hours).
pub fn simulate(rollout: Rollout, runs: u64) -> Result<(Share, Option<f64>), StatsError> {
    let seed = Seed::new("releases", &format!("{rollout:?}"));
    let mut calls: Vec<usize> = (0..runs)
        .into_par_iter()
        .filter_map(|run| one(rollout, &seed, run).transpose())
        .collect::<Result<_, _>>()?;
    calls.sort_unstable();
    let share = Share {
        hits: calls.len() as u64,
        runs,
    };
    let median = calls.get((runs as usize).div_ceil(2).max(1) - 1);
    Ok((share, median.map(|&look| (look + 1) as f64 * INTERVAL)))
}

/// The look, from 0, after which the new release is called worse.
fn one(rollout: Rollout, seed: &Seed, run: u64) -> Result<Option<usize>, StatsError> {
    let Rollout {
        traffic,
        causes,
        rate,
        part,
        ratio,
    } = rollout;
    let (mut of_old, mut of_new) = (seed.generator(run), seed.part(1).generator(run));
    let mut old = Service::new(&mut of_old, traffic, rate);
    let mut new = Service::new(&mut of_new, traffic, rate);
    // Before the rollout the old release serves all.
    let baseline: Vec<(f64, f64)> = (0..BASELINE_BLOCKS * BLOCK).map(|_| old.look(SHARE)).collect();
    let mut comparison = Comparison::new(baseline_effect(&baseline))?;
    for look in 0..LOOKS {
        let out = causes == Causes::Outage && OUTAGE.0.contains(&look);
        let share = if out { SHARE * OUTAGE.1 } else { SHARE };
        let state = old.state();
        let other = if causes == Causes::Own { new.state() } else { state };
        let (n_old, bad_old) = old.draw(state, 1.0 - part, share);
        let (n_new, bad_new) = new.draw(other, part, share * ratio);
        comparison.look(n_old, bad_old, n_new, bad_new)?;
        if comparison.evidence() >= CALLED_WORSE {
            return Ok(Some(look));
        }
    }
    Ok(None)
}
