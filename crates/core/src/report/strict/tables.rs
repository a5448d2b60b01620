//! The sections that are tables.

use jiff::Timestamp;

use super::{FullReport, ReportSection, section};
use crate::{
    format::{self, UNKNOWN},
    incident::{IncidentState, Severity, Trigger},
    judge::{State, TriggerVerdict},
    quality::{self, Row, Unit},
    report::{PastIncident, Slo},
    slo::SloStatus,
};
use quality_stats::Estimate;

/// A week, seconds.
const WEEK: i64 = 604_800;

fn unknown() -> String {
    UNKNOWN.to_owned()
}

/// An interval with n beside it, where the columns have no room for n.
fn ci95(estimate: &Estimate, unit: Unit) -> String {
    format!(
        "{} (n = {})",
        format::interval(estimate.ci95, |value| unit.print(value)),
        format::thousands(estimate.n as f64)
    )
}

fn evidence(row: &Row) -> String {
    if row.standing == SloStatus::Unsupported && !row.note.is_empty() && row.evidence.contains('#') {
        format!("{} ({})", row.evidence, row.note)
    } else {
        row.evidence.clone()
    }
}

pub(super) fn compliance(full: &FullReport<'_>) -> ReportSection {
    let names = ["Compliance@1", "Compliance@5", "nDCG@10", "Conflict AUC", "ECE"];
    let rows = names.map(|name| {
        let Some(row) = full.row(name) else {
            return unsupported(name, 7, no_evidence(full));
        };
        let current = row.current.as_ref();
        vec![
            name.to_owned(),
            row.target.clone(),
            current.map_or_else(unknown, |estimate| row.unit.print(estimate.value)),
            current.map_or_else(unknown, |estimate| ci95(estimate, row.unit)),
            row.change_text(),
            row.standing.name().to_owned(),
            evidence(row),
        ]
    });
    let columns = ["Metric", "Target", "Current", "CI95", "Δ vs Prev", "Status", "Evidence"];
    section(2, "Compliance Status", &columns, rows.into())
}

/// A row of which nothing is known: status and evidence are its last two cells.
fn unsupported(name: &str, columns: usize, why: String) -> Vec<String> {
    let mut cells = vec![unknown(); columns];
    name.clone_into(&mut cells[0]);
    SloStatus::Unsupported.name().clone_into(&mut cells[columns - 2]);
    cells[columns - 1] = why;
    cells
}

fn no_evidence(full: &FullReport<'_>) -> String {
    match &full.report.evidence {
        None => "unsupported: the policy names no evidence".to_owned(),
        Some(evidence) if !evidence.usable => format!("unsupported: {}", evidence.message),
        Some(_) => "unsupported: no such evidence".to_owned(),
    }
}

pub(super) fn drift(full: &FullReport<'_>) -> ReportSection {
    let window = full.policy.quality.as_ref().and_then(|quality| quality.drift.as_ref());
    let compliance = format!("Compliance ({}d)", window.map_or(7, |drift| drift.window_days));
    let names = [
        compliance.as_str(),
        "Conflict Trend",
        "Calibration Drift",
        "Modality Ratio",
    ];
    let rows = names.map(|name| {
        let Some(row) = full.row(name) else {
            return unsupported(name, 7, no_evidence(full));
        };
        // Of the compliance over time the change is its correlation.
        let is_correlation = name == compliance;
        let (change, r) = if is_correlation {
            let gap = row.current.as_ref().zip(row.baseline.as_ref());
            let gap = gap.map_or_else(unknown, |(now, before)| {
                format::points(100.0 * (now.value - before.value))
            });
            (gap, row.change_text())
        } else {
            (row.change_text(), unknown())
        };
        let baseline = row.baseline.as_ref();
        vec![
            name.to_owned(),
            baseline.map_or_else(unknown, |estimate| row.unit.estimate(estimate)),
            row.current_text(),
            change,
            r,
            verdict(row),
            evidence(row),
        ]
    });
    let columns = [
        "Dimension",
        "Baseline",
        "Current",
        "Δ",
        "r (corr)",
        "Verdict",
        "Evidence",
    ];
    section(3, "Drift & Stability Check", &columns, rows.into())
}

