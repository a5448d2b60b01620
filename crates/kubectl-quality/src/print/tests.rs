use serde_json::json;

use super::{table::WIDTH, *};
use quality_api::{QualityPolicy, QualityReport};

fn report_object() -> QualityReport {
    serde_json::from_value(json!({
        "apiVersion": "quality-officer.dev/v1alpha1", "kind": "QualityReport",
        "metadata": {"name": "ranker", "namespace": "shop"}, "spec": {"policyRef": {"name": "ranker"}},
        "status": {
            "verdict": "BREACH", "slos": "5/6", "rollback": "READY", "updatedAt": "2026-11-24T03:00:00Z",
            "sloSummary": [
                {"slo": "Error Rate", "target": "< 1.0%", "current": "3.1% (CI95 2.7% to 3.5%, n = 7,412)",
                 "status": "FAILING", "evidence": "metrics default/http"},
                {"slo": "RTO", "target": "≤ 10m", "current": "—", "status": "unsupported", "evidence": "none"},
            ],
            "findings": [format!("incident ranker-7f3c9 is RollingBack: {}", "error rate ".repeat(20))],
            "sections": [{"number": 12, "title": "SLO Summary Table", "columns": ["SLO", "Status"],
                          "rows": [["Error Rate", "FAILING"]]}],
            "lastLine": "Quality & Safety Officer Final Verdict: BREACH.",
        },
    }))
    .unwrap()
}

#[test]
fn a_report_fits_a_terminal_and_says_the_verdict_first() {
    let text = report(&report_object());
    assert!(
        text.starts_with("shop/ranker: BREACH   SLOs 5/6   rollback READY\n"),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    assert!(
        text.contains("Error Rate  FAILING      < 1.0%  3.1% (CI95 2.7% to 3.5%, n = 7,412)"),
        "{text}"
    );
    assert!(text.ends_with("\nQuality & Safety Officer Final Verdict: BREACH.\n"));
}

#[test]
fn the_strict_report_is_printed_as_it_was_written() {
    assert_eq!(
        markdown(&report_object()),
        "# Quality & Safety Report: shop/ranker, 2026-11-24T03:00:00Z\n\n## 12. SLO Summary Table\n\n| SLO | Status \
         |\n|---|---|\n| Error Rate | FAILING |\n\nQuality & Safety Officer Final Verdict: BREACH.\n"
    );
}

fn policy_object(triggers: &serde_json::Value) -> QualityPolicy {
    serde_json::from_value(json!({
        "apiVersion": "quality-officer.dev/v1alpha1", "kind": "QualityPolicy",
        "metadata": {"name": "ranker", "namespace": "shop"}, "spec": {"targetRef": {"name": "ranker"}},
        "status": {
            "conditions": [{"type": "SLOsMet", "status": "False", "reason": "Breach", "message": "see below",
                            "lastTransitionTime": "2026-11-24T03:00:00Z"}],
            "triggers": triggers,
        },
    }))
    .unwrap()
}

#[test]
fn an_explanation_says_what_was_seen_what_it_takes_and_why() {
    let triggers = json!([
        {"name": "ErrorRate", "verdict": "Breach", "value": "3.1%", "ci95": "2.7% to 3.5%", "n": 7412, "limit": "1.0%",
         "evidence": "88,000 : 1", "needs": "72,000 : 1", "designEffect": "1.4", "since": "2026-11-24T14:32:15Z"},
        {"name": "GpuMemory", "verdict": "Unknown", "reason": "NoData", "value": "—", "ci95": "—", "n": 0,
         "limit": "85.0%", "evidence": "0 : 1", "needs": "24,000 : 1", "designEffect": "1.0"},
    ]);
    let text = explain(&policy_object(&triggers));
    for line in [
        "- SLOsMet is False, Breach: see below",
        "ErrorRate       BREACH since 14:32:15 UTC   evidence 88,000 : 1, acts at 72,000 : 1",
        "  now 3.1% (CI95 2.7% to 3.5%, n = 7,412), limit 1.0%",
        "  design effect 1.4, the cautious start value: this service has no history yet",
        "  why it acts: at most 1% of healthy releases reach this evidence within 1h",
        "  not known: NoData",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    assert!(explain(&policy_object(&json!([]))).ends_with("Nothing is judged now.\n"));
}

#[test]
fn without_incidents_or_checkpoints_it_says_so() {
    assert_eq!(incidents(&[], false), "No incident.\n");
    assert!(checkpoints(&[], true).starts_with("No checkpoint"));
}
