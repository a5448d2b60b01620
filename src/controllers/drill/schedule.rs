//! Drills on a policy's schedule: made when they are due, and pruned when they are old. Part of the policy's own
//! reconcile, which writes what is returned here into the policy's status.
//!
//! A scheduled drill's name is a function of policy and instant, so that making it twice is making it once; and the
//! policy's status holds the first instant that nothing was done for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Preconditions},
    core::ObjectMeta,
};

use crate::controllers::{
    context::{CallError, Context, Stores, call, post},
    drill::record,
};
use quality_api::{
    DrillDue, DrillSchedule, LocalReference, POLICY_LABEL, QualityPolicy, RecoveryDrill, RecoveryDrillSpec,
    conditions::Status,
    names::{hash, label},
    view::time,
};
use quality_core::{
    drill::{
        DrillState,
        schedule::{Schedule, ScheduleError},
    },
    report::Rehearsal,
};

/// On a drill that the schedule asked for: the instant.
const SCHEDULED_ANNOTATION: &str = "quality-officer.dev/scheduled-at";
/// Without a `drill` section this many finished drills are kept.
const KEEP: usize = 10;

/// What the policy's status shall say about its schedule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scheduled {
    /// When the next one is due.
    pub due: Option<DrillDue>,
    /// Condition `DrillScheduled`: status, reason, message; none without a schedule.
    pub condition: Option<(Status, &'static str, String)>,
    /// A drill was made or deleted.
    pub wrote: bool,
}

/// The drills of a policy, oldest first.
pub fn drills_of_policy(stores: &Stores, policy: &QualityPolicy) -> Vec<RecoveryDrill> {
    let name = policy.name_any();
    let namespace = policy.namespace();
    let is_its = |drill: &RecoveryDrill| {
        drill.namespace() == namespace
            && drill.spec.policy_ref.name == name
            && drill.metadata.deletion_timestamp.is_none()
    };
    let found = stores.drills.state_filter(|drill| drill.0.as_ref().is_ok_and(is_its));
    let mut drills: Vec<RecoveryDrill> = found.iter().filter_map(|drill| drill.0.clone().ok()).collect();
    drills.sort_by_key(|drill| (drill.creation_timestamp().map(|at| at.0), drill.name_any()));
    drills
}

/// The finished ones as the report needs them.
pub fn finished_drills(drills: &[RecoveryDrill]) -> Vec<Rehearsal> {
    let mut found: Vec<Rehearsal> = drills.iter().filter_map(record::rehearsal).collect();
    found.sort_by_key(|rehearsal| rehearsal.at);
    found
}

/// Makes the drill that is due and deletes the records that are too many.
pub async fn reconcile_schedule(
    context: &Context,
    policy: &QualityPolicy,
    drills: &[RecoveryDrill],
    now: Timestamp,
) -> Result<Scheduled, CallError> {
    let mut scheduled = Scheduled::default();
    if let Some(settings) = &policy.spec.drill {
        match due(context, policy, settings, drills, now, &mut scheduled).await? {
            Ok(()) => {}
            Err(error) => {
                scheduled.due = Some(DrillDue {
                    schedule: words(settings),
                    next: None,
                });
                scheduled.condition = Some((Status::False, error.reason(), error.to_string()));
            }
        }
    }
    let keep = policy
        .spec
        .drill
        .as_ref()
        .map_or(KEEP, |settings| usize::try_from(settings.keep).unwrap_or(KEEP).max(1));
    scheduled.wrote |= prune(context, drills, keep).await?;
    Ok(scheduled)
}

fn words(settings: &DrillSchedule) -> String {
    format!("{} {}", settings.schedule, settings.time_zone)
}

async fn due(
    context: &Context,
    policy: &QualityPolicy,
    settings: &DrillSchedule,
    drills: &[RecoveryDrill],
    now: Timestamp,
    scheduled: &mut Scheduled,
) -> Result<Result<(), ScheduleError>, CallError> {
    let known = policy.status.as_ref().and_then(|status| status.drill.as_ref());
    // Instants before the operator saw a schedule were never asked for.
    let first = known
        .filter(|known| known.schedule == words(settings))
        .and_then(|known| known.next.as_ref())
        .map(|at| at.0.as_second());
    let now = now.as_second();
    let next = match first {
        Some(first) if first > now => first,
        _ => {
            let found = Schedule::parse(&settings.schedule, &settings.time_zone).and_then(|schedule| {
                let due = first.map_or(Ok(None), |first| schedule.due(first, now))?;
                Ok((due, schedule.next(now)?))
            });
            let (due, next) = match found {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            };
            // A schedule that is faster than its drills does not pile them up.
            let unfinished = |drill: &RecoveryDrill| {
                drill.annotations().contains_key(SCHEDULED_ANNOTATION)
                    && record::state_of(drill) != DrillState::Finished
            };
            if let Some(due) = due.filter(|_| !settings.suspend && !drills.iter().any(unfinished)) {
                make(context, policy, settings, due).await?;
                scheduled.wrote = true;
            }
            next
        }
    };
    scheduled.due = Some(DrillDue {
        schedule: words(settings),
        next: Some(time(next)),
    });
    scheduled.condition = Some(if settings.suspend {
        let message = "no drill is scheduled while drill.suspend is set".to_owned();
        (Status::False, "Suspended", message)
    } else {
        (
            Status::True,
            "Scheduled",
            format!("the next drill is due at {}", time(next).0),
        )
    });
    Ok(Ok(()))
}

