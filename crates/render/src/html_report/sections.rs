//! The strict report's thirteen sections.

use maud::{Markup, html};

use super::{cut, table};
use quality_api::QualityReportStatus;
use quality_core::report::strict::ReportSection;

/// All of them.
pub fn sections(status: &QualityReportStatus) -> Markup {
    html! {
        section id="sections" aria-labelledby="sections-title" {
            h2 id="sections-title" { "Strict report" }
            @if status.sections.is_empty() { p { "It has not been written yet." } }
            @for section in &status.sections { (one(section)) }
        }
    }
}

fn one(section: &ReportSection) -> Markup {
    let heading = format!("{}. {}", section.number, section.title);
    let columns: Vec<&str> = section.columns.iter().map(String::as_str).collect();
    html! {
        section.part {
            h3 { (cut(&heading)) }
            (text(&section.text))
            @if !columns.is_empty() {
                @if section.rows.is_empty() { p { "None." } }
                @else { (table::wide(&heading, &columns, &section.rows)) }
            }
        }
    }
}

/// The plain Markdown of a section: paragraphs, lists of two levels, and ticks.
fn text(text: &str) -> Markup {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let is_item = |line: &&str| line.starts_with("- ");
    let first_item = lines.iter().position(is_item).unwrap_or(lines.len());
    let (paragraphs, items) = lines.split_at(first_item);
    html! {
        @for paragraph in paragraphs { p { (paragraph) } }
        @if !items.is_empty() {
            ul.items {
                @for (index, line) in items.iter().enumerate().filter(|(_, line)| is_item(line)) {
                    li {
                        (item(&line[2..]))
                        @let nested: Vec<&str> = items[index + 1..].iter().take_while(|line| !is_item(line)).copied().collect();
                        @if !nested.is_empty() {
                            ul { @for line in nested { li { (line.trim_start().trim_start_matches("- ")) } } }
                        }
                    }
                }
            }
        }
    }
}

fn item(line: &str) -> Markup {
    if let Some(rest) = line.strip_prefix("[x] ") {
        return html! { span.badge.bad { span aria-hidden="true" { "✕" } " alert" } " " (rest) };
    }
    if let Some(rest) = line.strip_prefix("[ ] unsupported: ") {
        return html! { span.badge.none { span aria-hidden="true" { "–" } " unsupported" } " " (rest) };
    }
    if let Some(rest) = line.strip_prefix("[ ] ") {
        return html! { span.badge.ok { span aria-hidden="true" { "✓" } " quiet" } " " (rest) };
    }
    html! { (line) }
}
