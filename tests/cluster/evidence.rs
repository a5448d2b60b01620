//! The operator judges a release by the evaluation evidence of its run, and goes back when that is worse than the
//! checkpoint's; what it does not know starts nothing and registers nothing.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use quality_api::{DrillMode, IncidentState, QualityIncident, QualityReportStatus, RollbackCheckpoint, Trigger};
use serde_json::{Value, json};
use stage::{Behaviour, OperatorOptions};

use crate::{
    drills::{ask, when},
    scene::{Scene, bad, good, image, policy, space},
};

/// Runs in a folder: a folder a run.
struct Runs(PathBuf);

impl Runs {
    fn of(scene_folder: &Path) -> Self {
        let folder = scene_folder.join("runs");
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// A run of 400 queries, of which `percent` comply.
    fn log(&self, run: &str, percent: u64) {
        self.log_on(run, percent, "abc");
    }

    fn log_on(&self, run: &str, percent: u64, digest: &str) {
        let folder = self.0.join(run);
        std::fs::create_dir_all(&folder).unwrap();
        let text = compliance(run, percent, digest).to_string();
        std::fs::write(folder.join("compliance_metrics.json"), text).unwrap();
    }
}

/// Outcomes that are no pattern of sessions; a query that complies at a low percentage does at every higher one.
fn compliance(run: &str, percent: u64, digest: &str) -> Value {
    let queries: Vec<Value> = (0_u64..400)
        .map(|query| {
            let mixed = (query.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % 100;
            let hit = mixed < percent;
            json!({
                "query": format!("q{query}"), "session": format!("s{}", query / 4),
                "correct_at_1": hit, "correct_at_5": hit || query % 10 != 0,
                "grades": [if hit { 3 } else { 0 }, 1], "judged": [3, 1],
            })
        })
        .collect();
    json!({"run_id": run, "dataset": {"version": "v7", "digest": digest}, "queries": queries})
}

/// A policy with evidence in the store `models`; only compliance counts.
fn with_evidence(changes: &Value) -> String {
    let mut spec = json!({
        "evidence": {
            "store": {"source": "models"},
            "optional": ["conflict_logs", "calibration_report.json", "compliance_timeseries.csv"],
        },
        "objectives": {"compliance": {"minUplift": "0%"}},
    });
    crate::scene::merge(&mut spec, changes);
    policy(&spec)
}

/// The good release runs with the run `old` (70 %), and both were registered.
async fn guarded(namespace: &str, changes: &Value) -> (Runs, Scene) {
    let (runs, scene) = unguarded(namespace).await;
    runs.log("old", 70);
    annotate(&scene, &good(), "old").await;
    let scene = scene.guard(&with_evidence(changes)).await;
    (runs, scene)
}

async fn unguarded(namespace: &str) -> (Runs, Scene) {
    let space = space(namespace).await;
    let runs = Runs::of(&space.folder());
    let targets = space.endpoints.prometheus_targets.clone();
    let options = OperatorOptions {
        more: json!({"objectStores": {"models": {"url": format!("file://{}", runs.0.display())}}}),
        ..OperatorOptions::for_namespace(namespace, &space.endpoints.prometheus)
    };
    let scene = Scene::set(space, targets, options).await;
    (runs, scene)
}

/// Ships an image whose model comes from a run.
async fn annotate(scene: &Scene, image: &str, run: &str) {
    let template = json!({"spec": {"template": {
        "metadata": {"annotations": {"mlflow.org/run-id": run}},
        "spec": {"containers": [{"name": "server", "image": image}]},
    }}});
    let deployments = scene.space.api::<Deployment>();
    let patch = Patch::Strategic(template);
    deployments
        .patch("ranker", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

async fn report_status(scene: &Scene, what: &str, holds: impl Fn(&QualityReportStatus) -> bool) -> QualityReportStatus {
    let report = scene
        .report(what, |report| report.status.as_ref().is_some_and(&holds))
        .await;
    report.status.unwrap()
}

fn row<'a>(status: &'a QualityReportStatus, name: &str) -> &'a quality_api::QualityRow {
    let found = status.quality.iter().find(|row| row.name == name);
    found.unwrap_or_else(|| panic!("no row {name}: {:#?}", status.quality))
}

async fn is_not_registered(scene: &Scene, image: &str) {
    let all = scene.space.all::<RollbackCheckpoint>().await.unwrap();
    assert!(
        !all.iter().any(|checkpoint| checkpoint.spec.images[0].image == image),
        "{all:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_answers_are_worse_goes_back_although_its_metrics_are_healthy() {
    let (runs, scene) = guarded("worse", &json!({})).await;
    let first = scene.registered(&good()).await;
    let provenance = first.spec.provenance.unwrap();
    assert_eq!(provenance.mlflow_run_id.as_deref(), Some("old"));
    assert_eq!(provenance.dataset.unwrap().digest, "abc");
    runs.log("new", 62);
    scene.service.behave(&bad(), Behaviour::HEALTHY);
    annotate(&scene, &bad(), "new").await;
    let incident = scene.incident(IncidentState::Recovered).await;
    assert_eq!(incident.spec.trigger, Trigger::Compliance);
    let reason = &incident.spec.reason;
    assert!(
        reason.starts_with("Compliance@1 −") && reason.ends_with("compliance_metrics.json#new#v7"),
        "{reason}"
    );
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "4".into()));
    // Rolled back, the template still names the bad release's run; the operator knows better.
    let status = report_status(&scene, "the checkpoint is judged by its own run", |status| {
        status.verdict != "BREACH" && row(status, "Compliance@1").evidence.contains("#old#")
    })
    .await;
    assert!(
        row(&status, "Compliance@1").note.contains("no earlier checkpoint"),
        "{status:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_better_release_is_registered_and_its_uplift_is_shown() {
    let (runs, scene) = guarded("better", &json!({})).await;
    runs.log("new", 83);
    annotate(&scene, &image('c'), "new").await;
    scene.service.behave(&image('c'), Behaviour::HEALTHY);
    scene.registered(&image('c')).await;
    let status = report_status(&scene, "the uplift is shown", |status| status.verdict == "HEALTHY").await;
    assert!(
        status.compliance.starts_with('+') && status.compliance.ends_with('%'),
        "{}",
        status.compliance
    );
    assert_eq!(status.slos, "4/6");
    let slo = &status.slo_summary[0];
    assert_eq!((slo.slo.as_str(), slo.status.as_str()), ("Compliance@1", "PASSING"));
    assert_eq!(slo.evidence, "compliance_metrics.json#new#v7");
    assert!(
        slo.current.contains("CI95") && slo.current.contains("n = 400"),
        "{}",
        slo.current
    );
    assert!(scene.space.all::<QualityIncident>().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_without_evidence_is_left_alone_and_is_no_checkpoint_until_there_is_some() {
    let (runs, scene) = guarded("later", &json!({})).await;
    scene.service.behave(&image('c'), Behaviour::HEALTHY);
    annotate(&scene, &image('c'), "late").await;
    scene.condition("EvidenceComplete", "RunNotFound").await;
    scene.condition("SLOsMet", "Caution").await;
    scene.nothing_happens_for(Duration::from_secs(10)).await;
    is_not_registered(&scene, &image('c')).await;
    runs.log("late", 75);
    scene.registered(&image('c')).await;
    scene.condition("EvidenceComplete", "EvidenceUsable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_on_other_data_is_unsupported_and_rolls_nothing_back() {
    let (runs, scene) = guarded("other-data", &json!({})).await;
    runs.log_on("new", 20, "xyz");
    scene.service.behave(&image('c'), Behaviour::HEALTHY);
    annotate(&scene, &image('c'), "new").await;
    let status = report_status(&scene, "the comparison is unsupported", |status| {
        status
            .quality
            .iter()
            .any(|row| row.note.contains("another dataset digest"))
    })
    .await;
    assert_eq!(row(&status, "Compliance@1").status, "unsupported");
    assert_eq!(status.verdict, "CAUTION");
    scene.nothing_happens_for(Duration::from_secs(8)).await;
    assert!(scene.space.all::<QualityIncident>().await.unwrap().is_empty());
    is_not_registered(&scene, &image('c')).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_rollback_waits_on_though_the_evidence_cannot_be_read_any_more() {
    let (runs, mut scene) = guarded("evidence-gone", &json!({"rollback": {"mode": "Prepare"}})).await;
    runs.log("new", 60);
    scene.service.behave(&bad(), Behaviour::HEALTHY);
    annotate(&scene, &bad(), "new").await;
    scene.incident(IncidentState::AwaitingApproval).await;
    std::fs::remove_dir_all(runs.0.join("new")).unwrap();
    scene.operator.restart().unwrap();
    scene.condition("EvidenceComplete", "RunNotFound").await;
    scene.looks(3.0).await;
    let incident = scene.incident(IncidentState::AwaitingApproval).await;
    scene.approve(&incident);
    scene.incident(IncidentState::Recovered).await;
    assert_eq!(scene.runs().await, good());
}

/// `quality-officer check` on this namespace's metrics: exit code and text.
fn checked(scene: &Scene, policy: &str) -> (Option<i32>, String) {
    let path = scene.space.folder().join("check.yaml");
    std::fs::write(&path, policy).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_quality-officer"))
        .args([
            "check",
            "--prometheus",
            &scene.space.endpoints.prometheus,
            "-n",
            &scene.space.namespace,
            "-f",
        ])
        .arg(&path)
        .output()
        .unwrap();
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_the_metrics_without_the_cluster_finds_what_the_operator_found() {
    let observe = policy(&json!({"rollback": {"mode": "Observe"}}));
    let scene = Scene::guarded_by("checked", &observe).await;
    scene.condition("SLOsMet", "Healthy").await;
    let (code, text) = checked(&scene, &observe);
    assert_eq!(code, Some(0), "{text}");
    scene.ship(&bad()).await;
    scene.incident(IncidentState::Observed).await;
    // Without the cluster nobody knows that these pods are new: their first reading only sets the mark.
    scene.looks(4.0).await;
    let (code, text) = checked(&scene, &observe);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("Breach        error rate "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_uplift_is_a_breach_that_rolls_nothing_back() {
    let (runs, scene) = guarded("uplift", &json!({"objectives": {"compliance": {"minUplift": "10%"}}})).await;
    runs.log("new", 71);
    scene.service.behave(&image('c'), Behaviour::HEALTHY);
    annotate(&scene, &image('c'), "new").await;
    let status = report_status(&scene, "the uplift is missed", |status| {
        status.slo_summary.first().is_some_and(|slo| slo.status == "FAILING")
    })
    .await;
    assert_eq!(status.verdict, "BREACH");
    assert!(
        status
            .findings
            .iter()
            .any(|finding| finding.starts_with("Compliance@1 ")),
        "{status:#?}"
    );
    scene.nothing_happens_for(Duration::from_secs(8)).await;
    assert!(scene.space.all::<QualityIncident>().await.unwrap().is_empty());
}

/// The good release runs under a policy that logs back.
async fn logging_back(namespace: &str) -> (stage::Tracking, String, String, Scene) {
    by_mlflow(namespace, &json!({"evidence": {"mlflow": {"logBack": true}}})).await
}

/// The good release runs under a policy with a real MLflow: the server, and the runs of a good and of a worse model.
async fn by_mlflow(namespace: &str, changes: &Value) -> (stage::Tracking, String, String, Scene) {
    let space = space(namespace).await;
    let endpoints = space.endpoints.clone();
    let mlflow = tokio::task::spawn_blocking(move || bed::Mlflow::shared(&endpoints).unwrap());
    let mlflow = mlflow.await.unwrap();
    let tracking = stage::Tracking::at(mlflow.url()).unwrap();
    let (old, new) = (
        tracking.evaluate("v1").await.unwrap(),
        tracking.evaluate("quantised").await.unwrap(),
    );
    let options = OperatorOptions {
        more: json!({"mlflowSources": {"default": {"url": mlflow.url()}}}),
        ..OperatorOptions::for_namespace(namespace, &space.endpoints.prometheus)
    };
    let targets = space.endpoints.prometheus_targets.clone();
    let scene = Scene::set(space, targets, options).await;
    annotate(&scene, &good(), &old).await;
    let mut spec = json!({
        "evidence": {
            "mlflow": {},
            "optional": ["conflict_logs", "calibration_report.json", "compliance_timeseries.csv"],
        },
        "objectives": {"compliance": {"minUplift": "0%"}},
    });
    crate::scene::merge(&mut spec, changes);
    (tracking, old, new, scene.guard(&policy(&spec)).await)
}

fn is_logged_back(conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]) -> bool {
    quality_api::conditions::is_true(conditions, "LoggedBack")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_and_its_postmortem_are_logged_to_the_run_of_the_release() {
    let (tracking, _, new, scene) = logging_back("log-back").await;
    scene.service.behave(&bad(), Behaviour::HEALTHY);
    annotate(&scene, &bad(), &new).await;
    let is_logged = |all: &[QualityIncident]| {
        all.iter()
            .any(|incident| is_logged_back(&incident.status.clone().unwrap_or_default().conditions))
    };
    let all = scene.incidents("the rollback is logged back", is_logged).await;
    let incident = &all[0];
    assert_eq!(
        (incident.spec.trigger, incident.spec.mlflow_run_id.as_deref()),
        (Trigger::Compliance, Some(new.as_str()))
    );
    let folder = format!("quality-officer/{}", incident.metadata.name.as_deref().unwrap());
    let text = tracking
        .read(&new, &format!("{folder}/postmortem_report.md"))
        .await
        .unwrap();
    assert_eq!(Some(&text), incident.status.as_ref().unwrap().postmortem.as_ref());
    let log = tracking
        .read(&new, &format!("{folder}/rollback_log.json"))
        .await
        .unwrap();
    let log: Value = serde_json::from_str(&log).unwrap();
    assert_eq!(log["rollbacks"][0]["mlflow_run_id"], new.as_str());
    assert_eq!(log["rollbacks"][0]["trigger"], "Compliance");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_is_logged_once_to_the_run_of_the_checkpoint_that_it_went_back_to() {
    let (tracking, old, _, scene) = logging_back("log-drill").await;
    ask(&scene, "rehearsal", DrillMode::Shadow);
    let drill = when(&scene, "rehearsal", "is logged back", |drill| {
        is_logged_back(&drill.status.clone().unwrap_or_default().conditions)
    })
    .await;
    let test = tracking
        .read(&old, "quality-officer/rehearsal/recovery_test.json")
        .await
        .unwrap();
    let test: Value = serde_json::from_str(&test).unwrap();
    let uid = drill.metadata.uid.clone().unwrap();
    assert_eq!(
        (
            &test["drills"][0]["log_id"],
            &test["drills"][0]["result"],
            test["drills"].as_array().unwrap().len()
        ),
        (&json!("rehearsal"), &json!("Passed"), 1)
    );
    let log = tracking
        .read(&old, "quality-officer/rehearsal/weekly_validation.log")
        .await
        .unwrap();
    assert!(
        log.contains(&format!("run_id={uid}")) && log.lines().count() == 1,
        "{log}"
    );
    scene.looks(3.0).await;
    let again = scene
        .space
        .api::<quality_api::RecoveryDrill>()
        .get("rehearsal")
        .await
        .unwrap();
    assert_eq!(again.metadata.resource_version, drill.metadata.resource_version, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_after_a_rollback_is_judged_by_the_checkpoints_run() {
    // With `allowPrevious` a false incident would be a false rollback, too.
    let (tracking, _, worse, scene) = by_mlflow("restart-after", &json!({"rollback": {"allowPrevious": true}})).await;
    // Another good release: the first one is what it is compared with from then on.
    let (better, own) = (image('c'), tracking.evaluate("v1").await.unwrap());
    scene.service.behave(&better, Behaviour::HEALTHY);
    annotate(&scene, &better, &own).await;
    scene.registered(&better).await;
    scene.service.behave(&bad(), Behaviour::HEALTHY);
    annotate(&scene, &bad(), &worse).await;
    let incident = scene.incident(IncidentState::Recovered).await;
    assert_eq!(
        (incident.spec.trigger, incident.spec.mlflow_run_id.as_deref()),
        (Trigger::Compliance, Some(worse.as_str()))
    );
    assert_eq!(scene.runs().await, better);
    let before: u64 = scene.revision().await.parse().unwrap();

    // The template carries the run of the release that was rolled back through the restart. The gate follows the incident.
    scene.gate("RollbackReady").await;
    scene
        .space
        .kubectl(&["rollout", "restart", "deployment/ranker"])
        .unwrap();
    stage::script::rolled_out(&scene.space, "ranker").await.unwrap();
    assert_eq!(scene.revision().await, (before + 1).to_string());
    scene.looks(4.0).await;
    scene.nothing_happens_for(Duration::from_secs(15)).await;
    let incidents = scene.space.all::<QualityIncident>().await.unwrap();
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    let by_its_own = format!("compliance_metrics.json#{own}#");
    report_status(&scene, "the checkpoint is judged by its own run", |status| {
        let mut rows = status.quality.iter();
        rows.any(|row| row.name == "Compliance@1" && row.evidence.starts_with(&by_its_own))
    })
    .await;
    assert_eq!(
        (scene.runs().await, scene.revision().await),
        (better, (before + 1).to_string())
    );
}
