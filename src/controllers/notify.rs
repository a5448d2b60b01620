//! Notifications of one policy: `gather → decide → deliver → record`. What is due is a function of the incidents, the
//! drills and the policy's status (`core/notice.rs`); the desk delivers in the background; the next reconcile records
//! what was delivered in the status of the object that it is about. So nothing is queued that a crash could lose, and a
//! receiver that does not answer delays nothing.

mod compose;
mod desk;
mod send;

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{ResourceExt, core::DeserializeGuard, runtime::reflector::ObjectRef};

use crate::{
    api::{
        Delivery, QualityIncident, QualityPolicy, QualityPolicyStatus, ReceiverStatus, RecoveryDrill, RiskDelivery,
        conditions::{self, Status},
    },
    controllers::{
        build,
        context::{CallError, Context, PolicyObject},
        drill::schedule,
    },
    core::{
        drill::DrillResult,
        notice::{self, DrillFacts, Kind, Risk, Route, Told, story::Message},
        report::Rehearsal,
    },
    validate,
};

use compose::Teller;
use desk::{Health, Wanted};

pub use desk::Desk;

/// The condition that says whether the receivers take what they are told.
const CONDITION: &str = "Notified";
/// The records of one object that are kept.
const MOST_RECORDS: usize = 64;

/// What a message is about, for the record of its delivery.
#[derive(Clone, Copy)]
enum About {
    Incident(usize),
    Drill(usize),
    WayBack,
}

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
    /// The way back, while the policy is judged.
    risk: Option<Risk>,
    /// Since when the way back was at risk when that was first told, or since when it is, unix seconds.
    began: i64,
}

/// Tells what is due and records what was told; whether anything was written.
pub async fn keep(object: &PolicyObject, context: &Context) -> Result<bool, CallError> {
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
    let delivered = deliver(context, policy, &known, &routes, &gathered, now.as_second());
    let wrote = record(context, &routes, &gathered, &delivered).await?;
    let status = status(context, policy, &known, &routes, &unknown, &delivered, now);
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
    desk: &Desk,
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
        None => [notice::OPS_COMMANDER, notice::INFRA_GUARDIAN]
            .into_iter()
            .filter(|name| desk.has(name))
            .filter_map(|name| Some((name.to_owned(), notice::usual(name)?)))
            .collect(),
    };
    let (there, lacking): (Vec<_>, Vec<_>) = named.into_iter().partition(|(name, _)| desk.has(name));
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
    incidents.sort_by_key(|incident| {
        incident
            .0
            .as_ref()
            .ok()
            .and_then(|incident| incident.creation_timestamp())
    });
    let ready = known
        .conditions
        .iter()
        .find(|condition| condition.type_ == "RollbackReady");
    let ready = ready.filter(|_| conditions::is_true(&known.conditions, "Ready"));
    let since = ready.map_or(0, |condition| condition.last_transition_time.0.as_second());
    let told = known.told_at_risk.first().map(|told| told.began.0.as_second());
    Gathered {
        incidents,
        drills: failed_drills(schedule::of_policy(&context.stores, policy)),
        risk: ready.zip(holds(context, policy)).map(|(condition, holds)| Risk {
            at_risk: condition.status == "False",
            since,
            holds,
            by_drill: condition.reason == "DrillFailed",
        }),
        began: told.unwrap_or(since),
    }
}

