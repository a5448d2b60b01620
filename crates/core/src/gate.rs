//! Whether releases are let in. Pure.
//!
//! Closed while an incident that asks for a rollback is open, or while the rollback path is known not to work: then a new
//! release could not be undone. Open otherwise. What is not known moves nothing.

use crate::{
    incident::{IncidentState, Severity},
    judge::{MIN_REQUESTS, State, TriggerVerdict, Verdict},
};

/// Whether releases are let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub enum Gate {
    /// They are.
    #[default]
    Open,
    /// They are not, but for what mends the present.
    Closed,
}

/// Why the gate stands as it does. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Closed: an incident that asks for a rollback is open.
    SlosFailing,
    /// Closed: the checkpoint of the release that runs may not be used.
    CheckpointNotReady,
    /// Closed: no checkpoint at all may be used.
    NoCheckpointReady,
    /// Closed: the last drill failed.
    DrillFailed,
    /// Open: there is a rollback target and no reason against a release.
    RollbackReady,
    /// Open: nothing was ever registered, so there is nothing to roll back to.
    NoCheckpointYet,
    /// Open: no look had usable evidence yet.
    NotJudgedYet,
    /// Open: the policy is paused.
    Paused,
}

impl Reason {
    /// Its name, as the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SlosFailing => "SLOsFailing",
            Self::CheckpointNotReady => "CheckpointNotReady",
            Self::NoCheckpointReady => "NoCheckpointReady",
            Self::DrillFailed => "DrillFailed",
            Self::RollbackReady => "RollbackReady",
            Self::NoCheckpointYet => "NoCheckpointYet",
            Self::NotJudgedYet => "NotJudgedYet",
            Self::Paused => "Paused",
        }
    }

    /// The state that it is a reason for.
    pub fn gate(self) -> Gate {
        match self {
            Self::SlosFailing | Self::CheckpointNotReady | Self::NoCheckpointReady | Self::DrillFailed => Gate::Closed,
            Self::RollbackReady | Self::NoCheckpointYet | Self::NotJudgedYet | Self::Paused => Gate::Open,
        }
    }

    /// Whether it rests on the readiness of the rollback path: such a reason stays while the looks show nothing.
    fn is_readiness(name: &str) -> bool {
        [
            Self::CheckpointNotReady,
            Self::NoCheckpointReady,
            Self::DrillFailed,
            Self::RollbackReady,
        ]
        .iter()
        .any(|reason| reason.name() == name)
    }
}

/// An incident that is not closed.
#[derive(Clone, Copy, Debug)]
pub struct GateIncident<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it stands.
    pub state: IncidentState,
    /// What it asks for.
    pub severity: Severity,
    /// Its reason.
    pub reason: &'a str,
}

/// What decides.
#[derive(Clone, Copy, Debug)]
pub struct GateInput<'a> {
    /// The incident of the policy that is not closed.
    pub incident: Option<GateIncident<'a>>,
    /// Some checkpoint of the Deployment was certified once.
    pub registered: bool,
    /// Whether the checkpoint that the running release is may be used; none when it is no checkpoint.
    pub running: Option<&'a Result<(), String>>,
    /// The checkpoint that may be used, or why none may.
    pub rollback: &'a Result<String, String>,
    /// That the last drill failed, in words.
    pub failed_drill: Option<&'a str>,
    /// The last look was usable.
    pub known: bool,
    /// The reason that stands.
    pub before: Option<&'a str>,
}

/// What becomes of the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It stands for this reason.
    Stands {
        /// Why.
        reason: Reason,
        /// In words, without running ages.
        message: String,
        /// The incident that closes it.
        incident: Option<String>,
    },
    /// It stays as it is.
    Stays,
}

/// Whether a look says enough to move the gate: each streaming trigger had a usable value, some of them on requests
/// enough. An idle service lets its checkpoint grow old; that alone holds nobody's release.
pub fn is_known(verdict: &Verdict) -> bool {
    let usable = |trigger: &TriggerVerdict| !matches!(trigger.state, State::Unknown(_));
    verdict.streaming().all(usable) && verdict.streaming().any(|trigger| trigger.n() as f64 >= MIN_REQUESTS)
}

/// Decides.
pub fn decide(seen: &GateInput<'_>) -> Decision {
    let stands = |reason: Reason, message: String| Decision::Stands {
        reason,
        message,
        incident: None,
    };
    if !seen.registered {
        return stands(
            Reason::NoCheckpointYet,
            "no checkpoint was registered yet: there is nothing to roll back to, and nothing is held".to_owned(),
        );
    }
    let rollback = seen
        .incident
        .filter(|incident| incident.severity == Severity::Rollback && !incident.state.is_closed());
    if let Some(incident) = rollback {
        return Decision::Stands {
            reason: Reason::SlosFailing,
            message: format!("incident {} is open: {}", incident.name, incident.reason),
            incident: Some(incident.name.to_owned()),
        };
    }
    if !seen.known {
        return match seen.before {
            Some(reason) if Reason::is_readiness(reason) => Decision::Stays,
            _ => stands(
                Reason::NotJudgedYet,
                "no look had usable evidence yet: nothing is held on what is not known".to_owned(),
            ),
        };
    }
    if let Some(Err(why)) = seen.running {
        return stands(
            Reason::CheckpointNotReady,
            format!("rollback is at risk: the checkpoint of the release that runs may not be used: {why}"),
        );
    }
    match (seen.rollback, seen.failed_drill) {
        (Err(why), _) => stands(Reason::NoCheckpointReady, format!("rollback is at risk: {why}")),
        (Ok(_), Some(why)) => stands(Reason::DrillFailed, format!("rollback is at risk: {why}")),
        (Ok(checkpoint), None) => stands(
            Reason::RollbackReady,
            format!("no incident asks for a rollback, and checkpoint {checkpoint} may be used"),
        ),
    }
}

#[cfg(test)]
#[path = "gate/tests.rs"]
mod tests;
