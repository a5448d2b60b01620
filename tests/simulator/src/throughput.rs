//! Throughput under a floor: one hour of a service, many times.

use rayon::prelude::*;

use super::rollout::{Outcome, Shift, hourly_threshold, outcome};
use super::rules::Rule;
use super::traffic::{Service, Traffic};
use super::{BASELINE_BLOCKS, BLOCK, INTERVAL, LOOKS};
use quality_stats::sequential::{Detector, PRIOR_DESIGN_EFFECT, PRIOR_WEIGHT, rate_design_effect};
use quality_stats::{Seed, StatsError};

/// Hours of a service of `rate` requests per second against a floor of `limit`, of which the rate becomes
/// `after` halfway where given. The design effect is that of the six hours before.
pub fn simulate(traffic: Traffic, limit: f64, rate: f64, after: Option<f64>, runs: u64) -> Result<Outcome, StatsError> {
    let seed = Seed::new("throughput", &format!("{traffic:?} {limit} {rate} {after:?}"));
    let log_threshold = hourly_threshold()?.ln();
    let alarms: Vec<Option<usize>> = (0..runs)
        .into_par_iter()
        .map(|run| {
            let mut rng = seed.generator(run);
            let mut service = Service::new(&mut rng, traffic, rate);
            let baseline: Vec<f64> = (0..BASELINE_BLOCKS * BLOCK).map(|_| service.look(0.0).0).collect();
            let blocks: Vec<f64> = baseline.chunks_exact(BLOCK).map(|block| block.iter().sum()).collect();
            let effect = rate_design_effect(&blocks, PRIOR_DESIGN_EFFECT, PRIOR_WEIGHT).value;
            let mut detector = Detector::floor(limit, effect)?;
            detector.start(0);
            for (look, at) in (0..LOOKS).zip((1_i64..).map(|number| 15 * number)) {
                // A part of the load stays away: thinning keeps its shape.
                let kept = if look >= LOOKS / 2 {
                    after.map_or(1.0, |after| after / rate)
                } else {
                    1.0
                };
                let count = service.look(1.0 - kept);
                detector.look_rate(at, INTERVAL, count.0 - count.1)?;
                if detector.log_evidence() >= log_threshold {
                    return Ok(Some(look));
                }
            }
            Ok(None)
        })
        .collect::<Result<_, StatsError>>()?;
    let shift = after.map_or(Shift::None, Shift::To);
    Ok(outcome(Rule::Tempered, shift, alarms.into_iter()))
}
