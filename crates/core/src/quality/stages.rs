//! B1: latency by stage, with the change against the checkpoint's run.

use super::{
    Row, Section, Unit,
    consistency::{Incomparable, Pair, comparable, seed_text, with_claim},
    evidence::{File, Stage, StageData},
};
use crate::{policy::Performance, slo::SloStatus};
use quality_stats::{Estimate, Seed, StatsError, histogram::Histogram, latency};

const FILE: File = File::ProfilingReport;
/// A stage's P95 that rose by more than this, shown by its interval, alerts. Milliseconds.
const MAX_RISE_MS: f64 = 5.0;

/// A row a stage.
pub fn rows(performance: &Performance, pair: &Pair<'_>) -> Vec<Row> {
    let (loaded, claim) = match with_claim(FILE, &pair.current.profiling) {
        Ok(found) => found,
        Err(why) => return vec![row(Stage::Total, performance).unsupported(why)],
    };
    let before = comparable(pair, FILE, &pair.baseline.profiling);
    loaded
        .data
        .stages
        .iter()
        .map(|(stage, data)| {
            let mut row = row(*stage, performance).claim(&claim);
            let text = seed_text(loaded, before.as_ref().ok().copied());
            let seed = Seed::new(&text, stage.name());
            match measured(data, &seed, &mut row) {
                Ok(p95) => row.current = Some(p95),
                Err(error) => return row.without(&error),
            }
            let old = before.as_ref().map_err(Clone::clone).and_then(|before| {
                let found = before.data.stages.iter().find(|(known, _)| known == stage);
                found
                    .map(|(_, data)| data)
                    .ok_or_else(|| Incomparable::Unusable("the checkpoint's run has no such stage".to_owned()))
            });
            changed(&mut row, data, old, &seed);
            standing(row, *stage, performance)
        })
        .collect()
}

fn row(stage: Stage, performance: &Performance) -> Row {
    let target = match (stage, performance.p95_ms) {
        (Stage::Total, Some((target, _))) => format!("P95 < {target:.0} ms"),
        _ => format!("ΔP95 ≤ {MAX_RISE_MS} ms"),
    };
    let row = Row::new(Section::Latency, stage.name(), target, Unit::Milliseconds, FILE);
    if stage == Stage::Total { row } else { row.alert() }
}

/// P95 of a stage; the rest goes into the note.
fn measured(data: &StageData, seed: &Seed, row: &mut Row) -> Result<Estimate, StatsError> {
    match data {
        StageData::Samples(samples) => {
            let profile = latency::profile(samples, seed)?;
            let print = |estimate: &Estimate| Unit::Milliseconds.estimate(estimate);
            row.mean = Some(profile.mean.value);
            row.note = format!(
                "mean {}, P99 {}, variance {:.1} ms² (CI95 {:.1} to {:.1})",
                print(&profile.mean),
                print(&profile.p99),
                profile.variance.value,
                profile.variance.ci95.low,
                profile.variance.ci95.high
            );
            Ok(profile.p95)
        }
        StageData::Histogram(buckets) => Histogram::new(buckets.clone())?.quantile(0.95, 1.0),
    }
}

fn changed(row: &mut Row, data: &StageData, old: Result<&StageData, Incomparable>, seed: &Seed) {
    match (data, old) {
        (StageData::Samples(now), Ok(StageData::Samples(before))) => match latency::change(now, before, seed) {
            Ok(change) => match change.p95 {
                Ok(p95) => row.change = Some(p95),
                Err(error) => row.say(&format!("Δ: {error}")),
            },
            Err(error) => row.say(&format!("Δ: {error}")),
        },
        (_, Err(why)) => {
            row.has_no_baseline |= why == Incomparable::NoBaseline;
            row.say(&format!("Δ: {why}"));
        }
        _ => row.say("Δ: two histograms have no paired samples"),
    }
}

fn standing(mut row: Row, stage: Stage, performance: &Performance) -> Row {
    let own = match (stage, performance.p95_ms, &row.current) {
        (Stage::Total, Some((target, tolerance)), Some(p95)) => Some(if p95.ci95.high < target {
            SloStatus::Passing
        } else if p95.ci95.low > target + tolerance {
            SloStatus::Failing
        } else {
            SloStatus::Undetermined
        }),
        _ => None,
    };
    let change = row.change.as_ref().map(|change| {
        if change.value > MAX_RISE_MS && change.ci95.low > 0.0 {
            SloStatus::Failing
        } else if change.value > MAX_RISE_MS {
            SloStatus::Undetermined
        } else {
            SloStatus::Passing
        }
    });
    row.standing = match (own, change) {
        (Some(own), _) => own,
        (None, Some(change)) => change,
        (None, None) => return row.unsupported("no earlier run to compare with"),
    };
    row
}
