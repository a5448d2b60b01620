//! Reconcile of one policy: the named steps, in order.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Resource, ResourceExt, runtime::controller::Action};

use crate::{
    controllers::{
        apply::{Applier, Changed},
        build, checkpoints,
        context::{Context, PolicyObject},
        drill,
        error::{ReconcileError, catch_panic},
        evaluation::Question,
        gate,
        gather::{Gathered, NotNow, gather},
        history, mlflow_export, notification, release,
        release_analysis::{ReleaseAnalysis, Replicas, Subject, design_effects},
        reporting, request, sightings,
        status::{self, NotReady},
        undecodable::undecodable,
    },
    metrics::KindLabel,
    validate,
};
use quality_api::{COMMIT_ANNOTATION, DatasetReference, Provenance, QualityPolicy, RUN_ANNOTATION, view};
use quality_core::{
    judge::DesignEffects,
    plan::{Candidate, Observed, baseline, is_settled, own_run, plan},
    policy::Policy,
    quality::EvaluationState,
};
use quality_sources::{presets::MetricSet, prometheus::Source};

/// Something was written: the next step follows once the watch shows it.
const REQUEUE_AFTER_WRITE: Duration = Duration::from_millis(250);
/// What a person must mend is looked at again now and then; a change of the objects comes by watch.
const REQUEUE_INVALID: Duration = Duration::from_secs(60);
/// The end of a drill in place comes by the watch of the Deployment, but for its very last step.
const REQUEUE_DURING_DRILL: Duration = Duration::from_secs(2);
/// The end of another policy comes by no watch of this one.
const REQUEUE_CONFLICT: Duration = Duration::from_secs(5);

/// One reconcile; a panic in it becomes an error of this policy alone. Its span names the policy in every line of the log.
#[tracing::instrument(name = "policy", level = "error", skip_all, fields(
    namespace = object.meta().namespace.as_deref().unwrap_or_default(),
    policy = object.meta().name.as_deref().unwrap_or_default(),
))]
pub async fn reconcile(object: Arc<PolicyObject>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    context.meters.reconciles.inc();
    let next = catch_panic(Box::pin(step(&object, &context)), ReconcileError::Panic).await;
    // Whatever became of the step: what is not told yet is told while nothing can be judged, too.
    let notifying = async { Ok(Box::pin(notification::reconcile_notifications(&object, &context)).await?) };
    let told = catch_panic(notifying, ReconcileError::Panic).await;
    let next = next?;
    Ok(if told? {
        Action::requeue(REQUEUE_AFTER_WRITE)
    } else {
        next
    })
}

/// What happens after an error: the same again, later.
#[expect(clippy::needless_pass_by_value, reason = "the signature that the controller calls")]
pub fn on_error(object: Arc<PolicyObject>, error: &ReconcileError, context: Arc<Context>) -> Action {
    context
        .meters
        .reconcile_errors
        .get_or_create(&KindLabel {
            kind: error.category().to_owned(),
        })
        .inc();
    tracing::warn!(policy = %object.meta().name.clone().unwrap_or_default(),
        namespace = %object.meta().namespace.clone().unwrap_or_default(), %error, "reconcile failed");
    Action::requeue(Duration::from_secs(2))
}