async fn make(context: &Context, policy: &QualityPolicy, settings: &DrillSchedule, due: i64) -> Result<(), CallError> {
    let drill = scheduled_drill(policy, settings, due);
    let api: Api<RecoveryDrill> = Api::namespaced(context.client.clone(), &policy.namespace().unwrap_or_default());
    match call(api.create(&post(), &drill)).await {
        Ok(_) => {
            context.meters.wrote("RecoveryDrill");
            tracing::info!(drill = %drill.name_any(), "drill scheduled");
            Ok(())
        }
        // Made before a restart: that is success.
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) => Err(error),
    }
}

/// The drill of an instant, unix seconds.
fn scheduled_drill(policy: &QualityPolicy, settings: &DrillSchedule, due: i64) -> RecoveryDrill {
    let name = policy.name_any();
    let at = time(due).0;
    let mut prefix = name.clone();
    if prefix.len() > 200 {
        prefix.truncate(180);
        prefix = format!("{}-{}", prefix.trim_end_matches(['-', '.']), &hash(&[&name])[..8]);
    }
    RecoveryDrill {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}-{}", at.strftime("%Y%m%d-%H%M"))),
            namespace: policy.namespace(),
            labels: Some(BTreeMap::from([(POLICY_LABEL.to_owned(), label(&name))])),
            annotations: Some(BTreeMap::from([(SCHEDULED_ANNOTATION.to_owned(), at.to_string())])),
            ..ObjectMeta::default()
        },
        spec: RecoveryDrillSpec {
            policy_ref: LocalReference { name },
            mode: settings.mode,
        },
        status: None,
    }
}

/// Deletes the oldest finished drill beyond `keep`.
async fn prune(context: &Context, drills: &[RecoveryDrill], keep: usize) -> Result<bool, CallError> {
    let Some(oldest) = too_old(drills, keep) else {
        return Ok(false);
    };
    let api: Api<RecoveryDrill> = Api::namespaced(context.client.clone(), &oldest.namespace().unwrap_or_default());
    let parameters = DeleteParams::default().preconditions(Preconditions {
        uid: oldest.uid(),
        resource_version: None,
    });
    match call(api.delete(&oldest.name_any(), &parameters)).await {
        Ok(_) => {
            context.meters.wrote("RecoveryDrill");
            tracing::info!(drill = %oldest.name_any(), keep, "pruned");
            Ok(true)
        }
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(true),
        Err(error) => Err(error),
    }
}

fn too_old(drills: &[RecoveryDrill], keep: usize) -> Option<&RecoveryDrill> {
    let is_finished = |drill: &&RecoveryDrill| record::state_of(drill) == DrillState::Finished;
    let finished = drills.iter().filter(is_finished).count();
    (finished > keep).then(|| drills.iter().find(is_finished)).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(name: &str) -> QualityPolicy {
        let object = json!({
            "apiVersion": "quality-officer.dev/v1alpha1", "kind": "QualityPolicy",
            "metadata": {"name": name, "namespace": "shop"}, "spec": {"targetRef": {"name": "ranker"}},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn the_drill_of_an_instant_has_one_name_and_that_of_another_instant_another() {
        let name = |policy: &QualityPolicy, due| scheduled_drill(policy, &DrillSchedule::default(), due).name_any();
        let ranker = policy("ranker");
        assert_eq!(name(&ranker, 1_767_225_600), "ranker-20260101-0000");
        assert_eq!(name(&ranker, 1_767_225_660), "ranker-20260101-0001");
        let (a, b) = (
            policy(&format!("{}a", "x".repeat(250))),
            policy(&format!("{}b", "x".repeat(250))),
        );
        assert!(name(&a, 0).len() <= 253 && name(&a, 0) != name(&b, 0));
    }

    #[test]
    fn the_oldest_finished_drill_goes_and_one_that_runs_stays() {
        let drill = |name: &str, state: &str| -> RecoveryDrill {
            let object = json!({
                "apiVersion": "quality-officer.dev/v1alpha1", "kind": "RecoveryDrill",
                "metadata": {"name": name}, "spec": {"policyRef": {"name": "ranker"}}, "status": {"state": state},
            });
            serde_json::from_value(object).unwrap()
        };
        let all = [
            drill("runs", "Breaking"),
            drill("old", "Finished"),
            drill("new", "Finished"),
        ];
        assert_eq!(too_old(&all, 2).map(ResourceExt::name_any), None);
        assert_eq!(too_old(&all, 1).map(ResourceExt::name_any), Some("old".into()));
    }
}