fn verdict(row: &Row) -> String {
    match row.standing {
        SloStatus::Passing => "stable".to_owned(),
        SloStatus::Failing => "unstable".to_owned(),
        SloStatus::Undetermined => "undetermined".to_owned(),
        SloStatus::Unsupported => SloStatus::Unsupported.name().to_owned(),
    }
}

pub(super) fn latency(full: &FullReport<'_>) -> ReportSection {
    let rows = ["Preprocess", "Inference", "Postprocess", "Total"].map(|name| {
        let row = full.row(name).filter(|row| row.section == quality::Section::Latency);
        match row {
            Some(row) if row.current.is_some() => {
                let p95 = row.current.as_ref();
                vec![
                    name.to_owned(),
                    row.mean.map_or_else(unknown, |mean| format!("{mean:.1}")),
                    p95.map_or_else(unknown, |estimate| format!("{:.1}", estimate.value)),
                    row.change_text(),
                    p95.map_or_else(unknown, |estimate| ci95(estimate, row.unit)),
                    row.standing.name().to_owned(),
                    evidence(row),
                ]
            }
            _ if name == "Total" => live_latency(full),
            Some(row) => unsupported(name, 7, evidence(row)),
            None => unsupported(name, 7, no_evidence(full)),
        }
    });
    let columns = [
        "Stage",
        "Avg (ms)",
        "P95 (ms)",
        "Δ vs Prev",
        "CI95",
        "Status",
        "Evidence",
    ];
    section(4, "Latency Profile", &columns, rows.into())
}

fn live_latency(full: &FullReport<'_>) -> Vec<String> {
    let trigger = full
        .report
        .triggers
        .iter()
        .find(|trigger| trigger.trigger == Trigger::Latency);
    let Some((trigger, level)) = trigger.and_then(|trigger| Some((trigger, trigger.level.as_ref()?))) else {
        return unsupported("Total", 7, "unsupported: no metrics".to_owned());
    };
    vec![
        "Total".to_owned(),
        unknown(),
        format::milliseconds(level.value).trim_end_matches("ms").to_owned(),
        unknown(),
        format!(
            "{} (n = {})",
            format::interval(level.ci95, format::milliseconds),
            format::thousands(level.n as f64)
        ),
        standing(trigger).to_owned(),
        full.metrics_evidence(),
    ]
}

fn standing(trigger: &TriggerVerdict) -> &'static str {
    match trigger.state {
        State::Healthy => SloStatus::Passing.name(),
        State::Breach => SloStatus::Failing.name(),
        State::Undetermined => SloStatus::Undetermined.name(),
        State::Unknown(_) => SloStatus::Unsupported.name(),
    }
}

pub(super) fn resources(full: &FullReport<'_>) -> ReportSection {
    let gpu = full.policy.gpu;
    let triggers = [
        (
            "Throughput (req/s)",
            Trigger::Throughput,
            full.policy
                .throughput
                .map(|throughput| format!("≥ {:.0}", throughput.target)),
        ),
        (
            "GPU Utilization (%)",
            Trigger::GpuUtilization,
            gpu.map(|gpu| format!("≤ {}", format::percent(gpu.max_utilization))),
        ),
        (
            "Memory Usage (%)",
            Trigger::GpuMemory,
            gpu.map(|gpu| format!("≤ {}", format::percent(gpu.max_memory))),
        ),
    ];
    let rows = triggers.map(|(name, trigger, target)| {
        let found = full.report.triggers.iter().find(|verdict| verdict.trigger == trigger);
        let figures = found.map(TriggerVerdict::figures).filter(|figures| figures.n > 0);
        let (Some(target), Some(found), Some(figures)) = (target, found, figures) else {
            return unsupported(name, 6, "unsupported: no metrics".to_owned());
        };
        // The live baseline is the release before; its figures are gone when this one runs alone.
        vec![
            name.to_owned(),
            target,
            figures.text(),
            unknown(),
            standing(found).to_owned(),
            full.metrics_evidence(),
        ]
    });
    let columns = ["Metric", "Target", "Observed", "Δ vs Prev", "Status", "Evidence"];
    section(5, "Throughput & Resources", &columns, rows.into())
}

