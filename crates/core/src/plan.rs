//! The plan: from a verdict and what the cluster shows to the one next step. Pure, so that every case can
//! be a row of a table.
//!
//! One step a call: the caller acts, observes again and asks again. A crash between two steps loses
//! nothing, because each step can be read off the cluster.

mod request;
mod target;

pub use request::{PendingRequest, Request, RequestOutcome, identity};
pub use target::{Candidate, NoTarget, RunOf, Sighting, Witness, baseline, choose_target, own_run, runs};

use crate::{
    incident::{ContainerImage, IncidentState, Severity, Trigger},
    judge::{TriggerVerdict, Verdict},
    policy::{Mode, Policy},
};

/// The release of a Deployment: a `ReplicaSet` at one revision. A `ReplicaSet` that comes back is a new release.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Release {
    /// UID of the Deployment.
    pub deployment_uid: String,
    /// Name of the newest `ReplicaSet`.
    pub replica_set: String,
    /// Its revision.
    pub revision: String,
}

/// What the cluster shows of the guarded Deployment.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Now, unix seconds.
    pub now: i64,
    /// The release that the Deployment's template asks for.
    pub release: Release,
    /// Container names and images of its pod template.
    pub images: Vec<(String, String)>,
    /// The digests that its pods run, where they are known.
    pub running: Vec<ContainerImage>,
    /// All replicas run the newest template and are available.
    pub rollout_complete: bool,
    /// The MLflow run that its pod template names.
    pub template_run: Option<String>,
    /// What is on record of which run was named for which images.
    pub sightings: Vec<Sighting>,
    /// The incident that the Deployment's rollback annotation names.
    pub annotated_incident: Option<String>,
    /// The checkpoints.
    pub candidates: Vec<Candidate>,
    /// The policy's incident that is not closed.
    pub incident: Option<OpenIncident>,
    /// When the operator last changed this Deployment.
    pub last_rollback: Option<i64>,
    /// A person's request to roll back that was not answered yet.
    pub request: Option<PendingRequest>,
}

/// An incident that is not closed.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenIncident {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: IncidentState,
    /// The release that it is about.
    pub release: Release,
    /// What gave the alarm.
    pub trigger: Trigger,
    /// What it asks for.
    pub severity: Severity,
    /// When the breach began, unix seconds.
    pub onset: i64,
    /// The checkpoint that its intent names, and its images.
    pub target: Option<Candidate>,
    /// The release that its rollback made.
    pub rolled_back_to: Option<Release>,
    /// When the checkpoint's rollout was complete.
    pub rolled_out: Option<i64>,
    /// A person approved the rollback, or decided for it when it was halted.
    pub approved: bool,
    /// It was escalated.
    pub escalated: bool,
    /// When the API server refused the rollback's write, if it did.
    pub refused: Option<Refused>,
}

/// When a rollback's write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The first time, unix seconds.
    pub since: i64,
    /// The last time, unix seconds.
    pub at: i64,
}

/// A refused rollback is tried again after as long as it has been refused for, between these two. Seconds.
const RETRY_AFTER: (i64, i64) = (2, 60);

impl Refused {
    fn is_due(self, now: i64) -> bool {
        let (least, most) = RETRY_AFTER;
        now - self.at >= (self.at - self.since).clamp(least, most)
    }
}

/// Why nothing is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// No trigger is in breach.
    NoBreach,
    /// The incident waits for a person.
    AwaitingPerson,
    /// The checkpoint's pods come up.
    RollingOut,
    /// The checkpoint is being judged.
    Judging,
}

/// The one next step.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Nothing to do.
    Hold(Hold),
    /// Record a new incident with its intent.
    Open(NewIncident),
    /// Change the Deployment to the images of the incident's checkpoint.
    RollBack(Candidate),
    /// Move the incident on.
    Advance(Advance),
    /// Say that the breach lasts too long.
    Escalate,
    /// Tell a person what becomes of the request.
    RequestOutcome(RequestOutcome),
}

/// A new incident.
#[derive(Clone, Debug, PartialEq)]
pub struct NewIncident {
    /// What gave the alarm.
    pub trigger: Trigger,
    /// What it asks for.
    pub severity: Severity,
    /// When the breach began, unix seconds.
    pub onset: i64,
    /// What to roll back to, or why there is nothing.
    pub target: Result<Candidate, NoTarget>,
    /// The request that it is opened for: which one, and its reason.
    pub request: Option<(String, String)>,
}

