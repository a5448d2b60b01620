//! RTO and RPO over real rollbacks and drills together: a drill measures what an incident would.

use crate::{
    drill::DrillResult,
    format::{self, UNKNOWN},
    report::{PastIncident, Slo},
    slo::SloStatus,
};
use quality_stats::{Interval, proportion::clopper_pearson, recovery::typical_time};

/// A finished drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    /// Its name.
    pub name: String,
    /// How it went.
    pub result: DrillResult,
    /// Why.
    pub message: String,
    /// Fault begin to recovered, seconds.
    pub rto: Option<i64>,
    /// Last certification to fault begin, seconds.
    pub rpo: Option<i64>,
    /// When it ended, unix seconds.
    pub at: i64,
}

/// One recovery, or an attempt at one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// When, unix seconds.
    at: i64,
    /// It was a drill.
    drill: bool,
    /// The time that is judged, seconds; none where a drill did not recover.
    time: Option<i64>,
}

/// The runs that tell something, oldest first: incidents that were rolled back, and drills that were not aborted.
pub fn runs(
    incidents: &[PastIncident],
    drills: &[Rehearsal],
    of_incident: impl Fn(&PastIncident) -> Option<i64>,
    of_drill: impl Fn(&Rehearsal) -> Option<i64>,
) -> Vec<Run> {
    let rolled_back = incidents.iter().filter_map(|incident| {
        of_incident(incident).map(|time| Run {
            at: incident.opened,
            drill: false,
            time: Some(time),
        })
    });
    let drills = drills.iter().filter(|drill| drill.result != DrillResult::Aborted);
    let rehearsed = drills.map(|drill| Run {
        at: drill.at,
        drill: true,
        time: of_drill(drill),
    });
    let mut all: Vec<Run> = rolled_back.chain(rehearsed).collect();
    all.sort_by_key(|run| run.at);
    all
}

/// RTO or RPO: every run must keep the objective.
pub fn slo(name: &'static str, objective: i64, runs: &[Run]) -> Slo {
    let target = format!("≤ {}", format::span(objective));
    let Some(last) = runs.last() else {
        return Slo {
            name,
            target,
            current: UNKNOWN.to_owned(),
            standing: SloStatus::Unsupported,
            evidence: "unsupported: no rollback and no drill yet".to_owned(),
        };
    };
    let times: Vec<f64> = runs.iter().filter_map(|run| run.time).map(|time| time as f64).collect();
    let interval: Option<Interval> = typical_time(&times).ok().map(|estimate| estimate.ci95);
    let shown = interval.map_or_else(
        || UNKNOWN.to_owned(),
        |interval| format::interval(interval, |seconds| format::span(seconds.round() as i64)),
    );
    let kept = runs
        .iter()
        .filter(|run| run.time.is_some_and(|time| time <= objective))
        .count();
    let n = runs.len();
    let drills = runs.iter().filter(|run| run.drill).count();
    let rate = clopper_pearson(kept as f64, n as f64).map_or_else(
        |_| String::new(),
        |rate| format!(" (CI95 {})", format::interval(rate.ci95, format::percent)),
    );
    Slo {
        name,
        target,
        current: format!(
            "{} (CI95 {shown}, n = {})",
            last.time.map_or_else(|| UNKNOWN.to_owned(), format::span),
            times.len()
        ),
        standing: if kept == n {
            SloStatus::Passing
        } else {
            SloStatus::Failing
        },
        evidence: format!("{} incidents, {drills} drills; kept by {kept} of {n}{rate}", n - drills),
    }
}

/// The last drill, if it failed. One that was aborted shows nothing, either way.
pub fn failed_drill(drills: &[Rehearsal]) -> Option<&Rehearsal> {
    let last = drills.iter().rfind(|drill| drill.result != DrillResult::Aborted)?;
    (last.result == DrillResult::Failed).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::{IncidentState, Severity, Trigger};

    fn past(opened: i64, rto: Option<i64>) -> PastIncident {
        PastIncident {
            name: "ranker-1".into(),
            state: IncidentState::Recovered,
            trigger: Trigger::ErrorRate,
            severity: Severity::Rollback,
            reason: String::new(),
            rto,
            rpo: None,
            opened,
        }
    }

    fn drill(at: i64, result: DrillResult, rto: Option<i64>) -> Rehearsal {
        Rehearsal {
            name: "weekly".into(),
            result,
            message: String::new(),
            rto,
            rpo: None,
            at,
        }
    }

    fn rto(incidents: &[PastIncident], drills: &[Rehearsal]) -> Slo {
        slo("RTO", 600, &runs(incidents, drills, |past| past.rto, |drill| drill.rto))
    }

    #[test]
    fn drills_and_incidents_count_alike_and_the_newest_of_both_is_shown() {
        let found = rto(
            &[past(10, Some(40)), past(30, Some(60)), past(40, None)],
            &[
                drill(20, DrillResult::Passed, Some(50)),
                drill(50, DrillResult::Passed, Some(30)),
                drill(60, DrillResult::Aborted, None),
            ],
        );
        assert_eq!(found.standing, SloStatus::Passing);
        assert!(
            found.current.starts_with("30s (CI95 ") && found.current.ends_with(", n = 4)"),
            "{}",
            found.current
        );
        assert_eq!(
            found.evidence,
            "2 incidents, 2 drills; kept by 4 of 4 (CI95 39.8% to 100.0%)"
        );
    }

    #[test]
    fn one_run_that_was_late_or_never_recovered_fails_the_objective() {
        for failed in [Some(601), None] {
            let found = rto(
                &[past(10, Some(40))],
                &[
                    drill(20, DrillResult::Failed, failed),
                    drill(30, DrillResult::Passed, Some(5)),
                ],
            );
            assert_eq!(found.standing, SloStatus::Failing);
            assert!(found.evidence.contains("kept by 2 of 3"), "{}", found.evidence);
        }
    }

    #[test]
    fn without_any_run_there_is_no_pass() {
        let found = rto(&[past(10, None)], &[drill(20, DrillResult::Aborted, None)]);
        assert_eq!(
            (found.standing, found.current.as_str()),
            (SloStatus::Unsupported, UNKNOWN)
        );
    }

    #[test]
    fn the_last_drill_that_showed_anything_decides_whether_the_rollback_path_is_at_risk() {
        use DrillResult::{Aborted, Failed, Passed};
        for (results, failed) in [
            (vec![], false),
            (vec![Failed], true),
            (vec![Failed, Aborted], true),
            (vec![Failed, Passed], false),
            (vec![Passed, Failed], true),
        ] {
            let drills: Vec<Rehearsal> = results.iter().map(|result| drill(0, *result, None)).collect();
            assert_eq!(failed_drill(&drills).is_some(), failed, "{results:?}");
        }
    }
}
