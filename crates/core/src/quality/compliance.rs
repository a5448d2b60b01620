//! A1: Compliance@1, Compliance@5 and nDCG@10, and the trigger on a drop of Compliance@1.

use std::collections::BTreeMap;

use super::{
    Effect, Limit, Row, Section, Unit,
    consistency::{Incomparable, Pair, comparable, seed_text, with_claim},
    evidence::{Compliance, File, Loaded, Query},
};
use crate::{policy::ComplianceObjective, slo::SloStatus};
use quality_stats::{
    Estimate, Seed, StatsError,
    ranking::{self, Gain},
    uplift::{Scale, Scored, uplift},
};

const FILE: File = File::ComplianceMetrics;
/// A summary that is off by more than this disagrees with its rows.
const ROUNDING: f64 = 0.000_6;

/// One of the three metrics.
#[derive(Clone, Copy)]
struct Metric {
    name: &'static str,
    score: fn(&Query) -> Option<f64>,
}

const AT_1: Metric = Metric {
    name: "Compliance@1",
    score: |query| Some(f64::from(u8::from(query.correct_at_1))),
};
const AT_5: Metric = Metric {
    name: "Compliance@5",
    score: |query| Some(f64::from(u8::from(query.correct_at_5))),
};
const NDCG: Metric = Metric {
    name: "nDCG@10",
    score: |query| {
        let judged = query.judged.as_deref().unwrap_or(&query.grades);
        // A query without a relevant document has no nDCG.
        ranking::ndcg(&query.grades, judged, 10, Gain::Linear).ok()
    },
};

/// The three rows and the trigger's.
pub fn rows(objective: &ComplianceObjective, pair: &Pair<'_>, notes: &mut Vec<String>) -> Vec<Row> {
    let row = |metric: &Metric, target: String| {
        Row::new(Section::Compliance, metric.name, target, Unit::Share, FILE).change_in(Unit::Points)
    };
    let drop = Row {
        effect: Effect::Rollback,
        limit: Some(Limit::Change(-objective.max_drop)),
        ..Row::new(
            Section::Triggers,
            "Compliance drop",
            format!("> −{} points", objective.max_drop),
            Unit::Share,
            FILE,
        )
        .change_in(Unit::Points)
    };
    let at_1 = row(&AT_1, objective.uplift_target()).limited(Limit::Change(objective.min_uplift));
    let at_5 = row(&AT_5, format!("Δ > −{} points", objective.max_drop)).limited(Limit::Change(-objective.max_drop));
    let mut ndcg = row(&NDCG, "Δ > 0".to_owned());
    let (loaded, claim) = match with_claim(FILE, &pair.current.compliance) {
        Ok(found) => found,
        Err(why) => return [at_1, at_5, ndcg, drop].map(|row| row.unsupported(&why)).into(),
    };
    summary(loaded, notes);
    // A model that gives one answer ranks nothing.
    ndcg.counts = loaded.data.queries.iter().any(|query| !query.grades.is_empty());
    let baseline = comparable(pair, FILE, &pair.baseline.compliance);
    let judged = Judged {
        loaded,
        claim,
        baseline,
    };
    let uplift_scale = if objective.relative {
        Scale::Relative
    } else {
        Scale::Points
    };
    vec![
        judged.row(at_1, &AT_1, uplift_scale, |change| {
            if change.ci95.low > 0.0 && change.value >= objective.min_uplift {
                SloStatus::Passing
            } else if change.ci95.high < objective.min_uplift || change.ci95.high <= 0.0 {
                SloStatus::Failing
            } else {
                SloStatus::Undetermined
            }
        }),
        judged.row(at_5, &AT_5, Scale::Points, |change| dropped(change, objective.max_drop)),
        judged.row(ndcg, &NDCG, Scale::Points, |change| {
            if change.ci95.low > 0.0 {
                SloStatus::Passing
            } else if change.ci95.high < 0.0 {
                SloStatus::Failing
            } else {
                SloStatus::Undetermined
            }
        }),
        judged.row(drop, &AT_1, Scale::Points, |change| dropped(change, objective.max_drop)),
    ]
}

