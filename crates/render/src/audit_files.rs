//! What the operator did, as the files that audits and pipelines read: `rollback_log.json`, `postmortem_report.md`,
//! `recovery_test.json` and `weekly_validation.log`. Functions of the records alone: the same records give the same bytes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde::Serialize;

use quality_api::{IncidentState, QualityIncident, RecoveryDrill, RecoveryDrillStatus, Severity, Trigger};
use quality_core::format::UNKNOWN;

/// One rollback.
#[derive(Debug, Serialize)]
struct Rollback<'a> {
    /// The incident's UID: unique for ever.
    #[serde(rename = "rollback_run_id")]
    run_id: String,
    /// The incident's name.
    log_id: String,
    namespace: String,
    policy: &'a str,
    deployment: &'a str,
    /// When the Deployment was changed.
    timestamp: String,
    trigger: Trigger,
    severity: Severity,
    trigger_reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mlflow_run_id: Option<&'a str>,
    from: Vec<&'a str>,
    to: Vec<&'a str>,
    checkpoint: Option<&'a str>,
    state: IncidentState,
    rto_seconds: Option<i64>,
    rpo_seconds: Option<i64>,
}

/// The rollbacks among the incidents, oldest first.
fn rollbacks(incidents: &[QualityIncident]) -> Vec<&QualityIncident> {
    let mut changed: Vec<&QualityIncident> = incidents
        .iter()
        .filter(|incident| {
            incident
                .status
                .as_ref()
                .is_some_and(|status| status.patched_at.is_some())
        })
        .collect();
    changed.sort_by_key(|incident| {
        let at = incident.status.as_ref().and_then(|status| status.patched_at.as_ref());
        (at.map(|at| at.0), incident.name_any())
    });
    changed
}

/// `rollback_log.json`: every rollback with its run id, time and reason.
pub fn rollback_log(incidents: &[QualityIncident]) -> String {
    let entry = |incident: &QualityIncident| {
        let (spec, status) = (&incident.spec, incident.status.clone().unwrap_or_default());
        let checkpoint = spec.checkpoint.as_ref();
        serde_json::to_value(Rollback {
            run_id: incident.uid().unwrap_or_default(),
            log_id: incident.name_any(),
            namespace: incident.namespace().unwrap_or_default(),
            policy: &spec.policy.name,
            deployment: &spec.deployment.name,
            timestamp: status.patched_at.map(|at| at.0.to_string()).unwrap_or_default(),
            trigger: spec.trigger,
            severity: spec.severity,
            trigger_reason: &spec.reason,
            mlflow_run_id: spec.mlflow_run_id.as_deref(),
            from: spec.from_images.iter().map(|image| image.image.as_str()).collect(),
            to: checkpoint
                .map(|checkpoint| checkpoint.images.iter().map(|image| image.image.as_str()).collect())
                .unwrap_or_default(),
            checkpoint: checkpoint.map(|checkpoint| checkpoint.name.as_str()),
            state: status.state,
            rto_seconds: status.rto_seconds,
            rpo_seconds: status.rpo_seconds,
        })
        .unwrap_or_default()
    };
    let entries: Vec<serde_json::Value> = rollbacks(incidents).into_iter().map(entry).collect();
    pretty(&serde_json::json!({ "rollbacks": entries }))
}

/// `postmortem_report.md`: the postmortem of every rollback that ended, newest first.
pub fn postmortem_report(incidents: &[QualityIncident]) -> String {
    let mut texts: Vec<String> = rollbacks(incidents)
        .into_iter()
        .filter_map(|incident| incident.status.as_ref()?.postmortem.clone())
        .collect();
    texts.reverse();
    if texts.is_empty() {
        return "No rollback has ended yet.\n".to_owned();
    }
    texts.join("\n---\n\n")
}

/// The drills that ended, oldest first.
fn ended(drills: &[RecoveryDrill]) -> Vec<(&RecoveryDrill, RecoveryDrillStatus)> {
    let mut ended: Vec<(&RecoveryDrill, RecoveryDrillStatus)> = drills
        .iter()
        .filter_map(|drill| Some((drill, drill.status.clone()?)))
        .filter(|(_, status)| status.finished_at.is_some())
        .collect();
    ended.sort_by_key(|(drill, status)| (status.finished_at.as_ref().map(|at| at.0), drill.name_any()));
    ended
}

fn instant(at: Option<&Time>) -> Option<String> {
    at.map(|at| at.0.to_string())
}

/// `recovery_test.json`: every drill that ended, with its times and its result.
pub fn recovery_test(drills: &[RecoveryDrill]) -> String {
    let entry = |(drill, status): (&RecoveryDrill, RecoveryDrillStatus)| {
        let outcome = status.outcome.as_ref();
        serde_json::json!({
            "run_id": drill.uid().unwrap_or_default(),
            "log_id": drill.name_any(),
            "namespace": drill.namespace().unwrap_or_default(),
            "policy": drill.spec.policy_ref.name,
            "mode": drill.spec.mode,
            "checkpoint": status.intent.as_ref().map(|intent| intent.checkpoint.name.clone()),
            "timestamp": instant(status.finished_at.as_ref()),
            "started_at": instant(status.started_at.as_ref()),
            "fault_at": instant(status.fault_at.as_ref()),
            "recovered_at": instant(status.recovered_at.as_ref()),
            "rto_seconds": status.rto_seconds,
            "rpo_seconds": status.rpo_seconds,
            "load_seconds": status.load_seconds,
            "result": outcome.map(|outcome| outcome.result.name()),
            "reason": outcome.map(|outcome| outcome.reason.clone()),
            "message": outcome.map(|outcome| outcome.message.clone()),
        })
    };
    let entries: Vec<serde_json::Value> = ended(drills).into_iter().map(entry).collect();
    pretty(&serde_json::json!({ "drills": entries }))
}

