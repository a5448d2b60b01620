//! Logs of a load test: `runtime_perf.log`, `gpu_profiler.log`, `telemetry.json`, `error_logs.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FormatError, dataset_within, instant, json, loaded, origin_within, rows, run_within, sha256, text_within};
use quality_core::quality::evidence::{Dataset, Errors, Loaded, Origin, Sample};

/// Load and GPU by interval.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Telemetry {
    /// The MLflow run that this belongs to.
    #[schemars(length(min = 1, max = 64))]
    run_id: String,
    /// What was replayed.
    dataset: Dataset,
    /// Intervals in the order of time.
    #[schemars(length(min = 1, max = 100_000))]
    samples: Vec<TelemetrySample>,
}

/// One interval; what was not measured is left out.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TelemetrySample {
    /// End of the interval, RFC 3339.
    timestamp: String,
    /// Its length, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    /// Requests that ended in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requests: Option<u64>,
    /// Those that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    errors: Option<u64>,
    /// GPU utilisation, in [0, 1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    gpu_utilization: Option<f64>,
    /// GPU memory in use, in [0, 1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    gpu_memory: Option<f64>,
}

/// The failed requests of a load test.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ErrorLogs {
    /// The MLflow run that this belongs to.
    #[schemars(length(min = 1, max = 64))]
    run_id: String,
    /// What was replayed.
    dataset: Dataset,
    /// All requests, failed or not.
    requests: u64,
    /// Each failed request.
    #[schemars(length(max = 100_000))]
    errors: Vec<ErrorEntry>,
}

/// One failed request.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ErrorEntry {
    /// When, RFC 3339.
    timestamp: String,
    /// What went wrong, in a word: `timeout`, `out_of_memory`.
    #[schemars(length(min = 1, max = 64))]
    kind: String,
    /// More about it; not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

pub(super) fn parse_telemetry(bytes: &[u8]) -> Result<Loaded<Vec<Sample>>, FormatError> {
    let file: Telemetry = json(bytes)?;
    origin_within(&file.run_id, &file.dataset)?;
    rows(&file.samples)?;
    let mut samples: Vec<Sample> = Vec::with_capacity(file.samples.len());
    for (index, row) in file.samples.iter().enumerate() {
        let refuse = |problem| FormatError::row("sample", index, problem);
        let at = instant(&row.timestamp).ok_or_else(|| refuse("timestamp is not an RFC 3339 time"))?;
        if samples.last().is_some_and(|last| last.at >= at) {
            return Err(refuse("samples must be in the order of time"));
        }
        let share = |value: Option<f64>| value.is_none_or(|value| (0.0..=1.0).contains(&value));
        if !share(row.gpu_utilization) || !share(row.gpu_memory) {
            return Err(refuse("GPU shares must lie between 0 and 1"));
        }
        samples.push(
            counted(
                at,
                (row.requests, row.errors, row.seconds),
                (row.gpu_utilization, row.gpu_memory),
            )
            .map_err(refuse)?,
        );
    }
    Ok(loaded(file.run_id, file.dataset, bytes, samples))
}

type Load = (Option<u64>, Option<u64>, Option<f64>);

fn counted(
    at: i64,
    (requests, errors, seconds): Load,
    gpu: (Option<f64>, Option<f64>),
) -> Result<Sample, &'static str> {
    if seconds.is_some_and(|seconds| !(0.001..=86_400.0).contains(&seconds)) {
        return Err("an interval must last between 1 ms and a day");
    }
    if requests.is_some() != seconds.is_some() {
        return Err("requests need the seconds in which they ended");
    }
    if errors.is_some_and(|errors| errors > requests.unwrap_or(0)) {
        return Err("more errors than requests");
    }
    Ok(Sample {
        at,
        requests: requests
            .zip(seconds)
            .map(|(requests, seconds)| (requests as f64, seconds)),
        errors: errors.map(|errors| errors as f64),
        gpu_utilization: gpu.0,
        gpu_memory: gpu.1,
    })
}

pub(super) fn parse_errors(bytes: &[u8]) -> Result<Loaded<Errors>, FormatError> {
    let file: ErrorLogs = json(bytes)?;
    origin_within(&file.run_id, &file.dataset)?;
    if file.errors.len() > super::MAX_ROWS {
        return Err(FormatError::TooManyRows);
    }
    for (index, entry) in file.errors.iter().enumerate() {
        if instant(&entry.timestamp).is_none() || !text_within(&entry.kind, 64) {
            return Err(FormatError::row(
                "error",
                index,
                "timestamp must be RFC 3339, kind have 1 to 64 characters",
            ));
        }
    }
    if file.requests == 0 || file.errors.len() as u64 > file.requests {
        return Err(FormatError::row(
            "field",
            0,
            "requests must count all requests, failed or not",
        ));
    }
    let errors = Errors {
        requests: file.requests,
        failed: file.errors.len() as u64,
    };
    Ok(loaded(file.run_id, file.dataset, bytes, errors))
}