/// The next state of an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Advance {
    /// The state that begins.
    pub to: IncidentState,
    /// Why.
    pub message: String,
}

fn advance(to: IncidentState, message: impl Into<String>) -> Plan {
    Plan::Advance(Advance {
        to,
        message: message.into(),
    })
}

/// The next step for a policy that is neither paused nor in conflict.
pub fn plan(policy: &Policy, verdict: &Verdict, observed: &Observed) -> Plan {
    if let Some(asked) = &observed.request {
        return request::take_up(policy, observed, asked);
    }
    let Some(incident) = &observed.incident else {
        return alarm(policy, verdict).map_or(Plan::Hold(Hold::NoBreach), |(trigger, severity, onset)| {
            let target = choose_target(policy, observed);
            Plan::Open(NewIncident {
                trigger,
                severity,
                onset,
                target,
                request: None,
            })
        });
    };
    if incident.state.is_closed() {
        return Plan::Hold(Hold::NoBreach);
    }
    let alarmed = alarm(policy, verdict);
    // A request that waits hides no breach.
    let gives_way = incident.severity == Severity::Alert
        || incident.trigger == Trigger::Requested && incident.state != IncidentState::Open;
    if gives_way
        && !is_under_way(incident.state)
        && !is_ours(observed, incident)
        && alarmed.is_some_and(|(_, severity, _)| severity == Severity::Rollback)
    {
        return advance(IncidentState::Superseded, "a breach that asks for a rollback took over");
    }
    let step = next(policy, verdict, observed, incident);
    let lasts = observed.now - incident.onset > policy.escalate_after;
    match step {
        Plan::Hold(_) if lasts && !incident.escalated && still_in_breach(verdict, incident) => Plan::Escalate,
        step => step,
    }
}

/// The trigger to act on, what it asks for, and when the breach began.
fn alarm(policy: &Policy, verdict: &Verdict) -> Option<(Trigger, Severity, i64)> {
    let strongest = |a: &&TriggerVerdict, b: &&TriggerVerdict| {
        (a.log_evidence - a.log_threshold).total_cmp(&(b.log_evidence - b.log_threshold))
    };
    let onset = |verdict: &TriggerVerdict, at| verdict.onset.unwrap_or(at);
    let streaming = verdict
        .streaming()
        .filter(|verdict| verdict.in_breach())
        .max_by(strongest);
    if let Some(winner) = streaming {
        // The breach began when the first of the triggers in breach began to show it.
        let began = verdict
            .streaming()
            .filter(|v| v.in_breach())
            .map(|v| onset(v, verdict.at))
            .min();
        return Some((winner.trigger, Severity::Rollback, began.unwrap_or(verdict.at)));
    }
    if let Some(compliance) = verdict.compliance().filter(|verdict| verdict.in_breach()) {
        // A run is judged as soon as the release is there, which may be before its first look.
        let began = onset(compliance, verdict.at).min(verdict.at);
        return Some((Trigger::Compliance, Severity::Rollback, began));
    }
    if let Some(since) = verdict.no_metrics_since {
        let severity = if policy.roll_back_on_missing_metrics {
            Severity::Rollback
        } else {
            Severity::Alert
        };
        return Some((Trigger::NoMetrics, severity, since));
    }
    let alerting = verdict
        .alerting()
        .filter(|verdict| verdict.in_breach())
        .max_by(strongest)?;
    Some((alerting.trigger, Severity::Alert, onset(alerting, verdict.at)))
}

/// The Deployment was changed on behalf of the incident.
fn is_under_way(state: IncidentState) -> bool {
    matches!(
        state,
        IncidentState::RollingBack | IncidentState::Verifying | IncidentState::Ineffective
    )
}

/// Whether an incident keeps the release that runs from being registered and certified, and drills from taking place: any
/// that is open does, but for an alert that nothing was done for.
pub fn holds_back(trigger: Trigger, state: IncidentState) -> bool {
    !state.is_closed() && (!trigger.only_alerts() || is_under_way(state))
}

/// Whether the release that runs may be registered and certified as far as what is being done goes.
pub fn is_settled(plan: &Plan, observed: &Observed) -> bool {
    let holds_back = |incident: &OpenIncident| holds_back(incident.trigger, incident.state);
    observed.rollout_complete && matches!(plan, Plan::Hold(_)) && !observed.incident.as_ref().is_some_and(holds_back)
}