/// A drop counts when its point estimate reaches the limit and its interval excludes 0.
fn dropped(change: &Estimate, max_drop: f64) -> SloStatus {
    if change.value <= -max_drop && change.ci95.high < 0.0 {
        SloStatus::Failing
    } else if change.ci95.low > -max_drop || change.value >= 0.0 {
        SloStatus::Passing
    } else {
        SloStatus::Undetermined
    }
}

struct Judged<'a> {
    loaded: &'a Loaded<Compliance>,
    claim: String,
    baseline: Result<&'a Loaded<Compliance>, Incomparable>,
}

impl Judged<'_> {
    fn row(&self, row: Row, metric: &Metric, scale: Scale, standing: impl Fn(&Estimate) -> SloStatus) -> Row {
        let mut row = row.claim(&self.claim);
        match level(self.loaded, metric) {
            Ok(level) => row.current = Some(level),
            Err(error) => return row.without(&error),
        }
        let baseline = match &self.baseline {
            Ok(baseline) => baseline,
            Err(why) => return row.incomparable(why),
        };
        // By the metric, not the row: one difference has one interval.
        let seed = Seed::new(&seed_text(self.loaded, Some(*baseline)), metric.name);
        let (current, before) = (scored(self.loaded, metric), scored(baseline, metric));
        match uplift(&current, &before, scale, &seed) {
            Ok(change) => {
                row.standing = standing(&change);
                row.change = Some(change);
                row
            }
            Err(error) => row.without(&error),
        }
    }
}

fn scored<'a>(loaded: &'a Loaded<Compliance>, metric: &Metric) -> Vec<Scored<'a>> {
    let scored = |query: &'a Query| {
        Some(Scored {
            query: &query.query,
            score: (metric.score)(query)?,
            session: query.session.as_deref(),
        })
    };
    loaded.data.queries.iter().filter_map(scored).collect()
}

fn level(loaded: &Loaded<Compliance>, metric: &Metric) -> Result<Estimate, StatsError> {
    let scored = scored(loaded, metric);
    let seed = Seed::new(&loaded.sha256, metric.name);
    let labels = clusters(&scored);
    let scores: Vec<f64> = scored.iter().map(|scored| scored.score).collect();
    if scores.is_empty() {
        return Err(StatsError::Empty { what: metric.name });
    }
    // A score of exactly 0 or 1 is an outcome; scores are never negative.
    let is_one = |score: f64| score.to_bits() == 1.0_f64.to_bits();
    let mut estimate = if scores.iter().all(|score| *score <= 0.0 || is_one(*score)) {
        let outcomes: Vec<bool> = scores.iter().map(|score| is_one(*score)).collect();
        ranking::compliance(&outcomes, labels.as_deref(), &seed)?
    } else {
        ranking::mean_score(&scores, labels.as_deref(), &seed)?
    };
    estimate.n = scores.len() as u64;
    Ok(estimate)
}

/// Labels of the sessions, where some are given: a query without one is its own.
fn clusters(scored: &[Scored<'_>]) -> Option<Vec<u64>> {
    if scored.iter().all(|scored| scored.session.is_none()) {
        return None;
    }
    let mut known: BTreeMap<(bool, &str), u64> = BTreeMap::new();
    Some(
        scored
            .iter()
            .map(|scored| {
                let key = scored.session.map_or((false, scored.query), |session| (true, session));
                let next = known.len() as u64;
                *known.entry(key).or_insert(next)
            })
            .collect(),
    )
}

/// Where a summary disagrees with its own rows, the rows win and the report says so.
fn summary(loaded: &Loaded<Compliance>, notes: &mut Vec<String>) {
    let Some(summary) = loaded.data.summary else { return };
    for (metric, claimed) in [
        (&AT_1, summary.compliance_at_1),
        (&AT_5, summary.compliance_at_5),
        (&NDCG, summary.ndcg_at_10),
    ] {
        let scores: Vec<f64> = loaded.data.queries.iter().filter_map(metric.score).collect();
        if let Some(claimed) = claimed {
            let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
            let gap = (claimed - mean).abs();
            if gap.is_nan() || gap > ROUNDING {
                notes.push(format!(
                    "{}: the summary of {} says {claimed:.4}, its rows give {mean:.4}: the rows win",
                    metric.name,
                    FILE.name()
                ));
            }
        }
    }
}
