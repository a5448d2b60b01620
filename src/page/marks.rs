//! What happened, on the time axes: releases and the steps of incidents.

use jiff::Timestamp;
use kube::ResourceExt;
use maud::{Markup, html};

use super::{Page, cut};
use crate::api::IncidentState;

/// More marks hide what they are about.
const MOST: usize = 10;

/// One mark; numbered in the order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Unix seconds.
    pub at: i64,
    /// What happened.
    pub what: String,
    /// Its number in the page.
    pub number: usize,
}

impl Mark {
    /// `02:00:15 breach began`.
    pub fn text(&self) -> String {
        format!("{} {}", clock(self.at, true), self.what)
    }
}

/// The newest marks from `since` on, unix seconds.
pub fn marks(page: &Page, since: i64) -> Vec<Mark> {
    let mut found: Vec<(i64, String)> = page
        .status
        .history
        .releases
        .iter()
        .map(|release| {
            (
                release.at,
                format!("release {} runs ({})", cut(&release.revision), cut(&release.image)),
            )
        })
        .collect();
    for incident in &page.incidents {
        let status = incident.status.clone().unwrap_or_default();
        let trigger = incident.spec.trigger.words();
        let mut add = |at: Option<i64>, what: String| found.extend(at.map(|at| (at, what)));
        add(
            Some(incident.spec.onset.0.as_second()),
            format!("breach of {trigger} began"),
        );
        add(
            Some(incident.spec.detected.0.as_second()),
            format!("detected: {}", cut(&incident.name_any())),
        );
        add(
            status.patched_at.as_ref().map(|at| at.0.as_second()),
            "rolled back".to_owned(),
        );
        let end = if status.state == IncidentState::Recovered {
            "recovered".to_owned()
        } else {
            format!("closed: {}", status.state.name())
        };
        add(status.closed_at.as_ref().map(|at| at.0.as_second()), end);
    }
    found.retain(|(at, _)| *at >= since);
    found.sort_by_key(|(at, _)| *at);
    let skipped = found.len().saturating_sub(MOST);
    found
        .into_iter()
        .skip(skipped)
        .enumerate()
        .map(|(index, (at, what))| Mark {
            at,
            what,
            number: index + 1,
        })
        .collect()
}

/// The marks in words, below a chart.
pub fn list(marks: &[Mark]) -> Markup {
    html! {
        @if !marks.is_empty() {
            ul.marks aria-label="Marks on the time axis" {
                @for mark in marks { li { b { (mark.number) } " " (mark.text()) } }
            }
        }
    }
}

/// Time of the day, UTC.
pub fn clock(at: i64, seconds: bool) -> String {
    let at = Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime(if seconds { "%H:%M:%S" } else { "%H:%M" }).to_string()
}
