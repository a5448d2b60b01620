//! Section 11: nine alerts, each ticked or not, with its current value.

use super::{FullReport, ReportSection, section};
use crate::{
    format::{self, UNKNOWN},
    incident::Trigger,
    quality::Row,
    slo::SloStatus,
};

/// An alert is on, off, or there is no evidence for either.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tick {
    On,
    Off,
    Unknown,
}

impl Tick {
    fn of(standing: SloStatus) -> Self {
        match standing {
            SloStatus::Failing => Self::On,
            SloStatus::Passing | SloStatus::Undetermined => Self::Off,
            SloStatus::Unsupported => Self::Unknown,
        }
    }

    fn mark(self) -> &'static str {
        match self {
            Self::On => "[x]",
            Self::Off => "[ ]",
            Self::Unknown => "[ ] unsupported:",
        }
    }
}

pub(super) fn checklist(full: &FullReport<'_>) -> ReportSection {
    let of_row = |name: &str| {
        full.row(name).map_or((Tick::Unknown, UNKNOWN.to_owned()), |row: &Row| {
            (Tick::of(row.standing), value(row))
        })
    };
    let of_trigger = |trigger: Trigger| {
        let found = full.report.triggers.iter().find(|verdict| verdict.trigger == trigger);
        let Some(found) = found else {
            return (Tick::Unknown, UNKNOWN.to_owned());
        };
        let figures = found.figures();
        if figures.n == 0 {
            return (Tick::Unknown, UNKNOWN.to_owned());
        }
        let tick = if found.evidence_stands() { Tick::On } else { Tick::Off };
        (tick, figures.text())
    };
    let compliance = full.policy.quality.as_ref().and_then(|quality| quality.drift.as_ref());
    let window = format!("Compliance ({}d)", compliance.map_or(7, |drift| drift.window_days));
    let (gpu, memory) = (of_trigger(Trigger::GpuUtilization), of_trigger(Trigger::GpuMemory));
    let either = match (gpu.0, memory.0) {
        (Tick::On, _) | (_, Tick::On) => Tick::On,
        (Tick::Unknown, Tick::Unknown) => Tick::Unknown,
        _ => Tick::Off,
    };
    let recovery = |found: &Option<(quality_stats::Estimate, bool)>| match found {
        Some((estimate, kept)) => (
            if *kept { Tick::Off } else { Tick::On },
            format!("{:.1} min (n = {})", estimate.value, estimate.n),
        ),
        None => (Tick::Unknown, UNKNOWN.to_owned()),
    };
    let (drop, latency, floor) = (
        full.policy.quality.as_ref().and_then(|quality| quality.compliance),
        full.policy.latency,
        full.policy.throughput,
    );
    let lines = [
        (
            format!(
                "compliance drop > {} pts",
                drop.map_or(2.0, |compliance| compliance.max_drop)
            ),
            of_row("Compliance drop"),
        ),
        ("Conflict AUC up > 0.05".to_owned(), of_row("Conflict AUC rise")),
        ("calibration drift > 0.01".to_owned(), of_row("Calibration Drift")),
        ("correlation r < 0.9".to_owned(), of_row(&window)),
        (
            latency.map_or_else(
                || "P95 > target + 5 ms".to_owned(),
                |latency| format!("P95 > target + {}", format::milliseconds(latency.tolerance)),
            ),
            of_trigger(Trigger::Latency),
        ),
        (
            format!(
                "throughput < {:.0} req/s",
                floor.map_or(80.0, |throughput| throughput.floor)
            ),
            of_trigger(Trigger::Throughput),
        ),
        (
            "GPU/memory over limits".to_owned(),
            (either, format!("{}; {}", gpu.1, memory.1)),
        ),
        (
            format!("RTO > {}", format::span(full.policy.rto)),
            recovery(&full.recovery.rto),
        ),
        (
            format!("RPO > {}", format::span(full.policy.rpo)),
            recovery(&full.recovery.rpo),
        ),
    ];
    let mut section = section(11, "Alert Checklist", &[], Vec::new());
    let text: Vec<String> = lines
        .iter()
        .map(|(alert, (tick, value))| format!("- {} {alert}: {value}", tick.mark()))
        .collect();
    section.text = text.join("\n");
    section
}

fn value(row: &Row) -> String {
    if row.change.is_some() {
        row.change_text()
    } else {
        row.current_text()
    }
}
