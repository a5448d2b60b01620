//! What people and pipelines read, byte by byte: fixed objects give exactly the files in `tests/data/golden`.
//! `GOLDEN=write cargo test --test golden` writes them anew; the difference is what a review looks at.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{fs, path::PathBuf};

use kubectl_quality::print;
use quality_api::{
    QualityIncident, QualityPolicy, QualityReport, QualityReportSnapshot, RecoveryDrill, RollbackCheckpoint,
};
use quality_render::audit_files;
use quality_render::import_export;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden")
}

/// The objects of one kind, as a real cluster had them.
fn objects<K: DeserializeOwned>(kind: &str) -> Vec<K> {
    let text = fs::read_to_string(folder().join("objects.json")).unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    let items = list["items"].as_array().unwrap();
    let of_kind: Vec<Value> = items.iter().filter(|item| item["kind"] == kind).cloned().collect();
    assert!(!of_kind.is_empty(), "no {kind}");
    of_kind
        .into_iter()
        .map(|item| serde_json::from_value(item).unwrap())
        .collect()
}

fn is_golden(name: &str, text: &str) {
    let path = folder().join(name);
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let difference = golden.lines().zip(text.lines()).find(|(known, new)| known != new);
    assert!(golden == text, "{name} differs, first here: {difference:#?}");
}

#[test]
fn a_report_in_each_format() {
    let reports: Vec<QualityReport> = objects("QualityReport");
    let report = &reports[0];
    is_golden("report.txt", &print::report(report));
    is_golden("report.md", &print::markdown(report));
    is_golden("report.json", &print::json(&reports[..1], true).unwrap());
    is_golden("report.yaml", &print::yaml(&reports[..1], true).unwrap());
    is_golden("reports.json", &print::json(&reports, false).unwrap());
}

#[test]
fn the_snapshots_of_a_report() {
    let snapshots: Vec<QualityReportSnapshot> = objects("QualityReportSnapshot");
    is_golden("snapshots.txt", &print::snapshots(&snapshots));
    is_golden("snapshot.txt", &print::snapshot(&snapshots[0]));
    is_golden("snapshot.md", &print::markdown(&print::as_report(&snapshots[0])));
}

#[test]
fn incidents_and_a_postmortem() {
    let incidents: Vec<QualityIncident> = objects("QualityIncident");
    is_golden("incidents.txt", &print::incidents(&incidents, false));
    is_golden("incidents-all.txt", &print::incidents(&incidents, true));
    is_golden("incidents.yaml", &print::yaml(&incidents, false).unwrap());
    let postmortem = incidents
        .iter()
        .find_map(|incident| incident.status.clone()?.postmortem);
    is_golden("postmortem.md", &postmortem.unwrap());
}

#[test]
fn checkpoints_and_an_explanation() {
    let checkpoints: Vec<RollbackCheckpoint> = objects("RollbackCheckpoint");
    is_golden("checkpoints.txt", &print::checkpoints(&checkpoints, false));
    is_golden("checkpoints-all.txt", &print::checkpoints(&checkpoints, true));
    let explained: Vec<String> = objects::<QualityPolicy>("QualityPolicy")
        .iter()
        .map(print::explain)
        .collect();
    is_golden("explain.txt", &explained.join("\n"));
}

#[test]
fn the_files_of_an_export() {
    let (incidents, drills) = (
        objects::<QualityIncident>("QualityIncident"),
        objects::<RecoveryDrill>("RecoveryDrill"),
    );
    is_golden("rollback_log.json", &audit_files::rollback_log(&incidents));
    is_golden("postmortem_report.md", &audit_files::postmortem_report(&incidents));
    is_golden("recovery_test.json", &audit_files::recovery_test(&drills));
    is_golden("weekly_validation.log", &audit_files::weekly_validation(&drills));
    is_golden(
        "checkpoint_registry.yaml",
        &import_export::written(&objects("RollbackCheckpoint")).unwrap(),
    );
}

#[test]
fn the_order_of_the_objects_changes_no_byte() {
    let (mut incidents, mut drills) = (
        objects::<QualityIncident>("QualityIncident"),
        objects::<RecoveryDrill>("RecoveryDrill"),
    );
    let once = (
        audit_files::rollback_log(&incidents),
        audit_files::recovery_test(&drills),
        print::incidents(&incidents, false),
    );
    incidents.reverse();
    drills.reverse();
    assert_eq!(
        once,
        (
            audit_files::rollback_log(&incidents),
            audit_files::recovery_test(&drills),
            print::incidents(&incidents, false)
        )
    );
}

#[test]
fn every_table_fits_a_hundred_columns() {
    for name in [
        "snapshots.txt",
        "incidents.txt",
        "incidents-all.txt",
        "checkpoints.txt",
        "checkpoints-all.txt",
        "explain.txt",
    ] {
        let text = fs::read_to_string(folder().join(name)).unwrap();
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest <= 100, "{name}: {widest} columns");
    }
}
