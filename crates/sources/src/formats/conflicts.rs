//! `conflict_logs/`, a file an evaluation window, and `conflict_log_summary.json`.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FormatError, instant, json, loaded, origin_within, rows, text_within};
use quality_core::quality::evidence::{Conflict, Dataset, Loaded, Window, WindowSummary};

/// Conflicts of one evaluation window: every evaluated query has a row, severity 0 where nothing conflicts.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConflictLog {
    /// The MLflow run that this belongs to.
    #[schemars(length(min = 1, max = 64))]
    run_id: String,
    /// What was evaluated on.
    dataset: Dataset,
    /// When the window began, RFC 3339.
    start: String,
    /// Every evaluated query. In JSON lines the first line is this object without `rows`, each further line one row.
    #[serde(default)]
    rows: Vec<Conflict>,
}

/// Conflict AUC by window. The logs win where they are there.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConflictLogSummary {
    /// The MLflow run that this belongs to.
    #[schemars(length(min = 1, max = 64))]
    run_id: String,
    /// What was evaluated on.
    dataset: Dataset,
    /// Windows in the order of time.
    #[schemars(length(min = 1, max = 10_000))]
    windows: Vec<SummaryWindow>,
}

/// One window.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SummaryWindow {
    /// When the window began, RFC 3339.
    start: String,
    /// Area under the conflict rate against the severity threshold, in [0, 1].
    #[schemars(range(min = 0, max = 1))]
    conflict_auc: f64,
    /// Evaluated queries.
    queries: u64,
}

pub(super) fn parse_log(bytes: &[u8]) -> Result<Loaded<Window>, FormatError> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<ConflictLog>();
    let Some(head) = values.next() else {
        return Err(FormatError::NoRows);
    };
    let mut log = head?;
    let rest = bytes.get(values.byte_offset()..).unwrap_or_default();
    for row in serde_json::Deserializer::from_slice(rest).into_iter::<Conflict>() {
        log.rows.push(row?);
        if log.rows.len() > super::MAX_ROWS {
            return Err(FormatError::TooManyRows);
        }
    }
    origin_within(&log.run_id, &log.dataset)?;
    rows(&log.rows)?;
    let start = instant(&log.start).ok_or_else(|| FormatError::row("field", 0, "start is not an RFC 3339 time"))?;
    let mut known = HashSet::with_capacity(log.rows.len());
    for (index, row) in log.rows.iter().enumerate() {
        let refuse = |problem| Err(FormatError::row("row", index, problem));
        if !text_within(&row.query, 256) || row.kind.as_ref().is_some_and(|kind| !text_within(kind, 64)) {
            return refuse("query must have 1 to 256 characters, kind 1 to 64");
        }
        if !known.insert(row.query.as_str()) {
            return refuse("this query id is given twice");
        }
        if !(0.0..=1.0).contains(&row.severity) {
            return refuse("severity must lie between 0 and 1");
        }
        if !(0.0..=1e12).contains(&row.penalty) || !(0.0..=1e12).contains(&row.score) || row.penalty > row.score {
            return refuse("penalty and score must not be negative, nor the penalty over the score");
        }
    }
    let window = Window { start, rows: log.rows };
    Ok(loaded(log.run_id, log.dataset, bytes, window))
}

pub(super) fn windows(files: Vec<Loaded<Window>>) -> Result<Loaded<Vec<Window>>, FormatError> {
    let mut files = files;
    files.sort_by_key(|file| file.data.start);
    let Some(first) = files.first() else {
        return Err(FormatError::NoRows);
    };
    let origin = first.origin.clone();
    let hashes: String = files.iter().map(|file| file.sha256.as_str()).collect();
    let mut windows: Vec<Window> = Vec::with_capacity(files.len());
    for (index, file) in files.into_iter().enumerate() {
        if file.origin != origin {
            return Err(FormatError::row(
                "window",
                index,
                "it names another run or dataset than the first one",
            ));
        }
        if windows.last().is_some_and(|last| last.start == file.data.start) {
            return Err(FormatError::row(
                "window",
                index,
                "another window began at the same time",
            ));
        }
        windows.push(file.data);
    }
    Ok(Loaded {
        origin,
        sha256: super::sha256(hashes.as_bytes()),
        data: windows,
    })
}

pub(super) fn parse_summary(bytes: &[u8]) -> Result<Loaded<Vec<WindowSummary>>, FormatError> {
    let file: ConflictLogSummary = json(bytes)?;
    origin_within(&file.run_id, &file.dataset)?;
    rows(&file.windows)?;
    let mut windows: Vec<WindowSummary> = Vec::with_capacity(file.windows.len());
    for (index, window) in file.windows.iter().enumerate() {
        let refuse = |problem| FormatError::row("window", index, problem);
        let start = instant(&window.start).ok_or_else(|| refuse("start is not an RFC 3339 time"))?;
        if windows.last().is_some_and(|last| last.start >= start) {
            return Err(refuse("windows must be in the order of time"));
        }
        if !(0.0..=1.0).contains(&window.conflict_auc) {
            return Err(refuse("conflict_auc must lie between 0 and 1"));
        }
        windows.push(WindowSummary {
            start,
            auc: window.conflict_auc,
            queries: window.queries,
        });
    }
    Ok(loaded(file.run_id, file.dataset, bytes, windows))
}
