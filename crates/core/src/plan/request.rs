//! A person's request to roll back now: what becomes of it. It goes the way of every rollback, with its verification, its
//! fence and its cooldown; what it needs no more is evidence, and in the mode `Prepare` an approval.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Advance, Candidate, NewIncident, NoTarget, Observed, OpenIncident, Plan, advance, choose_target, forbidden,
    is_ours,
    target::{missing_container, runs},
};
use crate::{
    format,
    incident::{IncidentState, Severity, Trigger},
    policy::{Mode, Policy},
};

/// A request that was not carried out for so long is not carried out any more, seconds.
pub const STANDS_SECONDS: i64 = 600;
/// The longest reason, characters.
const MAX_REASON: usize = 300;
/// The longest name of an object.
const MAX_NAME: usize = 253;

/// What a person asks for: the value of the policy's annotation, JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// When it was asked.
    pub at: Timestamp,
    /// The checkpoint to roll back to; the newest one that does not run when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why, in a person's words.
    pub reason: String,
}

impl Request {
    /// Reads an annotation's value.
    pub fn parse(value: &str) -> Result<Self, String> {
        if value.len() > 4_096 {
            return Err("the request is longer than 4,096 bytes".to_owned());
        }
        // The error quotes what it did not know, and the answer stands in a status.
        let request: Self = serde_json::from_str(value).map_err(|error| {
            let error = format::plain(&error.to_string(), 200);
            format!("the request is not {{\"at\": …, \"to\": …, \"reason\": …}}: {error}")
        })?;
        let reason = request.reason.trim();
        if reason.is_empty() || reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
            return Err(format!("a reason is one line of 1 to {MAX_REASON} characters"));
        }
        let is_name = |to: &String| {
            (1..=MAX_NAME).contains(&to.len()) && to.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        };
        if !request.to.as_ref().is_none_or(is_name) {
            return Err("\"to\" is not the name of a checkpoint".to_owned());
        }
        Ok(request)
    }
}

/// What tells one request from every other one: a hash of the annotation's value.
pub fn identity(value: &str) -> String {
    let digest = Sha256::digest(value.as_bytes());
    let begin = digest
        .iter()
        .take(8)
        .fold(0_u64, |begin, byte| begin << 8 | u64::from(*byte));
    format!("{begin:016x}")
}

/// A request that was not answered yet.
#[derive(Clone, Debug, PartialEq)]
pub struct PendingRequest {
    /// Which one.
    pub id: String,
    /// What it asks for, or why it cannot be read.
    pub request: Result<Request, String>,
    /// The incident that was opened for it.
    pub incident: Option<String>,
}

/// What a person is told, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestOutcome {
    /// Which request.
    pub id: String,
    /// The incident that it became, or why it is refused.
    pub outcome: Result<String, String>,
}

/// The next step for a request that was not answered.
pub(super) fn take_up(policy: &Policy, observed: &Observed, asked: &PendingRequest) -> Plan {
    let answer = |outcome| {
        Plan::RequestOutcome(RequestOutcome {
            id: asked.id.clone(),
            outcome,
        })
    };
    if let Some(incident) = &asked.incident {
        return answer(Ok(incident.clone()));
    }
    match checked(policy, observed, asked) {
        Err(why) => answer(Err(why)),
        Ok(Step::First(advance)) => Plan::Advance(advance),
        Ok(Step::Open(new)) => Plan::Open(*new),
    }
}

enum Step {
    /// What is open ends before.
    First(Advance),
    Open(Box<NewIncident>),
}

fn checked(policy: &Policy, observed: &Observed, asked: &PendingRequest) -> Result<Step, String> {
    let request = asked.request.as_ref().map_err(Clone::clone)?;
    let age = observed.now - request.at.as_second();
    if age > STANDS_SECONDS {
        return Err(format!(
            "it was asked {} ago, and a request stands for {}: ask again",
            format::span(age),
            format::span(STANDS_SECONDS)
        ));
    }
    if age < -STANDS_SECONDS {
        return Err(format!("its time is {} ahead: check the clock", format::span(-age)));
    }
    if policy.mode == Mode::Observe {
        return Err("the policy's mode is Observe: nothing is ever changed".to_owned());
    }
    let target = target(policy, observed, request.to.as_deref())?;
    if let Some(incident) = observed
        .incident
        .as_ref()
        .filter(|incident| !incident.state.is_closed())
    {
        return in_place_of(observed, incident, &target).map(Step::First);
    }
    Ok(Step::Open(Box::new(NewIncident {
        trigger: Trigger::Requested,
        severity: Severity::Rollback,
        onset: request.at.as_second().min(observed.now),
        target: Ok(target),
        request: Some((asked.id.clone(), request.reason.trim().to_owned())),
    })))
}

