//! One hour of a rollout, many times: how often a rule acts, and how long after the change.

use rayon::prelude::*;

use super::rules::{Rule, first_alarm};
use super::traffic::{Service, Traffic};
use super::{BASELINE_BLOCKS, BLOCK, INTERVAL, LOOKS, Share};
use quality_stats::sequential::{PRIOR_DESIGN_EFFECT, PRIOR_WEIGHT, design_effect, threshold};
use quality_stats::{Seed, StatsError};

/// What happens to the share of bad requests halfway through the hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shift {
    /// Nothing.
    None,
    /// It becomes this and stays.
    To(f64),
    /// It becomes this for one minute.
    Transient(f64),
}

/// One cell of the grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// How load and quality move.
    pub traffic: Traffic,
    /// Requests per second.
    pub rate: f64,
    /// The limit of the share of bad requests.
    pub limit: f64,
    /// The mean share before the shift.
    pub share: f64,
    /// What happens halfway.
    pub shift: Shift,
}

/// What a rule did under the conditions.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Who decided.
    pub rule: Rule,
    /// Runs with an alarm before the shift; with [`Shift::None`] or [`Shift::Transient`], at any time.
    pub early: Share,
    /// Of the runs without an early alarm, those with an alarm after the shift.
    pub found: Share,
    /// Seconds from the shift to the alarm, rising, for the runs that found it.
    pub delays: Vec<f64>,
}

impl Outcome {
    /// Median seconds from shift to alarm, `None` when fewer than half of the runs found it.
    pub fn median_delay(&self) -> Option<f64> {
        self.delay(0.5)
    }

    /// Seconds from shift to alarm within which this share of the runs found it.
    pub fn delay(&self, share: f64) -> Option<f64> {
        let rank = (share * self.found.runs as f64).ceil() as usize;
        self.delays.get(rank.max(1) - 1).copied()
    }
}

/// The evidence of a policy's only trigger: one period of an hour at 1 %.
pub fn hourly_threshold() -> Result<f64, StatsError> {
    threshold(1, LOOKS as f64, 0.01)
}

/// Runs the hour `runs` times (each with its own six hours of baseline) under every rule given.
pub fn simulate(conditions: Conditions, rules: &[Rule], runs: u64) -> Result<Vec<Outcome>, StatsError> {
    let seed = Seed::new("simulation", &format!("{conditions:?}"));
    let threshold = hourly_threshold()?;
    let alarms: Vec<Vec<Option<usize>>> = (0..runs)
        .into_par_iter()
        .map(|run| one(conditions, rules, threshold, &seed, run))
        .collect::<Result<_, _>>()?;
    Ok(rules
        .iter()
        .enumerate()
        .map(|(index, &rule)| outcome(rule, conditions.shift, alarms.iter().map(|run| run[index])))
        .collect())
}

/// The detectors' outcome when alarms are counted from looks made elsewhere.
pub fn outcome(rule: Rule, shift: Shift, alarms: impl Iterator<Item = Option<usize>>) -> Outcome {
    let change = match shift {
        Shift::To(_) => LOOKS / 2,
        Shift::None | Shift::Transient(_) => LOOKS,
    };
    let (mut runs, mut early, mut delays) = (0, 0, Vec::new());
    for alarm in alarms {
        runs += 1;
        match alarm {
            Some(look) if look < change => early += 1,
            Some(look) => delays.push((look + 1 - change) as f64 * INTERVAL),
            None => {}
        }
    }
    delays.sort_unstable_by(f64::total_cmp);
    Outcome {
        rule,
        early: Share { hits: early, runs },
        found: Share {
            hits: delays.len() as u64,
            runs: runs - early,
        },
        delays,
    }
}

fn one(
    conditions: Conditions,
    rules: &[Rule],
    threshold: f64,
    seed: &Seed,
    run: u64,
) -> Result<Vec<Option<usize>>, StatsError> {
    let mut rng = seed.generator(run);
    let mut service = Service::new(&mut rng, conditions.traffic, conditions.rate);
    let baseline: Vec<(f64, f64)> = (0..BASELINE_BLOCKS * BLOCK)
        .map(|_| service.look(conditions.share))
        .collect();
    let looks: Vec<(f64, f64)> = (0..LOOKS)
        .map(|look| {
            service.look(match conditions.shift {
                Shift::To(share) if look >= LOOKS / 2 => share,
                Shift::Transient(share) if (LOOKS / 2..LOOKS / 2 + 4).contains(&look) => share,
                Shift::None | Shift::To(_) | Shift::Transient(_) => conditions.share,
            })
        })
        .collect();
    let effect = baseline_effect(&baseline);
    rules
        .iter()
        .map(|&rule| first_alarm(rule, &looks, &baseline, conditions.limit, effect, threshold))
        .collect()
}

/// The design effect that the operator would use after this baseline.
pub fn baseline_effect(looks: &[(f64, f64)]) -> f64 {
    let blocks: Vec<(f64, f64)> = looks
        .chunks_exact(BLOCK)
        .map(|block| {
            block
                .iter()
                .fold((0.0, 0.0), |sum, look| (sum.0 + look.0, sum.1 + look.1))
        })
        .collect();
    design_effect(&blocks, PRIOR_DESIGN_EFFECT, PRIOR_WEIGHT).value
}

/// The least mean delay that any test with this evidence can have, in seconds: ln c / (rate · KL(p1‖p0))
/// (Lorden 1971).
pub fn floor_of_delay(rate: f64, limit: f64, share: f64) -> Result<f64, StatsError> {
    let divergence = share * (share / limit).ln() + (1.0 - share) * ((1.0 - share) / (1.0 - limit)).ln();
    Ok(hourly_threshold()?.ln() / (rate * divergence))
}
