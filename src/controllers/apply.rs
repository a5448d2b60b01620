//! Apply: carries one plan out. Every write is one that a second attempt finds done.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt};

use crate::{
    controllers::{
        build,
        context::{CallError, Context, Written, call, post},
        events::{EventNote, tell},
        gather::Gathered,
        postmortem, request,
        rollback::{Breached, NotRolledBack, roll_back},
    },
    metrics::KindLabel,
};
use quality_api::{
    FIXES_ANNOTATION, IncidentStep, QualityIncident, QualityIncidentStatus, QualityPolicy, ROLLBACK_ANNOTATION,
    Refusal, RolledBackTo,
    conditions::{self, Status},
    view,
};
use quality_core::{
    format,
    incident::{IncidentState, Severity, Trigger, image_changes, short},
    judge::Verdict,
    plan::{Advance, Candidate, NewIncident, Plan, RequestOutcome},
    policy::Policy,
};

/// The steps of an incident that are kept.
const MAX_STEPS: usize = 32;
/// Of the API server's words where it refuses a rollback.
const MAX_REFUSAL_CHARACTERS: usize = 600;

/// What is needed to carry a plan out.
pub struct Applier<'a> {
    /// Everything shared.
    pub context: &'a Context,
    /// The policy.
    pub policy: &'a QualityPolicy,
    /// The same, validated.
    pub rules: &'a Policy,
    /// What the cluster shows.
    pub gathered: &'a Gathered,
    /// What the judge says.
    pub verdict: &'a Verdict,
    /// What is known of the release that runs.
    pub found: build::Found<'a>,
    /// ln of the evidence that the release is worse than the one beside it.
    pub worse_than_beside: Option<f64>,
    /// Now.
    pub now: Timestamp,
}

/// Whether something was changed, so that the next step is looked for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Nothing was to be done.
    Nothing,
    /// Something was written.
    Wrote,
}

