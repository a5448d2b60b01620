use std::sync::Arc;

use super::*;
use crate::{
    counters::NoDataReason,
    incident::{Severity, Trigger},
    judge::{State, TriggerVerdict, Verdict},
    policy::{Objectives, default_policy},
    quality::{self, EvaluationState, Quality, Section as Where, Unit, evidence::File},
    report::{ReportInput, report},
    slo::SloStatus,
};

const NOW: i64 = 1_795_500_000;

fn policy() -> Policy {
    Policy {
        quality: Some(Objectives::default()),
        ..default_policy()
    }
}

fn trigger(trigger: Trigger, state: State, value: f64, limit: f64) -> TriggerVerdict {
    let estimate = Estimate::new(value, value * 0.9, value * 1.1, 7_412, Method::Wilson);
    TriggerVerdict {
        trigger,
        state,
        level: (trigger == Trigger::Latency).then(|| Estimate::new(0.463, 0.25, 0.5, 7_412, Method::OrderStatistics)),
        level_limit: (trigger == Trigger::Latency).then_some(0.505),
        estimate: Some(estimate),
        limit,
        log_evidence: if state == State::Breach { 12.0 } else { -1.0 },
        log_threshold: 11.0,
        onset: None,
        design_effect: 1.4,
        note: String::new(),
    }
}

fn verdict(errors: State) -> Verdict {
    let share = if errors == State::Breach { 0.031 } else { 0.001_2 };
    Verdict {
        at: NOW,
        triggers: vec![
            trigger(Trigger::ErrorRate, errors, share, 0.01),
            trigger(Trigger::Latency, State::Healthy, 0.03, 0.05),
            trigger(Trigger::Throughput, State::Healthy, 105.0, 80.0),
        ],
        no_metrics_since: None,
    }
}

fn row(section: Where, name: &str, standing: SloStatus) -> Row {
    let mut row = Row::new(section, name, "a target", Unit::Share, File::ComplianceMetrics);
    row.current = Some(Estimate::new(0.82, 0.79, 0.85, 400, Method::Wilson));
    row.change = Some(Estimate::new(13.2, 9.0, 17.0, 400, Method::PairedBootstrap));
    row.change_unit = Unit::Points;
    row.standing = standing;
    row.evidence = "compliance_metrics.json#5f2a#v7".to_owned();
    row
}

fn known() -> EvaluationState {
    let rows = ["Compliance@1", "Compliance@5", "nDCG@10", "Conflict AUC", "ECE"]
        .map(|name| row(Where::Compliance, name, SloStatus::Passing));
    EvaluationState::Judged {
        quality: Arc::new(Quality {
            rows: rows.into(),
            notes: Vec::new(),
            stacks: Vec::new(),
            charts: crate::quality::Charts::default(),
            dataset: None,
        }),
        completed: None,
    }
}

fn past(name: &str, state: IncidentState, rto: Option<i64>) -> PastIncident {
    PastIncident {
        name: name.to_owned(),
        state,
        trigger: Trigger::ErrorRate,
        severity: Severity::Rollback,
        reason: "error rate 3.1% | over 1.0%".to_owned(),
        rto,
        rpo: rto,
        opened: NOW - 3_600,
    }
}

fn ready() -> Vec<crate::plan::Candidate> {
    vec![crate::plan::Candidate {
        name: "ranker-20261123-1".into(),
        uid: "u".into(),
        images: Vec::new(),
        certified: Some(NOW - 60),
        run: None,
        usable: Ok(()),
    }]
}

/// The report's sections and last line.
fn made(
    verdict: &Verdict,
    known: &EvaluationState,
    incidents: &[PastIncident],
) -> (Vec<ReportSection>, String, String) {
    let (policy, candidates) = (policy(), ready());
    let report = report(&ReportInput {
        policy: &policy,
        verdict,
        problem: None,
        quality: known,
        candidates: Some(&candidates),
        incidents,
        drills: &[],
        metrics: "default/http",
        now: NOW,
    });
    let readiness = [ReadinessLines {
        component: "Checkpoint Integrity",
        status: "READY".into(),
        last_test: "60s ago".into(),
        result: "verified".into(),
        evidence: "rollbackcheckpoint ranker-20261123-1".into(),
    }];
    let recovery = recovery(&policy, incidents, &[]);
    let full = FullReport {
        subject: "shop/ranker",
        report: &report,
        policy: &policy,
        readiness: &readiness,
        incidents,
        recovery: &recovery,
        run: Some("5f2a"),
        metrics: "default/http",
        review: NOW + 86_400,
        now: NOW,
    };
    let (sections, last) = (sections(&full), last_line(&full));
    let text = markdown("shop/ranker", &sections, &last);
    (sections, last, text)
}

