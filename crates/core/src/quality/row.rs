//! One judgement of a report.

use std::fmt::Write;

use super::{consistency::Incomparable, evidence::File};
use crate::{format, slo::SloStatus};
use quality_stats::{Estimate, StatsError};

/// Where in the report a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Compliance Status.
    Compliance,
    /// Drift & Stability Check.
    Drift,
    /// Latency Profile.
    Latency,
    /// Throughput & Resources.
    Resources,
    /// Bottleneck Analysis.
    Bottlenecks,
    /// Auto-Rollback Triggers.
    Triggers,
}

impl Section {
    /// As the report heads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compliance => "Compliance Status",
            Self::Drift => "Drift & Stability Check",
            Self::Latency => "Latency Profile",
            Self::Resources => "Throughput & Resources",
            Self::Bottlenecks => "Bottleneck Analysis",
            Self::Triggers => "Auto-Rollback Triggers",
        }
    }
}

/// What a row that fails leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A rollback.
    Rollback,
    /// A missed objective.
    Objective,
    /// An alert.
    Alert,
}

/// The unit of a row's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A share of 1, printed as a percentage.
    Share,
    /// Percentage points, or percent of a baseline, with its sign.
    Points,
    /// A plain number.
    Number,
    /// Milliseconds.
    Milliseconds,
    /// Requests per second.
    Rate,
}

impl Unit {
    /// A number in this unit.
    pub fn print(self, value: f64) -> String {
        if value.is_infinite() {
            return if value > 0.0 { "∞" } else { "−∞" }.to_owned();
        }
        match self {
            Self::Share => format::percent(value),
            Self::Points => format::points(value),
            Self::Number => format!("{value:.3}"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Rate => format!("{value:.1}/s"),
        }
    }

    /// An estimate: value, CI95 and n.
    pub fn estimate(self, estimate: &Estimate) -> String {
        format!(
            "{} (CI95 {}, n = {})",
            self.print(estimate.value),
            format::interval(estimate.ci95, |value| self.print(value)),
            format::thousands(estimate.n as f64)
        )
    }
}

/// The number that a row is held against, and which of its numbers is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// The value now.
    Current(f64),
    /// The change.
    Change(f64),
    /// The change without its sign.
    Size(f64),
}

/// One judgement.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where it stands.
    pub section: Section,
    /// What it is about.
    pub name: String,
    /// What must hold.
    pub target: String,
    /// The same as a number, where it is one.
    pub limit: Option<Limit>,
    /// The value now.
    pub current: Option<Estimate>,
    /// The value before, where the row compares two.
    pub baseline: Option<Estimate>,
    /// Its unit.
    pub unit: Unit,
    /// The change against the checkpoint's run.
    pub change: Option<Estimate>,
    /// The unit of the change.
    pub change_unit: Unit,
    /// How it stands.
    pub standing: SloStatus,
    /// What failing leads to.
    pub effect: Effect,
    /// The file that it comes from.
    pub file: File,
    /// `file#run_id#dataset_version`; `unsupported: why` where there is none.
    pub evidence: String,
    /// What else a reader needs to know.
    pub note: String,
    /// Whether the verdict counts it when it does not pass.
    pub counts: bool,
    /// The mean of what the value is a quantile of, in the row's unit.
    pub mean: Option<f64>,
    /// There was no earlier run to compare with.
    pub has_no_baseline: bool,
}

impl Row {
    /// A row without a value.
    pub fn new(section: Section, name: impl Into<String>, target: impl Into<String>, unit: Unit, file: File) -> Self {
        Self {
            section,
            name: name.into(),
            target: target.into(),
            limit: None,
            current: None,
            baseline: None,
            unit,
            change: None,
            change_unit: unit,
            standing: SloStatus::Unsupported,
            effect: Effect::Objective,
            file,
            evidence: String::new(),
            note: String::new(),
            counts: true,
            mean: None,
            has_no_baseline: false,
        }
    }

    /// Failing only alerts.
    #[must_use]
    pub fn alert(mut self) -> Self {
        self.effect = Effect::Alert;
        self
    }

