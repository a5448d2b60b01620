//! Real servers that tests start for themselves: S3, an OCI registry, MLflow, Alertmanager. Each does what tests ask of it,
//! and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

use bed::mlflow::Artifacts;
use bed::registry::{self, Access, INDEX, MANIFEST};
use bed::rest::http::Method;
use bed::rest::{Answer, Rest};
use bed::{Alertmanager, Mlflow, Registry, S3};
use serde_json::{Value, json};

fn get(url: &str) -> Answer {
    Rest::plain().send(&Method::GET, url, &[], b"").unwrap()
}

fn post(url: &str, body: &Value) -> Value {
    let headers = [("content-type", "application/json")];
    let answer = Rest::plain()
        .send(&Method::POST, url, &headers, body.to_string().as_bytes())
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Nothing is left of a server that was dropped.
fn assert_gone(id: u32, parent: &Path) {
    assert!(!Path::new(&format!("/proc/{id}")).exists());
    assert_eq!(fs::read_dir(parent).unwrap().count(), 0);
}

#[test]
fn an_s3_server_holds_objects_that_its_key_reads_and_others_do_not() {
    let parent = tempfile::tempdir().unwrap();
    let s3 = S3::start(parent.path()).unwrap();
    s3.make_bucket("models").unwrap();
    let tag = s3.put("models", "a b/run+1/metrics.json", b"{}").unwrap();
    // The MD5 of `{}`.
    assert_eq!(tag, "\"99914b932bd37a50b983c5e7c90ae93b\"");

    let path = "/models/a b/run+1/metrics.json";
    let answer = s3.request(&Method::GET, path, &[], b"").unwrap();
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "{}"));
    let answer = s3.request(&Method::HEAD, path, &[], b"").unwrap();
    assert_eq!(
        (answer.header("content-length"), answer.header("etag")),
        ("2", tag.as_str())
    );
    let listing = [("list-type", "2"), ("prefix", "a b/")];
    let answer = s3.request(&Method::GET, "/models", &listing, b"").unwrap();
    assert!(
        answer.text().contains("<Key>a b/run+1/metrics.json</Key>"),
        "{}",
        answer.text()
    );

    let unsigned = format!("{}/models/a%20b/run%2B1/metrics.json", s3.url());
    assert_eq!(get(&unsigned).status, 403);
    s3.allow_anonymous_reads("models").unwrap();
    assert_eq!(get(&unsigned).text(), "{}");

    fs::write(s3.file("models", "a b/run+1/metrics.json"), "damaged").unwrap();
    assert_eq!(get(&unsigned).text(), "damaged");
    // A file that was put there behind the server's back is an object too.
    fs::write(s3.file("models", "by-hand.json"), "[]").unwrap();
    assert_eq!(get(&format!("{}/models/by-hand.json", s3.url())).text(), "[]");
    s3.remove("models", "a b/run+1/metrics.json").unwrap();
    assert_eq!(get(&unsigned).status, 404);

    let id = s3.id();
    drop(s3);
    assert_gone(id, parent.path());
}

#[test]
fn a_registry_holds_images_until_they_are_deleted() {
    let parent = tempfile::tempdir().unwrap();
    let registry = Registry::start(parent.path(), Access::Anonymous).unwrap();
    let image = registry
        .push("team/model", "v1", &[b"layer one", b"layer two"])
        .unwrap();
    assert!(image.reference.ends_with(&format!("/team/model@{}", image.manifest)));
    let manifest = |reference: &str| format!("/v2/team/model/manifests/{reference}");
    let head = |path: &str| registry.request(&Method::HEAD, path, MANIFEST, b"").unwrap();
    for reference in ["v1", &image.manifest] {
        let answer = head(&manifest(reference));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("docker-content-digest"), image.manifest);
        assert_eq!(answer.header("content-type"), MANIFEST);
    }

    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{
            "mediaType": MANIFEST,
            "digest": image.manifest,
            "size": head(&manifest("v1")).header("content-length").parse::<u64>().unwrap(),
            "platform": { "architecture": "amd64", "os": "linux" },
        }],
    });
    let digest = registry.push_manifest("team/model", "multi", &index).unwrap();
    let answer = registry.request(&Method::GET, &manifest("multi"), INDEX, b"").unwrap();
    assert_eq!(registry::digest(&answer.body), digest);

    let blob = format!("/v2/team/model/blobs/{}", image.layers[0]);
    assert_eq!(head(&blob).status, 200);
    assert_eq!(fs::read(registry.file(&image.layers[0])).unwrap(), b"layer one");
    registry.delete_blob("team/model", &image.layers[0]).unwrap();
    assert_eq!(head(&blob).status, 404);
    assert_eq!(head(&manifest(&image.manifest)).status, 200);
    registry.delete_manifest("team/model", &image.manifest).unwrap();
    assert_eq!(head(&manifest(&image.manifest)).status, 404);
    assert_eq!(head(&manifest("v1")).status, 404);

    let id = registry.id();
    drop(registry);
    assert_gone(id, parent.path());
}