fn still_in_breach(verdict: &Verdict, incident: &OpenIncident) -> bool {
    !verdict.no_breach(incident.trigger) || is_under_way(incident.state) && incident.trigger != Trigger::Requested
}

fn next(policy: &Policy, verdict: &Verdict, observed: &Observed, incident: &OpenIncident) -> Plan {
    use IncidentState as S;
    let same_release = observed.release == incident.release;
    // The PATCH may have gone through without the status that says so: the annotation is written with it.
    let patched = is_ours(observed, incident);
    match incident.state {
        S::Open | S::Observed | S::AwaitingApproval | S::NoSafeTarget | S::Halted | S::Refused if patched => {
            advance(S::RollingBack, "the Deployment has the checkpoint's images")
        }
        S::Open | S::Observed | S::AwaitingApproval | S::NoSafeTarget | S::Halted | S::Refused if !same_release => {
            advance(
                S::Superseded,
                "the Deployment has a newer template: it is left alone and judged by itself",
            )
        }
        S::Open if incident.trigger == Trigger::Requested => request::decide(policy, observed, incident),
        S::Open => decide(policy, verdict, observed, incident),
        S::AwaitingApproval | S::Halted if incident.approved => approved(policy, verdict, incident),
        // What was decided once is decided anew on what there is now.
        S::Refused if incident.refused.is_none_or(|refused| refused.is_due(observed.now)) => {
            if incident.approved {
                approved(policy, verdict, incident)
            } else if incident.trigger == Trigger::Requested {
                request::decide(policy, observed, incident)
            } else {
                decide(policy, verdict, observed, incident)
            }
        }
        S::Observed | S::AwaitingApproval | S::NoSafeTarget | S::Halted | S::Refused
            if incident.trigger == Trigger::Requested =>
        {
            request::expired(observed, incident).unwrap_or(Plan::Hold(Hold::AwaitingPerson))
        }
        S::Observed | S::AwaitingApproval | S::NoSafeTarget | S::Halted | S::Refused => resolve(verdict, incident),
        S::RollingBack | S::Verifying | S::Ineffective if superseded(observed, incident) => advance(
            S::Superseded,
            "a newer template than the rollback's runs: it is left alone and judged by itself",
        ),
        S::RollingBack if observed.rollout_complete && !same_release => {
            advance(S::Verifying, "every replica runs the checkpoint")
        }
        S::RollingBack => Plan::Hold(Hold::RollingOut),
        S::Verifying if verdict.all_healthy() && incident.rolled_out.is_some_and(|at| verdict.at >= at) => advance(
            S::Recovered,
            "every trigger that rolls back is healthy on the checkpoint",
        ),
        S::Verifying
            if incident.rolled_out.is_some_and(|at| verdict.at >= at)
                && alarm(policy, verdict).is_some_and(|(_, severity, _)| severity == Severity::Rollback) =>
        {
            advance(
                S::Ineffective,
                "the checkpoint breaches too, so the cause lies elsewhere: no second rollback, a person must decide",
            )
        }
        S::Verifying => Plan::Hold(Hold::Judging),
        S::Ineffective if verdict.all_healthy() => advance(
            S::Resolved,
            "every trigger that rolls back is healthy again, some time after a rollback that did not help",
        ),
        S::Ineffective => Plan::Hold(Hold::AwaitingPerson),
        S::Recovered | S::Superseded | S::Resolved => Plan::Hold(Hold::NoBreach),
    }
}

