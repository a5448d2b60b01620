//! What an image reference runs: the table from which the node agent "pulls", and the releases of the demo service.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Repository of the demo service.
pub const REPOSITORY: &str = "registry.example/ranker";

/// Failures of reading a table and of pulling from it.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The table cannot be read.
    #[error("reading the image table: {0}")]
    Read(#[from] std::io::Error),
    /// The table is not JSON of the expected shape.
    #[error("parsing the image table: {0}")]
    Parse(#[from] serde_json::Error),
    /// No entry has this reference; worded as container runtimes word it.
    #[error("failed to pull and unpack image {reference:?}: failed to resolve reference {reference:?}: not found")]
    NotFound {
        /// The reference.
        reference: String,
    },
}

/// One image: what it is called and what it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageEntry {
    /// `repository:tag`.
    pub image: String,
    /// `sha256:…`.
    pub digest: String,
    /// A program: a path, or a name in the agent's folder of binaries.
    pub command: String,
    /// Its arguments; the agent adds `--port`.
    #[serde(default)]
    pub args: Vec<String>,
}

impl ImageEntry {
    /// An entry whose digest is the SHA-256 of its command line.
    #[must_use]
    pub fn new(image: impl Into<String>, command: impl Into<String>, args: &[&str]) -> Self {
        let command = command.into();
        let line = [&[command.as_str()], args].concat().join(" ");
        Self {
            image: image.into(),
            digest: format!("sha256:{:x}", Sha256::digest(line.as_bytes())),
            command,
            args: args.iter().map(|&argument| argument.to_owned()).collect(),
        }
    }

    /// `repository@sha256:…`, as in a container's `imageID`.
    #[must_use]
    pub fn pinned(&self) -> String {
        format!("{}@{}", repository_and_tag(&self.image).0, self.digest)
    }
}

/// All images that can be pulled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageTable(pub Vec<ImageEntry>);

impl ImageTable {
    /// Reads a table from a JSON file.
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// The entry that `repository:tag`, `repository@digest` or `repository:tag@digest` names. A digest decides alone,
    /// as in a registry; a missing tag is `latest`.
    pub fn resolve(&self, reference: &str) -> Result<&ImageEntry, ImageError> {
        let (name, digest) = match reference.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (reference, None),
        };
        let wanted = repository_and_tag(name);
        self.0
            .iter()
            .find(|entry| {
                let known = repository_and_tag(&entry.image);
                match digest {
                    Some(digest) => known.0 == wanted.0 && entry.digest == digest,
                    None => known == wanted,
                }
            })
            .ok_or_else(|| ImageError::NotFound {
                reference: reference.to_owned(),
            })
    }
}

/// Splits at the colon of the tag, which is not the colon of the registry's port.
fn repository_and_tag(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    }
}

/// `registry.example/ranker:TAG`.
#[must_use]
pub fn image(tag: &str) -> String {
    format!("{REPOSITORY}:{tag}")
}

/// `registry.example/ranker@sha256:…` of a release of [`images`].
pub fn pinned(tag: &str) -> Result<String, ImageError> {
    images().resolve(&image(tag)).map(ImageEntry::pinned)
}

/// The releases of the demo service. Against a target of 500 ms: P95 of `v1` is 391 ms, of `v2` 382 ms, of `slow`
/// 800 ms. `errors` fails on 3 % of inputs, `errors-limit` on 0.9 %. `capped` completes about 17 requests per second a
/// pod and queues the others. `bigger` has 64 times the parameters of `v1`. `quantised` answers sooner, and its weights of
/// 3 bits rank worse.
#[must_use]
pub fn images() -> ImageTable {
    let releases: [(&str, &[&str]); 10] = [
        ("v1", &["--feature-median-ms", "220"]),
        ("v2", &["--feature-median-ms", "215", "--hidden-units", "40"]),
        ("errors", &["--feature-median-ms", "220", "--error-rate", "0.03"]),
        ("errors-limit", &["--feature-median-ms", "220", "--error-rate", "0.009"]),
        ("slow", &["--feature-median-ms", "450"]),
        ("quantised", &["--feature-median-ms", "200", "--weight-bits", "3"]),
        ("capped", &["--feature-median-ms", "220", "--max-concurrency", "4"]),
        (
            "bigger",
            &[
                "--feature-median-ms",
                "220",
                "--hidden-units",
                "2048",
                "--load-ms",
                "1500",
            ],
        ),
        ("crash", &["--crash"]),
        ("never-ready", &["--never-ready"]),
    ];
    ImageTable(
        releases
            .iter()
            .map(|(tag, args)| ImageEntry::new(image(tag), "inference-server", args))
            .collect(),
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_tag_and_its_digest_name_the_same_image() {
        let table = images();
        let tagged = table.resolve("registry.example/ranker:v1").unwrap();
        assert_eq!(table.resolve(&tagged.pinned()).unwrap(), tagged);
        let both = format!("registry.example/ranker:gone@{}", tagged.digest);
        assert_eq!(table.resolve(&both).unwrap(), tagged);
        assert_eq!(pinned("v1").unwrap(), tagged.pinned());
    }

    #[test]
    fn a_digest_counts_only_within_its_repository() {
        let table = images();
        let digest = &table.0[0].digest;
        assert!(table.resolve(&format!("registry.example/other@{digest}")).is_err());
        assert!(table.resolve("registry.example/ranker:none").is_err());
        let error = table.resolve("registry.example/ranker").unwrap_err();
        assert!(
            error.to_string().contains("not found"),
            "a missing tag is latest: {error}"
        );
    }

    #[test]
    fn the_port_of_a_registry_is_not_a_tag() {
        let table = ImageTable(vec![ImageEntry::new("localhost:5000/a", "x", &[])]);
        assert!(table.resolve("localhost:5000/a:latest").is_ok());
        assert!(table.0[0].pinned().starts_with("localhost:5000/a@sha256:"));
    }

    #[test]
    fn digests_are_those_of_the_command_lines_and_differ() {
        // printf 'inference-server --crash' | sha256sum
        let crash = pinned("crash").unwrap();
        assert!(
            crash.ends_with("@sha256:9969c757bb5a5d5a22c209db548916b1fc84543cc484afec9faebcdb0478687e"),
            "{crash}"
        );
        let mut digests: Vec<_> = images().0.into_iter().map(|entry| entry.digest).collect();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), images().0.len());
    }
}