#[test]
fn a_registry_with_a_login_answers_others_401() {
    let parent = tempfile::tempdir().unwrap();
    let registry = Registry::start(parent.path(), Access::Login).unwrap();
    let image = registry.push("model", "v1", &[b"layer"]).unwrap();
    let url = format!("{}/v2/model/manifests/{}", registry.url(), image.manifest);
    let answer = get(&url);
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").starts_with("Basic realm="));
    let headers = [("authorization", registry::AUTHORIZATION), ("accept", MANIFEST)];
    let answer = Rest::plain().send(&Method::GET, &url, &headers, b"").unwrap();
    assert_eq!(registry::digest(&answer.body), image.manifest);
}

#[test]
fn an_mlflow_server_keeps_runs_and_their_artifacts() {
    let parent = tempfile::tempdir().unwrap();
    let mlflow = Mlflow::start(parent.path(), &Artifacts::Proxied).unwrap();
    let (run, artifacts) = create_run(mlflow.url());
    let folder = artifacts.strip_prefix("mlflow-artifacts:/").unwrap();
    let file = format!(
        "{}/api/2.0/mlflow-artifacts/artifacts/{folder}/evaluation/metrics.json",
        mlflow.url()
    );
    let body = br#"{"accuracy": 0.9}"#;
    let answer = Rest::plain().send(&Method::PUT, &file, &[], body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());

    let list = format!("{}/api/2.0/mlflow/artifacts/list?run_id={run}", mlflow.url());
    assert_eq!(
        get(&list).json()["files"],
        json!([{ "path": "evaluation", "is_dir": true }])
    );
    assert_eq!(
        get(&format!("{list}&path=evaluation")).json()["files"],
        json!([{ "path": "evaluation/metrics.json", "is_dir": false, "file_size": body.len() }])
    );
    assert_eq!(get(&file).body, body);
    let on_disk = mlflow.artifacts().unwrap().join(folder).join("evaluation/metrics.json");
    assert_eq!(fs::read(on_disk).unwrap(), body);

    the_client_of_the_environment_reads_the_run(&mlflow, &run);
    let id = mlflow.id().unwrap();
    drop(mlflow);
    assert_gone(id, parent.path());
}

#[test]
fn an_mlflow_server_may_leave_its_artifacts_on_s3() {
    let parent = tempfile::tempdir().unwrap();
    let s3 = S3::start(parent.path()).unwrap();
    s3.make_bucket("runs").unwrap();
    let artifacts = Artifacts::Direct {
        root: "s3://runs/mlflow".to_owned(),
        environment: s3.environment(),
    };
    let mlflow = Mlflow::start(parent.path(), &artifacts).unwrap();
    let (run, artifacts) = create_run(mlflow.url());
    let key = artifacts.strip_prefix("s3://runs/").unwrap();
    s3.put("runs", &format!("{key}/metrics.json"), b"{}").unwrap();
    let list = format!("{}/api/2.0/mlflow/artifacts/list?run_id={run}", mlflow.url());
    assert_eq!(
        get(&list).json()["files"],
        json!([{ "path": "metrics.json", "is_dir": false, "file_size": 2 }])
    );
}

/// A run of a new experiment: its id and where its artifacts are.
fn create_run(url: &str) -> (String, String) {
    let experiment = post(
        &format!("{url}/api/2.0/mlflow/experiments/create"),
        &json!({ "name": "evaluations" }),
    );
    let run = post(
        &format!("{url}/api/2.0/mlflow/runs/create"),
        &json!({ "experiment_id": experiment["experiment_id"], "start_time": 1_790_000_000_000_u64 }),
    );
    let text = |name: &str| run["run"]["info"][name].as_str().unwrap().to_owned();
    (text("run_id"), text("artifact_uri"))
}

fn the_client_of_the_environment_reads_the_run(mlflow: &Mlflow, run: &str) {
    let script = format!("import mlflow; print(mlflow.get_run('{run}').info.status)");
    let output = Command::new(mlflow.python())
        .args(["-c", &script])
        .envs(mlflow.client_environment())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "RUNNING");
}

#[test]
fn an_alertmanager_keeps_what_it_is_told_until_it_ends() {
    let parent = tempfile::tempdir().unwrap();
    let alertmanager = Alertmanager::start(parent.path(), None).unwrap();
    assert_eq!(alertmanager.alerts().unwrap(), Vec::<Value>::new());
    let alert = json!([{"labels": {"alertname": "QualityBreach"}, "annotations": {"summary": "3.1%"}}]);
    let url = format!("{}/api/v2/alerts", alertmanager.url());
    let headers = [("content-type", "application/json")];
    let answer = Rest::plain()
        .send(&Method::POST, &url, &headers, alert.to_string().as_bytes())
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let alerts = alertmanager.alerts().unwrap();
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0]["annotations"]["summary"], "3.1%");
    let id = alertmanager.id();
    drop(alertmanager);
    assert_gone(id, parent.path());
}