/// `2026-11-24T01:00:15Z requests=1500 errors=2 seconds=15`, a line an interval; `#` begins a comment.
pub(super) fn parse_runtime(bytes: &[u8]) -> Result<Loaded<Vec<Sample>>, FormatError> {
    let text = std::str::from_utf8(bytes).map_err(|_| FormatError::row("line", 0, "not UTF-8"))?;
    let origin = comments(text)?;
    let mut samples: Vec<Sample> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let refuse = |problem| FormatError::row("line", index, problem);
        let mut words = line.split_whitespace();
        let at = words
            .next()
            .and_then(instant)
            .ok_or_else(|| refuse("a line begins with an RFC 3339 time"))?;
        let (mut requests, mut errors, mut seconds) = (None, None, None);
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| refuse("fields are key=value"))?;
            let whole = || value.parse::<u64>().map_err(|_| refuse("counts are whole numbers"));
            let twice = match key {
                "requests" => requests.replace(whole()?).is_some(),
                "errors" => errors.replace(whole()?).is_some(),
                "seconds" => {
                    let parsed = value.parse::<f64>().map_err(|_| refuse("seconds is a number"))?;
                    seconds.replace(parsed).is_some()
                }
                _ => return Err(refuse("the fields are requests, errors and seconds")),
            };
            if twice {
                return Err(refuse("a field is given twice"));
            }
        }
        if samples.last().is_some_and(|last| last.at >= at) {
            return Err(refuse("lines must be in the order of time"));
        }
        samples.push(counted(at, (requests, errors, seconds), (None, None)).map_err(refuse)?);
    }
    rows(&samples)?;
    Ok(Loaded {
        origin,
        sha256: sha256(bytes),
        data: samples,
    })
}

/// nvidia-smi's CSV: columns by their header, values with or without their units. One row a GPU and interval.
pub(super) fn parse_gpu(bytes: &[u8]) -> Result<Loaded<Vec<Sample>>, FormatError> {
    let text = std::str::from_utf8(bytes).map_err(|_| FormatError::row("line", 0, "not UTF-8"))?;
    let origin = comments(text)?;
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (at, header) = lines.next().ok_or(FormatError::NoRows)?;
    let names: Vec<&str> = header
        .split(',')
        .map(|name| name.trim().split(' ').next().unwrap_or_default())
        .collect();
    let column = |name: &str| names.iter().position(|known| *known == name);
    let missing = || {
        FormatError::row(
            "line",
            at,
            "the header must have timestamp and utilization.gpu or memory.used and memory.total",
        )
    };
    let timestamp = column("timestamp").ok_or_else(missing)?;
    let (utilization, used, total) = (column("utilization.gpu"), column("memory.used"), column("memory.total"));
    if utilization.is_none() && (used.is_none() || total.is_none()) {
        return Err(missing());
    }
    let mut samples: Vec<Sample> = Vec::new();
    for (index, line) in lines {
        let refuse = |problem| FormatError::row("line", index, problem);
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        if fields.len() != names.len() {
            return Err(refuse("it has another number of fields than the header"));
        }
        // A GPU that cannot tell says [N/A]: that value is not there.
        let number = |column: Option<usize>| {
            column
                .and_then(|column| fields[column].split(' ').next())
                .and_then(|text| text.parse::<f64>().ok())
                .filter(|value| value.is_finite() && *value >= 0.0)
        };
        let at = smi_time(fields[timestamp]).ok_or_else(|| refuse("timestamp is not one of nvidia-smi's"))?;
        if samples.last().is_some_and(|last| last.at > at) {
            return Err(refuse("lines must be in the order of time"));
        }
        let share = |value: Option<f64>| value.filter(|share| *share <= 1.0);
        samples.push(Sample {
            at,
            gpu_utilization: share(number(utilization).map(|percent| percent / 100.0)),
            gpu_memory: share(number(used).zip(number(total)).map(|(used, total)| used / total)),
            ..Sample::default()
        });
    }
    rows(&samples)?;
    Ok(Loaded {
        origin,
        sha256: sha256(bytes),
        data: samples,
    })
}

/// `2026/11/24 01:00:15.123`, taken as UTC; or RFC 3339.
fn smi_time(text: &str) -> Option<i64> {
    instant(text).or_else(|| instant(&format!("{}Z", text.replace('/', "-").replacen(' ', "T", 1))))
}

/// The origin in the comment lines of a text file.
pub(super) fn comments(text: &str) -> Result<Origin, FormatError> {
    let (mut run_id, mut version, mut digest) = (None, None, None);
    for (index, line) in text.lines().enumerate() {
        let Some((key, value)) = line.strip_prefix('#').and_then(|rest| rest.trim().split_once('=')) else {
            continue;
        };
        let place = match key.trim() {
            "run_id" => &mut run_id,
            "dataset_version" => &mut version,
            "dataset_digest" => &mut digest,
            _ => continue,
        };
        if place.replace(value.trim().to_owned()).is_some() {
            return Err(FormatError::row("line", index, "the origin is given twice"));
        }
    }
    // A log may name only one of them, and that one is judged by.
    run_id.as_deref().map_or(Ok(()), run_within)?;
    version
        .iter()
        .chain(&digest)
        .try_for_each(|text| dataset_within(text))?;
    let dataset = version.zip(digest).map(|(version, digest)| Dataset { version, digest });
    Ok(Origin { run_id, dataset })
}