async fn step(object: &PolicyObject, context: &Context) -> Result<Action, ReconcileError> {
    let now = Timestamp::now();
    let policy = match &object.0 {
        Ok(policy) => policy,
        Err(invalid) => return undecodable(object, context, &invalid.error, now).await,
    };
    let uid = policy.uid().unwrap_or_default();
    let cell = context.judged(&uid);
    let mut judged = cell.lock().await;
    if policy.metadata.deletion_timestamp.is_some() {
        *judged = None;
        return Ok(Action::await_change());
    }
    if gate::release(context, policy, now).await? {
        return Ok(Action::requeue(REQUEUE_AFTER_WRITE));
    }
    let (rules, source, metrics) = match validated(policy, context) {
        Ok(validated) => validated,
        Err((reason, message)) => {
            *judged = None;
            let why = NotReady {
                reason,
                message: &message,
                keep_release: false,
            };
            status::not_ready(context, policy, &why, now).await?;
            return Ok(Action::requeue(REQUEUE_INVALID));
        }
    };
    let gathered = match gather(&context.stores, policy) {
        Ok(gathered) => gathered,
        Err(not_now) => {
            // While a rollout has no ReplicaSet yet, the old release's analysis waits; else it is over.
            let pending = not_now == NotNow::RolloutPending;
            if !pending {
                *judged = None;
                let why = NotReady {
                    reason: not_now.reason(),
                    message: &not_now.message(),
                    keep_release: false,
                };
                status::not_ready(context, policy, &why, now).await?;
            }
            return Ok(Action::requeue(match not_now {
                NotNow::RolloutPending => Duration::from_secs(1),
                NotNow::Conflict(_) => REQUEUE_CONFLICT,
                NotNow::TargetNotFound(_) | NotNow::TargetTerminating | NotNow::TargetPaused => REQUEUE_INVALID,
            }));
        }
    };
    if let Some(name) = drill::in_place(&context.stores, policy) {
        // The fault is on purpose: no incident comes of it, and no second rollback.
        let why = NotReady {
            reason: "DrillRunning",
            message: &format!("drill {name} breaks and restores the Deployment: nothing is judged meanwhile"),
            keep_release: true,
        };
        status::not_ready(context, policy, &why, now).await?;
        return Ok(Action::requeue(REQUEUE_DURING_DRILL));
    }
    let grid = grid(now, rules.interval, source.settle());
    let subject = subject(policy, &gathered, rules.clone(), metrics);
    if judged.as_ref().is_none_or(|judged| judged.subject != subject) {
        let counting = judged
            .as_ref()
            .map(|judged| judged.counting_for(&subject))
            .unwrap_or_default();
        let mut history = history::taken_up(context, policy, judged.take(), now.as_second()).await?;
        let mut begun = start(policy, &gathered, &source, subject, grid).await?;
        history::release_began(&mut history, &gathered, &begun);
        (begun.history, begun.counting) = (history, counting);
        *judged = Some(begun);
    }
    let Some(judged) = judged.as_mut() else {
        return Ok(Action::requeue(REQUEUE_AFTER_WRITE));
    };
    let wrote = judge_and_act(context, policy, &gathered, &source, judged, grid, now).await?;
    Ok(Action::requeue(if wrote {
        REQUEUE_AFTER_WRITE
    } else {
        until_next(now, rules.interval, source.settle())
    }))
}

/// Judges the newest look, takes the one next step, and writes what was found; whether anything was written.
async fn judge_and_act(
    context: &Context,
    policy: &QualityPolicy,
    gathered: &Gathered,
    source: &Source,
    judged: &mut ReleaseAnalysis,
    grid: i64,
    now: Timestamp,
) -> Result<bool, ReconcileError> {
    let rules = judged.subject.policy.clone();
    let before = judged.last_look();
    judged.catch_up(source, grid, replicas(gathered)).await;
    if let Some(instant) = judged.last_look().filter(|instant| Some(*instant) != before) {
        let lag = Timestamp::now().as_millisecond() as f64 / 1_000.0 - instant as f64;
        let allowed = rules.false_rollback_rate / rules.period;
        let uid = policy.uid().unwrap_or_default();
        context.meters.look(&uid, instant, before, lag, allowed);
    }
    let complete = release::rollout_complete(&gathered.deployment);
    let some_ready = replicas(gathered).ready > 0;
    if some_ready && (judged.running.is_empty() || complete && !judged.measured) {
        let running = checkpoints::running(context, &gathered.newest).await?;
        if judged.running.is_empty() {
            judged.running = running.images;
        }
        (judged.load, judged.measured) = (running.load.filter(|_| complete), complete);
    }
    judged.know_counting();
    let observed = observed(policy, gathered, judged, complete, now);
    let known = evidence(context, policy, &rules, &observed);
    let verdict = judged.verdict(&known);
    let drills = drill::schedule::drills_of_policy(&context.stores, policy);
    let rehearsals = drill::schedule::finished_drills(&drills);
    let seen = gate::GateFacts {
        gathered,
        observed: &observed,
        verdict: &verdict,
        drills: &rehearsals,
    };
    // It is shut before anything is rolled back.
    if gate::reconcile_gate(context, policy, &seen, now).await? {
        return Ok(true);
    }
    let plan = plan(&rules, &verdict, &observed);
    let own = own_run(&observed);
    let act = Applier {
        context,
        policy,
        rules: &rules,
        gathered,
        verdict: &verdict,
        found: build::Found {
            digests: &judged.running,
            run: own.as_ref().map(|run| run.run_id.as_str()),
        },
        worse_than_beside: judged.worse_than_beside(),
        now,
    };
    // An act that failed must not hide what is known: status and report are written all the same.
    let acted = act.apply(&plan).await;
    let mut wrote = acted.as_ref().is_ok_and(|done| *done == Changed::Wrote);
    if !wrote {
        let standing = checkpoints::ReleaseHealth {
            running: &judged.running,
            load: judged.load,
            healthy: verdict.all_healthy(),
            may_be_registered: verdict.may_be_registered(),
            provenance: provenance(gathered, &observed, &known),
            healthy_since: judged.healthy_since,
            settled: is_settled(&plan, &observed),
            at: verdict.at,
        };
        wrote = checkpoints::reconcile_checkpoints(context, policy, &rules, gathered, &standing, now).await?;
    }
    wrote |= mlflow_export::log_back(context, policy, gathered, &drills, now).await?;
    let scheduled = drill::schedule::reconcile_schedule(context, policy, &drills, now).await?;
    wrote |= scheduled.wrote;
    let found = reporting::reported(
        &reporting::ReportFacts {
            policy,
            rules: &rules,
            gathered,
            verdict: &verdict,
            problem: judged.problem.as_deref(),
            known: &known,
            candidates: &observed.candidates,
            drills: &rehearsals,
            run: own.as_ref().map(|run| run.run_id.as_str()),
            not_notified: &notification::not_notified(policy),
        },
        now,
    );
    wrote |= status::update(context, policy, gathered, judged, &found, &scheduled, now).await?;
    acted?;
    Ok(wrote)
}