impl Applier<'_> {
    /// Carries the plan out.
    pub async fn apply(&self, plan: &Plan) -> Result<Changed, CallError> {
        let incident = build::open_incident(&self.gathered.incidents);
        match (plan, incident) {
            (Plan::Hold(_), _) | (Plan::RollBack(_) | Plan::Advance(_) | Plan::Escalate, None) => Ok(Changed::Nothing),
            (Plan::RequestOutcome(answer), _) => self.answer(answer).await,
            (Plan::Open(new), _) => self.open(new).await,
            (Plan::RollBack(candidate), Some(incident)) => self.roll_back(incident, candidate).await,
            (Plan::Advance(advance), Some(incident)) => self.advance(incident, advance).await,
            (Plan::Escalate, Some(incident)) => self.escalate(incident, &refusal_of(incident)).await,
        }
    }

    fn incidents(&self) -> Api<QualityIncident> {
        Api::namespaced(
            self.context.client.clone(),
            &self.policy.namespace().unwrap_or_default(),
        )
    }

    async fn open(&self, new: &NewIncident) -> Result<Changed, CallError> {
        // What a person asked for stands on no evidence.
        let details = match new.trigger {
            Trigger::Requested => Vec::new(),
            trigger => build::details(self.verdict, trigger, self.worse_than_beside),
        };
        let incident = build::incident(self.policy, self.gathered, self.verdict, new, self.found, &details);
        match call(self.incidents().create(&post(), &incident)).await {
            Ok(_) => {}
            // Recorded before, by this operator or the one before its restart: that is success. The watch
            // will show it.
            Err(error) if error.is_conflict() => return Ok(Changed::Wrote),
            Err(error) => return Err(error),
        }
        self.context.meters.wrote("QualityIncident");
        self.context
            .meters
            .incidents
            .get_or_create(&KindLabel {
                kind: new.trigger.name().to_owned(),
            })
            .inc();
        let reason = match new.severity {
            Severity::Rollback if new.trigger == Trigger::Requested => "RollbackRequested",
            Severity::Rollback => "SLOBreached",
            Severity::Alert => "SLOAlert",
        };
        let name = incident.name_any();
        tracing::warn!(incident = %name, trigger = new.trigger.name(), reason = %incident.spec.reason, "incident opened");
        self.tell(
            reason != "RollbackRequested",
            reason,
            incident.spec.reason.clone(),
            &name,
        )
        .await;
        Ok(Changed::Wrote)
    }

    /// Tells a person what becomes of the request: in the policy's status, and by an Event where it is refused.
    async fn answer(&self, answer: &RequestOutcome) -> Result<Changed, CallError> {
        let mut changed = self.policy.clone();
        let given = request::given(answer, self.now);
        changed.status.get_or_insert_default().rollback_request = Some(given.clone());
        if self.context.replace_status(&changed).await? == Written::Overtaken {
            return Ok(Changed::Wrote);
        }
        let outcome = if given.accepted { "Accepted" } else { "Refused" };
        let label = KindLabel {
            kind: outcome.to_owned(),
        };
        self.context.meters.requests.get_or_create(&label).inc();
        tracing::warn!(outcome, message = %given.message, "a rollback was requested");
        if !given.accepted {
            self.tell(true, "RollbackRefused", given.message, &given.id).await;
        }
        Ok(Changed::Wrote)
    }

    async fn roll_back(&self, incident: &QualityIncident, candidate: &Candidate) -> Result<Changed, CallError> {
        let name = incident.name_any();
        let breached = Breached {
            deployment: &incident.spec.deployment,
            revision: &incident.spec.revision,
            mark: &name,
        };
        let verification = match roll_back(self.context, self.policy, breached, candidate).await {
            Ok(note) => {
                self.context.meters.rollbacks.inc();
                note
            }
            // Another checkpoint is not taken in its place: this one is what the incident's record names.
            Err(NotRolledBack::Gone(message)) => {
                let advance = Advance {
                    to: IncidentState::NoSafeTarget,
                    message: format!(
                        "checkpoint {} cannot be used: {message}; nothing was changed, a person must decide",
                        candidate.name
                    ),
                };
                return self.advance(incident, &advance).await;
            }
            Err(NotRolledBack::Call(error)) if !error.is_conflict() => {
                return self.not_written(incident, candidate, error).await;
            }
            Err(reason) => {
                tracing::info!(incident = %incident.name_any(), %reason, "the rollback was not carried out: looking again");
                return Ok(Changed::Wrote);
            }
        };
        let running = incident.spec.from_images.iter();
        let changes = image_changes(
            running.map(|image| (image.container.as_str(), image.image.as_str())),
            &candidate.images,
        );
        let changes: Vec<String> = changes
            .iter()
            .map(|change| format!("{}: {} → {}", change.container, short(change.from), short(change.to)))
            .collect();
        let certified = candidate.certified.map(|at| format::span(self.now.as_second() - at));
        let verification = verification.map(|note| format!("; {note}")).unwrap_or_default();
        let note = format!(
            "{} (checkpoint {}, certified {} ago), incident {}{verification}",
            changes.join(", "),
            candidate.name,
            certified.as_deref().unwrap_or("at an unknown time"),
            incident.name_any()
        );
        tracing::warn!(incident = %incident.name_any(), checkpoint = %candidate.name, "rolled back");
        let advance = Advance {
            to: IncidentState::RollingBack,
            message: note,
        };
        self.advance(incident, &advance).await
    }

    /// The rollback's write failed. Where the API server refuses it, asking again at once changes nothing: that becomes a
    /// state with its words. What else failed is tried again soon, and escalated in its time all the same.
    async fn not_written(
        &self,
        incident: &QualityIncident,
        candidate: &Candidate,
        error: CallError,
    ) -> Result<Changed, CallError> {
        if let Some(words) = error.denial() {
            let status = incident.status.as_ref();
            let stands = status.is_some_and(|status| status.state == IncidentState::Refused);
            let mut since = self.now.as_second();
            if error.refusal().is_none() && !stands {
                let uid = incident.uid().unwrap_or_default();
                let Some(first) = self.context.write_errors.count(&uid, since) else {
                    return Err(error);
                };
                since = first;
            }
            let message = format!(
                "the API server refuses the rollback to checkpoint {}: {}; it is tried again each minute",
                candidate.name,
                format::plain(words, MAX_REFUSAL_CHARACTERS)
            );
            return self.refused(incident, message, since).await;
        }
        let status = incident.status.as_ref();
        let escalated = status.is_some_and(|status| conditions::is_true(&status.conditions, "Escalated"));
        let lasts = self.now.as_second() - incident.spec.onset.0.as_second();
        if !escalated && lasts > self.rules.escalate_after {
            self.escalate(incident, &format!("; the rollback's write fails: {error}"))
                .await?;
        }
        Err(error)
    }

    /// The state `Refused` is entered once; that the same words came again is counted. `since` is in unix seconds.
    async fn refused(&self, incident: &QualityIncident, message: String, since: i64) -> Result<Changed, CallError> {
        let status = incident.status.clone().unwrap_or_default();
        let known = status.refusal.clone();
        let refusal = Refusal {
            since: known
                .as_ref()
                .map_or_else(|| view::time(since), |known| known.since.clone()),
            at: Time(self.now),
            attempts: known.map_or(0, |known| known.attempts) + 1,
        };
        let mut changed = incident.clone();
        changed.status.get_or_insert_default().refusal = Some(refusal);
        if status.state == IncidentState::Refused {
            // Other words are no other step: each try of a webhook may have some.
            changed.status.get_or_insert_default().message = message;
            self.context.replace_status(&changed).await?;
            return Ok(Changed::Wrote);
        }
        let advance = Advance {
            to: IncidentState::Refused,
            message,
        };
        self.advance(&changed, &advance).await
    }

    async fn advance(&self, incident: &QualityIncident, advance: &Advance) -> Result<Changed, CallError> {
        let mut changed = incident.clone();
        let status = changed.status.get_or_insert_default();
        self.enter(incident, status, advance);
        if postmortem::is_due(status) {
            postmortem::file(
                self.context,
                self.policy,
                self.rules,
                self.gathered,
                self.verdict,
                incident,
                status,
            )
            .await;
        }
        if self.context.replace_status(&changed).await? == Written::Overtaken {
            return Ok(Changed::Wrote);
        }
        let status = changed.status.unwrap_or_default();
        if advance.to.is_closed() {
            let escalated = conditions::is_true(&status.conditions, "Escalated");
            self.context.meters.ended(incident.spec.trigger, advance.to, escalated);
        }
        if let Some((warning, reason)) = event(advance.to) {
            let note = if advance.to == IncidentState::Recovered {
                self.recovered(incident.spec.trigger, &status)
            } else {
                advance.message.clone()
            };
            self.tell(warning, reason, note, &incident.name_any()).await;
        }
        let name = incident.name_any();
        let annotations = self.gathered.deployment.annotations();
        if advance.to == IncidentState::Superseded && annotations.get(FIXES_ANNOTATION) == Some(&name) {
            let note = format!("the newer template was shipped as the fix of incident {name}, past the gate");
            self.tell(false, "FixShipped", note, &name).await;
        }
        tracing::info!(incident = %incident.name_any(), state = advance.to.name(), message = %advance.message, "incident");
        Ok(Changed::Wrote)
    }

    fn enter(&self, incident: &QualityIncident, status: &mut QualityIncidentStatus, advance: &Advance) {
        let now = Time(self.now);
        status.state = advance.to;
        status.message.clone_from(&advance.message);
        if status.steps.len() < MAX_STEPS {
            status.steps.push(IncidentStep {
                at: now.clone(),
                state: advance.to,
                message: advance.message.clone(),
            });
        }
        match advance.to {
            IncidentState::RollingBack => {
                status.patched_at.get_or_insert(now.clone());
                let certified = incident
                    .spec
                    .checkpoint
                    .as_ref()
                    .and_then(|checkpoint| checkpoint.certified_at.as_ref());
                // Nothing was lost before a request: its begin is no breach.
                if let Some(certified) = certified.filter(|_| incident.spec.trigger != Trigger::Requested) {
                    let seconds = (incident.spec.onset.0.as_second() - certified.0.as_second()).max(0);
                    status.rpo_seconds = Some(seconds);
                    status.rpo = Some(format::span(seconds));
                }
            }
            IncidentState::Verifying => {
                status.rolled_out_at = Some(now.clone());
                let release = &self.gathered.release;
                status.rolled_back_to = Some(RolledBackTo {
                    replica_set: release.replica_set.clone(),
                    revision: release.revision.clone(),
                });
            }
            // Changed by the rollback and by a person right after it: the cooldown counts from here all the same.
            IncidentState::Superseded if self.is_marked(incident) => {
                status.patched_at.get_or_insert(now.clone());
            }
            IncidentState::Recovered => {
                let seconds = (self.verdict.at - incident.spec.onset.0.as_second()).max(0);
                status.rto_seconds = Some(seconds);
                status.rto = Some(format::span(seconds));
            }
            _ => {}
        }
        if advance.to.is_closed() {
            status.closed_at = Some(now);
        }
    }

    /// The Deployment's annotation, which only the rollback's own write sets, names this incident.
    fn is_marked(&self, incident: &QualityIncident) -> bool {
        let annotations = self.gathered.deployment.annotations();
        annotations.get(ROLLBACK_ANNOTATION) == Some(&incident.name_any())
    }

    fn recovered(&self, trigger: Trigger, status: &QualityIncidentStatus) -> String {
        let figures: Vec<String> = self
            .verdict
            .streaming()
            .map(|trigger| format!("{} {}", trigger.trigger.words(), trigger.figures().text()))
            .collect();
        format!(
            "{} after {}; {}",
            status.rto.as_deref().unwrap_or(format::UNKNOWN),
            if trigger == Trigger::Requested {
                "the request"
            } else {
                "the breach began"
            },
            figures.join("; ")
        )
    }

    async fn escalate(&self, incident: &QualityIncident, obstacle: &str) -> Result<Changed, CallError> {
        let mut changed = incident.clone();
        let status = changed.status.get_or_insert_default();
        let lasts = format::span(self.now.as_second() - incident.spec.onset.0.as_second());
        let note = format!(
            "the breach lasts for {lasts} (state {}): {}{obstacle}",
            status.state.name(),
            incident.spec.reason
        );
        conditions::set(
            &mut status.conditions,
            "Escalated",
            Status::True,
            "Sustained",
            &note,
            None,
            &Time(self.now),
        );
        if self.context.replace_status(&changed).await? == Written::Overtaken {
            return Ok(Changed::Wrote);
        }
        self.tell(true, "Escalated", note, &incident.name_any()).await;
        Ok(Changed::Wrote)
    }

    async fn tell(&self, warning: bool, reason: &str, note: String, incident: &str) {
        let told = EventNote {
            warning,
            reason,
            note,
            about: incident,
            chapter: chapter(reason),
        };
        tell(self.context, self.policy, Some(&self.gathered.deployment), &told).await;
    }
}

