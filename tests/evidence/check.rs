//! `quality-officer check` as a user calls it: exit codes, what it prints, and wrong calls.

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::runs::{compliance, folder, policy, project};

fn check(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quality-officer"))
        .arg("check")
        .args(arguments)
        .env_remove("MLFLOW_TRACKING_URI")
        .current_dir(folder)
        .output()
        .unwrap()
}

fn run(folder: &Path, name: &str, percent: u64) {
    let path = folder.join(name);
    std::fs::create_dir_all(&path).unwrap();
    let text = compliance(name, percent, "abc");
    std::fs::write(path.join("compliance_metrics.json"), text).unwrap();
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn folders_are_judged_against_each_other_and_the_exit_code_says_how_it_went() {
    let folder = folder();
    policy(folder.path());
    for (name, percent) in [("old", 70), ("worse", 60), ("better", 85), ("same", 70)] {
        run(folder.path(), name, percent);
    }
    for (name, code, word) in [("better", 0, "HEALTHY"), ("worse", 4, "BREACH"), ("same", 3, "CAUTION")] {
        let output = check(
            folder.path(),
            &["-f", "policy.yaml", "--evidence", name, "--baseline", "old"],
        );
        let (exit, text) = said(&output);
        assert_eq!(exit, Some(code), "{name}: {text}");
        assert!(text.starts_with(&format!("Policy ranker: {word}")), "{text}");
    }
    let alone = check(folder.path(), &["-f", "policy.yaml", "--evidence", "old", "-o", "json"]);
    let (exit, text) = said(&alone);
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((exit, found["verdict"].as_str()), (Some(3), Some("CAUTION")), "{text}");
    assert_eq!(found["sloSummary"].as_array().unwrap().len(), 6);
    assert_eq!(found["quality"][0]["status"], "unsupported");
}

#[test]
fn the_profilers_trace_is_drawn() {
    let folder = folder();
    let graph = folder.path().join("flame.svg");
    let (policy, evidence) = (policy(folder.path()), project().join("examples/evidence"));
    let arguments = [
        "-f",
        policy.to_str().unwrap(),
        "--evidence",
        evidence.to_str().unwrap(),
        "--flame-graph",
        graph.to_str().unwrap(),
    ];
    let (exit, text) = said(&check(folder.path(), &arguments));
    assert_eq!(exit, Some(3), "{text}");
    let svg = std::fs::read_to_string(&graph).unwrap();
    assert!(svg.contains("aten::addmm") && svg.contains("</svg>"));
}

#[test]
fn a_wrong_call_says_what_is_wrong_and_judges_nothing() {
    let folder = folder();
    policy(folder.path());
    run(folder.path(), "old", 70);
    std::fs::write(folder.path().join("empty.yaml"), "kind: Pod\n").unwrap();
    let bad =
        "spec: {targetRef: {name: x}, judgement: {interval: 0s}}\napiVersion: v1\nkind: QualityPolicy\nmetadata: {}\n";
    std::fs::write(folder.path().join("bad.yaml"), bad).unwrap();
    for (arguments, code, words) in [
        (
            &["-f", "policy.yaml"][..],
            1,
            "nothing to judge: give --evidence, --prometheus or both",
        ),
        (
            &["-f", "policy.yaml", "--baseline", "old"],
            1,
            "--baseline needs --evidence",
        ),
        (&["-f", "none.yaml", "--evidence", "old"], 1, "cannot read none.yaml"),
        (
            &["-f", "empty.yaml", "--evidence", "old"],
            1,
            "empty.yaml is not a QualityPolicy",
        ),
        (&["-f", "bad.yaml", "--evidence", "old"], 1, "spec.judgement.interval"),
        (&["-f", "policy.yaml", "--evidence", "0123abcd"], 1, "give --mlflow URL"),
        (
            &["-f", "policy.yaml", "--evidence", "../../x"],
            1,
            "neither a folder nor the id of a run",
        ),
        (
            &[
                "-f",
                "policy.yaml",
                "--evidence",
                "0123abcd",
                "--mlflow",
                "http://127.0.0.1:1",
            ],
            1,
            "MLflow source default did not answer",
        ),
        (
            &["-f", "policy.yaml", "--prometheus", "http://127.0.0.1:1"],
            1,
            "the metrics source did not answer",
        ),
        (&["--evidence", "old"], 2, "--file"),
        (&["-f", "policy.yaml", "--evidenze", "old"], 2, "--evidenze"),
    ] {
        let (exit, text) = said(&check(folder.path(), arguments));
        assert_eq!(exit, Some(code), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
}
