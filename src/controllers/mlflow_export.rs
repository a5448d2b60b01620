//! Logs what was done back to MLflow runs, when the policy says so: a rollback and its postmortem to the run of the release
//! that was rolled back, a drill to the run of the checkpoint that it went back to. In the background, again and again
//! until the server took it; the condition `LoggedBack` of the incident or drill tells. Two files each.

pub mod attempts;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;

use crate::controllers::{
    context::{CallError, Context},
    gather::Gathered,
    postmortem,
};
use quality_api::{
    QualityIncident, QualityPolicy, RecoveryDrill, RecoveryDrillStatus,
    conditions::{self, Status},
};
use quality_render::audit_files;
use quality_sources::{
    mlflow::Mlflow,
    run::{RunError, RunId},
};

/// The condition that says whether it was done.
const CONDITION: &str = "LoggedBack";
/// Logs back what is due for one policy; returns whether a condition was written.
pub async fn log_back(
    context: &Context,
    policy: &QualityPolicy,
    gathered: &Gathered,
    drills: &[RecoveryDrill],
    now: Timestamp,
) -> Result<bool, CallError> {
    let named = policy
        .spec
        .evidence
        .as_ref()
        .and_then(|evidence| evidence.mlflow.as_ref());
    let Some(named) = named.filter(|named| named.log_back) else {
        return Ok(false);
    };
    let Some(server) = context.evidence.server(&named.source) else {
        return Ok(false);
    };
    let mut wrote = false;
    for incident in &gathered.incidents {
        let status = incident.status.clone().unwrap_or_default();
        let run = incident.spec.mlflow_run_id.as_deref();
        let log = Log {
            run: run.filter(|_| postmortem::is_due(&status)).and_then(RunId::parse),
            conditions: &status.conditions,
            files: || of_incident(incident),
        };
        if let Some((holds, reason, message)) = progress(context, &server, incident, log) {
            let mut changed = incident.clone();
            let conditions = &mut changed.status.get_or_insert_default().conditions;
            conditions::set(conditions, CONDITION, holds, reason, &message, None, &Time(now));
            wrote |= changed.status != incident.status && context.replace_status(&changed).await.map(|_| true)?;
        }
    }
    for drill in drills {
        let status = drill.status.clone().unwrap_or_default();
        let log = Log {
            run: run_of(&status, gathered).filter(|_| status.finished_at.is_some()),
            conditions: &status.conditions,
            files: || of_drill(drill),
        };
        if let Some((holds, reason, message)) = progress(context, &server, drill, log) {
            let mut changed = drill.clone();
            let conditions = &mut changed.status.get_or_insert_default().conditions;
            conditions::set(conditions, CONDITION, holds, reason, &message, None, &Time(now));
            wrote |= changed.status != drill.status && context.replace_status(&changed).await.map(|_| true)?;
        }
    }
    Ok(wrote)
}

/// What is to be logged about one object.
struct Log<'a, F> {
    /// To which run; none while it is not over, or comes from no run.
    run: Option<RunId>,
    /// What is known of it.
    conditions: &'a [Condition],
    /// The files, made when they are sent.
    files: F,
}

type Files = [(&'static str, String); 2];

/// How the logging of one object stands, where there is something to say; starts an attempt when one is due.
fn progress<K: ResourceExt>(
    context: &Context,
    server: &Arc<Mlflow>,
    object: &K,
    log: Log<'_, impl FnOnce() -> Files>,
) -> Option<(Status, &'static str, String)> {
    let (run, uid) = (log.run?, object.uid()?);
    if conditions::is_true(log.conditions, CONDITION) {
        context.mlflow_exports.forget(&uid);
        return None;
    }
    let (server, name) = (server.clone(), object.name_any());
    let outcome = context.mlflow_exports.ask(&uid, || {
        let files = (log.files)();
        async move {
            let sent = send(&server, &run, &name, files).await;
            sent.map_err(|error| error.to_string())
        }
    });
    outcome.map(|outcome| match outcome {
        Ok(()) => (Status::True, "Logged", "logged to the MLflow run".to_owned()),
        Err(problem) => (Status::False, "NotLogged", problem),
    })
}

/// The run of the checkpoint that a drill went back to, while that checkpoint is on record.
fn run_of(status: &RecoveryDrillStatus, gathered: &Gathered) -> Option<RunId> {
    let went_back_to = &status.intent.as_ref()?.checkpoint;
    let checkpoint = gathered
        .checkpoints
        .iter()
        .find(|checkpoint| checkpoint.uid().as_deref() == Some(went_back_to.uid.as_str()))?;
    RunId::parse(checkpoint.spec.provenance.as_ref()?.mlflow_run_id.as_deref()?)
}

fn of_incident(incident: &QualityIncident) -> Files {
    let incidents = std::slice::from_ref(incident);
    [
        ("rollback_log.json", audit_files::rollback_log(incidents)),
        ("postmortem_report.md", audit_files::postmortem_report(incidents)),
    ]
}

fn of_drill(drill: &RecoveryDrill) -> Files {
    let drills = std::slice::from_ref(drill);
    [
        ("recovery_test.json", audit_files::recovery_test(drills)),
        ("weekly_validation.log", audit_files::weekly_validation(drills)),
    ]
}

async fn send(server: &Mlflow, run: &RunId, object: &str, files: Files) -> Result<(), RunError> {
    for (name, text) in files {
        server.put(run, &["quality-officer", object, name], text).await?;
    }
    Ok(())
}