type Validated = (Arc<Policy>, Arc<Source>, Arc<MetricSet>);

/// The policy as the core judges it, and its metrics source; or a reason and a message.
fn validated(policy: &QualityPolicy, context: &Context) -> Result<Validated, (&'static str, String)> {
    if policy.spec.paused {
        return Err((
            "Paused",
            "the policy is paused: nothing is judged and nothing is done".to_owned(),
        ));
    }
    let rules = validate::policy(&policy.spec).map_err(|invalid| ("InvalidSpec", invalid.to_string()))?;
    let metrics = &policy.spec.metrics;
    let source = match context.sources.get(&metrics.source) {
        Some(Ok(source)) => source.clone(),
        Some(Err(problem)) => {
            return Err((
                "SourceNotUsable",
                format!("metrics source {}: {problem}", metrics.source),
            ));
        }
        None => {
            return Err((
                "SourceNotFound",
                format!("the operator's configuration has no metrics source {}", metrics.source),
            ));
        }
    };
    Ok((
        Arc::new(rules),
        source,
        Arc::new(MetricSet::new(metrics.preset, metrics.custom.as_ref())),
    ))
}

/// The newest instant of the grid of looks whose scrapes are stored by now, unix seconds. Every policy of
/// one interval shares the grid, and so the queries.
fn grid(now: Timestamp, interval: i64, settle: Duration) -> i64 {
    let settled = now.as_millisecond() - settle.as_millis() as i64;
    settled.div_euclid(1_000).div_euclid(interval) * interval
}

fn until_next(now: Timestamp, interval: i64, settle: Duration) -> Duration {
    let next = (grid(now, interval, settle) + interval) * 1_000 + settle.as_millis() as i64;
    Duration::from_millis(u64::try_from(next - now.as_millisecond()).unwrap_or(0).max(20))
}

fn subject(policy: &QualityPolicy, gathered: &Gathered, rules: Arc<Policy>, metrics: Arc<MetricSet>) -> Subject {
    let created = gathered.newest.creation_timestamp().map(|at| at.0.as_second());
    Subject {
        namespace: policy.namespace().unwrap_or_default(),
        deployment: policy.spec.target_ref.name.clone(),
        release: gathered.release.clone(),
        born: created.filter(|_| !release::is_reused(&gathered.newest)),
        policy: rules,
        metrics,
    }
}

fn replicas(gathered: &Gathered) -> Replicas {
    let ready = gathered
        .newest
        .status
        .as_ref()
        .and_then(|status| status.ready_replicas)
        .unwrap_or(0);
    let desired = gathered.deployment.spec.replicas.unwrap_or(1);
    Replicas {
        ready: usize::try_from(ready).unwrap_or(0),
        desired: usize::try_from(desired).unwrap_or(0),
    }
}

