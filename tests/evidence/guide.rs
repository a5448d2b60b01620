//! The page for authors of pipelines, followed word for word.

use std::process::Command;

use crate::runs::{project, shared};

/// The page's Python block.
fn snippet() -> String {
    let page = std::fs::read_to_string(project().join("docs/EVIDENCE.md")).unwrap();
    let (_, rest) = page.split_once("```python\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_snippet_logs_a_run_that_is_judged_with_its_claims() {
    let mlflow = shared().await;
    let snippet = Command::new(mlflow.python())
        .args(["-c", &snippet()])
        .envs(mlflow.client_environment())
        .current_dir(project())
        .output()
        .unwrap();
    let (said, failed) = (
        String::from_utf8_lossy(&snippet.stdout).into_owned(),
        String::from_utf8_lossy(&snippet.stderr).into_owned(),
    );
    assert!(snippet.status.success(), "{said}{failed}");
    let run = said
        .lines()
        .rfind(|line| line.len() == 32 && line.bytes().all(|b| b.is_ascii_hexdigit()));
    let run = run.unwrap_or_else(|| panic!("no run id: {said}{failed}"));
    let checked = Command::new(env!("CARGO_BIN_EXE_quality-officer"))
        .args(["check", "-f", "examples/ranker.yaml", "--evidence", run])
        .env("MLFLOW_TRACKING_URI", mlflow.url())
        .current_dir(project())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(3), "nothing to compare with: {text}");
    for file in [
        "compliance_metrics.json",
        "conflict_logs",
        "calibration_report.json",
        "profiling_report.json",
        "compliance_timeseries.csv",
        "runtime_perf.log",
        "profiler_trace.json",
        "gpu_profiler.log",
        "error_logs.json",
    ] {
        assert!(text.contains(&format!("[{file}#{run}#v7]")), "{file}: {text}");
    }
    assert!(!text.contains("cannot be used"), "{text}");
}
