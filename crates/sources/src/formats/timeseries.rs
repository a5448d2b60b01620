//! `compliance_timeseries.csv`: columns `timestamp,value,n` in the order of time. The origin stands in
//! comment lines before the header: `# run_id=…`, `# dataset_version=…`, `# dataset_digest=…`.

use super::{FormatError, instant, logs::comments, sha256};
use quality_core::quality::evidence::{Loaded, SeriesPoint};

pub(super) fn parse(bytes: &[u8]) -> Result<Loaded<Vec<SeriesPoint>>, FormatError> {
    let text = std::str::from_utf8(bytes).map_err(|_| FormatError::row("line", 0, "not UTF-8"))?;
    let origin = comments(text)?;
    let mut points: Vec<SeriesPoint> = Vec::new();
    let mut header = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let refuse = |problem| FormatError::row("line", index, problem);
        if !header {
            if line.replace(' ', "") != "timestamp,value,n" {
                return Err(refuse("the header must be timestamp,value,n"));
            }
            header = true;
            continue;
        }
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let &[at, value, n] = fields.as_slice() else {
            return Err(refuse("three fields are needed"));
        };
        let at = instant(at).ok_or_else(|| refuse("timestamp is not an RFC 3339 time"))?;
        let value = value
            .parse::<f64>()
            .ok()
            .filter(|value| (0.0..=1.0).contains(value))
            .ok_or_else(|| refuse("value must be a number between 0 and 1"))?;
        let n = n.parse::<u64>().map_err(|_| refuse("n must be a whole number"))?;
        if points.last().is_some_and(|last| last.at >= at) {
            return Err(refuse("rows must be in the order of time, each time given once"));
        }
        points.push(SeriesPoint { at, value, n });
    }
    super::rows(&points)?;
    // A file that was cut in the middle of a line lacks its last line break.
    if !text.ends_with('\n') {
        return Err(FormatError::Truncated);
    }
    Ok(Loaded {
        origin,
        sha256: sha256(bytes),
        data: points,
    })
}