fn healthy() -> (Vec<ReportSection>, String, String) {
    let incidents = [
        past("a", IncidentState::Recovered, Some(41)),
        past("b", IncidentState::Recovered, Some(50)),
        past("c", IncidentState::Recovered, Some(60)),
    ];
    made(&verdict(State::Healthy), &known(), &incidents)
}

#[test]
fn thirteen_sections_stand_in_order_with_their_columns() {
    let (sections, ..) = healthy();
    let heads: Vec<(i32, &str, String)> = sections
        .iter()
        .map(|section| (section.number, section.title.as_str(), section.columns.join(" | ")))
        .collect();
    let expected = [
        (1, "Quality & Safety Summary", ""),
        (
            2,
            "Compliance Status",
            "Metric | Target | Current | CI95 | Δ vs Prev | Status | Evidence",
        ),
        (
            3,
            "Drift & Stability Check",
            "Dimension | Baseline | Current | Δ | r (corr) | Verdict | Evidence",
        ),
        (
            4,
            "Latency Profile",
            "Stage | Avg (ms) | P95 (ms) | Δ vs Prev | CI95 | Status | Evidence",
        ),
        (
            5,
            "Throughput & Resources",
            "Metric | Target | Observed | Δ vs Prev | Status | Evidence",
        ),
        (
            6,
            "Bottleneck Analysis",
            "Component | %Total Latency | Regression vs Prev | Severity | Action",
        ),
        (
            7,
            "Rollback Readiness",
            "Component | Status | Last Test | Result | Evidence",
        ),
        (
            8,
            "Auto-Rollback Triggers",
            "Trigger | Threshold | Last Event | Result | Status | Evidence",
        ),
        (
            9,
            "Recovery Performance",
            "Metric | Target | Observed | CI95 | Status | Evidence",
        ),
        (
            10,
            "Incident Log (Last 7 Days)",
            "Incident ID | Timestamp | Trigger | Action Taken | RTO (min) | Success | Root Cause",
        ),
        (11, "Alert Checklist", ""),
        (12, "SLO Summary Table", "SLO | Target | Current | Status | Evidence"),
        (13, "Final Verdict & Action", ""),
    ];
    let expected: Vec<(i32, &str, String)> = expected
        .iter()
        .map(|(number, title, columns)| (*number, *title, (*columns).to_owned()))
        .collect();
    assert_eq!(heads, expected);
    for section in &sections {
        for row in &section.rows {
            assert_eq!(row.len(), section.columns.len(), "{}: {row:?}", section.title);
            assert!(row.iter().all(|cell| !cell.is_empty()), "{}: {row:?}", section.title);
        }
    }
}

#[test]
fn each_table_has_the_rows_that_are_asked_for() {
    let (sections, ..) = healthy();
    let names = |number: usize| -> Vec<&str> { sections[number - 1].rows.iter().map(|row| row[0].as_str()).collect() };
    assert_eq!(
        names(2),
        ["Compliance@1", "Compliance@5", "nDCG@10", "Conflict AUC", "ECE"]
    );
    assert_eq!(
        names(3),
        [
            "Compliance (7d)",
            "Conflict Trend",
            "Calibration Drift",
            "Modality Ratio"
        ]
    );
    assert_eq!(names(4), ["Preprocess", "Inference", "Postprocess", "Total"]);
    assert_eq!(
        names(5),
        ["Throughput (req/s)", "GPU Utilization (%)", "Memory Usage (%)"]
    );
    assert!(names(6).contains(&"Unknown"));
    assert_eq!(
        names(8),
        ["Compliance drop", "P95 latency", "Error rate", "Throughput drop"]
    );
    assert_eq!(names(9), ["RTO (min)", "RPO (min)", "Success Rate"]);
    assert_eq!(
        names(12),
        ["Compliance@1", "P95 Latency", "Throughput", "Error Rate", "RTO", "RPO"]
    );
    let checklist = &sections[10].text;
    assert_eq!(checklist.lines().count(), 9);
    assert!(
        checklist
            .lines()
            .all(|line| line.starts_with("- [ ]") || line.starts_with("- [x]"))
    );
}

