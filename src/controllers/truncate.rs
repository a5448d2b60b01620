//! The bounds of a report's status: whatever went in, what is written stays far below what etcd takes (1.5 MiB).

use quality_api::{QualityReportStatus, QualityRow, SloRow};

/// The longest cell of a table, bytes: a claim with a long file name fits.
const CELL: usize = 240;
/// The longest sentence, bytes.
const SENTENCE: usize = 2_000;
/// The longest text of a section, bytes.
const TEXT: usize = 4_000;
/// Rows of all sections together.
const ROWS: usize = 160;
/// Columns of a section.
const COLUMNS: usize = 8;

/// Cuts what is longer than a reader needs. Lists keep their order, which has the most urgent first.
pub fn fit(status: &mut QualityReportStatus) {
    status.conditions.truncate(16);
    for condition in &mut status.conditions {
        cut(&mut condition.message, SENTENCE);
    }
    for scalar in [
        &mut status.verdict,
        &mut status.slos,
        &mut status.rollback,
        &mut status.p95,
        &mut status.rps,
        &mut status.errors,
        &mut status.compliance,
        &mut status.incident,
    ] {
        cut(scalar, CELL);
    }
    cut(&mut status.last_line, SENTENCE);
    status.slo_summary.truncate(6);
    for SloRow {
        slo,
        target,
        current,
        status,
        evidence,
    } in &mut status.slo_summary
    {
        for cell in [slo, target, current, status, evidence] {
            cut(cell, CELL);
        }
    }
    for sentences in [&mut status.findings, &mut status.notes, &mut status.questions] {
        sentences.truncate(16);
        for sentence in sentences {
            cut(sentence, SENTENCE);
        }
    }
    status.quality.truncate(100);
    for QualityRow {
        section,
        name,
        target,
        current,
        change,
        status,
        evidence,
        note,
    } in &mut status.quality
    {
        for cell in [section, name, target, current, change, status, evidence, note] {
            cut(cell, CELL);
        }
    }
    sections(status);
}

fn sections(status: &mut QualityReportStatus) {
    status.sections.truncate(13);
    let mut left = ROWS;
    for section in &mut status.sections {
        cut(&mut section.title, CELL);
        cut(&mut section.text, TEXT);
        section.columns.truncate(COLUMNS);
        section.rows.truncate(left);
        left -= section.rows.len();
        for cells in section.rows.iter_mut().chain([&mut section.columns]) {
            cells.truncate(COLUMNS);
            for cell in cells {
                cut(cell, CELL);
            }
        }
    }
}

/// At most so many bytes, between two characters; what is cut is shown.
fn cut(text: &mut String, most: usize) {
    if text.len() <= most {
        return;
    }
    text.truncate(text.floor_char_boundary(most - '…'.len_utf8()));
    text.push('…');
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

    use super::*;
    use quality_core::report::strict::ReportSection;

    /// More of everything than there can be, in characters of three bytes.
    fn largest() -> QualityReportStatus {
        let long = || "—".repeat(20_000);
        let condition = || Condition {
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
            message: long(),
            observed_generation: Some(i64::MAX),
            reason: "R".repeat(128),
            status: "Unknown".into(),
            type_: "T".repeat(128),
        };
        let slo = || SloRow {
            slo: long(),
            target: long(),
            current: long(),
            status: long(),
            evidence: long(),
        };
        let row = || QualityRow {
            section: long(),
            name: long(),
            target: long(),
            current: long(),
            change: long(),
            status: long(),
            evidence: long(),
            note: long(),
        };
        let section = |number| ReportSection {
            number,
            title: long(),
            text: long(),
            columns: vec![long(); 9],
            rows: vec![vec![long(); 9]; 40],
        };
        QualityReportStatus {
            conditions: vec![condition(); 17],
            verdict: long(),
            slos: long(),
            rollback: long(),
            p95: long(),
            rps: long(),
            errors: long(),
            compliance: long(),
            incident: long(),
            slo_summary: vec![slo(); 7],
            findings: vec![long(); 17],
            questions: vec![long(); 17],
            quality: vec![row(); 101],
            notes: vec![long(); 17],
            sections: (1..=14).map(section).collect(),
            last_line: long(),
            // Bounded by itself, 16 KiB (crates/core/src/history.rs).
            history: quality_core::history::History::default(),
            reviewed_at: Some(Time(jiff::Timestamp::UNIX_EPOCH)),
            updated_at: Some(Time(jiff::Timestamp::UNIX_EPOCH)),
        }
    }

    #[test]
    fn the_largest_report_is_half_of_what_etcd_takes() {
        let mut status = largest();
        fit(&mut status);
        let bytes = serde_json::to_vec(&status).unwrap().len();
        assert!((600_000..760_000).contains(&bytes), "{bytes} bytes");
        let lists = [status.conditions.len(), status.findings.len(), status.notes.len()];
        assert_eq!((lists, status.quality.len(), status.sections.len()), ([16; 3], 100, 13));
    }

    #[test]
    fn what_fits_stays_as_it_is_and_what_is_cut_shows_it() {
        let mut short = "error rate 3.1% …".to_owned();
        cut(&mut short, 20);
        assert_eq!(short, "error rate 3.1% …");
        let mut long = "é".repeat(20);
        cut(&mut long, 20);
        assert_eq!(long, format!("{}…", "é".repeat(8)));
    }
}
