//! The verdict first: one word, what is open, what was found, the six SLOs.

use kube::ResourceExt;
use maud::{Markup, html};

use super::{Page, badge, cut, instant, or_unknown, table};

use quality_core::report::{AT_RISK, READY};

/// The heading.
pub fn verdict(page: &Page, written: Option<&str>) -> Markup {
    let status = &page.status;
    let class = match status.verdict.as_str() {
        "HEALTHY" => "ok",
        "CAUTION" => "unsure",
        "BREACH" => "bad",
        _ => "none",
    };
    html! {
        div.verdict.(class) {
            p.kicker { "Quality & Safety Report" }
            h1 { (cut(&page.namespace)) "/" wbr; (cut(&page.policy)) }
            p.word { (badge(&or_unknown(&status.verdict))) }
            dl.facts {
                div { dt { "SLOs passing" } dd { (or_unknown(&status.slos)) } }
                div { dt { "Rollback" } dd { (badge(&or_unknown(&status.rollback))) } }
                div { dt { "Incident" } dd { (if status.incident.is_empty() { "none".to_owned() } else { cut(&status.incident) }) } }
                div { dt { "Written" } dd { (written.unwrap_or("not yet")) } }
            }
        }
    }
}

/// What a reader should know, most urgent first.
pub fn findings(page: &Page) -> Markup {
    html! {
        section id="findings" aria-labelledby="findings-title" {
            h2 id="findings-title" { "Findings" }
            @if page.status.findings.is_empty() {
                p { @if page.status.verdict.is_empty() { "The report has not been written yet." } @else { "None." } }
            } @else {
                ol { @for finding in &page.status.findings { li { (cut(finding)) } } }
            }
            @if !page.status.notes.is_empty() {
                h3 { "Notes on the evaluation evidence" }
                ul { @for note in &page.status.notes { li { (cut(note)) } } }
            }
        }
    }
}

/// The six SLOs.
pub fn slos(page: &Page) -> Markup {
    let rows: Vec<Vec<String>> = page
        .status
        .slo_summary
        .iter()
        .map(|slo| {
            vec![
                slo.slo.clone(),
                slo.status.clone(),
                slo.current.clone(),
                slo.target.clone(),
            ]
        })
        .collect();
    html! {
        section id="slos" aria-labelledby="slos-title" {
            h2 id="slos-title" { "Service level objectives" }
            @if rows.is_empty() { p { "None was judged yet." } }
            @else { (table::wide("The six SLOs", &["SLO", "Status", "Current", "Target"], &rows)) }
        }
    }
}

/// The checkpoints.
pub fn checkpoints(page: &Page) -> Markup {
    let rows: Vec<Vec<String>> = page
        .checkpoints
        .iter()
        .map(|checkpoint| {
            let status = checkpoint.status.clone().unwrap_or_default();
            let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
            let word = match ready.map(|ready| ready.status.as_str()) {
                Some("True") => READY,
                Some("False") => AT_RISK,
                _ => "unsupported",
            };
            let at = |at: Option<&_>| at.map_or_else(|| "never".to_owned(), instant);
            vec![
                checkpoint.name_any(),
                word.to_owned(),
                ready.map_or_else(|| "not looked at yet".to_owned(), |ready| ready.message.clone()),
                at(status.certified_at.as_ref()),
                at(status.tested_at.as_ref()),
            ]
        })
        .collect();
    html! {
        section id="checkpoints" aria-labelledby="checkpoints-title" {
            h2 id="checkpoints-title" { "Checkpoints" }
            @if rows.is_empty() { p { "None is registered: a release is, once it has been healthy for a while." } }
            @else { (table::wide("Checkpoints", &["Checkpoint", "Ready", "Why", "Certified", "Tested"], &rows)) }
        }
    }
}
