//! Reads the evidence files of one run into a bundle: one file after the other, each bounded, so that memory is that
//! of the largest one.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use super::{
    formats::{self, FormatError, most_bytes},
    http::{self, Body, HttpError},
    mlflow::{Artifacts, Mlflow},
    object_storage::{Entry, Folder},
    run::{RunError, RunId},
};
use quality_core::quality::evidence::{Bundle, File, Loaded, Missing, Read};

/// All files of a run must be read within this time: a trace may be long.
const DEADLINE: Duration = Duration::from_secs(600);
/// Windows of conflict logs that are read, the newest ones by name.
const MAX_WINDOWS: usize = 100;
/// Hashes by file name, as `sha256sum` writes them; optional.
const HASHES: &str = "SHA256SUMS";
/// The most bytes of the hashes' file.
const HASHES_BYTES: u64 = 1 << 20;

/// Where runs are.
pub enum EvidenceLocation<'a> {
    /// Runs of a tracking server.
    Mlflow(&'a Mlflow),
    /// A folder a run.
    Store(Folder),
}

/// A run that can be read, and what changes when its evidence does.
pub struct LoadedRun<'a> {
    id: RunId,
    artifacts: Artifacts<'a>,
    dataset_digest: Option<String>,
    names: Vec<Entry>,
    windows: Vec<Entry>,
    /// When the evidence was complete, unix seconds, where that is known.
    pub completed: Option<i64>,
}

impl EvidenceLocation<'_> {
    /// Looks a run up and lists its files.
    pub async fn find(&self, id: &RunId) -> Result<LoadedRun<'_>, RunError> {
        let (artifacts, dataset_digest, completed) = match self {
            Self::Mlflow(mlflow) => {
                let run = mlflow.run(id).await?;
                (mlflow.artifacts(id, &run)?, run.dataset_digest, run.ended)
            }
            Self::Store(folder) => (Artifacts::Store(folder.join(id.as_str())), None, None),
        };
        found(id, artifacts, dataset_digest, completed).await
    }
}

/// The evidence of a folder that holds one run's files.
pub async fn folder(name: &RunId, folder: Folder) -> Result<Bundle, RunError> {
    let found = found(name, Artifacts::Store(folder), None, None).await?;
    let mut bundle = found.read().await?;
    // A folder has no server that vouches for its name: the files say which run they are of.
    bundle.run_id = None;
    Ok(bundle)
}

async fn found<'a>(
    id: &RunId,
    artifacts: Artifacts<'a>,
    dataset_digest: Option<String>,
    completed: Option<i64>,
) -> Result<LoadedRun<'a>, RunError> {
    let names = artifacts.list(None).await?;
    let mut windows = artifacts.list(Some(File::ConflictLogs.name())).await?;
    windows.retain(|entry| is_window(&entry.name));
    if names.is_empty() && windows.is_empty() && completed.is_none() {
        return Err(RunError::NotFound(id.as_str().to_owned()));
    }
    let surplus = windows.len().saturating_sub(MAX_WINDOWS);
    windows.drain(..surplus);
    Ok(LoadedRun {
        id: id.clone(),
        artifacts,
        dataset_digest,
        names,
        windows,
        completed,
    })
}

fn is_window(name: &str) -> bool {
    let is_json = name
        .rsplit_once('.')
        .is_some_and(|(stem, ending)| !stem.is_empty() && matches!(ending, "json" | "jsonl"));
    is_json && name.len() <= 128
}

