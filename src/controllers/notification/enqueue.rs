//! Hands everything that is due to the notifier.

use std::collections::HashMap;

use jiff::Timestamp;
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::{
    Gathered,
    compose::{self, Teller},
    notifier::Wanted,
};
use crate::controllers::context::Context;
use quality_api::{Delivery, QualityPolicy, QualityPolicyStatus, RiskDelivery};
use quality_core::notification::{self, DeliveryRecord, Kind, Route, message::Message, payload};

/// What a message is about, for the record of its delivery: which of the gathered incidents or drills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// An incident.
    Incident(usize),
    /// A drill.
    Drill(usize),
    /// The policy's rollback path.
    RollbackPath,
}

/// A notification that a receiver took.
pub struct Delivered {
    /// The receiver.
    pub receiver: String,
    /// What it was told.
    pub kind: Kind,
    /// About what.
    pub about: About,
    /// When.
    pub at: Timestamp,
}

fn told(records: &[Delivery]) -> Vec<DeliveryRecord> {
    let told = |record: &Delivery| DeliveryRecord {
        receiver: record.receiver.clone(),
        kind: record.kind,
        at: record.at.0.as_second(),
    };
    records.iter().map(told).collect()
}

fn told_at_risk(known: &QualityPolicyStatus) -> Vec<DeliveryRecord> {
    let told = |record: &RiskDelivery| DeliveryRecord {
        receiver: record.receiver.clone(),
        kind: Kind::AtRisk,
        at: record.at.0.as_second(),
    };
    known.told_at_risk.iter().map(told).collect()
}

/// Makes the message of a kind that ends what was raised.
type Compose<'a> = dyn Fn(Kind, &[(Kind, i64)]) -> Message + 'a;

/// What one receiver is to hear.
struct Mail<'a> {
    route: &'a Route,
    /// It keeps alerts that must be renewed.
    stands: bool,
    now: i64,
    matters: HashMap<String, (Kind, About)>,
    wanted: Wanted,
}

impl Mail<'_> {
    fn tell(
        &mut self,
        due: impl IntoIterator<Item = Kind>,
        records: &[DeliveryRecord],
        about: About,
        compose: &Compose<'_>,
    ) {
        let raised = self.route.raised(records);
        // An alert stands for a while before its end is told, and is renewed until then.
        let newest = raised.iter().map(|(_, at)| *at).max();
        let too_soon = self.stands && newest.is_some_and(|at| self.now - at < payload::MIN_FIRING_SECONDS);
        let mut ends = false;
        for kind in due.into_iter().filter(|kind| *kind != Kind::Recovered || !too_soon) {
            ends |= kind == Kind::Recovered;
            let message = compose(kind, &raised);
            self.matters.insert(message.id.clone(), (kind, about));
            self.wanted.letters.push(message);
        }
        if self.stands && !ends {
            let standing = raised.iter().map(|(kind, _)| compose(*kind, &[]));
            self.wanted.standing.extend(standing);
        }
    }
}

/// Hands everything that is due to the notifier; what it delivered meanwhile. `now` is in unix seconds.
pub fn deliver(
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
        let mut mail = Mail {
            route,
            stands: context.notify.stands(&route.receiver),
            now,
            matters: HashMap::new(),
            wanted: Wanted::default(),
        };
        collect(&mut mail, &teller, known, gathered);
        let taken = context.notify.want(&route.receiver, &uid, mail.wanted);
        delivered.extend(taken.into_iter().filter_map(|(id, at)| {
            let (kind, about) = mail.matters.get(&id)?;
            Some(Delivered {
                receiver: route.receiver.clone(),
                kind: *kind,
                about: *about,
                at,
            })
        }));
    }
    // Receivers that the policy names no more.
    let gone = |name: &str| !routes.iter().any(|route| route.receiver == name);
    for known in known.receivers.iter().filter(|known| gone(&known.name)) {
        context.notify.want(&known.name, &uid, Wanted::default());
    }
    delivered
}

fn collect(mail: &mut Mail<'_>, teller: &Teller<'_>, known: &QualityPolicyStatus, gathered: &Gathered) {
    let (route, now) = (mail.route, mail.now);
    for (index, incident) in gathered.incidents.iter().enumerate() {
        let Ok(incident) = &incident.0 else { continue };
        let status = incident.status.as_ref();
        let records = status.map(|status| told(&status.notified)).unwrap_or_default();
        let due = notification::of_incident(route, compose::facts(incident), &records, now);
        mail.tell(due, &records, About::Incident(index), &|kind, ends| {
            teller.incident(incident, kind, ends)
        });
    }
    for (index, failed) in gathered.drills.iter().enumerate() {
        let status = failed.drill.status.as_ref();
        let records = status.map(|status| told(&status.notified)).unwrap_or_default();
        let due = notification::of_drill(route, failed.facts, &records);
        mail.tell(due, &records, About::Drill(index), &|kind, ends| {
            teller.drill(&failed.drill, failed.later.as_ref(), kind, ends)
        });
    }
    let records = told_at_risk(known);
    let due = gathered
        .risk
        .and_then(|risk| notification::of_risk(route, risk, &records, now));
    mail.tell(due, &records, About::RollbackPath, &|kind, ends| {
        teller.rollback_path(known, gathered.began, kind, ends)
    });
}
