//! Logs a rollback and its postmortem back to the MLflow run of the release that was rolled back, when the policy says
//! so: in the background, again and again until the server took it. The incident's condition `LoggedBack` tells.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::{
    api::{
        QualityIncident, QualityPolicy,
        conditions::{self, Status},
    },
    controllers::{
        context::{CallError, Context},
        gather::Gathered,
        postmortem,
    },
    evidence::{
        mlflow::Mlflow,
        run::{RunError, RunId},
    },
    exports,
};

/// The condition that says whether it was done.
const CONDITION: &str = "LoggedBack";
/// The first pause after a failure; it doubles.
const AGAIN: Duration = Duration::from_secs(10);
/// And grows no longer than this.
const LATEST: Duration = Duration::from_secs(600);

/// What is being logged back, by the incident's UID.
#[derive(Default)]
pub struct LogBacks(Arc<Mutex<HashMap<String, Attempt>>>);

struct Attempt {
    outcome: Option<Result<(), String>>,
    due: Instant,
    pause: Duration,
    running: bool,
}

impl LogBacks {
    /// What is on record in the incident needs no memory here.
    fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// How the last attempt ended; starts one when it is due.
    fn ask(&self, uid: &str, start: impl FnOnce(Arc<Mutex<HashMap<String, Attempt>>>)) -> Option<Result<(), String>> {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let attempt = attempts.entry(uid.to_owned()).or_insert_with(|| Attempt {
            outcome: None,
            due: now,
            pause: AGAIN,
            running: false,
        });
        if !attempt.running && now >= attempt.due && !matches!(attempt.outcome, Some(Ok(()))) {
            attempt.running = true;
            start(self.0.clone());
        }
        attempt.outcome.clone()
    }
}

/// Logs back what is due for one policy; returns whether a condition was written.
pub async fn log_back(
    context: &Context,
    policy: &QualityPolicy,
    gathered: &Gathered,
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
        let run = incident.spec.mlflow_run_id.as_deref().and_then(RunId::parse);
        let (Some(run), Some(uid)) = (run, incident.uid()) else {
            continue;
        };
        if conditions::is_true(&status.conditions, CONDITION) {
            context.log_backs.forget(&uid);
            continue;
        }
        if !postmortem::is_due(&status) {
            continue;
        }
        let (server, record) = (server.clone(), incident.clone());
        let outcome = context.log_backs.ask(&uid.clone(), |attempts| {
            tokio::spawn(async move {
                let sent = send(&server, &run, &record).await.map_err(|error| error.to_string());
                let mut attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(attempt) = attempts.get_mut(&uid) {
                    attempt.running = false;
                    attempt.outcome = Some(sent);
                    attempt.due = Instant::now() + attempt.pause;
                    attempt.pause = (attempt.pause * 2).min(LATEST);
                }
            });
        });
        let (status, reason, message) = match outcome {
            None => continue,
            Some(Ok(())) => (
                Status::True,
                "Logged",
                "the rollback was logged to the release's run".to_owned(),
            ),
            Some(Err(problem)) => (Status::False, "NotLogged", problem),
        };
        wrote |= tell(context, incident, status, reason, &message, now).await?;
    }
    Ok(wrote)
}

async fn tell(
    context: &Context,
    incident: &QualityIncident,
    status: Status,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Result<bool, CallError> {
    let mut changed = incident.clone();
    let conditions = &mut changed.status.get_or_insert_default().conditions;
    conditions::set(conditions, CONDITION, status, reason, message, None, &Time(now));
    if changed.status == incident.status {
        return Ok(false);
    }
    context.replace_status(&changed).await.map(|_| true)
}

async fn send(server: &Mlflow, run: &RunId, incident: &QualityIncident) -> Result<(), RunError> {
    let incidents = std::slice::from_ref(incident);
    let files = [
        ("rollback_log.json", exports::rollback_log(incidents)),
        ("postmortem_report.md", exports::postmortem_report(incidents)),
    ];
    for (name, text) in files {
        server
            .put(run, &["quality-officer", &incident.name_any(), name], text)
            .await?;
    }
    Ok(())
}