/// `weekly_validation.log`: a line a drill that ended.
pub fn weekly_validation(drills: &[RecoveryDrill]) -> String {
    let line = |(drill, status): (&RecoveryDrill, RecoveryDrillStatus)| {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| UNKNOWN.to_owned());
        let outcome = status.outcome.as_ref();
        format!(
            "{} run_id={} log_id={} policy={} result={} rto={} rpo={} load={} {}\n",
            instant(status.finished_at.as_ref()).unwrap_or_default(),
            drill.uid().unwrap_or_default(),
            drill.name_any(),
            drill.spec.policy_ref.name,
            outcome.map_or(UNKNOWN, |outcome| outcome.result.name()),
            known(&status.rto),
            known(&status.rpo),
            known(&status.load_time),
            outcome
                .map(|outcome| outcome.message.replace('\n', " "))
                .unwrap_or_default(),
        )
    };
    ended(drills).into_iter().map(line).collect()
}

fn pretty(value: &serde_json::Value) -> String {
    // A Value always serializes.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(name: &str, patched: Option<&str>) -> QualityIncident {
        let mut status = serde_json::json!({
            "state": "Recovered", "rtoSeconds": 41, "rpoSeconds": 120, "postmortem": format!("# Postmortem of {name}\n"),
        });
        if let Some(patched) = patched {
            status["patchedAt"] = patched.into();
        }
        serde_json::from_value(serde_json::json!({
            "apiVersion": "quality-officer.dev/v1alpha1", "kind": "QualityIncident",
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
            "spec": {
                "key": "k", "policy": {"name": "ranker", "uid": "p"}, "deployment": {"name": "ranker", "uid": "d"},
                "replicaSet": "ranker-1", "revision": "2", "trigger": "ErrorRate", "severity": "Rollback",
                "onset": "2026-11-24T01:00:00Z", "detected": "2026-11-24T01:00:30Z", "reason": "error rate 3.1%",
                "from": "sha256:9be1…", "fromImages": [{"container": "server", "image": "r/x@sha256:b"}],
                "checkpoint": {"name": "c-1", "uid": "c", "images": [{"container": "server", "image": "r/x@sha256:a"}]},
                "mlflowRunId": "5f2a",
            },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn the_log_holds_every_rollback_with_its_run_id_time_and_reason_and_nothing_else() {
        let incidents = [
            incident("later", Some("2026-11-24T03:00:00Z")),
            incident("waits", None),
            incident("first", Some("2026-11-24T01:00:31Z")),
        ];
        let log: serde_json::Value = serde_json::from_str(&rollback_log(&incidents)).unwrap();
        let entries = log["rollbacks"].as_array().unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(
            entries[0],
            serde_json::json!({
                "rollback_run_id": "uid-first", "log_id": "first", "namespace": "shop", "policy": "ranker",
                "deployment": "ranker", "timestamp": "2026-11-24T01:00:31Z", "trigger": "ErrorRate",
                "severity": "Rollback", "trigger_reason": "error rate 3.1%", "mlflow_run_id": "5f2a",
                "from": ["r/x@sha256:b"], "to": ["r/x@sha256:a"], "checkpoint": "c-1", "state": "Recovered",
                "rto_seconds": 41, "rpo_seconds": 120,
            })
        );
        assert_eq!(entries[1]["log_id"], "later");
    }

    fn drill(name: &str, finished: Option<&str>) -> RecoveryDrill {
        let mut status = serde_json::json!({
            "startedAt": "2026-11-24T03:00:00Z", "faultAt": "2026-11-24T03:00:10Z", "recoveredAt": "2026-11-24T03:00:22Z",
            "rto": "12s", "rtoSeconds": 12, "rpo": "40s", "rpoSeconds": 40, "loadTime": "3s", "loadSeconds": 3,
            "outcome": {"result": "Passed", "reason": "WithinObjectives", "message": "both kept"},
        });
        if let Some(finished) = finished {
            status["finishedAt"] = finished.into();
        }
        serde_json::from_value(serde_json::json!({
            "apiVersion": "quality-officer.dev/v1alpha1", "kind": "RecoveryDrill",
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
            "spec": {"policyRef": {"name": "ranker"}}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn drills_that_ended_are_told_in_their_order_with_run_id_times_and_result() {
        let drills = [
            drill("later", Some("2026-12-01T03:00:30Z")),
            drill("runs", None),
            drill("first", Some("2026-11-24T03:00:30Z")),
        ];
        let told: serde_json::Value = serde_json::from_str(&recovery_test(&drills)).unwrap();
        let entries = told["drills"].as_array().unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(
            (&entries[0]["log_id"], &entries[0]["rto_seconds"], &entries[0]["result"]),
            (&"first".into(), &12.into(), &"Passed".into())
        );
        assert_eq!(entries[0]["mode"], "Shadow");
        let log = weekly_validation(&drills);
        assert_eq!(log.lines().count(), 2);
        assert_eq!(
            log.lines().next(),
            Some(
                "2026-11-24T03:00:30Z run_id=uid-first log_id=first policy=ranker result=Passed rto=12s rpo=40s load=3s \
                 both kept"
            )
        );
        assert_eq!(weekly_validation(&[]), "");
    }

    #[test]
    fn the_report_holds_the_newest_postmortem_first() {
        let incidents = [
            incident("first", Some("2026-11-24T01:00:31Z")),
            incident("later", Some("2026-11-24T03:00:00Z")),
        ];
        assert_eq!(
            postmortem_report(&incidents),
            "# Postmortem of later\n\n---\n\n# Postmortem of first\n"
        );
        assert_eq!(postmortem_report(&[]), "No rollback has ended yet.\n");
    }
}
