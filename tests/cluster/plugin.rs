//! `kubectl quality` as on-call calls it, on the real control plane.

use std::process::Command;

use quality_api::{IncidentState, QualityReport};
use serde_json::json;

use crate::scene::{Scene, bad, good, policy};

/// The plugin in the scene's namespace: whether it succeeded, and what it said.
pub fn quality(scene: &Scene, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(workload::harness::program("kubectl-quality").unwrap())
        .args(arguments)
        .args(["-n", &scene.space.namespace])
        .env("KUBECONFIG", &scene.space.endpoints.kubeconfig)
        .output()
        .unwrap();
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

pub fn said(scene: &Scene, arguments: &[&str]) -> String {
    let (succeeded, text) = quality(scene, arguments);
    assert!(succeeded, "{arguments:?}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn on_call_reads_what_broke_how_sure_that_is_approves_and_reads_what_was_done() {
    let prepare = policy(&json!({"rollback": {"mode": "Prepare"}}));
    let scene = Scene::guarded_by("plugin", &prepare).await;
    assert_eq!(said(&scene, &["incidents"]), "No incident.\n");
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::AwaitingApproval).await;
    let name = incident.metadata.name.unwrap();
    let told = |report: &QualityReport| report.status.as_ref().is_some_and(|status| status.incident == name);
    scene.report("the report names the incident", told).await;

    let report = said(&scene, &["report", "ranker"]);
    assert!(report.starts_with("plugin/ranker: BREACH"), "{report}");
    assert!(
        report
            .lines()
            .all(|line| line.chars().count() <= 100 || line.contains("Final Verdict")),
        "{report}"
    );
    let strict = said(&scene, &["report", "ranker", "-o", "markdown"]);
    let headings: Vec<&str> = strict.lines().filter(|line| line.starts_with("## ")).collect();
    assert_eq!(headings.len(), 13, "{strict}");
    assert!(headings[0].starts_with("## 1. ") && headings[12].starts_with("## 13. "));
    let last = strict.lines().last().unwrap();
    assert!(
        last.starts_with("Quality & Safety Officer Final Verdict: BREACH — All SLOs "),
        "{last}"
    );
    let data: serde_json::Value = serde_json::from_str(&said(&scene, &["report", "-o", "json"])).unwrap();
    assert_eq!(data["items"][0]["status"]["verdict"], "BREACH");

    let why = said(&scene, &["explain", "ranker"]);
    assert!(
        why.contains("ErrorRate       BREACH since ") && why.contains("why it acts: at most 1%"),
        "{why}"
    );
    assert!(said(&scene, &["checkpoints"]).contains("True"));
    let (early, text) = quality(&scene, &["postmortem", &name]);
    assert!(!early && text.contains("has no postmortem"), "{text}");

    assert!(said(&scene, &["approve", &name]).starts_with(&format!("approved: {name} goes back to")));
    scene.incident(IncidentState::Recovered).await;
    assert_eq!(scene.runs().await, good());
    let postmortem = said(&scene, &["postmortem", &name]);
    assert!(
        postmortem.starts_with(&format!("# Postmortem of {name}")),
        "{postmortem}"
    );
    let (again, text) = quality(&scene, &["approve", &name]);
    assert!(
        !again && text.contains("is Recovered: only one that is AwaitingApproval"),
        "{text}"
    );
    let folder = scene.space.folder().join("export");
    said(&scene, &["export", folder.to_str().unwrap()]);
    let exported = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert!(exported("rollback_log.json").contains(&name));
    assert!(exported("postmortem_report.md").contains(&name));
    assert_eq!(exported("recovery_test.json"), "{\n  \"drills\": []\n}\n");
    assert_eq!(exported("weekly_validation.log"), "");
    assert!(exported("checkpoint_registry.yaml").contains(&good()));
    // What was written is read back: here as it is there already.
    let registry = folder.join("checkpoint_registry.yaml");
    let imported = said(&scene, &["import", "-f", registry.to_str().unwrap()]);
    assert!(
        imported.starts_with("rollbackcheckpoint/ranker-") && imported.ends_with(" unchanged\n"),
        "{imported}"
    );
    completes(&scene, &name);
}

/// By kubectl's own completion, which finds the plugin and its `kubectl_complete-quality` on the PATH.
fn completes(scene: &Scene, incident: &str) {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (folder, endpoints) = (scene.space.folder().join("path"), &scene.space.endpoints);
    std::fs::create_dir_all(&folder).unwrap();
    symlink(
        workload::harness::program("kubectl-quality").unwrap(),
        folder.join("kubectl-quality"),
    )
    .unwrap();
    let script = folder.join("kubectl_complete-quality");
    std::fs::write(&script, said(scene, &["completion", "kubectl"])).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let asked = |words: &[&str]| {
        let output = Command::new(endpoints.programs.join("kubectl"))
            .args(["__complete", "quality", "-n", &scene.space.namespace])
            .args(words)
            .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
            .env("KUBECONFIG", &endpoints.kubeconfig)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        asked(&["postmortem", "ran"]),
        format!("{incident}\tErrorRate Recovered\n:4\n")
    );
    assert!(asked(&["explain", ""]).starts_with("ranker\t"));
    assert!(asked(&["rollback", "ranker", "--to", ""]).starts_with("ranker-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_cannot_be_answered_says_why_and_what_to_do() {
    let scene = Scene::unguarded("plugin-errors").await;
    let (succeeded, text) = quality(&scene, &["explain", "nobody"]);
    assert!(
        !succeeded && text.contains("there is no QualityPolicy nobody in namespace plugin-errors"),
        "{text}"
    );
    let (succeeded, text) = quality(&scene, &["approve", "nothing"]);
    assert!(
        !succeeded && text.contains("there is no QualityIncident nothing"),
        "{text}"
    );
    assert!(said(&scene, &["report"]).starts_with("No report: "));
    let (succeeded, text) = quality(&scene, &["report", "--context", "none"]);
    assert!(!succeeded && text.contains("no cluster: "), "{text}");
    // A cluster that is not there.
    let nowhere = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
        "clusters": [{"name": "nowhere", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": ""}}],
    });
    let path = scene.space.folder().join("nowhere.kubeconfig");
    std::fs::write(&path, nowhere.to_string()).unwrap();
    let (succeeded, text) = quality(&scene, &["report", "--kubeconfig", path.to_str().unwrap()]);
    assert!(
        !succeeded && text.contains("the API server at http://127.0.0.1:1/ cannot be reached: "),
        "{text}"
    );
    // One that has no such kind.
    let bare = crate::proxy::Proxy::of(&scene.space.endpoints.prometheus)
        .await
        .unwrap();
    bare.rule(|_| {
        let body = "404 page not found".to_owned();
        crate::proxy::Act::Answer(crate::proxy::answer(axum::http::StatusCode::NOT_FOUND, body))
    });
    let empty = nowhere.to_string().replace("http://127.0.0.1:1", &bare.url());
    std::fs::write(&path, empty).unwrap();
    let (succeeded, text) = quality(&scene, &["explain", "ranker", "--kubeconfig", path.to_str().unwrap()]);
    assert!(
        !succeeded && text.contains("this cluster has no qualitypolicies: install the definitions"),
        "{text}"
    );
    // Somebody with no rights.
    scene.space.kubectl(&["create", "serviceaccount", "visitor"]).unwrap();
    let (folder, namespace) = (scene.space.folder(), &scene.space.namespace);
    let visitor = stage::install::account_kubeconfig(&scene.space.endpoints, &folder, namespace, "visitor").unwrap();
    let paused = Command::new(workload::harness::program("kubectl-quality").unwrap())
        .args(["pause", "ranker", "-n", namespace])
        .env("KUBECONFIG", visitor)
        .output()
        .unwrap();
    assert!(!paused.status.success());
    let text = String::from_utf8(paused.stderr).unwrap();
    assert!(
        text.contains("you may not patch qualitypolicies in namespace plugin-errors"),
        "{text}"
    );
}