#[test]
fn the_last_line_is_exact() {
    let (_, last, text) = healthy();
    assert_eq!(
        last,
        "Quality & Safety Officer Final Verdict: HEALTHY — All SLOs PASSING, Rollback READY, Evidence traceable to \
         MLflow runs, system SAFE TO PROCEED."
    );
    assert!(text.ends_with(&format!("\n{last}\n")));
    let under_way = [past("a", IncidentState::Verifying, None)];
    let (_, last, _) = made(&verdict(State::Breach), &EvaluationState::Pending, &under_way);
    assert_eq!(
        last,
        "Quality & Safety Officer Final Verdict: BREACH — All SLOs 4/6 FAILING, Rollback READY, Evidence not traceable \
         to MLflow runs, system EMERGENCY ROLLBACK TRIGGERED."
    );
    let missing = EvaluationState::Missing {
        reason: "RunDeleted",
        message: "run 5f2a was deleted".into(),
    };
    let (_, last, _) = made(&verdict(State::Healthy), &missing, &[]);
    assert!(
        last.starts_with("Quality & Safety Officer Final Verdict: CAUTION")
            && last.ends_with("system REQUIRES ATTENTION.")
    );
}

#[test]
fn what_is_not_known_is_a_dash_and_unsupported_never_a_pass() {
    let missing = EvaluationState::Missing {
        reason: "RunDeleted",
        message: "run 5f2a was deleted".into(),
    };
    let (sections, ..) = made(&verdict(State::Healthy), &missing, &[]);
    for row in sections[1]
        .rows
        .iter()
        .chain(&sections[2].rows)
        .chain(&sections[8].rows)
    {
        let cells = row.len();
        assert_eq!(row[cells - 2], "unsupported", "{row:?}");
        assert!(row[1..cells - 2].iter().any(|cell| cell == "—"), "{row:?}");
    }
    assert_eq!(sections[1].rows[0][6], "unsupported: run 5f2a was deleted");
    let targets: Vec<&str> = sections[8].rows.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(targets, ["≤ 10", "≤ 5", "100%"], "what must hold is known all the same");
}

#[test]
fn an_error_rate_that_nobody_counts_says_what_was_looked_for() {
    let mut not_counted = verdict(State::Unknown(NoDataReason::ErrorsNotSeen));
    not_counted.triggers[0].estimate = None;
    not_counted.triggers[0].note = "failed_total counts nothing".to_owned();
    let (sections, _, text) = made(&not_counted, &known(), &[]);
    let row = &sections[11].rows[3];
    assert!(
        row.iter().any(|cell| cell == "—") && row.iter().any(|cell| cell == "unsupported"),
        "{row:?}"
    );
    assert!(
        row.iter()
            .any(|cell| cell == "unsupported: failed_total counts nothing"),
        "{row:?}"
    );
    assert!(
        text.contains("error rate is not known: failed_total counts nothing; nothing is decided on it"),
        "{text}"
    );
}

#[test]
fn no_value_stands_without_its_interval_and_its_n() {
    let (sections, ..) = healthy();
    let compliance = &sections[1].rows[0];
    assert_eq!(compliance[2], "82.0%");
    assert_eq!(compliance[3], "79.0% to 85.0% (n = 400)");
    assert_eq!(compliance[4], "+13.2 (CI95 +9.0 to +17.0, n = 400)");
    let total = &sections[3].rows[3];
    assert_eq!(
        (total[2].as_str(), total[4].as_str()),
        ("463", "250ms to 500ms (n = 7,412)")
    );
    let rto = &sections[8].rows[0];
    assert!(rto[3].ends_with("(n = 3)") && rto[4] == "PASSING", "{rto:?}");
    assert_eq!(sections[8].rows[2][3], "29.2% to 100.0% (n = 3)");
}

#[test]
fn the_summary_has_at_most_250_words_and_says_when_it_was_cut() {
    let many: Vec<PastIncident> = (0..1)
        .map(|index| PastIncident {
            reason: "word ".repeat(400),
            ..past(&format!("i{index}"), IncidentState::AwaitingApproval, None)
        })
        .collect();
    let (sections, ..) = made(&verdict(State::Breach), &known(), &many);
    let words = sections[0].text.split_whitespace().count();
    assert!(
        words <= MAX_WORDS && sections[0].text.ends_with("(cut; the sections below say all)"),
        "{words}"
    );
}

#[test]
fn the_same_material_gives_the_same_bytes_and_a_bar_stays_in_its_cell() {
    let (_, _, text) = healthy();
    assert_eq!(healthy().2, text);
    assert!(text.contains("error rate 3.1% \\| over 1.0%"));
}

#[test]
fn a_value_near_its_limit_is_a_question_and_an_open_incident_an_action() {
    let mut near = verdict(State::Healthy);
    near.triggers[0] = trigger(Trigger::ErrorRate, State::Healthy, 0.009_5, 0.01);
    let waits = [past("ranker-7f3c9", IncidentState::AwaitingApproval, None)];
    let (sections, ..) = made(&near, &known(), &waits);
    let text = &sections[12].text;
    assert!(
        text.contains("error rate is 0.95%") && text.contains("is that limit right?"),
        "{text}"
    );
    assert!(
        text.contains("decide on ranker-7f3c9: approve it, or ship a fix"),
        "{text}"
    );
    assert!(text.contains("- Next Review: 2026-11-25"), "{text}");
}

