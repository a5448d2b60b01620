//! The documents keep up with the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::tools::project;

/// Words of two or more humps in the sources that are no reasons of conditions, drills or Events.
const NO_REASONS: &[&str] = &[
    // Condition types; docs/OPERATIONS.md has them as headings or in its tables where one reads them.
    "ArtifactsIntact",
    "CheckpointReady",
    "DrillScheduled",
    "EvidenceComplete",
    "GateOpen",
    "ImageAvailable",
    "LoadTime",
    "LoggedBack",
    "PathTested",
    "RollbackReady",
    "SLOsMet",
    // States of incidents and drills.
    "AwaitingApproval",
    "CleaningUp",
    "RollingBack",
    // Whom a receiver is told of.
    "AtRisk",
    // Triggers.
    "ErrorRate",
    "GpuMemory",
    "GpuUtilization",
    // Kinds, and words of Kubernetes and of profilers.
    "NodeHasDiskPressure",
    "NodeHasMemoryPressure",
    "NodeNotReady",
    "OOMKilled",
    "OOMKilling",
    "PodScheduled",
    "PointText",
    "ProfilerStep",
    "QualityIncident",
    "QualityReport",
    "QualityReportSnapshot",
    "RecoveryDrill",
    "ReplicaFailure",
    "ReplicaSet",
    "RollbackCheckpoint",
    // A word of Prometheus.
    "NaN",
    // Why a statistic could not be computed: shown in the report's row, with words.
    "LengthMismatch",
    "MixedLayouts",
    "NoVariation",
    "NotFinite",
    "NotMonotone",
    "OutOfOrder",
    "OutOfRange",
    "TooFew",
    "WrongDetector",
];

/// Every file with this extension below a folder.
pub fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|known| known == extension) {
            found.push(path);
        }
    }
}

/// String literals that look like reasons, and a file that has each.
fn reasons() -> BTreeMap<String, PathBuf> {
    let mut sources = Vec::new();
    for folder in ["crates/core/src", "crates/sources/src", "src/controllers"] {
        files(&project().join(folder), "rs", &mut sources);
    }
    let mut found = BTreeMap::new();
    for path in sources {
        let name = path.display().to_string();
        if name.contains("test") || name.contains("simulate") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        for literal in code.split('"') {
            let humps = literal.chars().filter(char::is_ascii_uppercase).count();
            let is_word = literal.starts_with(|c: char| c.is_ascii_uppercase())
                && literal.chars().all(|c| c.is_ascii_alphanumeric())
                && literal.chars().any(|c| c.is_ascii_lowercase());
            if is_word && humps >= 2 {
                found.insert(literal.to_owned(), path.clone());
            }
        }
    }
    found
}

#[test]
fn the_runbook_has_an_entry_for_every_reason_and_no_other() {
    let text = std::fs::read_to_string(project().join("docs/OPERATIONS.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let mut reasons = reasons();
    assert!(reasons.len() > 60, "{}", reasons.len());
    reasons.retain(|reason, _| !NO_REASONS.contains(&reason.as_str()));
    let missing: Vec<_> = reasons
        .iter()
        .filter(|(reason, _)| !listed.contains(reason.as_str()))
        .collect();
    assert!(missing.is_empty(), "docs/OPERATIONS.md has no row for {missing:#?}");
    let all = {
        let mut sources = Vec::new();
        files(&project().join("src"), "rs", &mut sources);
        files(&project().join("crates"), "rs", &mut sources);
        let texts: Vec<_> = sources
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        texts.concat()
    };
    let stale: Vec<_> = listed
        .iter()
        .filter(|reason| !all.contains(&format!("\"{reason}\"")))
        .collect();
    assert!(
        stale.is_empty(),
        "docs/OPERATIONS.md has rows for what the sources do not say: {stale:?}"
    );
}

/// The project's own documents.
pub fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&project().join("docs"), "md", &mut found);
    found.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| project().join(name)));
    found
}

#[test]
fn links_between_documents_lead_somewhere() {
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if target.contains("://") || file.is_empty() {
                continue;
            }
            let file = path.parent().unwrap().join(file);
            assert!(file.exists(), "{}: {target}", path.display());
        }
    }
}