/// How long the way back must be at risk before that is told: a new service has no checkpoint for a while.
fn holds(context: &Context, policy: &QualityPolicy) -> Option<i64> {
    let rules = validate::policy(&policy.spec).ok()?;
    let (namespace, target) = (policy.namespace(), &policy.spec.target_ref.name);
    let registered = context.stores.checkpoints.find(|checkpoint| {
        let of_target = |checkpoint: &crate::api::RollbackCheckpoint| {
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
    let told: Vec<Rehearsal> = schedule::rehearsals(&drills)
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

fn told(records: &[Delivery]) -> Vec<Told> {
    let told = |record: &Delivery| Told {
        receiver: record.receiver.clone(),
        kind: record.kind,
        at: record.at.0.as_second(),
    };
    records.iter().map(told).collect()
}

fn told_at_risk(known: &QualityPolicyStatus) -> Vec<Told> {
    let told = |record: &RiskDelivery| Told {
        receiver: record.receiver.clone(),
        kind: Kind::AtRisk,
        at: record.at.0.as_second(),
    };
    known.told_at_risk.iter().map(told).collect()
}

/// A notification that a receiver took.
struct Delivered {
    receiver: String,
    kind: Kind,
    about: About,
    at: Timestamp,
}

/// Hands everything that is due to the desk; what it delivered meanwhile.
fn deliver(
    context: &Context,
    policy: &QualityPolicy,
    known: &QualityPolicyStatus,
    routes: &[Route],
    gathered: &Gathered,
    now: i64,
) -> Vec<Delivered> {
    let report = ObjectRef::new(&policy.name_any()).within(&policy.namespace().unwrap_or_default());
    let report = context.stores.reports.get(&report);
    let report = report
        .as_ref()
        .and_then(|report| report.0.as_ref().ok()?.status.as_ref());
    let teller = Teller {
        policy,
        cluster: context.notify.cluster(),
        questions: report.map(|report| report.questions.as_slice()).unwrap_or_default(),
    };
    let uid = policy.uid().unwrap_or_default();
    let mut delivered = Vec::new();
    for route in routes {
        let mut matters: HashMap<String, (Kind, About)> = HashMap::new();
        let mut wanted = Wanted::default();
        let stands = context.notify.stands(&route.receiver);
        let mut tell =
            |due: Vec<Kind>, raised: Vec<(Kind, i64)>, about, compose: &dyn Fn(Kind, &[(Kind, i64)]) -> Message| {
                // Until its end is told, what was told stands; nothing is renewed once the end is due.
                let ends = due.contains(&Kind::Recovered);
                for kind in due {
                    let message = compose(kind, &raised);
                    matters.insert(message.id.clone(), (kind, about));
                    wanted.letters.push(message);
                }
                if stands && !ends {
                    wanted
                        .standing
                        .extend(raised.iter().map(|(kind, _)| compose(*kind, &[])));
                }
            };
        for (index, incident) in gathered.incidents.iter().enumerate() {
            let Ok(incident) = &incident.0 else { continue };
            let records = incident
                .status
                .as_ref()
                .map(|status| told(&status.notified))
                .unwrap_or_default();
            let due = notice::of_incident(route, compose::facts(incident), &records, now);
            tell(due, route.raised(&records), About::Incident(index), &|kind, ends| {
                teller.incident(incident, kind, ends)
            });
        }
        for (index, failed) in gathered.drills.iter().enumerate() {
            let records = failed
                .drill
                .status
                .as_ref()
                .map(|status| told(&status.notified))
                .unwrap_or_default();
            let due = notice::of_drill(route, failed.facts, &records);
            tell(
                due.into_iter().collect(),
                route.raised(&records),
                About::Drill(index),
                &|kind, ends| teller.drill(&failed.drill, failed.later.as_ref(), kind, ends),
            );
        }
        let records = told_at_risk(known);
        let due = gathered
            .risk
            .and_then(|risk| notice::of_risk(route, risk, &records, now));
        tell(
            due.into_iter().collect(),
            route.raised(&records),
            About::WayBack,
            &|kind, ends| teller.way_back(known, gathered.began, kind, ends),
        );
        for (id, at) in context.notify.want(&route.receiver, &uid, wanted) {
            delivered.extend(matters.get(&id).map(|(kind, about)| Delivered {
                receiver: route.receiver.clone(),
                kind: *kind,
                about: *about,
                at,
            }));
        }
    }
    // Receivers that the policy names no more.
    for known in &known.receivers {
        if !routes.iter().any(|route| route.receiver == known.name) {
            context.notify.want(&known.name, &uid, Wanted::default());
        }
    }
    delivered
}

/// Writes what was delivered into the incidents and drills that it is about.
async fn record(
    context: &Context,
    routes: &[Route],
    gathered: &Gathered,
    delivered: &[Delivered],
) -> Result<bool, CallError> {
    let mut wrote = false;
    for (index, incident) in gathered.incidents.iter().enumerate() {
        let its: Vec<&Delivered> = delivered
            .iter()
            .filter(|delivered| matches!(delivered.about, About::Incident(of) if of == index))
            .collect();
        if let (false, Ok(incident)) = (its.is_empty(), &incident.0) {
            let mut changed = incident.clone();
            add(&mut changed.status.get_or_insert_default().notified, &its, routes);
            context.replace_status(&changed).await?;
            wrote = true;
        }
    }
    for (index, failed) in gathered.drills.iter().enumerate() {
        let its: Vec<&Delivered> = delivered
            .iter()
            .filter(|delivered| matches!(delivered.about, About::Drill(of) if of == index))
            .collect();
        if !its.is_empty() {
            let mut changed = failed.drill.clone();
            add(&mut changed.status.get_or_insert_default().notified, &its, routes);
            context.replace_status(&changed).await?;
            wrote = true;
        }
    }
    Ok(wrote)
}

fn add(records: &mut Vec<Delivery>, delivered: &[&Delivered], routes: &[Route]) {
    records.extend(delivered.iter().map(|delivered| Delivery {
        receiver: delivered.receiver.clone(),
        kind: delivered.kind,
        at: Time(delivered.at),
    }));
    if records.len() > MOST_RECORDS {
        records.retain(|record| routes.iter().any(|route| route.receiver == record.receiver));
        records.truncate(MOST_RECORDS);
    }
}

/// The policy's status, with what there is to say of its receivers.
fn status(
    context: &Context,
    policy: &QualityPolicy,
    known: &QualityPolicyStatus,
    routes: &[Route],
    unknown: &[String],
    delivered: &[Delivered],
    now: Timestamp,
) -> QualityPolicyStatus {
    let mut status = known.clone();
    let mut problems: Vec<String> = unknown
        .iter()
        .map(|name| format!("the operator's configuration has no receiver {name}"))
        .collect();
    // After a restart nobody knows yet whether a receiver that did not answer does: what is written stays.
    let mut in_doubt = false;
    status.receivers.clear();
    for route in routes {
        let before = known.receivers.iter().find(|known| known.name == route.receiver);
        let before = before.and_then(|known| known.failing_since.clone());
        let failing_since = match context.notify.health(&route.receiver) {
            Health::Up => None,
            Health::Unknown => {
                in_doubt |= before.is_some();
                before
            }
            Health::Down { since, problem } => {
                // The API keeps whole seconds.
                let since = before.unwrap_or_else(|| build::time(since.as_second()));
                problems.push(format!(
                    "receiver {} takes no notifications since {}: it {problem}",
                    route.receiver, since.0
                ));
                Some(since)
            }
        };
        status.receivers.push(ReceiverStatus {
            name: route.receiver.clone(),
            since: build::time(route.since),
            failing_since,
        });
    }
    for delivered in delivered
        .iter()
        .filter(|delivered| matches!(delivered.about, About::WayBack))
    {
        status.told_at_risk.retain(|told| told.receiver != delivered.receiver);
        if delivered.kind == Kind::AtRisk {
            let condition = known
                .conditions
                .iter()
                .find(|condition| condition.type_ == "RollbackReady");
            let since = condition.map_or(Time(now), |condition| condition.last_transition_time.clone());
            status.told_at_risk.push(RiskDelivery {
                receiver: delivered.receiver.clone(),
                began: known.told_at_risk.first().map_or(since, |told| told.began.clone()),
                at: build::time(delivered.at.as_second()),
            });
        }
    }
    status
        .told_at_risk
        .retain(|told| routes.iter().any(|route| route.receiver == told.receiver));
    if routes.is_empty() && unknown.is_empty() {
        status.conditions.retain(|condition| condition.type_ != CONDITION);
        return status;
    }
    if in_doubt && condition(&status).is_some() {
        return status;
    }
    let names: Vec<&str> = routes.iter().map(|route| route.receiver.as_str()).collect();
    let (holds, reason, message) = match (unknown.is_empty(), problems.is_empty()) {
        (true, true) => (Status::True, "Delivering", format!("told are {}", names.join(", "))),
        (false, _) => (Status::False, "ReceiverUnknown", problems.join("; ")),
        (true, false) => (Status::False, "ReceiverNotAnswering", problems.join("; ")),
    };
    let generation = policy.metadata.generation;
    conditions::set(
        &mut status.conditions,
        CONDITION,
        holds,
        reason,
        &message,
        generation,
        &Time(now),
    );
    status
}
