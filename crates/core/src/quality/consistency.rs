//! A2: files of one run agree on run and dataset, or they are no evidence. And the claim that a row carries.

use super::evidence::{Bundle, File, Loaded, Missing, Origin, Read};

/// The evidence of the release's run and of the checkpoint's.
pub struct Pair<'a> {
    /// The release's.
    pub current: &'a Bundle,
    /// The checkpoint's.
    pub baseline: &'a Bundle,
}

/// Puts `unusable` in place of every file that disagrees with its run.
pub fn checked(mut bundle: Bundle) -> (Bundle, Vec<String>) {
    let mut notes = Vec::new();
    let origins = origins(&bundle);
    let runs = distinct(origins.iter().filter_map(|(_, origin)| origin.run_id.clone()));
    let digests = distinct(
        origins
            .iter()
            .filter_map(|(_, origin)| origin.dataset.as_ref().map(|dataset| dataset.digest.clone())),
    );
    let versions = distinct(
        origins
            .iter()
            .filter_map(|(_, origin)| origin.dataset.as_ref().map(|dataset| dataset.version.clone())),
    );
    // The server's word goes first. Without it files that disagree cancel each other.
    let run = bundle.run_id.clone().or_else(|| only(&runs));
    let digest = bundle.dataset_digest.clone().or_else(|| only(&digests));
    let is_another = bundle.expected_digest.is_some() && bundle.expected_digest != digest;
    let bad = |origin: &Origin| -> Option<String> {
        if is_another {
            return Some("its run has another dataset digest than the checkpoint was registered with".to_owned());
        }
        if origin.run_id.as_ref().is_some_and(|named| run.as_ref() != Some(named)) {
            return Some(match &run {
                Some(_) => "it names another run".to_owned(),
                None => "the files name different runs".to_owned(),
            });
        }
        if let Some(dataset) = &origin.dataset {
            if digest.as_ref() != Some(&dataset.digest) {
                return Some(match &digest {
                    Some(_) => "it names another dataset digest than its run".to_owned(),
                    None => "the files name different dataset digests".to_owned(),
                });
            }
            if versions.len() > 1 {
                return Some("the files name different dataset versions".to_owned());
            }
        }
        None
    };
    check(&mut bundle.compliance, File::ComplianceMetrics, &bad, &mut notes);
    check(&mut bundle.conflicts, File::ConflictLogs, &bad, &mut notes);
    check(&mut bundle.conflict_summary, File::ConflictLogSummary, &bad, &mut notes);
    check(&mut bundle.calibration, File::CalibrationReport, &bad, &mut notes);
    check(&mut bundle.timeseries, File::ComplianceTimeseries, &bad, &mut notes);
    check(&mut bundle.profiling, File::ProfilingReport, &bad, &mut notes);
    check(&mut bundle.trace, File::ProfilerTrace, &bad, &mut notes);
    check(&mut bundle.runtime, File::RuntimePerf, &bad, &mut notes);
    check(&mut bundle.gpu, File::GpuProfiler, &bad, &mut notes);
    check(&mut bundle.telemetry, File::Telemetry, &bad, &mut notes);
    check(&mut bundle.errors, File::ErrorLogs, &bad, &mut notes);
    let version = only(&versions);
    bundle.run_id = run;
    bundle.dataset_digest = digest;
    fill(&mut bundle, version.as_deref());
    (bundle, notes)
}

fn check<T>(file: &mut Read<T>, kind: File, bad: &impl Fn(&Origin) -> Option<String>, notes: &mut Vec<String>) {
    if let Ok(loaded) = file {
        if let Some(why) = bad(&loaded.origin) {
            notes.push(format!("{} is not used: {why}", kind.name()));
            *file = Err(Missing::Unusable(why));
        }
    } else if let Err(Missing::Unusable(why)) = file {
        notes.push(format!("{} cannot be used: {why}", kind.name()));
    }
}

