//! What somebody is to be told: a function of incidents, drills and the rollback path, minus what is on record as told. Pure,
//! so that nothing needs a queue: an operator that restarts works out the same again.
//!
//! A matter (an incident, a failed drill, a rollback path at risk) is told at most once a receiver and kind. Once it is over,
//! one message ends it: for those who were told of it, and for those who should have been and were not reached.

pub mod message;
pub mod payload;

use serde::{Deserialize, Serialize};

use crate::incident::IncidentState;

/// What a receiver can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Kind {
    /// A release is in breach.
    Breach,
    /// The Deployment was put back on its checkpoint.
    RolledBack,
    /// A breach lasts longer than the policy's `escalateAfter`, or a rollback did not end it.
    Sustained,
    /// There is no valid rollback target.
    AtRisk,
    /// A recovery drill failed.
    DrillFailed,
    /// It is over. A receiver that was notified of a matter is notified of its end, whatever its list says.
    Recovered,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Breach,
        Self::RolledBack,
        Self::Sustained,
        Self::AtRisk,
        Self::DrillFailed,
        Self::Recovered,
    ];

    /// Its name, as the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Breach => "Breach",
            Self::RolledBack => "RolledBack",
            Self::Sustained => "Sustained",
            Self::AtRisk => "AtRisk",
            Self::DrillFailed => "DrillFailed",
            Self::Recovered => "Recovered",
        }
    }
}

/// The receiver that is told everything, by its usual name.
pub const OPS_COMMANDER: &str = "ops-commander";
/// The receiver that keeps the rollback path working, by its usual name.
pub const INFRA_GUARDIAN: &str = "infra-guardian";

/// Who is told of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The receiver's name.
    pub receiver: String,
    /// What it is told of.
    pub on: Vec<Kind>,
    /// Since when the policy names it, unix seconds: what was over before is not told.
    pub since: i64,
}

/// The routes of a policy that names none: as far as the operator's configuration has the two receivers.
pub fn default_for(receiver: &str) -> Option<Vec<Kind>> {
    match receiver {
        OPS_COMMANDER => Some(Kind::ALL.into()),
        INFRA_GUARDIAN => Some(vec![Kind::RolledBack, Kind::Sustained, Kind::AtRisk, Kind::DrillFailed]),
        _ => None,
    }
}

/// What is on record as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// To whom.
    pub receiver: String,
    /// What.
    pub kind: Kind,
    /// When, unix seconds.
    pub at: i64,
}

impl Route {
    fn told<'a>(&'a self, told: &'a [DeliveryRecord]) -> impl Iterator<Item = &'a DeliveryRecord> {
        told.iter().filter(|told| told.receiver == self.receiver)
    }

    fn was_told(&self, told: &[DeliveryRecord], kind: Kind) -> bool {
        self.told(told).any(|told| told.kind == kind)
    }

    /// What this receiver was told of a matter that is not over, and when: it stands until the end is told.
    pub fn raised(&self, told: &[DeliveryRecord]) -> Vec<(Kind, i64)> {
        if self.was_told(told, Kind::Recovered) {
            return Vec::new();
        }
        self.told(told).map(|told| (told.kind, told.at)).collect()
    }

    /// The end of a matter of which these kinds were to be told.
    fn end(&self, told: &[DeliveryRecord], happened: &[Kind], ended: i64) -> Option<Kind> {
        if self.was_told(told, Kind::Recovered) {
            return None;
        }
        let concerns = self
            .on
            .iter()
            .any(|kind| happened.contains(kind) || *kind == Kind::Recovered);
        let never_reached = ended > self.since && concerns;
        (self.told(told).next().is_some() || never_reached).then_some(Kind::Recovered)
    }

    fn news(&self, told: &[DeliveryRecord], kind: Kind) -> Option<Kind> {
        (self.on.contains(&kind) && !self.was_told(told, kind)).then_some(kind)
    }
}

/// An incident that was just opened waits this long for the first decision, so that one message tells both. Seconds.
const FOR_THE_DECISION: i64 = 10;

/// An incident, as far as it decides what is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncidentFacts {
    /// Where it stands.
    pub state: IncidentState,
    /// A person asked for it: nothing was breached, and who asked has the answer.
    pub requested: bool,
    /// When it was opened, unix seconds.
    pub opened: i64,
    /// The Deployment was changed.
    pub rolled_back: bool,
    /// It lasts too long.
    pub escalated: bool,
    /// When it ended, unix seconds.
    pub closed: Option<i64>,
}

/// What a receiver is due to be told of an incident.
pub fn of_incident(route: &Route, incident: IncidentFacts, told: &[DeliveryRecord], now: i64) -> Vec<Kind> {
    let sustained = incident.escalated || incident.state == IncidentState::Ineffective;
    let happened: Vec<Kind> = [
        (!incident.requested, Kind::Breach),
        (incident.rolled_back, Kind::RolledBack),
        // Until the API server lets it in, there is no rollback.
        (incident.state == IncidentState::Refused, Kind::AtRisk),
        (sustained, Kind::Sustained),
    ]
    .into_iter()
    .filter_map(|(holds, kind)| holds.then_some(kind))
    .collect();
    if incident.state.is_closed() {
        let ended = incident.closed.unwrap_or(now);
        return route.end(told, &happened, ended).into_iter().collect();
    }
    if incident.state == IncidentState::Open && now - incident.opened < FOR_THE_DECISION {
        return Vec::new();
    }
    happened.into_iter().filter_map(|kind| route.news(told, kind)).collect()
}

/// A drill that failed, as far as it decides what is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrillFacts {
    /// When it ended, unix seconds.
    pub finished: i64,
    /// No drill after it showed anything.
    pub is_last: bool,
    /// When a later one passed, unix seconds.
    pub over: Option<i64>,
}

/// What a receiver is due to be told of a drill that failed.
pub fn of_drill(route: &Route, drill: DrillFacts, told: &[DeliveryRecord]) -> Option<Kind> {
    match drill.over {
        Some(passed) => route.end(told, &[Kind::DrillFailed], passed),
        // Of several that failed before the receiver was named, the last one says it all.
        None if drill.finished < route.since && !drill.is_last => None,
        None => route.news(told, Kind::DrillFailed),
    }
}

/// The rollback path of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Risk {
    /// There is no valid rollback target.
    pub at_risk: bool,
    /// Since when it is so, or is not so, unix seconds.
    pub since: i64,
    /// How long it must be so before it is told, seconds: what comes and goes is no news.
    pub holds: i64,
    /// The last drill failed, which is told as such.
    pub by_drill: bool,
}

/// What a receiver is due to be told of the rollback path. `told` is about the stretch that was last told.
pub fn of_risk(route: &Route, risk: Risk, told: &[DeliveryRecord], now: i64) -> Option<Kind> {
    if now - risk.since < risk.holds {
        return None;
    }
    let is_told = route.was_told(told, Kind::AtRisk);
    if !risk.at_risk {
        return is_told.then_some(Kind::Recovered);
    }
    let twice = risk.by_drill && route.on.contains(&Kind::DrillFailed);
    route.news(told, Kind::AtRisk).filter(|_| !twice)
}

#[cfg(test)]
mod tests;
