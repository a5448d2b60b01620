//! `checkpoint_registry.yaml`: the registered checkpoints of a namespace, to keep elsewhere and to bring back.
//!
//! An import registers what a person vouches for, no more: that a checkpoint was seen healthy, verified and tested is
//! found anew where it is imported, so what an export tells of it is not read back.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use quality_core::{format, incident};

/// The file's name.
pub const CHECKPOINT_REGISTRY: &str = "checkpoint_registry.yaml";
/// The most bytes that a file may have.
pub const MAX_BYTES: usize = 1 << 20;
/// The most checkpoints that a file may hold.
pub const MAX_CHECKPOINTS: usize = 1_000;
/// The most that one checkpoint may hold of images, and of artifacts.
const MAX_PARTS: usize = 16;

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It is too long.
    #[error("it is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// It is not text.
    #[error("it is not UTF-8")]
    NotText,
    /// It is not YAML of this format, or uses anchors or aliases.
    #[error("it is not what the format says: {0}")]
    Yaml(String),
    /// Its version is another one.
    #[error("version {0} is not known: it must be 1")]
    Version(u32),
    /// It holds too many checkpoints.
    #[error("it holds more than {MAX_CHECKPOINTS} checkpoints")]
    TooMany,
    /// A checkpoint makes no sense.
    #[error("checkpoint {name}: {problem}")]
    Checkpoint {
        /// Its name, or its number where the name is the problem.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The registered checkpoints of one namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckpointRegistry {
    /// 1.
    pub version: u32,
    /// The checkpoints, in the order of their names.
    #[schemars(length(max = 1_000))]
    pub checkpoints: Vec<Registered>,
}

/// One checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registered {
    /// Its name: that of the `RollbackCheckpoint`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The Deployment that it belongs to.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub target: String,
    /// The image of each container, pinned by digest.
    #[schemars(length(min = 1, max = 16))]
    pub images: Vec<RegisteredImage>,
    /// The files that the release needs beside its images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub artifacts: Vec<RegisteredArtifact>,
    /// Where the release comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<RegisteredProvenance>,
    /// A revoked checkpoint is never used.
    #[serde(default, skip_serializing_if = "is_false")]
    pub revoked: bool,
    /// What was known of it when it was exported; not read by an import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedState>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The image of one container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisteredImage {
    /// The container's name in the pod template.
    pub container: String,
    /// `registry.example/ranker@sha256:…`: a tag can move, so it is refused.
    #[schemars(regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._:/-]*@sha256:[a-f0-9]{64}$"))]
    pub image: String,
}

/// A file that the release needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisteredArtifact {
    /// Where it is: `s3://models/ranker/7/weights.safetensors`.
    pub uri: String,
    /// The sha256 of its bytes, hexadecimal.
    #[schemars(regex(pattern = r"^[a-f0-9]{64}$"))]
    pub sha256: String,
    /// Its length, bytes.
    #[schemars(range(min = 0))]
    pub size: i64,
}

/// Where a release comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RegisteredProvenance {
    /// The MLflow run that made the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mlflow_run_id: Option<String>,
    /// The data that the model was evaluated on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<RegisteredDataset>,
    /// The commit that the image was built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
}

/// The data that a model was evaluated on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisteredDataset {
    /// Its version, as people call it.
    pub version: String,
    /// Its digest.
    pub digest: String,
}

/// What was known of a checkpoint when it was exported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ObservedState {
    /// Whether it was Ready: `True` or `False`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// Why, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When its digests were last seen running and healthy, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certified_at: Option<String>,
    /// When its images were last found whole in their registries, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_verified_at: Option<String>,
    /// When its artifacts were last found in their stores, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifacts_verified_at: Option<String>,
    /// How long its pods took from scheduled to Ready, whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_seconds: Option<i64>,
    /// When the rollback path to it was last tested, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tested_at: Option<String>,
}

/// Reads a file and checks all of it.
pub fn parse(bytes: &[u8]) -> Result<CheckpointRegistry, RegistryError> {
    if bytes.len() > MAX_BYTES {
        return Err(RegistryError::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| RegistryError::NotText)?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_aliases: 0,
            max_anchors: 0,
            max_depth: 16,
            max_documents: 1,
        },
        with_snippet: false,
    };
    let registry: CheckpointRegistry = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| RegistryError::Yaml(format::plain(&error.to_string(), 300)))?;
    check(&registry)?;
    Ok(registry)
}

fn check(registry: &CheckpointRegistry) -> Result<(), RegistryError> {
    if registry.version != 1 {
        return Err(RegistryError::Version(registry.version));
    }
    if registry.checkpoints.len() > MAX_CHECKPOINTS {
        return Err(RegistryError::TooMany);
    }
    let mut names = BTreeSet::new();
    for (index, checkpoint) in registry.checkpoints.iter().enumerate() {
        if !is_name(&checkpoint.name) {
            return Err(RegistryError::Checkpoint {
                name: format!("number {}", index + 1),
                problem: "its name is not one: lower-case letters, digits, '-' and '.'".to_owned(),
            });
        }
        let problem = |problem: String| RegistryError::Checkpoint {
            name: checkpoint.name.clone(),
            problem,
        };
        if !names.insert(&checkpoint.name) {
            return Err(problem("its name is there twice".to_owned()));
        }
        checked(checkpoint).map_err(|text| problem(format::plain(&text, 300)))?;
    }
    Ok(())
}

