//! Notifications of one policy: `gather → decide → deliver → record`. What is due is a function of the incidents, the
//! drills and the policy's status (`crates/core/src/notification.rs`); the notifier delivers in the background; the next reconcile records
//! what was delivered in the status of the object that it is about. So nothing is queued that a crash could lose, and a
//! receiver that does not answer delays nothing.

mod compose;
mod enqueue;
pub mod notifier;
mod record;
mod send;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{ResourceExt, core::DeserializeGuard};

use crate::{
    controllers::{
        context::{CallError, Context, PolicyObject},
        drill::schedule,
        notification::notifier::Notifier,
    },
    validate,
};
use quality_api::{QualityIncident, QualityPolicy, QualityPolicyStatus, RecoveryDrill, conditions};
use quality_core::{
    drill::DrillResult,
    notification::{self, DrillFacts, Kind, Risk, Route},
    report::Rehearsal,
};

/// The condition that says whether the receivers take what they are told.
const CONDITION: &str = "Notified";
/// A failed drill of the policy.
struct Failed {
    drill: RecoveryDrill,
    facts: DrillFacts,
    /// The drill that passed after it.
    later: Option<(String, i64)>,
}

/// What there is to tell.
struct Gathered {
    incidents: Vec<Arc<DeserializeGuard<QualityIncident>>>,
    drills: Vec<Failed>,
    /// The rollback path, while the policy is judged.
    risk: Option<Risk>,
    /// Since when the rollback path was at risk when that was first told, or since when it is, unix seconds.
    began: i64,
}

/// Tells what is due and records what was told; whether anything was written.
pub async fn reconcile_notifications(object: &PolicyObject, context: &Context) -> Result<bool, CallError> {
    let Ok(policy) = &object.0 else {
        return Ok(false);
    };
    if policy.metadata.deletion_timestamp.is_some() {
        return Ok(false);
    }
    let now = Timestamp::now();
    let known = policy.status.clone().unwrap_or_default();
    let (routes, unknown) = routes(policy, &context.notify, &known, now);
    let is_silent = known.receivers.is_empty() && condition(&known).is_none();
    if routes.is_empty() && unknown.is_empty() && is_silent {
        return Ok(false);
    }
    let gathered = gather(context, policy, &known);
    let delivered = enqueue::deliver(context, policy, &known, &routes, &gathered, now.as_second());
    let wrote = record::record(context, &routes, &gathered, &delivered).await?;
    let status = record::status(context, policy, &known, &routes, &unknown, &delivered, now);
    if status == known {
        return Ok(wrote);
    }
    let mut changed = policy.clone();
    changed.status = Some(status);
    context.replace_status(&changed).await?;
    Ok(true)
}

/// Which receivers of the policy take nothing, in sentences for its report.
pub fn not_notified(policy: &QualityPolicy) -> Vec<String> {
    let status = policy.status.as_ref();
    let condition = status
        .and_then(condition)
        .filter(|condition| condition.status == "False");
    condition
        .map(|condition| condition.message.clone())
        .into_iter()
        .collect()
}

fn condition(status: &QualityPolicyStatus) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == CONDITION)
}

/// The receivers that the policy names, or the usual ones; and those that the configuration lacks.
fn routes(
    policy: &QualityPolicy,
    notifier: &Notifier,
    known: &QualityPolicyStatus,
    now: Timestamp,
) -> (Vec<Route>, Vec<String>) {
    let named: Vec<(String, Vec<Kind>)> = match &policy.spec.notify {
        Some(named) => named
            .iter()
            .map(|named| {
                let all = || Kind::ALL.into();
                (named.receiver.clone(), named.on.clone().unwrap_or_else(all))
            })
            .collect(),
        None => [notification::OPS_COMMANDER, notification::INFRA_GUARDIAN]
            .into_iter()
            .filter(|name| notifier.has(name))
            .filter_map(|name| Some((name.to_owned(), notification::default_for(name)?)))
            .collect(),
    };
    let (there, lacking): (Vec<_>, Vec<_>) = named.into_iter().partition(|(name, _)| notifier.has(name));
    let since = |name: &str| {
        let known = known.receivers.iter().find(|known| known.name == name);
        known.map_or(now.as_second(), |known| known.since.0.as_second())
    };
    let routes = there.into_iter().map(|(receiver, on)| Route {
        since: since(&receiver),
        receiver,
        on,
    });
    (routes.collect(), lacking.into_iter().map(|(name, _)| name).collect())
}

fn gather(context: &Context, policy: &QualityPolicy, known: &QualityPolicyStatus) -> Gathered {
    let (namespace, uid) = (policy.namespace(), policy.uid().unwrap_or_default());
    let is_its = |incident: &QualityIncident| incident.namespace() == namespace && incident.spec.policy.uid == uid;
    let mut incidents = context
        .stores
        .incidents
        .state_filter(|incident| incident.0.as_ref().is_ok_and(is_its));
    incidents.sort_by_key(|incident| incident.0.as_ref().ok().and_then(ResourceExt::creation_timestamp));
    let ready = known
        .conditions
        .iter()
        .find(|condition| condition.type_ == "RollbackReady");
    let ready = ready.filter(|_| conditions::is_true(&known.conditions, "Ready"));
    let since = ready.map_or(0, |condition| condition.last_transition_time.0.as_second());
    let told = known.told_at_risk.first().map(|told| told.began.0.as_second());
    Gathered {
        incidents,
        drills: failed_drills(schedule::drills_of_policy(&context.stores, policy)),
        risk: ready.zip(holds(context, policy)).map(|(condition, holds)| Risk {
            at_risk: condition.status == "False",
            since,
            holds,
            by_drill: condition.reason == "DrillFailed",
        }),
        began: told.unwrap_or(since),
    }
}

/// How long the rollback path must be at risk before that is told: a new service has no checkpoint for a while.
fn holds(context: &Context, policy: &QualityPolicy) -> Option<i64> {
    let rules = validate::policy(&policy.spec).ok()?;
    let (namespace, target) = (policy.namespace(), &policy.spec.target_ref.name);
    let registered = context.stores.checkpoints.find(|checkpoint| {
        let of_target = |checkpoint: &quality_api::RollbackCheckpoint| {
            checkpoint.namespace() == namespace && checkpoint.spec.target_ref.name == *target
        };
        checkpoint.0.as_ref().is_ok_and(of_target)
    });
    let first = if registered.is_some() {
        0
    } else {
        rules.register_after.unwrap_or(0)
    };
    Some(rules.escalate_after + first)
}

fn failed_drills(drills: Vec<RecoveryDrill>) -> Vec<Failed> {
    let told: Vec<Rehearsal> = schedule::finished_drills(&drills)
        .into_iter()
        .filter(|drill| drill.result != DrillResult::Aborted)
        .collect();
    let failed = |drill: RecoveryDrill| {
        let place = told.iter().position(|known| known.name == drill.name_any())?;
        let own = told.get(place).filter(|own| own.result == DrillResult::Failed)?;
        let after = &told[place + 1..];
        let passed = after.iter().find(|later| later.result == DrillResult::Passed);
        Some(Failed {
            drill,
            facts: DrillFacts {
                finished: own.at,
                is_last: after.is_empty(),
                over: passed.map(|passed| passed.at),
            },
            later: passed.map(|passed| (passed.name.clone(), passed.at)),
        })
    };
    drills.into_iter().filter_map(failed).collect()
}
