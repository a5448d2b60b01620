//! What happened, on the time axes: releases and the steps of incidents.

use jiff::Timestamp;
use kube::ResourceExt;
use maud::{Markup, html};

use super::{Page, cut};
use quality_api::IncidentState;

/// More marks hide what they are about.
const MAX_MARKS: usize = 12;
/// A rollback's change and the release that it makes lie this close together, seconds.
const SAME: std::ops::RangeInclusive<i64> = -5..=30;

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
    let patched: Vec<i64> = page
        .incidents
        .iter()
        .filter_map(|incident| incident.status.as_ref()?.patched_at.as_ref())
        .map(|at| at.0.as_second())
        .collect();
    // The release that a rollback makes is told by the rollback.
    let is_rollback = |at: i64| {
        patched
            .iter()
            .any(|patched| SAME.contains(&at.saturating_sub(*patched)))
    };
    let mut found: Vec<(i64, String)> = page
        .status
        .history
        .releases
        .iter()
        .filter(|release| !is_rollback(release.at))
        .map(|release| {
            let (revision, image) = (cut(&release.revision), cut(&release.image));
            (release.at, format!("release {revision} runs ({image})"))
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
            format!("rolled back to {}", cut(&incident.spec.to)),
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
    let skipped = found.len().saturating_sub(MAX_MARKS);
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

/// The marks in words, below a chart. Only the first chart of a page shows them at once.
pub fn list(marks: &[Mark], shown: bool) -> Markup {
    let items = html! {
        ul.marks aria-label="Marks on the time axis" {
            @for mark in marks { li { b { (mark.number) } " " (mark.text()) } }
        }
    };
    html! {
        @if !marks.is_empty() {
            @if shown { (items) } @else { details { summary { "What the marks are" } (items) } }
        }
    }
}

/// Time of the day, UTC.
pub fn clock(at: i64, seconds: bool) -> String {
    let at = Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime(if seconds { "%H:%M:%S" } else { "%H:%M" }).to_string()
}
