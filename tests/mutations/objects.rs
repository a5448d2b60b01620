//! Stored objects of every kind, and what is made of them without a cluster: the policy that is judged by, the report as
//! text, as Markdown and as a page, the files of an export.

use std::fmt::Debug;

use kubectl_quality::print;
use quality_api::{
    QualityIncident, QualityPolicy, QualityReport, QualityReportSnapshot, RecoveryDrill, RollbackCheckpoint,
};
use quality_core::format;
use quality_officer::validate;
use quality_render::import_export;
use quality_render::{audit_files, html_report};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    harness::{survives, within},
    mutate::Format,
};

/// The page of the stored report, with some of its records changed.
fn is_page(change: impl FnOnce(&mut html_report::Records)) {
    fn all<K: DeserializeOwned>(kind: &str) -> Vec<K> {
        stored(kind)
            .iter()
            .map(|bytes| serde_json::from_slice(bytes).unwrap())
            .collect()
    }
    let mut records = html_report::Records {
        report: all("QualityReport").remove(0),
        incidents: all("QualityIncident"),
        drills: all("RecoveryDrill"),
        checkpoints: all("RollbackCheckpoint"),
    };
    change(&mut records);
    is_text(&html_report::page(&records));
}

/// Objects of one kind as a real cluster had them, each a document.
fn stored(kind: &str) -> Vec<Vec<u8>> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/objects.json");
    let list: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let items = list["items"].as_array().unwrap();
    let of_kind = items.iter().filter(|item| item["kind"] == kind);
    of_kind.map(|item| item.to_string().into_bytes()).collect()
}

fn kind<K: DeserializeOwned + Serialize + PartialEq + Debug>(kind: &str, hold: impl Fn(K)) {
    survives(
        kind,
        Format::Json,
        &stored(kind),
        |bytes| serde_json::from_slice::<K>(bytes).map_err(|error| format::plain(&error.to_string(), 300)),
        |object| {
            // What was read can be written, and says the same when it is read again.
            let again = serde_json::to_vec(&object).unwrap();
            assert_eq!(serde_json::from_slice::<K>(&again).unwrap(), object);
            hold(object);
        },
    );
}

fn is_text(text: &str) {
    assert!(!text.is_empty());
}

#[test]
fn policies_survive() {
    kind("QualityPolicy", |policy: QualityPolicy| {
        is_text(&print::explain(&policy));
        match validate::policy(&policy.spec) {
            Err(error) => crate::harness::is_clear(&error.to_string()),
            Ok(policy) => {
                within("interval", policy.interval as f64, 1.0, 300.0);
                within("period", policy.period, 300.0, 86_400.0);
                within(
                    "false-rollback rate",
                    policy.false_rollback_rate,
                    f64::MIN_POSITIVE,
                    1.0,
                );
                within("warm-up", policy.warm_up as f64, 0.0, 3_600.0);
                within("cooldown", policy.cooldown as f64, 1.0, 2_592_000.0);
                within("keep", policy.keep as f64, 2.0, 50.0);
                policy
                    .error_rate
                    .iter()
                    .for_each(|rate| within("error rate", *rate, 0.000_001, 0.5));
                if let Some(latency) = policy.latency {
                    within("quantile", latency.quantile, 0.5, 0.999);
                    within("target", latency.target, 0.001, 3_600.0);
                    within("tolerance", latency.tolerance, 0.0, latency.target);
                }
                if let Some(throughput) = policy.throughput {
                    within("floor", throughput.floor, 0.000_1, throughput.target);
                }
                assert!(policy.streaming_triggers() > 0);
            }
        }
    });
}

#[test]
fn reports_survive() {
    kind("QualityReport", |report: QualityReport| {
        is_text(&print::report(&report));
        is_text(&print::markdown(&report));
        is_page(|records| records.report = report);
    });
}

#[test]
fn snapshots_survive() {
    kind("QualityReportSnapshot", |snapshot: QualityReportSnapshot| {
        is_text(&print::snapshot(&snapshot));
        is_text(&print::snapshots(std::slice::from_ref(&snapshot)));
        is_text(&print::markdown(&print::as_report(&snapshot)));
    });
}

#[test]
fn incidents_survive() {
    kind("QualityIncident", |incident: QualityIncident| {
        let all = [incident];
        is_text(&print::incidents(&all, true));
        is_text(&audit_files::rollback_log(&all));
        audit_files::postmortem_report(&all);
        is_page(|records| records.incidents.extend(all));
    });
}

#[test]
fn checkpoints_survive() {
    kind("RollbackCheckpoint", |checkpoint: RollbackCheckpoint| {
        let all = [checkpoint];
        is_text(&print::checkpoints(&all, true));
        if let Err(error) = import_export::written(&all) {
            is_text(&error.to_string());
        }
        is_page(|records| records.checkpoints.extend(all));
    });
}

#[test]
fn drills_survive() {
    kind("RecoveryDrill", |drill: RecoveryDrill| {
        let all = [drill];
        is_text(&audit_files::recovery_test(&all));
        audit_files::weekly_validation(&all);
        is_page(|records| records.drills.extend(all));
    });
}