fn checked(checkpoint: &Registered) -> Result<(), String> {
    if !is_name(&checkpoint.target) {
        return Err("its target is not the name of a Deployment".to_owned());
    }
    if checkpoint.images.is_empty() || checkpoint.images.len() > MAX_PARTS {
        return Err(format!("it must have 1 to {MAX_PARTS} images"));
    }
    if checkpoint.artifacts.len() > MAX_PARTS {
        return Err(format!("it must have at most {MAX_PARTS} artifacts"));
    }
    let mut containers = BTreeSet::new();
    for image in &checkpoint.images {
        if incident::digest(&image.image).is_none() {
            return Err(format!(
                "the image of container {} is not pinned by a sha256 digest; a tag can move",
                image.container
            ));
        }
        if !containers.insert(&image.container) {
            return Err(format!("container {} is there twice", image.container));
        }
    }
    let mut uris = BTreeSet::new();
    for artifact in &checkpoint.artifacts {
        let hash =
            artifact.sha256.len() == 64 && artifact.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !hash || artifact.size < 0 {
            return Err(format!("artifact {} lacks a sha256 or a size", artifact.uri));
        }
        if !uris.insert(&artifact.uri) {
            return Err(format!("artifact {} is there twice", artifact.uri));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (1..=253).contains(&name.len())
        && edge(name.bytes().next())
        && edge(name.bytes().last())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> String {
        format!("sha256:{}", "a".repeat(64))
    }

    fn file(checkpoint: &str) -> String {
        format!("version: 1\ncheckpoints:\n- {checkpoint}\n")
    }

    fn good(name: &str) -> String {
        format!(
            "{{name: {name}, target: ranker, images: [{{container: server, image: 'r.example/ranker@{}'}}]}}",
            digest()
        )
    }

    #[test]
    fn the_example_is_read_and_written_again_as_it_was() {
        let path = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .join("examples")
            .join(CHECKPOINT_REGISTRY);
        let registry = parse(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(registry.checkpoints.len(), 2);
        let again = parse(serde_saphyr::to_string(&registry).unwrap().as_bytes()).unwrap();
        assert_eq!(again, registry);
    }

    #[test]
    fn what_cannot_be_imported_says_why() {
        let long = format!("# {}\n{}", "x".repeat(MAX_BYTES), file(&good("a")));
        let many = "- ".to_owned() + &good("a") + "\n";
        let deep = format!("version: 1\ncheckpoints: {}{}", "[".repeat(100), "]".repeat(100));
        let image = |image: &str| good("a").replace(&format!("r.example/ranker@{}", digest()), image);
        for (text, words) in [
            (long, "longer than"),
            (
                format!("{}- {}\n", file(&good("a")), good("a")),
                "checkpoint a: its name is there twice",
            ),
            (
                format!("version: 1\ncheckpoints:\n{}", many.repeat(1_001)),
                "more than 1000",
            ),
            (file(&image("r.example/ranker:v1")), "not pinned by a sha256 digest"),
            (file(&image("r.example/ranker@sha256:abc")), "not pinned"),
            (file(&good("a/b")), "checkpoint number 1: its name"),
            (file(&good("a").replace("target: ranker", "target: ../x")), "target"),
            (file(&good("a").replace("target:", "tarjet:")), "tarjet"),
            (file(&good("a")).replace("version: 1", "version: 2"), "version 2"),
            (
                file(&good("a").replace(
                    "images: [{",
                    "artifacts: [{uri: 's3://a/b', sha256: abc, size: 1}], images: [{",
                )),
                "lacks a sha256",
            ),
            (
                file(&good("a").replace("images: [{", "images: [&x {")),
                "not what the format says",
            ),
            ("a: &a [x, x]\nb: [*a, *a]".to_owned(), "not what the format says"),
            (deep, "not what the format says"),
            (
                "version: 1\nversion: 1\ncheckpoints: []".to_owned(),
                "not what the format says",
            ),
            (
                "version: 1\ncheckpoints: [{name: a".to_owned(),
                "not what the format says",
            ),
        ] {
            let said = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(said.contains(words), "{words}: {said}");
        }
        let long = good("a").replace(
            "container: server",
            &format!("container: \"x\\n{}\"", "y".repeat(5_000)),
        );
        let said = parse(file(&long.replace("@sha256", ":")).as_bytes())
            .unwrap_err()
            .to_string();
        assert!(said.len() < 400 && !said.contains('\n'), "{said}");
        assert!(matches!(parse(b"\xff\xfe"), Err(RegistryError::NotText)));
    }
}