    /// The change is in another unit.
    #[must_use]
    pub fn change_in(mut self, unit: Unit) -> Self {
        self.change_unit = unit;
        self
    }

    /// The number that it is held against.
    #[must_use]
    pub fn limited(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Whether it passes within this share of its limit.
    pub fn is_near(&self, share: f64) -> bool {
        let change = self.change.as_ref().map(|estimate| estimate.value);
        let (value, limit) = match self.limit {
            Some(Limit::Current(limit)) => (self.current.as_ref().map(|estimate| estimate.value), limit),
            Some(Limit::Change(limit)) => (change, limit),
            Some(Limit::Size(limit)) => (change.map(f64::abs), limit),
            None => (None, 0.0),
        };
        self.standing == SloStatus::Passing
            && limit.abs() > 0.0
            && value.is_some_and(|value| ((value - limit) / limit).abs() <= share)
    }

    /// Where the evidence is.
    #[must_use]
    pub fn claim(mut self, claim: impl Into<String>) -> Self {
        self.evidence = claim.into();
        self
    }

    /// No evidence, and why.
    #[must_use]
    pub fn unsupported(mut self, why: impl AsRef<str>) -> Self {
        self.standing = SloStatus::Unsupported;
        if self.evidence.is_empty() {
            self.evidence = format!("unsupported: {}", why.as_ref());
        } else {
            self.say(&format!("unsupported: {}", why.as_ref()));
        }
        self
    }

    /// Nothing that its value can be compared with, and why.
    #[must_use]
    pub fn incomparable(mut self, why: &Incomparable) -> Self {
        self.has_no_baseline |= *why == Incomparable::NoBaseline;
        self.unsupported(why.to_string())
    }

    /// Whether it is unsupported only because there is nothing to compare with.
    pub fn lacks_baseline(&self) -> bool {
        self.standing == SloStatus::Unsupported && self.has_no_baseline
    }

    /// Why a statistic has no value: too few is no evidence, the rest cannot be told.
    #[must_use]
    pub fn without(self, error: &StatsError) -> Self {
        self.unsupported(error.to_string())
    }

    /// Adds to the note.
    pub fn say(&mut self, text: &str) {
        if !self.note.is_empty() {
            self.note.push_str("; ");
        }
        self.note.push_str(text);
    }

    /// The value now, printed.
    pub fn current_text(&self) -> String {
        self.current
            .as_ref()
            .map_or_else(|| format::UNKNOWN.to_owned(), |estimate| self.unit.estimate(estimate))
    }

    /// The change, printed.
    pub fn change_text(&self) -> String {
        self.change.as_ref().map_or_else(
            || format::UNKNOWN.to_owned(),
            |estimate| self.change_unit.estimate(estimate),
        )
    }

    /// The row in one sentence.
    pub fn sentence(&self) -> String {
        let mut text = format!("{} {}", self.name, self.current_text());
        if self.change.is_some() {
            // Writing to a String cannot fail.
            let _ = write!(text, ", Δ {}", self.change_text());
        }
        let _ = write!(text, ", target {}: {}", self.target, self.standing.name());
        if !self.note.is_empty() {
            let _ = write!(text, "; {}", self.note);
        }
        let _ = write!(text, " [{}]", self.evidence);
        text
    }
}

/// A value that must stay under `limit`: shown over, shown under, or neither.
pub fn under(estimate: &Estimate, limit: f64) -> SloStatus {
    if estimate.ci95.high < limit {
        SloStatus::Passing
    } else if estimate.ci95.low >= limit {
        SloStatus::Failing
    } else {
        SloStatus::Undetermined
    }
}

/// A change whose value alarms over `limit` when its interval excludes 0.
pub fn alarm_over(estimate: &Estimate, limit: f64) -> SloStatus {
    if estimate.value <= limit {
        SloStatus::Passing
    } else if estimate.ci95.low > 0.0 {
        SloStatus::Failing
    } else {
        SloStatus::Undetermined
    }
}
