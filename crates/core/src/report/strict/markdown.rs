//! Sections as Markdown.

use std::fmt::Write;

use super::ReportSection;

/// The whole report, the last line included. `title` is the heading, such as `shop/ranker, 2026-11-24 03:00 UTC`.
pub fn markdown(title: &str, sections: &[ReportSection], last_line: &str) -> String {
    let mut text = format!("# Quality & Safety Report: {title}\n");
    // Writing to a String cannot fail.
    for section in sections {
        let _ = write!(text, "\n## {}. {}\n", section.number, section.title);
        if !section.text.is_empty() {
            let _ = write!(text, "\n{}\n", section.text.trim_end());
        }
        if !section.columns.is_empty() {
            let _ = writeln!(text, "\n| {} |", section.columns.join(" | "));
            let _ = writeln!(text, "|{}", "---|".repeat(section.columns.len()));
            for row in &section.rows {
                let cells: Vec<String> = row.iter().map(|cell| escaped(cell)).collect();
                let _ = writeln!(text, "| {} |", cells.join(" | "));
            }
        }
    }
    let _ = write!(text, "\n{last_line}\n");
    text
}

/// A cell stays one cell.
fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|").replace(['\n', '\r'], " ")
}