#[test]
fn drills_count_as_recoveries_and_one_that_never_recovered_keeps_no_objective() {
    let drill = |result, rto| Rehearsal {
        name: "weekly".into(),
        result,
        message: String::new(),
        rto,
        rpo: rto,
        at: NOW,
    };
    let incidents = [past("ranker-1", IncidentState::Recovered, Some(60))];
    let passed = drill(DrillResult::Passed, Some(120));
    let found = recovery(
        &policy(),
        &incidents,
        &[passed.clone(), drill(DrillResult::Aborted, None)],
    );
    let (rto, kept) = found.rto.unwrap();
    // Two are too few for an interval: the newest one is shown.
    assert!((rto.value - 2.0).abs() < 1e-9 && rto.n == 2 && kept);
    assert_eq!(found.evidence, "1 rollbacks, 1 drills");
    assert_eq!(found.success.unwrap().n, 2);
    let found = recovery(&policy(), &incidents, &[drill(DrillResult::Failed, None), passed]);
    assert!(!found.rto.unwrap().1);
    assert!((found.success.unwrap().value - 2.0 / 3.0).abs() < 1e-9);
}

fn asked(verdict: &Verdict, known: &EvaluationState, incidents: &[PastIncident]) -> String {
    made(verdict, known, incidents).0[12].text.clone()
}

fn with_rows(rows: Vec<Row>) -> EvaluationState {
    EvaluationState::Judged {
        quality: Arc::new(Quality {
            rows,
            notes: Vec::new(),
            stacks: Vec::new(),
            dataset: None,
            charts: crate::quality::Charts::default(),
        }),
        completed: None,
    }
}

#[test]
fn what_cannot_be_told_is_asked_of_a_person() {
    let mut doubtful = verdict(State::Undetermined);
    let mut gpu = trigger(Trigger::GpuMemory, State::Undetermined, 0.84, 0.9);
    gpu.level = Some(Estimate::new(0.84, 0.8, 0.88, 7_412, Method::Wilson));
    doubtful.triggers.push(gpu);
    let rows = vec![
        row(Where::Compliance, "Compliance@1", SloStatus::Undetermined),
        row(Where::Compliance, "Conflict AUC", SloStatus::Undetermined),
        Row {
            counts: false,
            ..row(Where::Compliance, "nDCG@10", SloStatus::Undetermined)
        },
    ];
    let text = asked(&doubtful, &with_rows(rows), &[]);
    for words in [
        "Error Rate cannot be told (0.12%",
        "GPU memory cannot be told (84.0%",
        "Conflict AUC cannot be told (82.0% (CI95 79.0% to 85.0%, n = 400), Δ +13.2",
        "RTO was never measured (no rollback and no drill yet): when may a drill run?",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(!text.contains("nDCG@10"), "what does not count is not asked: {text}");
    assert_eq!(text.matches("Compliance@1 cannot be told").count(), 1, "{text}");
}

#[test]
fn a_judgement_and_a_recovery_near_their_limits_are_asked_too() {
    let near = Row {
        limit: Some(quality::Limit::Current(0.85)),
        ..row(Where::Compliance, "ECE", SloStatus::Passing)
    };
    let far = Row {
        limit: Some(quality::Limit::Change(2.0)),
        ..row(Where::Compliance, "Compliance drop", SloStatus::Passing)
    };
    let times = [570, 580, 590].map(|seconds| past("a", IncidentState::Recovered, Some(seconds)));
    let text = asked(&verdict(State::Healthy), &with_rows(vec![near, far]), &times);
    assert!(
        text.contains("ECE is 82.0%") && text.contains("near its target a target: is that target right?"),
        "{text}"
    );
    assert!(!text.contains("Compliance drop is"), "{text}");
    assert!(
        text.contains("RTO is typically 9.7 min (n = 3), near its objective 10m"),
        "{text}"
    );
}

#[test]
fn a_service_that_has_all_its_evidence_and_is_far_from_its_limits_is_asked_nothing() {
    let mut far = verdict(State::Healthy);
    far.triggers[1].level = Some(Estimate::new(0.3, 0.25, 0.35, 7_412, Method::OrderStatistics));
    let text = asked(
        &far,
        &known(),
        &[41, 50, 60].map(|seconds| past("a", IncidentState::Recovered, Some(seconds))),
    );
    assert!(text.ends_with("Questions to the Ops Commander:\n  - none"), "{text}");
}