/// A request takes the place of an incident that waits for a person, and of no rollback that is under way.
fn in_place_of(observed: &Observed, incident: &OpenIncident, target: &Candidate) -> Result<Advance, String> {
    use IncidentState as S;
    let name = &incident.name;
    let waits = match incident.state {
        S::Open | S::RollingBack | S::Verifying => false,
        S::AwaitingApproval | S::Halted | S::Refused => {
            let prepared = incident
                .target
                .as_ref()
                .is_some_and(|prepared| prepared.uid == target.uid);
            if prepared && incident.state == S::Refused {
                return Err(format!(
                    "incident {name} tries this very rollback, and the API server refuses it: `kubectl describe \
                     qualityincident {name}` says why"
                ));
            }
            if prepared && incident.severity == Severity::Rollback {
                return Err(format!(
                    "incident {name} has this rollback prepared: `kubectl quality approve {name}` lets it go ahead"
                ));
            }
            true
        }
        S::Observed | S::NoSafeTarget | S::Ineffective | S::Recovered | S::Superseded | S::Resolved => true,
    };
    // The PATCH may have gone through without the status that says so.
    if !waits || incident.state != S::Ineffective && is_ours(observed, incident) {
        return Err(format!("a rollback is under way already: incident {name}"));
    }
    Ok(Advance {
        to: S::Superseded,
        message: "a person asked for a rollback, which takes its place".to_owned(),
    })
}

/// What to roll back to. Who asks means what ran before: also from the newest checkpoint one goes back.
fn target(policy: &Policy, observed: &Observed, to: Option<&str>) -> Result<Candidate, String> {
    let Some(name) = to else {
        let previous = Policy {
            allow_previous: true,
            ..policy.clone()
        };
        return choose_target(&previous, observed).map_err(|why| match why {
            NoTarget::RunningIsNewest(name) => {
                format!("the Deployment runs checkpoint {name}, and there is no other one to roll back to")
            }
            why => why.message(),
        });
    };
    let found = observed.candidates.iter().find(|candidate| candidate.name == name);
    let candidate = found.ok_or_else(|| format!("there is no checkpoint {name} of this Deployment"))?;
    if runs(observed, candidate) {
        return Err(format!("the Deployment runs checkpoint {name} already"));
    }
    if let Err(why) = &candidate.usable {
        return Err(format!("checkpoint {name} cannot be used: {why}"));
    }
    match missing_container(observed, candidate) {
        Some(container) => Err(NoTarget::ContainerMissing(container).message()),
        None => Ok(candidate.clone()),
    }
}

/// The first decision on a recorded request.
pub(super) fn decide(policy: &Policy, observed: &Observed, incident: &OpenIncident) -> Plan {
    let Some(target) = &incident.target else {
        return advance(IncidentState::NoSafeTarget, NoTarget::None.message());
    };
    if let Some(step) = expired(observed, incident) {
        return step;
    }
    if let Some(step) = forbidden(policy, target) {
        return step;
    }
    let recent = observed.last_rollback.filter(|at| observed.now - at < policy.cooldown);
    if let Some(at) = recent {
        return advance(
            IncidentState::Halted,
            format!(
                "this Deployment was rolled back {} ago, within the cooldown: approve it to roll back to checkpoint {} all \
                 the same",
                format::span(observed.now - at),
                target.name
            ),
        );
    }
    Plan::RollBack(target.clone())
}

/// A request that nobody let go ahead in time is over.
pub(super) fn expired(observed: &Observed, incident: &OpenIncident) -> Option<Plan> {
    (observed.now - incident.onset > STANDS_SECONDS).then(|| {
        let message = format!(
            "the request was not carried out within {}: nothing was changed, ask again",
            format::span(STANDS_SECONDS)
        );
        advance(IncidentState::Resolved, message)
    })
}