/// The first decision on a recorded intent.
fn decide(policy: &Policy, verdict: &Verdict, observed: &Observed, incident: &OpenIncident) -> Plan {
    use IncidentState as S;
    let Some(target) = &incident.target else {
        return advance(
            S::NoSafeTarget,
            "no verified checkpoint to roll back to: a person must decide",
        );
    };
    // An intent may be older than a restart or an outage. It is acted on only while the evidence stands.
    if verdict.no_breach(incident.trigger) && may_end(verdict, incident) {
        return advance(S::Resolved, "the breach ended before the rollback began");
    }
    if let Some(step) = forbidden(policy, target) {
        return step;
    }
    if incident.severity == Severity::Alert {
        return advance(
            S::AwaitingApproval,
            format!(
                "an alert, no automatic rollback: checkpoint {} is prepared; approve to roll back to it",
                target.name
            ),
        );
    }
    if observed
        .last_rollback
        .is_some_and(|at| observed.now - at < policy.cooldown)
    {
        return advance(
            S::Halted,
            "this Deployment was rolled back within the cooldown: a person must decide",
        );
    }
    if policy.mode == Mode::Prepare {
        return advance(
            S::AwaitingApproval,
            format!("mode Prepare: approve to roll back to checkpoint {}", target.name),
        );
    }
    let current = alarm(policy, verdict).is_some_and(|(_, severity, _)| severity == Severity::Rollback);
    if !current {
        // Breach state unchanged and the last look unknown: no rollback on missing data.
        return Plan::Hold(Hold::Judging);
    }
    Plan::RollBack(target.clone())
}

/// What stands in the way of any rollback to this checkpoint, approved or not.
fn forbidden(policy: &Policy, target: &Candidate) -> Option<Plan> {
    if let Err(reason) = &target.usable {
        let message = format!("checkpoint {} cannot be used: {reason}", target.name);
        return Some(advance(IncidentState::NoSafeTarget, message));
    }
    let message = || format!("mode Observe: would roll back to checkpoint {}", target.name);
    (policy.mode == Mode::Observe).then(|| advance(IncidentState::Observed, message()))
}

/// A person's approval overrides what waits for a person: the mode `Prepare`, an alert's severity, the
/// cooldown, and evidence that is not (or not now) at its threshold. It does not override the end of the
/// breach, a checkpoint that cannot be used, a newer template or the mode `Observe`.
fn approved(policy: &Policy, verdict: &Verdict, incident: &OpenIncident) -> Plan {
    use IncidentState as S;
    if incident.trigger != Trigger::Requested && ended(verdict, incident) {
        return advance(S::Resolved, "the breach ended before the approved rollback began");
    }
    let Some(target) = &incident.target else {
        return advance(S::NoSafeTarget, NoTarget::None.message());
    };
    if let Some(step) = forbidden(policy, target) {
        return step;
    }
    Plan::RollBack(target.clone())
}

/// The breach is shown to be over.
fn ended(verdict: &Verdict, incident: &OpenIncident) -> bool {
    may_end(verdict, incident)
        && match incident.severity {
            Severity::Rollback => verdict.all_healthy(),
            Severity::Alert => verdict.no_breach(incident.trigger),
        }
}

/// A breach that was shown does not end because what showed it cannot be read any more: the evidence of a run, or a counter of
/// failures that the policy does not name any more.
fn may_end(verdict: &Verdict, incident: &OpenIncident) -> bool {
    match incident.trigger {
        Trigger::Compliance => verdict.compliance_is_known(),
        Trigger::ErrorRate => verdict.errors_are_counted(),
        Trigger::Latency
        | Trigger::Throughput
        | Trigger::GpuUtilization
        | Trigger::GpuMemory
        | Trigger::NoMetrics
        | Trigger::Requested => true,
    }
}

/// An incident that waits ends when the breach does.
fn resolve(verdict: &Verdict, incident: &OpenIncident) -> Plan {
    if ended(verdict, incident) {
        advance(IncidentState::Resolved, "the breach ended without a rollback")
    } else {
        Plan::Hold(Hold::AwaitingPerson)
    }
}

/// Something newer than the rollback's own release runs.
fn superseded(observed: &Observed, incident: &OpenIncident) -> bool {
    match &incident.rolled_back_to {
        Some(release) => observed.release != *release,
        // The rollback's release was not recorded yet: the change is ours while the annotation names the
        // incident and the template has the checkpoint's images. The release in breach is no newer one: the watch
        // of incidents told of the rollback before the watch of Deployments did.
        None => observed.release != incident.release && !is_ours(observed, incident),
    }
}

/// Whether the Deployment's template is what this incident's rollback made of it.
fn is_ours(observed: &Observed, incident: &OpenIncident) -> bool {
    observed.annotated_incident.as_deref() == Some(incident.name.as_str())
        && incident.target.as_ref().is_some_and(|target| {
            target.images.iter().all(|image| {
                observed
                    .images
                    .iter()
                    .any(|(container, known)| *container == image.container && *known == image.image)
            })
        })
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
