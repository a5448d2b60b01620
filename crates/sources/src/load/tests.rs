use std::path::{Path, PathBuf};

use super::*;
use crate::object_storage;

struct Run(PathBuf);

impl Run {
    /// A copy of the example files under the name of the test.
    fn copied(name: &str) -> Self {
        let to = std::env::temp_dir().join(format!("quality-officer-load-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&to);
        copy(
            &Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("examples/evidence"),
            &to,
        );
        Self(to)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), bytes).unwrap();
    }

    fn sums(&self, names: &[&str]) {
        let line = |name: &&str| {
            let bytes = std::fs::read(self.0.join(name)).unwrap();
            format!("{}  {name}\n", formats::sha256(&bytes))
        };
        let text: String = names.iter().map(line).collect();
        self.write(HASHES, text);
    }

    async fn load(&self) -> Result<Bundle, RunError> {
        folder(&RunId::parse("r").unwrap(), object_storage::local(&self.0).unwrap()).await
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn unusable<T: std::fmt::Debug>(read: &Read<T>) -> &str {
    match read {
        Err(Missing::Unusable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_example_file_is_read() {
    let bundle = Run::copied("examples").load().await.unwrap();
    assert!(bundle.compliance.is_ok() && bundle.calibration.is_ok() && bundle.trace.is_ok());
    assert_eq!(bundle.conflicts.unwrap().data.len(), 3);
    assert!(bundle.conflict_summary.is_ok() && bundle.timeseries.is_ok() && bundle.profiling.is_ok());
    assert!(bundle.runtime.is_ok() && bundle.gpu.is_ok() && bundle.telemetry.is_ok() && bundle.errors.is_ok());
}

#[tokio::test]
async fn a_file_that_is_not_there_is_absent_and_one_that_is_broken_is_unusable() {
    let run = Run::copied("broken");
    std::fs::remove_file(run.0.join("calibration_report.json")).unwrap();
    let text = std::fs::read_to_string(run.0.join("compliance_metrics.json")).unwrap();
    run.write("compliance_metrics.json", &text[..text.len() / 2]);
    run.write("conflict_logs/2026-11-16.jsonl", "{}");
    run.write("profiler_trace.json", "[".repeat(100_000));
    let bundle = run.load().await.unwrap();
    assert_eq!(bundle.calibration.unwrap_err(), Missing::Absent);
    assert_eq!(unusable(&bundle.compliance), "it ends too early");
    assert!(
        unusable(&bundle.conflicts).starts_with("file 2: "),
        "{:?}",
        bundle.conflicts
    );
    assert!(bundle.trace.is_err() && bundle.profiling.is_ok());
}

#[tokio::test]
async fn a_file_whose_hash_is_another_one_than_the_pipeline_wrote_is_not_used() {
    let run = Run::copied("hashes");
    let names = [
        "compliance_metrics.json",
        "calibration_report.json",
        "conflict_logs/2026-11-09.json",
    ];
    run.sums(&names);
    let bundle = run.load().await.unwrap();
    assert!(bundle.compliance.is_ok() && bundle.calibration.is_ok() && bundle.conflicts.is_ok());
    for name in names {
        let text = std::fs::read_to_string(run.0.join(name)).unwrap();
        run.write(name, format!("{text} \n"));
    }
    let bundle = run.load().await.unwrap();
    for why in [
        unusable(&bundle.compliance),
        unusable(&bundle.calibration),
        unusable(&bundle.conflicts),
    ] {
        assert!(why.ends_with("its sha256 is not the one in SHA256SUMS"), "{why}");
    }
    assert!(
        bundle.profiling.is_ok(),
        "a file that is not in the list is taken as it is"
    );
}

#[tokio::test]
async fn a_file_that_is_longer_than_it_may_be_is_refused_before_it_is_parsed() {
    let run = Run::copied("long");
    let long = vec![b' '; usize::try_from(most_bytes(File::ErrorLogs)).unwrap() + 2];
    run.write("error_logs.json", long);
    let bundle = run.load().await.unwrap();
    assert_eq!(unusable(&bundle.errors), "it is longer than 1048576 bytes");
}

#[tokio::test]
async fn what_changes_a_file_changes_the_fingerprint() {
    let run = Run::copied("fingerprint");
    let id = RunId::parse("r").unwrap();
    let print = || async {
        let artifacts = Artifacts::Store(object_storage::local(&run.0).unwrap());
        found(&id, artifacts, None, None).await.unwrap().fingerprint()
    };
    let before = print().await;
    assert_eq!(print().await, before);
    run.write("telemetry.json", "{}");
    assert_ne!(print().await, before);
}

#[tokio::test]
async fn a_run_without_files_is_no_run() {
    let run = Run::copied("nothing");
    let empty = run.0.join("empty");
    std::fs::create_dir(&empty).unwrap();
    let place = EvidenceLocation::Store(object_storage::local(&run.0).unwrap());
    for name in ["empty", "none"] {
        let found = place.find(&RunId::parse(name).unwrap()).await;
        assert!(matches!(found, Err(RunError::NotFound(_))), "{name}");
    }
}
