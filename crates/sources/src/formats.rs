//! The evidence files as types, and their parsers: bounded, strict, and with errors that name a place and
//! hold nothing of the file. `schemas/` is generated from these types.
//!
//! Unknown fields are refused: a misspelt optional field (`sesion`) would otherwise narrow an interval in
//! silence. That bounds the depth too, as no type nests; the trace, which has free fields, is bounded to
//! [`MAX_DEPTH`] levels.

mod calibration;
pub mod checkpoint_registry;
mod compliance;
mod conflicts;
mod logs;
mod profiling;
mod timeseries;
mod trace;

use std::io::Read;

use schemars::Schema;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use quality_core::{
    format::{self, hexadecimal},
    quality::{
        evidence::{
            CalibrationData, Compliance, Dataset, Errors, File, Loaded, Origin, Profiling, Sample, SeriesPoint, Window,
            WindowSummary,
        },
        trace::{Attribution, TraceError},
    },
};

pub use trace::read_trace;

/// Levels of nesting that a trace may have.
pub const MAX_DEPTH: usize = 64;
/// Rows that one file may have.
pub const MAX_ROWS: usize = 1_000_000;

/// The most bytes that a file may have.
pub const fn most_bytes(file: File) -> u64 {
    match file {
        File::ConflictLogSummary | File::ErrorLogs | File::Telemetry | File::ComplianceTimeseries => 1 << 20,
        File::RuntimePerf | File::GpuProfiler => 8 << 20,
        File::ComplianceMetrics | File::ConflictLogs | File::CalibrationReport | File::ProfilingReport => 32 << 20,
        File::ProfilerTrace => 512 << 20,
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It cannot be read to its end.
    #[error("it could not be read: {0}")]
    Read(std::io::ErrorKind),
    /// It is too long.
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    /// It ends too early.
    #[error("it ends too early")]
    Truncated,
    /// It is not JSON of this format. [`FormatError::detail`] says more.
    #[error("line {line}, column {column}: not what the format says")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column.
        column: usize,
        /// The parser's words: they may quote the file.
        detail: String,
    },
    /// It nests too deeply.
    #[error("it nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// It has too many rows.
    #[error("it has more than {MAX_ROWS} rows")]
    TooManyRows,
    /// It has no rows.
    #[error("it has no rows")]
    NoRows,
    /// A row makes no sense.
    #[error("{place} {row}: {problem}")]
    Row {
        /// What is counted: `line`, `query`, `prediction`.
        place: &'static str,
        /// Which one, from 1.
        row: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The trace cannot be attributed.
    #[error("{0}")]
    Trace(#[from] TraceError),
}

impl FormatError {
    /// The parser's words, for a person who may see the file.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Json { detail, .. } => Some(detail),
            _ => None,
        }
    }

    fn row(place: &'static str, index: usize, problem: &'static str) -> Self {
        Self::Row {
            place,
            row: index + 1,
            problem,
        }
    }
}

impl From<serde_json::Error> for FormatError {
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            serde_json::error::Category::Eof => Self::Truncated,
            serde_json::error::Category::Io => Self::Read(error.io_error_kind().unwrap_or(std::io::ErrorKind::Other)),
            _ if error.to_string().starts_with(trace::TOO_DEEP) => Self::TooDeep,
            _ => Self::Json {
                line: error.line(),
                column: error.column(),
                detail: format::plain(&error.to_string(), 200),
            },
        }
    }
}

impl From<std::io::Error> for FormatError {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error.kind())
    }
}

/// All bytes of a file, at most as many as it may have.
pub fn read_bounded(file: File, reader: impl Read) -> Result<Vec<u8>, FormatError> {
    let limit = most_bytes(file);
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(FormatError::TooLong(limit));
    }
    Ok(bytes)
}

/// sha256 of bytes, hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(Sha256::digest(bytes))
}

fn loaded<T>(run_id: String, dataset: Dataset, bytes: &[u8], data: T) -> Loaded<T> {
    Loaded {
        origin: Origin {
            run_id: Some(run_id),
            dataset: Some(dataset),
        },
        sha256: sha256(bytes),
        data,
    }
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FormatError> {
    Ok(serde_json::from_slice(bytes)?)
}

fn rows<T>(rows: &[T]) -> Result<(), FormatError> {
    match rows.len() {
        0 => Err(FormatError::NoRows),
        n if n > MAX_ROWS => Err(FormatError::TooManyRows),
        _ => Ok(()),
    }
}

fn text_within(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count())
}

