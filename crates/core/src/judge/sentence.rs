//! A trigger in words: its figures with their interval and n, the evidence, and one sentence.

use std::fmt::Write;

use super::{State, TriggerVerdict};
use crate::{
    format::{self, UNKNOWN},
    incident::Trigger,
};
use quality_stats::Estimate;

/// What a trigger is about, printed: value, interval, limit.
pub struct Figures {
    /// The point estimate.
    pub value: String,
    /// Its CI95.
    pub ci95: String,
    /// How many requests or samples.
    pub n: u64,
    /// The limit.
    pub limit: String,
}

impl Figures {
    /// Value, interval and n, which never stand alone.
    pub fn text(&self) -> String {
        format!(
            "{} (CI95 {}, n = {})",
            self.value,
            self.ci95,
            format::thousands(self.n as f64)
        )
    }
}

impl TriggerVerdict {
    /// Its figures in the unit that its objective has: a latency in milliseconds, not a share.
    pub fn figures(&self) -> Figures {
        let print: fn(f64) -> String = match self.trigger {
            Trigger::ErrorRate
            | Trigger::GpuUtilization
            | Trigger::GpuMemory
            | Trigger::NoMetrics
            | Trigger::Requested => format::percent,
            Trigger::Latency => format::milliseconds,
            Trigger::Throughput => |rate| format!("{rate:.1}/s"),
            Trigger::Compliance => format::points,
        };
        let shown: Option<&Estimate> = match self.trigger {
            Trigger::Latency | Trigger::GpuUtilization | Trigger::GpuMemory => self.level.as_ref(),
            Trigger::ErrorRate
            | Trigger::Throughput
            | Trigger::Compliance
            | Trigger::NoMetrics
            | Trigger::Requested => self.estimate.as_ref(),
        };
        let limit = print(self.level_limit.unwrap_or(self.limit));
        match shown {
            Some(estimate) => Figures {
                value: print(estimate.value),
                ci95: format::interval(estimate.ci95, print),
                n: estimate.n,
                limit,
            },
            None => Figures {
                value: UNKNOWN.to_owned(),
                ci95: UNKNOWN.to_owned(),
                n: 0,
                limit,
            },
        }
    }

    /// The evidence against a release, and how much the operator needs to act.
    pub fn evidence(&self) -> (String, String) {
        if self.trigger != Trigger::Compliance {
            return (format::odds(self.log_evidence), format::odds(self.log_threshold));
        }
        let ci95 = self.estimate.as_ref().map_or_else(
            || UNKNOWN.to_owned(),
            |estimate| format!("CI95 {}", format::interval(estimate.ci95, format::points)),
        );
        (ci95, format!("≤ {}, CI95 under 0", format::points(self.limit)))
    }

    /// The order of magnitude of the evidence as odds, from 0; a comparison of runs has none.
    pub fn evidence_magnitude(&self) -> i32 {
        if self.trigger == Trigger::Compliance {
            return 0;
        }
        format::odds_magnitude(self.log_evidence)
    }

    /// A drop of compliance in one sentence.
    fn drop_sentence(&self) -> String {
        let figures = self.figures();
        let mut text = format!(
            "Compliance@1 {} points against the checkpoint's run (CI95 {}, n = {}), limit {} with a CI95 under 0",
            figures.value,
            figures.ci95,
            format::thousands(figures.n as f64),
            figures.limit
        );
        if let Some(level) = &self.level {
            let ci95 = format::interval(level.ci95, format::percent);
            let _ = write!(
                text,
                "; now {} (CI95 {ci95}, n = {})",
                format::percent(level.value),
                format::thousands(level.n as f64)
            );
        }
        if !self.note.is_empty() {
            let _ = write!(text, "; {}", self.note);
        }
        text
    }

    /// It in one sentence, as an Event and an incident tell it.
    pub fn sentence(&self) -> String {
        if self.trigger == Trigger::Compliance {
            return self.drop_sentence();
        }
        let figures = self.figures();
        let side = if self.trigger == Trigger::Throughput {
            "under"
        } else {
            "over"
        };
        let mut text = format!(
            "{} {} {side} {}; evidence {}, needs {}; design effect {:.1}",
            self.trigger.words(),
            figures.text(),
            figures.limit,
            format::odds(self.log_evidence),
            format::odds(self.log_threshold),
            self.design_effect,
        );
        let slow = self
            .estimate
            .as_ref()
            .filter(|_| self.trigger == Trigger::Latency && self.state == State::Breach);
        if let Some(slow) = slow {
            let (share, ci95) = (
                format::percent(slow.value),
                format::interval(slow.ci95, format::percent),
            );
            let _ = write!(
                text,
                "; {share} of the requests were slower (CI95 {ci95}), {} may be",
                format::percent(self.limit)
            );
        }
        if !self.note.is_empty() {
            text.push_str("; ");
            text.push_str(&self.note);
        }
        text
    }
}