/// The analysis of the release that runs: taken up from the status after a restart, else begun.
async fn start(
    policy: &QualityPolicy,
    gathered: &Gathered,
    source: &Source,
    subject: Subject,
    grid: i64,
) -> Result<ReleaseAnalysis, ReconcileError> {
    let interval = subject.policy.interval;
    let recorded = policy.status.as_ref().and_then(|status| status.release.as_ref());
    if let Some(known) = recorded.filter(|known| {
        known.deployment_uid == subject.release.deployment_uid
            && known.replica_set == subject.release.replica_set
            && known.revision == subject.release.revision
    }) {
        let effect = |text: &str| {
            text.parse()
                .ok()
                .filter(|effect: &f64| effect.is_finite() && *effect >= 1.0)
        };
        let from = &known.design_effects;
        if let (Some(error_rate), Some(latency), Some(throughput)) = (
            effect(&from.error_rate),
            effect(&from.latency),
            effect(&from.throughput),
        ) {
            let effects = DesignEffects {
                error_rate,
                latency,
                throughput,
                blocks: usize::try_from(from.blocks).unwrap_or(0),
            };
            let started = known.analysis_from.0.as_second();
            // A changed interval has another grid.
            let started = started.div_euclid(interval) * interval;
            let first_ready = known.first_ready.as_ref().map(|at| at.0.as_second());
            return Ok(ReleaseAnalysis::new(subject, started, first_ready, effects)?);
        }
    }
    // A release that came while its policy watched is judged from its first request on; what ran before the
    // policy did is judged from now on.
    let watched = recorded.is_some_and(|known| known.deployment_uid == subject.release.deployment_uid);
    let started = match subject.born {
        Some(born) if watched => (born.div_euclid(interval) * interval).min(grid),
        _ => grid,
    };
    let excluded: Vec<(i64, i64)> = gathered
        .incidents
        .iter()
        .filter(|incident| !incident.spec.trigger.only_alerts())
        .map(|incident| {
            let closed = incident
                .status
                .as_ref()
                .and_then(|status| status.closed_at.as_ref())
                .map(|at| at.0.as_second());
            (incident.spec.onset.0.as_second(), closed.unwrap_or(grid))
        })
        .collect();
    let effects = match design_effects(source, &subject, started, &excluded).await {
        Ok(effects) => effects,
        Err(error) => {
            tracing::info!(%error, "no history: starting from the cautious design effect");
            DesignEffects::default()
        }
    };
    Ok(ReleaseAnalysis::new(subject, started, None, effects)?)
}

fn observed(
    policy: &QualityPolicy,
    gathered: &Gathered,
    judged: &ReleaseAnalysis,
    rollout_complete: bool,
    now: Timestamp,
) -> Observed {
    let (rules, quarantine) = (&judged.subject.policy, view::quarantine(policy));
    let candidates: Vec<Candidate> = gathered
        .checkpoints
        .iter()
        .map(|checkpoint| build::candidate(checkpoint, rules, &quarantine, now.as_second()))
        .collect();
    let annotations = gathered.deployment.annotations();
    Observed {
        now: now.as_second(),
        release: gathered.release.clone(),
        images: release::template_images(&gathered.deployment),
        running: judged.running.clone(),
        rollout_complete,
        template_run: release::template_annotation(&gathered.deployment.spec.template, RUN_ANNOTATION),
        sightings: sightings::of(gathered),
        annotated_incident: annotations.get(quality_api::ROLLBACK_ANNOTATION).cloned(),
        incident: build::open_incident(&gathered.incidents).map(|incident| build::open(incident, &candidates)),
        candidates,
        last_rollback: gathered.last_rollback,
        request: request::pending(policy, &gathered.incidents),
    }
}

/// What is known of the evaluation evidence of the release that runs.
fn evidence(context: &Context, policy: &QualityPolicy, rules: &Policy, observed: &Observed) -> EvaluationState {
    let (Some(objectives), Some(evidence)) = (&rules.quality, &policy.spec.evidence) else {
        return EvaluationState::Pending;
    };
    let question = Question {
        evidence: evidence.clone(),
        own: own_run(observed),
        baseline: baseline(observed),
        objectives: objectives.clone(),
    };
    context.evidence.ask(&policy.uid().unwrap_or_default(), question)
}

/// Where the release that runs comes from, for its checkpoint.
fn provenance(gathered: &Gathered, observed: &Observed, known: &EvaluationState) -> Provenance {
    let dataset = known.quality().and_then(|quality| quality.dataset.clone());
    Provenance {
        mlflow_run_id: own_run(observed).map(|run| run.run_id),
        dataset: dataset.map(|dataset| DatasetReference {
            version: dataset.version,
            digest: dataset.digest,
        }),
        git_commit: release::template_annotation(&gathered.deployment.spec.template, COMMIT_ANNOTATION),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_lie_on_a_grid_that_all_policies_share_and_wait_for_the_scrapes() {
        let settle = Duration::from_secs(1);
        let at = |millisecond| Timestamp::from_millisecond(millisecond).unwrap();
        assert_eq!(grid(at(1_000_021_000), 15, settle), 1_000_020);
        assert_eq!(grid(at(1_000_020_999), 15, settle), 1_000_005);
        assert_eq!(until_next(at(1_000_020_999), 15, settle), Duration::from_millis(20));
        assert_eq!(until_next(at(1_000_021_000), 15, settle), Duration::from_secs(15));
    }
}