pub(super) fn bottlenecks(full: &FullReport<'_>) -> ReportSection {
    let found = full
        .report
        .rows
        .iter()
        .filter(|row| row.section == quality::Section::Bottlenecks);
    let mut rows: Vec<Vec<String>> = found
        .map(|row| {
            let (severity, action) = match row.standing {
                SloStatus::Failing if row.name == "Unknown" => ("alert", "annotate the code that no event covers"),
                SloStatus::Failing => ("alert", "compare the component with the checkpoint's trace"),
                SloStatus::Undetermined => ("undetermined", "profile more steps"),
                SloStatus::Passing => ("none", "none"),
                SloStatus::Unsupported => (SloStatus::Unsupported.name(), "log profiler_trace.json with the run"),
            };
            vec![
                row.name.clone(),
                row.current_text(),
                row.change_text(),
                severity.to_owned(),
                action.to_owned(),
            ]
        })
        .collect();
    if rows.is_empty() {
        let action = "log profiler_trace.json with the run";
        rows.push(vec![
            "Unknown".to_owned(),
            unknown(),
            unknown(),
            SloStatus::Unsupported.name().to_owned(),
            action.to_owned(),
        ]);
    }
    let columns = [
        "Component",
        "%Total Latency",
        "Regression vs Prev",
        "Severity",
        "Action",
    ];
    section(6, "Bottleneck Analysis", &columns, rows)
}

pub(super) fn readiness(full: &FullReport<'_>) -> ReportSection {
    let rows = full
        .readiness
        .iter()
        .map(|line| {
            vec![
                line.component.to_owned(),
                line.status.clone(),
                line.last_test.clone(),
                line.result.clone(),
                line.evidence.clone(),
            ]
        })
        .collect();
    let columns = ["Component", "Status", "Last Test", "Result", "Evidence"];
    section(7, "Rollback Readiness", &columns, rows)
}

pub(super) fn triggers(full: &FullReport<'_>) -> ReportSection {
    let policy = full.policy;
    let drop = policy.quality.as_ref().and_then(|quality| quality.compliance.as_ref());
    let lines = [
        (
            "Compliance drop",
            Trigger::Compliance,
            drop.map(|compliance| format!("−{} points", compliance.max_drop)),
        ),
        (
            "P95 latency",
            Trigger::Latency,
            policy
                .latency
                .map(|latency| format!("> {}", format::milliseconds(latency.limit()))),
        ),
        (
            "Error rate",
            Trigger::ErrorRate,
            policy.error_rate.map(|max| format!("> {}", format::percent(max))),
        ),
        (
            "Throughput drop",
            Trigger::Throughput,
            policy
                .throughput
                .map(|throughput| format!("< {:.0} req/s", throughput.floor)),
        ),
    ];
    let rows = lines.map(|(name, trigger, threshold)| {
        let last = full.incidents.iter().rfind(|past| past.trigger == trigger);
        let found = full.report.triggers.iter().find(|verdict| verdict.trigger == trigger);
        let (event, result) = last.map_or_else(
            || ("none".to_owned(), "none".to_owned()),
            |past| {
                (
                    format!("{} {}", time(past.opened), past.name),
                    past.state.name().to_owned(),
                )
            },
        );
        let (status, evidence) = match (&threshold, found) {
            (Some(_), Some(found)) => (standing(found).to_owned(), evidence_of(full, found)),
            _ => (
                SloStatus::Unsupported.name().to_owned(),
                "unsupported: the policy does not judge it".to_owned(),
            ),
        };
        vec![
            name.to_owned(),
            threshold.unwrap_or_else(unknown),
            event,
            result,
            status,
            evidence,
        ]
    });
    let columns = ["Trigger", "Threshold", "Last Event", "Result", "Status", "Evidence"];
    section(8, "Auto-Rollback Triggers", &columns, rows.into())
}

/// The odds against the release, and where they come from.
fn evidence_of(full: &FullReport<'_>, trigger: &TriggerVerdict) -> String {
    let (evidence, needs) = trigger.evidence();
    let from = match trigger.trigger {
        Trigger::Compliance => trigger.note.clone(),
        _ => full.metrics_evidence(),
    };
    format!("evidence {evidence}, needs {needs}; {from}")
}

/// A recovery that was never gone through: its target is known all the same.
fn never(name: &str, target: String) -> Vec<String> {
    let mut row = unsupported(name, 6, "unsupported: no rollback and no drill yet".to_owned());
    row[1] = target;
    row
}

