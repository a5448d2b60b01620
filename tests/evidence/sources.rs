//! Where runs are: a tracking server's proxy, an object store, a folder; and runs that are no evidence.

use bed::{Mlflow, S3, mlflow::Artifacts};
use quality_core::slo::Health;
use quality_officer::check::{Request, check};
use serde_json::json;
use stage::Tracking;

use crate::runs::{compliance, endpoints, evaluated, folder, judge, policy, refused, shared};

#[tokio::test(flavor = "multi_thread")]
async fn a_worse_run_is_a_breach_and_a_better_one_is_healthy_with_its_claims() {
    let mlflow = shared().await;
    let tracking = Tracking::at(mlflow.url()).unwrap();
    let (old, worse, better) = (
        evaluated(&tracking, 70).await,
        evaluated(&tracking, 60).await,
        evaluated(&tracking, 85).await,
    );
    let outcome = judge(mlflow.url(), &worse, Some(&old)).await.unwrap();
    assert_eq!(
        (outcome.health, outcome.exit_code()),
        (Health::Breach, 4),
        "{}",
        outcome.text()
    );
    let claim = format!("[compliance_metrics.json#{worse}#v7]");
    assert!(outcome.text().contains(&claim), "{}", outcome.text());
    let outcome = judge(mlflow.url(), &better, Some(&old)).await.unwrap();
    assert_eq!(
        (outcome.health, outcome.exit_code()),
        (Health::Healthy, 0),
        "{}",
        outcome.text()
    );
    let again = judge(mlflow.url(), &better, Some(&old)).await.unwrap();
    assert_eq!(again.text(), outcome.text(), "the same evidence, the same report");
    assert_eq!(again.json().to_string(), outcome.json().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_runs_failed_was_deleted_or_never_was_is_no_evidence() {
    let mlflow = shared().await;
    let (tracking, url) = (Tracking::at(mlflow.url()).unwrap(), mlflow.url());
    let run = tracking.begin().await.unwrap().run;
    assert_eq!(refused(url, &run).await, format!("run {run} is still running"));
    tracking.end(&run, "FAILED").await.unwrap();
    assert_eq!(refused(url, &run).await, format!("run {run} did not finish: it failed"));
    tracking.end(&run, "KILLED").await.unwrap();
    assert_eq!(
        refused(url, &run).await,
        format!("run {run} did not finish: it was killed")
    );
    tracking.delete(&run).await.unwrap();
    assert_eq!(refused(url, &run).await, format!("run {run} was deleted"));
    let never = "0".repeat(32);
    assert_eq!(refused(url, &never).await, format!("there is no run {never}"));
    for strange in ["../../etc/passwd", "a/b", "a?b=c", "run#1", ""] {
        let said = refused(url, strange).await;
        assert!(
            said.ends_with("is neither a folder nor the id of a run"),
            "{strange}: {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_files_name_other_data_than_the_server_knows_is_unsupported() {
    let mlflow = shared().await;
    let tracking = Tracking::at(mlflow.url()).unwrap();
    let begun = tracking.begin().await.unwrap();
    let run = begun.run.clone();
    tracking.dataset(&run, "of-the-server").await.unwrap();
    let bytes = compliance(&run, 70, "of-the-file").into_bytes();
    tracking.put(&begun, "compliance_metrics.json", bytes).await.unwrap();
    tracking.end(&run, "FINISHED").await.unwrap();
    let outcome = judge(mlflow.url(), &run, None).await.unwrap();
    assert_eq!(outcome.health, Health::Caution);
    assert!(
        outcome.text().contains("it names another dataset digest than its run"),
        "{}",
        outcome.text()
    );
    let other = tracking.begin().await.unwrap();
    let bytes = compliance(&run, 70, "abc").into_bytes();
    tracking.put(&other, "compliance_metrics.json", bytes).await.unwrap();
    tracking.end(&other.run, "FINISHED").await.unwrap();
    let outcome = judge(mlflow.url(), &other.run, None).await.unwrap();
    assert!(outcome.text().contains("it names another run"), "{}", outcome.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_in_an_object_store_are_read_from_there_and_only_where_one_is_configured() {
    let start = || {
        let folder = endpoints().work_folder;
        let s3 = S3::start(&folder).unwrap();
        s3.make_bucket("models").unwrap();
        let artifacts = Artifacts::Direct {
            root: "s3://models/runs".to_owned(),
            environment: s3.environment(),
        };
        let mlflow = Mlflow::start(&folder, &artifacts).unwrap();
        (s3, mlflow)
    };
    let (s3, mlflow) = tokio::task::spawn_blocking(start).await.unwrap();
    let tracking = Tracking::at(mlflow.url()).unwrap();
    let mut runs = Vec::new();
    for percent in [70, 60] {
        let begun = tracking.begin().await.unwrap();
        let run = begun.run;
        let folder = begun.artifact_uri.strip_prefix("s3://models/").unwrap();
        let key = format!("{folder}/compliance_metrics.json");
        s3.put("models", &key, compliance(&run, percent, "abc").as_bytes())
            .unwrap();
        tracking.end(&run, "FINISHED").await.unwrap();
        runs.push(run);
    }
    let folder = folder();
    let key = folder.path().join("secret-key");
    std::fs::write(&key, format!("{}\n", s3.secret_key())).unwrap();
    let config = |secret: &std::path::Path| {
        let config = json!({
            "mlflowSources": {"default": {"url": mlflow.url()}},
            "objectStores": {"models": {
                "url": "s3://models",
                "options": {
                    "aws_endpoint": s3.url(), "aws_region": "us-east-1", "aws_allow_http": "true",
                    "aws_access_key_id": s3.access_key(),
                },
                "optionFiles": {"aws_secret_access_key": secret},
            }},
        });
        let path = folder.path().join("operator.yaml");
        std::fs::write(&path, config.to_string()).unwrap();
        path
    };
    let request = |config| Request {
        file: policy(folder.path()),
        evidence: Some(runs[1].clone()),
        baseline: Some(runs[0].clone()),
        config,
        ..Request::default()
    };
    let outcome = check(&request(Some(config(&key)))).await.unwrap();
    assert_eq!(outcome.health, Health::Breach, "{}", outcome.text());
    // A wrong key, and no store at all.
    std::fs::write(&key, "wrong").unwrap();
    let said = check(&request(Some(config(&key)))).await.err().unwrap().to_string();
    assert!(said.starts_with("object store models: "), "{said}");
    let none = Request {
        mlflow: Some(mlflow.url().to_owned()),
        ..request(None)
    };
    let said = check(&none).await.err().unwrap().to_string();
    assert!(
        said.contains("s3://, which no configured object store covers"),
        "{said}"
    );
}
