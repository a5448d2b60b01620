//! The report as one self-contained HTML page: no script, nothing from elsewhere, light and dark, print and phone.
//! A function of the records alone: the same records give the same bytes.
//!
//! [`chart`] is a small SVG writer of our own. A plotting crate would have to draw text as text, take its colours from
//! CSS variables (dark mode, print) and give the same bytes each time; none of those at hand does all three.

mod chart;
mod evidence;
mod head;
mod histogram;
mod index;
mod marks;
mod next;
mod number;
mod recovery;
mod sections;
mod series;
mod stacks;
mod table;

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

pub use index::{Entry, index};

use quality_api::{QualityIncident, QualityReport, QualityReportStatus, RecoveryDrill, RollbackCheckpoint};
use quality_core::{
    format::UNKNOWN,
    report::{AT_RISK, READY},
};

const STYLE: &str = include_str!("html_report/style.css");
/// More incidents, drills or checkpoints make no page that anybody reads.
const MAX_RECORDS: usize = 50;
/// Longer words of a record are cut: a page must open on a phone.
const MAX_CHARACTERS: usize = 600;

/// What a page is made from.
#[derive(Clone, Debug)]
pub struct Records {
    /// The report.
    pub report: QualityReport,
    /// Incidents of its namespace; those of other policies are left out.
    pub incidents: Vec<QualityIncident>,
    /// Drills of its namespace, likewise.
    pub drills: Vec<RecoveryDrill>,
    /// Checkpoints of its namespace, likewise.
    pub checkpoints: Vec<RollbackCheckpoint>,
}

/// What the parts of a page share: the records of one policy in the order of time.
struct Page {
    namespace: String,
    policy: String,
    status: QualityReportStatus,
    /// Oldest first.
    incidents: Vec<QualityIncident>,
    /// Finished, oldest first.
    drills: Vec<RecoveryDrill>,
    checkpoints: Vec<RollbackCheckpoint>,
}

impl Page {
    fn of(records: &Records) -> Self {
        let policy = records.report.spec.policy_ref.name.clone();
        let mut incidents: Vec<QualityIncident> = records.incidents.clone();
        incidents.retain(|incident| incident.spec.policy.name == policy);
        incidents.sort_by_key(|incident| (incident.spec.onset.0, incident.name_any()));
        incidents.drain(..incidents.len().saturating_sub(MAX_RECORDS));
        let mut drills = records.drills.clone();
        drills.retain(|drill| drill.spec.policy_ref.name == policy && finished(drill).is_some());
        drills.sort_by_key(|drill| (finished(drill), drill.name_any()));
        drills.drain(..drills.len().saturating_sub(MAX_RECORDS));
        let target = records.report.labels().get(quality_api::TARGET_LABEL).cloned();
        let mut checkpoints = records.checkpoints.clone();
        checkpoints.retain(|checkpoint| {
            let label = checkpoint.labels().get(quality_api::TARGET_LABEL);
            target.is_some() && (label == target.as_ref() || Some(&checkpoint.spec.target_ref.name) == target.as_ref())
        });
        checkpoints.sort_by_key(ResourceExt::name_any);
        checkpoints.truncate(MAX_RECORDS);
        Self {
            namespace: records.report.namespace().unwrap_or_default(),
            policy,
            status: records.report.status.clone().unwrap_or_default(),
            incidents,
            drills,
            checkpoints,
        }
    }
}

fn finished(drill: &RecoveryDrill) -> Option<jiff::Timestamp> {
    drill.status.as_ref()?.finished_at.as_ref().map(|at| at.0)
}

/// The page.
pub fn page(records: &Records) -> String {
    let page = Page::of(records);
    let title = format!(
        "{}/{}: {}",
        page.namespace,
        page.policy,
        or_unknown(&page.status.verdict)
    );
    let written = page.status.updated_at.as_ref().map(instant);
    document(
        &title,
        &html! {
            a.skip href="#main" { "Skip to the report" }
            header {
                (head::verdict(&page, written.as_deref()))
            }
            nav aria-label="Parts of the report" {
                ul {
                    @for (anchor, name) in [("next", "What to do"), ("slos", "SLOs"), ("checkpoints", "Checkpoints"), ("charts", "Charts"), ("sections", "Strict report")] {
                        li { a href={ "#" (anchor) } { (name) } }
                    }
                }
            }
            main id="main" {
                (head::findings(&page))
                (next::steps(&page))
                (head::slos(&page))
                (head::checkpoints(&page))
                section id="charts" aria-labelledby="charts-title" {
                    h2 id="charts-title" { "Charts" }
                    p.note { "All times are UTC. Each chart has its numbers below it." }
                    div.charts {
                        (series::figures(&page))
                        (evidence::figures(&page.status))
                        (recovery::figure(&page))
                        (stacks::figure(&page.status.history))
                    }
                }
                (sections::sections(&page.status))
            }
            footer {
                p.last { (cut(&page.status.last_line)) }
                p.note { "quality-officer, report of " (cut(&page.namespace)) "/" (cut(&page.policy)) ", written " (written.as_deref().unwrap_or("never")) "." }
            }
        },
    )
}

/// A whole document with its style and its policy.
fn document(title: &str, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(content_security_policy());
                meta name="referrer" content="no-referrer";
                meta name="robots" content="noindex";
                meta name="color-scheme" content="light dark";
                title { (cut(title)) }
                // The icon that a browser would ask for.
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    }
    .into_string()
}

/// What the page may do: show itself in its own style, and nothing else.
pub fn content_security_policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'")
}

/// `2026-11-24 03:00:15 UTC`.
fn instant(at: &Time) -> String {
    at.0.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// At most so many characters, and says when that is not all.
fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_CHARACTERS {
        return text.to_owned();
    }
    let cut: String = text.chars().take(MAX_CHARACTERS).collect();
    format!("{cut}… (cut)")
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { UNKNOWN.to_owned() } else { cut(text) }
}

/// A verdict or standing with a sign of its own beside its word: never colour alone.
fn badge(word: &str) -> Markup {
    let (class, sign) = match word {
        "PASSING" | "HEALTHY" | READY | "stable" | "Passed" | "Recovered" => ("ok", "✓"),
        "FAILING" | "BREACH" | AT_RISK | "unstable" | "alert" | "Failed" => ("bad", "✕"),
        "CAUTION" | "UNDETERMINED" | "undetermined" => ("unsure", "?"),
        "unsupported" => ("none", "–"),
        _ => return html! { (cut(word)) },
    };
    html! { span.badge.(class) { span aria-hidden="true" { (sign) } " " (word) } }
}

#[cfg(test)]
#[path = "html_report/tests.rs"]
mod tests;
