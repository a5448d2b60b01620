//! B2: where the time of the profiled run went, by component and category, with the unknown share.

use std::collections::BTreeMap;

use super::{
    Row, Section, Unit,
    consistency::{Pair, comparable, with_claim},
    evidence::{File, Loaded},
    trace::{Attribution, Category, UNKNOWN_COMPONENT},
};
use crate::slo::SloStatus;
use quality_stats::{Estimate, Interval, Method, Seed, StatsError, bootstrap};

const FILE: File = File::ProfilerTrace;
/// More unknown time than this is flagged.
const MAX_UNKNOWN: f64 = 0.1;
/// A share that rose by more than this, in points, shown by its interval, is a regression.
const MAX_RISE_POINTS: f64 = 5.0;
/// Components that the report lists.
const COMPONENTS: usize = 12;

/// A row a component, the largest first, Unknown last; and the folded stacks.
pub fn rows(pair: &Pair<'_>) -> (Vec<Row>, Vec<(String, u64)>) {
    let unknown = Row::new(
        Section::Bottlenecks,
        UNKNOWN_COMPONENT,
        "≤ 10% of the time",
        Unit::Share,
        FILE,
    )
    .alert();
    let (loaded, claim) = match with_claim(FILE, &pair.current.trace) {
        Ok(found) => found,
        Err(why) => return (vec![unknown.unsupported(why)], Vec::new()),
    };
    let before = comparable(pair, FILE, &pair.baseline.trace).ok();
    let mut rows: Vec<Row> = names(&loaded.data)
        .into_iter()
        .filter(|name| name != UNKNOWN_COMPONENT)
        .take(COMPONENTS)
        .map(|name| component(&name, loaded, before, &claim))
        .collect();
    rows.push(unknown_row(unknown.claim(&claim), loaded, before));
    let stacks = loaded
        .data
        .stacks
        .iter()
        .map(|(stack, time)| (stack.clone(), *time))
        .collect();
    (rows, stacks)
}

/// Components by their time, the largest first.
fn names(attribution: &Attribution) -> Vec<String> {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for ((component, _), steps) in &attribution.parts {
        *sums.entry(component).or_default() += steps.iter().sum::<f64>();
    }
    let mut sums: Vec<(&str, f64)> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    sums.into_iter().map(|(name, _)| name.to_owned()).collect()
}

fn by_step(attribution: &Attribution, holds: impl Fn(&str, Category) -> bool) -> Vec<f64> {
    let mut sum = vec![0.0; attribution.steps.len()];
    for ((component, category), steps) in &attribution.parts {
        if holds(component, *category) {
            sum.iter_mut().zip(steps).for_each(|(sum, step)| *sum += step);
        }
    }
    sum
}

/// The share of the time that a component takes, with the bootstrap interval by step.
fn share(loaded: &Loaded<Attribution>, component: &str) -> Result<Estimate, StatsError> {
    let times = by_step(&loaded.data, |known, _| known == component);
    if times.iter().all(|time| *time == 0.0) {
        return Err(StatsError::Empty { what: "time" });
    }
    let seed = Seed::new(&loaded.sha256, component);
    let mut estimate = bootstrap::ratio(&times, &loaded.data.steps, &seed)?;
    estimate.ci95 = Interval::new(estimate.ci95.low.max(0.0), estimate.ci95.high.min(1.0));
    Ok(estimate)
}

/// The change of a share in points; shares by step are independent between two runs.
fn change(now: &Loaded<Attribution>, before: &Loaded<Attribution>, component: &str) -> Result<Estimate, StatsError> {
    let shares = |loaded: &Loaded<Attribution>| -> Vec<f64> {
        by_step(&loaded.data, |known, _| known == component)
            .iter()
            .zip(&loaded.data.steps)
            .filter(|(_, step)| **step > 0.0)
            .map(|(time, step)| 100.0 * time / step)
            .collect()
    };
    let seed = Seed::new(&format!("{}/{}", now.sha256, before.sha256), component);
    bootstrap::difference_of_means(&shares(now), &shares(before), &seed)
}

fn component(name: &str, loaded: &Loaded<Attribution>, before: Option<&Loaded<Attribution>>, claim: &str) -> Row {
    let mut row = Row::new(Section::Bottlenecks, name, "no regression", Unit::Share, FILE)
        .alert()
        .change_in(Unit::Points)
        .claim(claim);
    row.note = categories(&loaded.data, name);
    match share(loaded, name) {
        Ok(estimate) => row.current = Some(estimate),
        Err(error) => return row.without(&error),
    }
    // Without an earlier run the share is shown and nothing is held against it.
    let Some(before) = before else {
        row.counts = false;
        return row.unsupported("no earlier run to compare with");
    };
    match change(loaded, before, name) {
        Ok(change) => {
            row.standing = if change.value > MAX_RISE_POINTS && change.ci95.low > 0.0 {
                SloStatus::Failing
            } else {
                SloStatus::Passing
            };
            row.change = Some(change);
            row
        }
        Err(error) => row.without(&error),
    }
}

fn categories(attribution: &Attribution, component: &str) -> String {
    let all: f64 = attribution.steps.iter().sum();
    let mut shares: Vec<(Category, f64)> = attribution
        .parts
        .iter()
        .filter(|((known, _), _)| known == component)
        .map(|((_, category), steps)| (*category, steps.iter().sum::<f64>() / all))
        .collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let shares: Vec<String> = shares
        .iter()
        .map(|(category, share)| format!("{} {}", category.name(), Unit::Share.print(*share)))
        .collect();
    shares.join(", ")
}

fn unknown_row(mut row: Row, loaded: &Loaded<Attribution>, before: Option<&Loaded<Attribution>>) -> Row {
    let estimate = match share(loaded, UNKNOWN_COMPONENT) {
        // No unknown time in any step: what n steps can say is that of 0 of n.
        Err(StatsError::Empty { .. }) => {
            let n = loaded.data.steps.len() as u64;
            Ok(Estimate::new(0.0, 0.0, 0.0, n, Method::BcaBootstrap))
        }
        Err(StatsError::NoVariation { .. }) => {
            let times: f64 = by_step(&loaded.data, |known, _| known == UNKNOWN_COMPONENT)
                .iter()
                .sum();
            let value = times / loaded.data.steps.iter().sum::<f64>();
            let n = loaded.data.steps.len() as u64;
            Ok(Estimate::new(value, value, value, n, Method::BcaBootstrap))
        }
        other => other,
    };
    match estimate {
        Ok(estimate) => {
            row.standing = if estimate.value <= MAX_UNKNOWN {
                SloStatus::Passing
            } else {
                SloStatus::Failing
            };
            row.say(&format!(
                "{} is attributed to named components",
                Unit::Share.print(1.0 - estimate.value)
            ));
            row.current = Some(estimate);
        }
        Err(error) => row = row.without(&error),
    }
    row.change = before.and_then(|before| change(loaded, before, UNKNOWN_COMPONENT).ok());
    row.change_in(Unit::Points)
}
