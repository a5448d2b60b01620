//! The record of a drill: the core's view of its status, and how a state is entered. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use quality_api::{
    DrillOutcome, DrillStep, RecoveryDrill, RecoveryDrillStatus,
    conditions::{self, Status},
};
use quality_core::{
    drill::{Drill, DrillState, Obstacle, Outcome},
    report::Rehearsal,
};

/// The steps that are kept.
const MAX_STEPS: usize = 32;
/// Of them, what was waited for; the steps that follow need the others.
const MAX_WAITS: usize = 16;
/// The API server's words, cut: a status must never outgrow its store.
const MAX_CHARACTERS: usize = 1_000;

/// Where a drill stands.
pub fn state_of(drill: &RecoveryDrill) -> DrillState {
    drill.status.as_ref().map(|status| status.state).unwrap_or_default()
}

/// The core's view of a drill.
pub fn drill(drill: &RecoveryDrill) -> Drill {
    let status = drill.status.clone().unwrap_or_default();
    let created = drill.creation_timestamp().map_or(0, |at| at.0.as_second());
    Drill {
        mode: drill.spec.mode,
        state: status.state,
        created,
        entered: status.steps.last().map_or(created, |step| step.at.0.as_second()),
        fault_at: status.fault_at.map(|at| at.0.as_second()),
        outcome: status.outcome.map(|outcome| Outcome {
            result: outcome.result,
            reason: outcome.reason,
            message: outcome.message,
        }),
    }
}

/// A finished drill as the report needs it; of a policy's drills only these tell something.
pub fn rehearsal(drill: &RecoveryDrill) -> Option<Rehearsal> {
    let status = drill.status.as_ref()?;
    let outcome = status.outcome.as_ref()?;
    (status.state == DrillState::Finished).then(|| Rehearsal {
        name: drill.name_any(),
        result: outcome.result,
        message: outcome.message.clone(),
        rto: status.rto_seconds,
        rpo: status.rpo_seconds,
        at: status.finished_at.as_ref().map_or(0, |at| at.0.as_second()),
    })
}

/// Text of any length, cut.
pub fn cut(text: &str) -> String {
    text.chars().take(MAX_CHARACTERS).collect()
}

/// Enters a state.
pub fn enter(status: &mut RecoveryDrillStatus, generation: Option<i64>, to: DrillState, message: &str, now: Timestamp) {
    status.observed_generation = generation;
    status.state = to;
    status.message = cut(message);
    if status.steps.len() < MAX_STEPS {
        status.steps.push(DrillStep {
            at: Time(now),
            state: to,
            message: cut(message),
        });
    }
    let reason = to.name();
    complete(status, generation, Status::False, reason, message, now);
}

/// Says what a drill that has not begun waits for; whether that is news.
pub fn wait(status: &mut RecoveryDrillStatus, generation: Option<i64>, obstacle: &Obstacle, now: Timestamp) -> bool {
    let known = status.conditions.iter().any(|condition| {
        condition.type_ == "Complete"
            && condition.reason == obstacle.reason()
            && condition.message == obstacle.message()
    });
    if known || status.steps.len() >= MAX_WAITS {
        return false;
    }
    enter(status, generation, DrillState::Pending, &obstacle.message(), now);
    complete(
        status,
        generation,
        Status::False,
        obstacle.reason(),
        &obstacle.message(),
        now,
    );
    true
}

/// Records what a drill was judged to be.
pub fn judged(status: &mut RecoveryDrillStatus, outcome: &Outcome) {
    status.outcome = Some(DrillOutcome {
        result: outcome.result,
        reason: outcome.reason.clone(),
        message: cut(&outcome.message),
    });
}

/// Closes the record.
pub fn finish(status: &mut RecoveryDrillStatus, generation: Option<i64>, outcome: &Outcome, now: Timestamp) {
    judged(status, outcome);
    enter(status, generation, DrillState::Finished, &outcome.message, now);
    outcome.result.name().clone_into(&mut status.result);
    status.finished_at = Some(Time(now));
    complete(status, generation, Status::True, &outcome.reason, &outcome.message, now);
}

fn complete(
    status: &mut RecoveryDrillStatus,
    generation: Option<i64>,
    holds: Status,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    conditions::set(
        &mut status.conditions,
        "Complete",
        holds,
        reason,
        &cut(message),
        generation,
        &Time(now),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_told_once_and_never_takes_the_room_of_the_steps() {
        let mut status = RecoveryDrillStatus::default();
        let now = Timestamp::UNIX_EPOCH;
        assert!(wait(&mut status, Some(1), &Obstacle::RolloutInProgress, now));
        assert!(!wait(&mut status, Some(1), &Obstacle::RolloutInProgress, now));
        for round in 0..40 {
            wait(&mut status, Some(1), &Obstacle::AnotherDrill(round.to_string()), now);
        }
        assert_eq!(status.steps.len(), MAX_WAITS);
    }

    #[test]
    fn words_of_any_length_are_cut() {
        let mut status = RecoveryDrillStatus::default();
        let outcome = Outcome {
            result: quality_core::drill::DrillResult::Aborted,
            reason: "PodsRefused".into(),
            message: "é".repeat(100_000),
        };
        finish(&mut status, None, &outcome, Timestamp::UNIX_EPOCH);
        assert!(serde_json::to_string(&status).unwrap().len() < 20_000);
        assert_eq!(status.result, "Aborted");
    }
}
