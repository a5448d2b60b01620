//! The operator on the local control plane: installed, started under its own ServiceAccount, killed and
//! started again; namespaces to work in; and a scripted service for what needs no real one. For tests and
//! the demonstration, not shipped.
//!
//! Tests panic with a message; the demonstration prints errors. Both wait on conditions, never on time.

pub mod install;
pub mod layout;
pub mod operator;
pub mod proxy;
pub mod real;
pub mod script;
pub mod space;
pub mod tracking;

pub use install::install;
pub use layout::Layout;
pub use operator::{Operator, OperatorOptions, PROGRAM_VARIABLE};
pub use proxy::Proxy;
pub use real::Node;
pub use script::{Behaviour, Service};
pub use space::Space;
pub use tracking::Tracking;

/// Why a step on the stage failed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The bed.
    #[error("{0}")]
    Bed(#[from] bed::endpoints::Error),
    /// The workload.
    #[error("{0}")]
    Workload(#[from] workload::harness::HarnessError),
    /// A process.
    #[error("{0}")]
    Process(#[from] workload::process::ProcessError),
    /// The API server.
    #[error("{0}")]
    Api(#[from] kube::Error),
    /// A file.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A condition did not come true in time.
    #[error("not within {seconds} s: {what}; last seen: {seen}")]
    Late {
        /// The condition.
        what: String,
        /// How long was waited.
        seconds: u64,
        /// What was seen last.
        seen: String,
    },
    /// Something is not as it must be.
    #[error("{0}")]
    Unexpected(String),
}

impl StageError {
    /// A failed file operation.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
