//! The trigger on a drop of compliance: from the evidence of a run to a verdict beside the streaming ones.
//!
//! One test of a fixed sample, not a sequence of looks: the evidence of a finished run does not change, so looking at it
//! again and again costs no error rate.

use crate::{
    counters::NoDataReason,
    incident::Trigger,
    judge::{State, TriggerVerdict},
    policy::ComplianceObjective,
    quality::EvaluationState,
};
use quality_stats::Estimate;

/// The verdict on the release whose analysis started at `started`, unix seconds.
///
/// Healthy while the point estimate keeps the limit, as for the other triggers; Breach when it does not and its CI95
/// excludes 0; Undetermined in between.
pub fn verdict(objective: &ComplianceObjective, known: &EvaluationState, started: i64) -> TriggerVerdict {
    let row = known.quality().and_then(|quality| quality.drop());
    let change: Option<&Estimate> = row.and_then(|row| row.change.as_ref());
    let state = match (known, change, row) {
        (EvaluationState::Missing { .. } | EvaluationState::Pending, ..) | (_, None, None) => {
            State::Unknown(NoDataReason::NoEvidence)
        }
        (_, None, Some(row)) if row.lacks_baseline() => State::Unknown(NoDataReason::NoBaseline),
        (_, None, Some(_)) => State::Unknown(NoDataReason::NoEvidence),
        (_, Some(change), _) if change.value > -objective.max_drop => State::Healthy,
        (_, Some(change), _) if change.ci95.high < 0.0 => State::Breach,
        (_, Some(_), _) => State::Undetermined,
    };
    let completed = match known {
        EvaluationState::Judged { completed, .. } => *completed,
        EvaluationState::Missing { .. } | EvaluationState::Pending => None,
    };
    let note = match known {
        EvaluationState::Judged { .. } => row.map(|row| row.evidence.clone()).unwrap_or_default(),
        EvaluationState::Missing { message, .. } => message.clone(),
        EvaluationState::Pending => "the evidence is being read".to_owned(),
    };
    TriggerVerdict {
        trigger: Trigger::Compliance,
        state,
        estimate: change.cloned(),
        level: row.and_then(|row| row.current.clone()),
        limit: -objective.max_drop,
        level_limit: None,
        // No odds: a test of a fixed sample decides.
        log_evidence: 0.0,
        log_threshold: f64::INFINITY,
        // A bad model serves from the release's start on; it was known to be bad once its evaluation was complete.
        onset: (state == State::Breach).then(|| completed.map_or(started, |at| at.max(started))),
        design_effect: 1.0,
        note,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::quality::{Effect, Quality, Row, Section, Unit, evidence::File};
    use quality_stats::Method;

    /// A drop of so many points with this interval.
    fn judged(change: Option<(f64, f64, f64)>) -> EvaluationState {
        let mut row = Row::new(
            Section::Triggers,
            "Compliance drop",
            "> −2 points",
            Unit::Share,
            File::ComplianceMetrics,
        );
        row.effect = Effect::Rollback;
        row.evidence = "compliance_metrics.json#new#v7".into();
        row.current = Some(Estimate::new(0.712, 0.68, 0.74, 400, Method::Wilson));
        row.change = change.map(|(value, low, high)| Estimate::new(value, low, high, 400, Method::PairedBootstrap));
        EvaluationState::Judged {
            quality: Arc::new(Quality {
                rows: vec![row],
                notes: Vec::new(),
                stacks: Vec::new(),
                charts: crate::quality::Charts::default(),
                dataset: None,
            }),
            completed: Some(50),
        }
    }

    fn of(known: &EvaluationState) -> TriggerVerdict {
        verdict(&ComplianceObjective::default(), known, 100)
    }

    #[test]
    fn a_drop_is_a_breach_when_its_value_reaches_the_limit_and_its_interval_excludes_zero() {
        for (change, state) in [
            ((-4.1, -6.0, -2.2), State::Breach),
            ((-2.0, -3.9, -0.1), State::Breach),
            ((-2.0, -4.0, 0.1), State::Undetermined),
            ((-1.9, -2.5, -1.3), State::Healthy),
            ((3.0, 1.0, 5.0), State::Healthy),
        ] {
            assert_eq!(of(&judged(Some(change))).state, state, "{change:?}");
        }
    }

    #[test]
    fn what_is_missing_is_unknown() {
        let missing = EvaluationState::Missing {
            reason: "RunDeleted",
            message: "run r was deleted".into(),
        };
        for known in [missing, EvaluationState::Pending, judged(None)] {
            assert_eq!(of(&known).state, State::Unknown(NoDataReason::NoEvidence), "{known:?}");
        }
    }

    #[test]
    fn a_breach_began_when_the_release_did_or_when_its_evaluation_was_complete() {
        let mut known = judged(Some((-4.0, -6.0, -2.0)));
        assert_eq!(of(&known).onset, Some(100));
        if let EvaluationState::Judged { completed, .. } = &mut known {
            *completed = Some(700);
        }
        assert_eq!(of(&known).onset, Some(700));
        assert_eq!(of(&judged(Some((3.0, 1.0, 5.0)))).onset, None);
    }

    #[test]
    fn a_drop_is_told_with_its_interval_its_n_and_its_claim() {
        assert_eq!(
            TriggerVerdict::sentence(&of(&judged(Some((-4.1, -6.0, -2.2))))),
            "Compliance@1 −4.1 points against the checkpoint's run (CI95 −6.0 to −2.2, n = 400), limit −2.0 with a CI95 \
             under 0; now 71.2% (CI95 68.0% to 74.0%, n = 400); compliance_metrics.json#new#v7"
        );
    }
}
