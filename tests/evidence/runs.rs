//! Runs of a tracking server, and their judgement.

use std::path::{Path, PathBuf};

use bed::{Endpoints, Mlflow};
use quality_officer::check::{CheckError, Outcome, Request, check};
use serde_json::{Value, json};
use stage::Tracking;

pub fn endpoints() -> Endpoints {
    Endpoints::from_env().unwrap_or_else(|error| panic!("{error}"))
}

/// The bed's tracking server.
pub async fn shared() -> Mlflow {
    let start = || Mlflow::shared(&endpoints()).unwrap();
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// A finished run of 400 queries, of which `percent` comply.
pub async fn evaluated(tracking: &Tracking, percent: u64) -> String {
    let begun = tracking.begin().await.unwrap();
    tracking.dataset(&begun.run, "abc").await.unwrap();
    let bytes = compliance(&begun.run, percent, "abc").into_bytes();
    tracking.put(&begun, "compliance_metrics.json", bytes).await.unwrap();
    tracking.end(&begun.run, "FINISHED").await.unwrap();
    begun.run
}

/// Outcomes that are no pattern of sessions; a query that complies at a low percentage does at every higher one.
pub fn compliance(run: &str, percent: u64, digest: &str) -> String {
    let queries: Vec<Value> = (0_u64..400)
        .map(|query| {
            let hit = (query.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % 100 < percent;
            json!({
                "query": format!("q{query}"), "session": format!("s{}", query / 4),
                "correct_at_1": hit, "correct_at_5": hit || query % 10 != 0,
                "grades": [if hit { 3 } else { 0 }, 1], "judged": [3, 1],
            })
        })
        .collect();
    json!({"run_id": run, "dataset": {"version": "v7", "digest": digest}, "queries": queries}).to_string()
}

pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder that ends with its value.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A policy that judges compliance alone.
pub fn policy(folder: &Path) -> PathBuf {
    let path = folder.join("policy.yaml");
    let text = "
apiVersion: quality-officer.dev/v1alpha1
kind: QualityPolicy
metadata: {name: ranker, namespace: shop}
spec:
  targetRef: {name: ranker}
  evidence:
    mlflow: {source: default}
    optional: [conflict_logs, calibration_report.json, compliance_timeseries.csv]
  objectives:
    compliance: {minUplift: 0%}
";
    std::fs::write(&path, text).unwrap();
    path
}

/// Judges a run of the server at `url`, once.
pub async fn judge(url: &str, run: &str, baseline: Option<&str>) -> Result<Outcome, CheckError> {
    let folder = folder();
    check(&Request {
        file: policy(folder.path()),
        evidence: Some(run.to_owned()),
        baseline: baseline.map(str::to_owned),
        mlflow: Some(url.to_owned()),
        ..Request::default()
    })
    .await
}

pub async fn refused(url: &str, run: &str) -> String {
    match judge(url, run, None).await {
        Ok(outcome) => panic!("{}", outcome.text()),
        Err(error) => error.to_string(),
    }
}