fn origin_within(run_id: &str, dataset: &Dataset) -> Result<(), FormatError> {
    run_within(run_id)?;
    dataset_within(&dataset.version)?;
    dataset_within(&dataset.digest)
}

/// Parts of a claim, `file#run_id#dataset_version`.
fn is_plain(text: &str, most: usize) -> bool {
    text_within(text, most) && !text.chars().any(|c| c.is_control() || c == '#')
}

fn run_within(run_id: &str) -> Result<(), FormatError> {
    is_plain(run_id, 64).then_some(()).ok_or(FormatError::row(
        "field",
        0,
        "run_id must have 1 to 64 characters, none of them #",
    ))
}

fn dataset_within(text: &str) -> Result<(), FormatError> {
    is_plain(text, 128).then_some(()).ok_or(FormatError::row(
        "field",
        0,
        "dataset version and digest must have 1 to 128 characters, none of them #",
    ))
}

fn instant(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// `compliance_metrics.json`.
pub fn compliance(bytes: &[u8]) -> Result<Loaded<Compliance>, FormatError> {
    compliance::parse(bytes)
}

/// One file of `conflict_logs/`: JSON, or JSON lines with the origin on the first line.
pub fn conflict_log(bytes: &[u8]) -> Result<Loaded<Window>, FormatError> {
    conflicts::parse_log(bytes)
}

/// All files of `conflict_logs/` as windows in the order of time; they must be of one origin.
pub fn conflict_windows(files: Vec<Loaded<Window>>) -> Result<Loaded<Vec<Window>>, FormatError> {
    conflicts::windows(files)
}

/// `conflict_log_summary.json`.
pub fn conflict_summary(bytes: &[u8]) -> Result<Loaded<Vec<WindowSummary>>, FormatError> {
    conflicts::parse_summary(bytes)
}

/// `calibration_report.json`.
pub fn calibration(bytes: &[u8]) -> Result<Loaded<CalibrationData>, FormatError> {
    calibration::parse(bytes)
}

/// `compliance_timeseries.csv`.
pub fn timeseries(bytes: &[u8]) -> Result<Loaded<Vec<SeriesPoint>>, FormatError> {
    timeseries::parse(bytes)
}

/// `profiling_report.json`.
pub fn profiling(bytes: &[u8]) -> Result<Loaded<Profiling>, FormatError> {
    profiling::parse(bytes)
}

/// `profiler_trace.json`, read as a stream.
pub fn trace(reader: impl Read) -> Result<Loaded<Attribution>, FormatError> {
    read_trace(reader)
}

/// `runtime_perf.log`.
pub fn runtime_perf(bytes: &[u8]) -> Result<Loaded<Vec<Sample>>, FormatError> {
    logs::parse_runtime(bytes)
}

/// `gpu_profiler.log`: the CSV of `nvidia-smi --query-gpu=timestamp,utilization.gpu,memory.used,memory.total`.
pub fn gpu_profiler(bytes: &[u8]) -> Result<Loaded<Vec<Sample>>, FormatError> {
    logs::parse_gpu(bytes)
}

/// `telemetry.json`.
pub fn telemetry(bytes: &[u8]) -> Result<Loaded<Vec<Sample>>, FormatError> {
    logs::parse_telemetry(bytes)
}

/// `error_logs.json`.
pub fn error_logs(bytes: &[u8]) -> Result<Loaded<Errors>, FormatError> {
    logs::parse_errors(bytes)
}

/// The JSON Schemas, by file name.
pub fn schemas() -> Vec<(&'static str, Schema)> {
    vec![
        (
            "compliance_metrics.schema.json",
            schemars::schema_for!(compliance::ComplianceMetrics),
        ),
        (
            "conflict_log.schema.json",
            schemars::schema_for!(conflicts::ConflictLog),
        ),
        (
            "conflict_log_summary.schema.json",
            schemars::schema_for!(conflicts::ConflictLogSummary),
        ),
        (
            "calibration_report.schema.json",
            schemars::schema_for!(calibration::CalibrationReport),
        ),
        (
            "profiling_report.schema.json",
            schemars::schema_for!(profiling::ProfilingReport),
        ),
        ("telemetry.schema.json", schemars::schema_for!(logs::Telemetry)),
        ("error_logs.schema.json", schemars::schema_for!(logs::ErrorLogs)),
        (
            "checkpoint_registry.schema.json",
            schemars::schema_for!(checkpoint_registry::CheckpointRegistry),
        ),
    ]
}

#[cfg(test)]
#[path = "formats/tests.rs"]
mod tests;
