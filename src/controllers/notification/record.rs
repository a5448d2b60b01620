//! What was delivered, on record: in the status of the incident or drill that it is about, and of the policy.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    CONDITION, Gathered, condition,
    enqueue::{About, Delivered},
    notifier::ReceiverHealth,
};
use crate::controllers::context::{CallError, Context};
use quality_api::{
    Delivery, QualityPolicy, QualityPolicyStatus, ReceiverStatus, RiskDelivery,
    conditions::{self, Status},
    view,
};
use quality_core::notification::{Kind, Route};

/// The records of one object that are kept.
const MAX_RECORDS: usize = 64;

/// Writes what was delivered into the incidents and drills that it is about.
pub async fn record(
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
    if records.len() > MAX_RECORDS {
        records.retain(|record| routes.iter().any(|route| route.receiver == record.receiver));
        records.truncate(MAX_RECORDS);
    }
}

/// The policy's status, with what there is to say of its receivers.
pub fn status(
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
            ReceiverHealth::Up => None,
            ReceiverHealth::Unknown => {
                in_doubt |= before.is_some();
                before
            }
            ReceiverHealth::Down { since, problem } => {
                // The API keeps whole seconds.
                let since = before.unwrap_or_else(|| view::time(since.as_second()));
                problems.push(format!(
                    "receiver {} takes no notifications since {}: it {problem}",
                    route.receiver, since.0
                ));
                Some(since)
            }
        };
        status.receivers.push(ReceiverStatus {
            name: route.receiver.clone(),
            since: view::time(route.since),
            failing_since,
        });
    }
    for delivered in delivered
        .iter()
        .filter(|delivered| matches!(delivered.about, About::RollbackPath))
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
                at: view::time(delivered.at.as_second()),
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
