//! A run whose artifacts are evidence: which one, what state it is in, and why it cannot be used.

use super::http::HttpError;

/// The id of an MLflow run, or the name of a run's folder in an object store: one path segment and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(String);

impl RunId {
    /// 1 to 64 letters, digits, `-`, `_` and `.`, the first one no dot.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        ((1..=64).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(plain))
            .then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a run gives no evidence. The words hold nothing that a server sent.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The tracking server or the store gave no usable answer.
    #[error("{what} {error}")]
    Source {
        /// Who: `MLflow source default`, `object store models`.
        what: String,
        /// What went wrong.
        error: HttpError,
    },
    /// The object store's client says no.
    #[error("object store {store}: {problem}")]
    Store {
        /// Its name in the configuration.
        store: String,
        /// A stable word.
        problem: &'static str,
    },
    /// The answer is not what the server's API sends.
    #[error("{0} gave an answer that is not one of its API")]
    Malformed(String),
    /// There is no such run.
    #[error("there is no run {0}")]
    NotFound(String),
    /// The run was deleted.
    #[error("run {0} was deleted")]
    Deleted(String),
    /// The run has not ended: its files may change.
    #[error("run {0} is still running")]
    Running(String),
    /// The run failed or was killed.
    #[error("run {0} did not finish: {1}")]
    NotFinished(String, &'static str),
    /// The run's artifacts are where nobody told the operator to read.
    #[error("the artifacts of run {run} are at {scheme}://, which no configured object store covers")]
    Elsewhere {
        /// The run.
        run: String,
        /// The scheme of the artifact URI.
        scheme: String,
    },
    /// The run's artifacts cannot be written through the server.
    #[error("the artifacts of run {0} are not served by MLflow, so nothing can be logged there")]
    NotServed(String),
    /// Reading took longer than it may.
    #[error("reading the evidence of run {0} took longer than it may")]
    TooSlow(String),
}

impl RunError {
    /// A stable CamelCase reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Source { .. } | Self::Store { .. } | Self::Malformed(_) | Self::TooSlow(_) => "ProviderError",
            Self::NotFound(_) => "RunNotFound",
            Self::Deleted(_) => "RunDeleted",
            Self::Running(_) => "RunNotFinished",
            Self::NotFinished(..) => "RunFailed",
            Self::Elsewhere { .. } | Self::NotServed(_) => "ArtifactsUnreachable",
        }
    }

    /// Whether the source is at fault and not the run: what was known before still is.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Source { .. } | Self::Store { .. } | Self::Malformed(_) | Self::TooSlow(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_is_one_path_segment() {
        for good in ["5f2a9d0c1e7b4d6f8a3b2c1d0e9f8a7b", "2026-11-24_v7.1"] {
            assert_eq!(RunId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "../x", "a/b", "a?b", "a#b", "a b", "ä", &"x".repeat(65)] {
            assert!(RunId::parse(bad).is_none(), "{bad}");
        }
    }
}