/// A log that cannot say where it is from takes its run's word for it.
fn fill(bundle: &mut Bundle, version: Option<&str>) {
    let run_id = bundle.run_id.clone();
    let dataset = bundle
        .dataset_digest
        .clone()
        .zip(version)
        .map(|(digest, version)| super::evidence::Dataset {
            version: version.to_owned(),
            digest,
        });
    let complete = |origin: &mut Origin| {
        if origin.run_id.is_none() {
            origin.run_id.clone_from(&run_id);
        }
        if origin.dataset.is_none() {
            origin.dataset.clone_from(&dataset);
        }
    };
    if let Ok(loaded) = &mut bundle.timeseries {
        complete(&mut loaded.origin);
    }
    if let Ok(loaded) = &mut bundle.trace {
        complete(&mut loaded.origin);
    }
    if let Ok(loaded) = &mut bundle.runtime {
        complete(&mut loaded.origin);
    }
    if let Ok(loaded) = &mut bundle.gpu {
        complete(&mut loaded.origin);
    }
}

/// The data that the files of a checked bundle name.
pub fn dataset(bundle: &Bundle) -> Option<super::evidence::Dataset> {
    origins(bundle).into_iter().find_map(|(_, origin)| origin.dataset)
}

fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut values: Vec<String> = values.collect();
    values.sort();
    values.dedup();
    values
}

fn only(values: &[String]) -> Option<String> {
    match values {
        [one] => Some(one.clone()),
        _ => None,
    }
}

fn origins(bundle: &Bundle) -> Vec<(File, Origin)> {
    fn of<T>(file: File, read: &Read<T>) -> Option<(File, Origin)> {
        read.as_ref().ok().map(|loaded| (file, loaded.origin.clone()))
    }
    [
        of(File::ComplianceMetrics, &bundle.compliance),
        of(File::ConflictLogs, &bundle.conflicts),
        of(File::ConflictLogSummary, &bundle.conflict_summary),
        of(File::CalibrationReport, &bundle.calibration),
        of(File::ComplianceTimeseries, &bundle.timeseries),
        of(File::ProfilingReport, &bundle.profiling),
        of(File::ProfilerTrace, &bundle.trace),
        of(File::RuntimePerf, &bundle.runtime),
        of(File::GpuProfiler, &bundle.gpu),
        of(File::Telemetry, &bundle.telemetry),
        of(File::ErrorLogs, &bundle.errors),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The claim of a file, or why there is none: evidence that names no run and no dataset cannot be verified.
pub fn claim<T>(file: File, loaded: &Loaded<T>) -> Result<String, String> {
    match (&loaded.origin.run_id, &loaded.origin.dataset) {
        (Some(run), Some(dataset)) => Ok(format!("{}#{run}#{}", file.name(), dataset.version)),
        (None, _) => Err(format!("{} names no run", file.name())),
        (_, None) => Err(format!("{} names no dataset", file.name())),
    }
}

/// A file's content with its claim, or why not.
pub fn with_claim<T>(file: File, read: &Read<T>) -> Result<(&Loaded<T>, String), String> {
    match read {
        Ok(loaded) => Ok((loaded, claim(file, loaded)?)),
        Err(Missing::Absent) => Err(format!("the run has no {}", file.name())),
        Err(Missing::Unusable(why)) => Err(format!("{} cannot be used: {why}", file.name())),
    }
}

/// Why there is no comparison.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incomparable {
    /// There is nothing to compare with.
    #[error("there is no earlier checkpoint with evidence to compare with")]
    NoBaseline,
    /// What there is cannot be used, or is of other data.
    #[error("{0}")]
    Unusable(String),
}

/// The checkpoint's file, to compare with: of another run on the same data.
pub fn comparable<'a, T>(pair: &Pair<'_>, file: File, read: &'a Read<T>) -> Result<&'a Loaded<T>, Incomparable> {
    let unusable = |why: &str| Incomparable::Unusable(why.to_owned());
    if pair.baseline.is_no_run() {
        return Err(Incomparable::NoBaseline);
    }
    let (loaded, _) =
        with_claim(file, read).map_err(|why| unusable(&format!("nothing to compare with: checkpoint: {why}")))?;
    if pair.current.dataset_digest.is_none() || pair.current.dataset_digest != pair.baseline.dataset_digest {
        return Err(unusable("the checkpoint's run has another dataset digest"));
    }
    if pair.current.run_id.is_none() || pair.current.run_id == pair.baseline.run_id {
        return Err(unusable("the checkpoint's run is the release's own"));
    }
    Ok(loaded)
}

/// What a bootstrap is seeded with: both files' hashes.
pub fn seed_text<T, U>(current: &Loaded<T>, baseline: Option<&Loaded<U>>) -> String {
    format!(
        "{}/{}",
        current.sha256,
        baseline.map_or("", |loaded| loaded.sha256.as_str())
    )
}