pub(super) fn recovery(full: &FullReport<'_>) -> ReportSection {
    let minutes = |seconds: i64| format!("≤ {:.0}", seconds as f64 / 60.0);
    let recovery = full.recovery;
    let time = |name: &str, target: String, found: &Option<(Estimate, bool)>| match found {
        Some((estimate, kept)) => {
            let interval = if estimate.ci95.low.is_finite() && estimate.ci95.high.is_finite() {
                format::interval(estimate.ci95, |minutes| format!("{minutes:.1}"))
            } else {
                unknown()
            };
            vec![
                name.to_owned(),
                target,
                format!("{:.1}", estimate.value),
                format!("{interval} (n = {})", estimate.n),
                if *kept { SloStatus::Passing } else { SloStatus::Failing }
                    .name()
                    .to_owned(),
                recovery.evidence.clone(),
            ]
        }
        None => never(name, target),
    };
    let success = match &recovery.success {
        Some(success) => vec![
            "Success Rate".to_owned(),
            "100%".to_owned(),
            format!("{:.0}%", success.value * 100.0),
            ci95(success, Unit::Share),
            if success.value >= 1.0 {
                SloStatus::Passing
            } else {
                SloStatus::Failing
            }
            .name()
            .to_owned(),
            recovery.evidence.clone(),
        ],
        None => never("Success Rate", "100%".to_owned()),
    };
    let rows = vec![
        time("RTO (min)", minutes(full.policy.rto), &recovery.rto),
        time("RPO (min)", minutes(full.policy.rpo), &recovery.rpo),
        success,
    ];
    let columns = ["Metric", "Target", "Observed", "CI95", "Status", "Evidence"];
    section(9, "Recovery Performance", &columns, rows)
}

pub(super) fn incidents(full: &FullReport<'_>) -> ReportSection {
    let recent = full.incidents.iter().filter(|past| full.now - past.opened < WEEK);
    let rows: Vec<Vec<String>> = recent
        .map(|past| {
            vec![
                past.name.clone(),
                time(past.opened),
                past.trigger.name().to_owned(),
                action(past).to_owned(),
                past.rto
                    .map_or_else(unknown, |seconds| format!("{:.1}", seconds as f64 / 60.0)),
                success(past).to_owned(),
                past.reason.clone(),
            ]
        })
        .collect();
    let columns = [
        "Incident ID",
        "Timestamp",
        "Trigger",
        "Action Taken",
        "RTO (min)",
        "Success",
        "Root Cause",
    ];
    let mut section = section(10, "Incident Log (Last 7 Days)", &columns, rows);
    if section.rows.is_empty() {
        "No incident.".clone_into(&mut section.text);
    }
    section
}

fn action(past: &PastIncident) -> &'static str {
    match (past.state, past.severity) {
        (IncidentState::Recovered | IncidentState::RollingBack | IncidentState::Verifying, _) => "rolled back",
        (IncidentState::Ineffective, _) => "rolled back, to no effect",
        (IncidentState::Open, _) => "recorded",
        (IncidentState::Observed, _) => "observed only",
        (IncidentState::AwaitingApproval, _) => "rollback prepared",
        (IncidentState::NoSafeTarget, _) => "none: no safe checkpoint",
        (IncidentState::Halted, _) => "none: halted within the cooldown",
        (IncidentState::Refused, _) => "none: refused by the API server",
        (IncidentState::Superseded, _) => "none: a newer change came first",
        (IncidentState::Resolved, Severity::Alert) => "alerted",
        (IncidentState::Resolved, Severity::Rollback) => "none: it ended by itself",
    }
}

fn success(past: &PastIncident) -> &'static str {
    match past.state {
        IncidentState::Recovered => "yes",
        IncidentState::Ineffective => "no",
        state if state.is_closed() => UNKNOWN,
        _ => "open",
    }
}

pub(super) fn slos(full: &FullReport<'_>) -> ReportSection {
    let cells = |slo: &Slo| {
        vec![
            slo.name.to_owned(),
            slo.target.clone(),
            slo.current.clone(),
            slo.standing.name().to_owned(),
            slo.evidence.clone(),
        ]
    };
    let rows = full.report.summary.iter().map(cells).collect();
    section(
        12,
        "SLO Summary Table",
        &["SLO", "Target", "Current", "Status", "Evidence"],
        rows,
    )
}

/// Unix seconds as a reader writes them.
pub(super) fn time(at: i64) -> String {
    let at = Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