/// What an escalation says of a rollback that is refused.
fn refusal_of(incident: &QualityIncident) -> String {
    let status = incident.status.as_ref();
    let refused = status.filter(|status| status.state == IncidentState::Refused);
    refused
        .map(|status| format!("; {}", status.message))
        .unwrap_or_default()
}

/// Where a reason stands in the story of an incident.
fn chapter(reason: &str) -> u8 {
    match reason {
        "SLOBreached" | "SLOAlert" | "RollbackRequested" | "RollbackRefused" => 0,
        "RolledBack" => 2,
        "Escalated" => 3,
        "RollbackIneffective" => 4,
        "Recovered" | "IncidentSuperseded" | "IncidentResolved" => 5,
        "FixShipped" => 6,
        _ => 1,
    }
}

/// The Event of a state, where a reader needs one.
fn event(state: IncidentState) -> Option<(bool, &'static str)> {
    match state {
        IncidentState::Open | IncidentState::Verifying => None,
        IncidentState::Observed => Some((true, "RollbackNotAllowed")),
        IncidentState::AwaitingApproval => Some((true, "RollbackPrepared")),
        IncidentState::NoSafeTarget => Some((true, "NoSafeTarget")),
        IncidentState::Halted => Some((true, "RollbackHalted")),
        IncidentState::Refused => Some((true, "RollbackDenied")),
        IncidentState::RollingBack => Some((false, "RolledBack")),
        IncidentState::Recovered => Some((false, "Recovered")),
        IncidentState::Ineffective => Some((true, "RollbackIneffective")),
        IncidentState::Superseded => Some((false, "IncidentSuperseded")),
        IncidentState::Resolved => Some((false, "IncidentResolved")),
    }
}