impl LoadedRun<'_> {
    /// The same as long as no file changed: names, lengths and what the store says of their content.
    pub fn fingerprint(&self) -> String {
        let mut text = format!("{}|{:?}|{:?}", self.id.as_str(), self.completed, self.dataset_digest);
        for entry in self.names.iter().chain(&self.windows) {
            // Writing to a String cannot fail.
            let _ = write!(text, "|{}:{}:{}", entry.name, entry.size, entry.mark);
        }
        formats::sha256(text.as_bytes())
    }

    /// Reads and checks every file.
    pub async fn read(&self) -> Result<Bundle, RunError> {
        tokio::time::timeout(DEADLINE, self.read_all())
            .await
            .map_err(|_| RunError::TooSlow(self.id.as_str().to_owned()))?
    }

    async fn read_all(&self) -> Result<Bundle, RunError> {
        let hashes = self.hashes().await?;
        Ok(Bundle {
            run_id: Some(self.id.as_str().to_owned()),
            dataset_digest: self.dataset_digest.clone(),
            expected_digest: None,
            compliance: self
                .whole(File::ComplianceMetrics, &hashes, formats::compliance)
                .await?,
            conflicts: self.windows(&hashes).await?,
            conflict_summary: self
                .whole(File::ConflictLogSummary, &hashes, formats::conflict_summary)
                .await?,
            calibration: self
                .whole(File::CalibrationReport, &hashes, formats::calibration)
                .await?,
            timeseries: self
                .whole(File::ComplianceTimeseries, &hashes, formats::timeseries)
                .await?,
            profiling: self.whole(File::ProfilingReport, &hashes, formats::profiling).await?,
            trace: self.file(File::ProfilerTrace, &hashes, formats::trace).await?,
            runtime: self.whole(File::RuntimePerf, &hashes, formats::runtime_perf).await?,
            gpu: self.whole(File::GpuProfiler, &hashes, formats::gpu_profiler).await?,
            telemetry: self.whole(File::Telemetry, &hashes, formats::telemetry).await?,
            errors: self.whole(File::ErrorLogs, &hashes, formats::error_logs).await?,
        })
    }

    /// A file that is parsed from all of its bytes.
    async fn whole<T: Send + 'static>(
        &self,
        file: File,
        hashes: &Hashes,
        parse: fn(&[u8]) -> Result<Loaded<T>, FormatError>,
    ) -> Result<Read<T>, RunError> {
        self.file(file, hashes, move |body| parse(&formats::read_bounded(file, body)?))
            .await
    }

    async fn file<T: Send + 'static>(
        &self,
        file: File,
        hashes: &Hashes,
        parse: impl FnOnce(Body) -> Result<Loaded<T>, FormatError> + Send + 'static,
    ) -> Result<Read<T>, RunError> {
        if !self.names.iter().any(|entry| entry.name == file.name()) {
            return Ok(Err(Missing::Absent));
        }
        let read = self.parse(None, file, file.name(), parse).await?;
        Ok(read.and_then(|loaded| hashes.vouch(file.name(), loaded)))
    }

    async fn windows(&self, hashes: &Hashes) -> Result<Read<Vec<quality_core::quality::evidence::Window>>, RunError> {
        let file = File::ConflictLogs;
        if self.windows.is_empty() {
            return Ok(Err(Missing::Absent));
        }
        let mut windows = Vec::with_capacity(self.windows.len());
        for entry in &self.windows {
            let parse = move |body| formats::conflict_log(&formats::read_bounded(file, body)?);
            let read = self.parse(Some(file.name()), file, &entry.name, parse).await?;
            match read.and_then(|loaded| hashes.vouch(&format!("{}/{}", file.name(), entry.name), loaded)) {
                Ok(loaded) => windows.push(loaded),
                Err(Missing::Unusable(why)) => {
                    return Ok(Err(Missing::Unusable(format!("file {}: {why}", windows.len() + 1))));
                }
                Err(Missing::Absent) => {}
            }
        }
        Ok(formats::conflict_windows(windows).map_err(|error| Missing::Unusable(error.to_string())))
    }

    /// Opens a file and parses it on a thread that may block. What the source is at fault for is an error; what the
    /// file is at fault for is a file that cannot be used.
    async fn parse<T: Send + 'static>(
        &self,
        folder: Option<&str>,
        file: File,
        name: &str,
        parse: impl FnOnce(Body) -> Result<Loaded<T>, FormatError> + Send + 'static,
    ) -> Result<Read<T>, RunError> {
        // One byte more than may be: the format says what is too long.
        let Some(body) = self
            .artifacts
            .read(folder, name, most_bytes(file).saturating_add(1))
            .await?
        else {
            return Ok(Err(Missing::Absent));
        };
        let parsed = tokio::task::spawn_blocking(move || parse(body)).await;
        match parsed {
            Ok(Ok(loaded)) => Ok(Ok(loaded)),
            Ok(Err(FormatError::Read(std::io::ErrorKind::FileTooLarge))) => Ok(Err(Missing::Unusable(
                FormatError::TooLong(most_bytes(file)).to_string(),
            ))),
            Ok(Err(FormatError::Read(kind))) => Err(RunError::Source {
                what: format!("the source of run {}", self.id.as_str()),
                error: http::while_reading(kind, most_bytes(file)),
            }),
            Ok(Err(error)) => {
                if let Some(detail) = error.detail() {
                    tracing::debug!(
                        run = self.id.as_str(),
                        file = name,
                        detail,
                        "an evidence file does not parse"
                    );
                }
                Ok(Err(Missing::Unusable(error.to_string())))
            }
            // A parser that panics is a bug of ours: the file is not used, the operator lives.
            Err(_) => Ok(Err(Missing::Unusable("it could not be read".to_owned()))),
        }
    }

    async fn hashes(&self) -> Result<Hashes, RunError> {
        if !self.names.iter().any(|entry| entry.name == HASHES) {
            return Ok(Hashes(BTreeMap::new()));
        }
        let Some(mut body) = self.artifacts.read(None, HASHES, HASHES_BYTES).await? else {
            return Ok(Hashes(BTreeMap::new()));
        };
        let read = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut body, &mut text).map(|_| text)
        })
        .await;
        let failed = |error| RunError::Source {
            what: format!("the source of run {}", self.id.as_str()),
            error,
        };
        let text = read
            .map_err(|_| failed(HttpError::Connection))?
            .map_err(|error| failed(http::while_reading(error.kind(), HASHES_BYTES)))?;
        Ok(Hashes::parse(&text))
    }
}

/// What the pipeline says that the files' hashes are.
struct Hashes(BTreeMap<String, String>);

impl Hashes {
    fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (hash, name) = line.split_once(char::is_whitespace)?;
            let name = name.trim_start().trim_start_matches('*').trim_start_matches("./");
            Some((name.to_owned(), hash.to_ascii_lowercase()))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// The file, unless its hash is another one than the pipeline says.
    fn vouch<T>(&self, name: &str, loaded: Loaded<T>) -> Read<T> {
        match self.0.get(name) {
            Some(hash) if *hash != loaded.sha256 => {
                Err(Missing::Unusable(format!("its sha256 is not the one in {HASHES}")))
            }
            _ => Ok(loaded),
        }
    }
}

#[cfg(test)]
#[path = "load/tests.rs"]
mod tests;
