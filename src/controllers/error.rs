//! Why a reconcile fails.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use crate::controllers::context::CallError;

/// Why a reconcile failed. It is tried again, each time later.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A call to the API server failed.
    #[error("the API server: {0}")]
    Call(#[from] CallError),
    /// The judge could not be set up.
    #[error("the judge: {0}")]
    Judge(#[from] quality_stats::StatsError),
    /// A bug. Only this policy stops.
    #[error("a bug stopped this reconcile: {0}")]
    Panic(String),
}

impl ReconcileError {
    /// A stable word for the operator's own metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Call(_) => "api",
            Self::Judge(_) => "judge",
            Self::Panic(_) => "panic",
        }
    }
}

/// Does `work`; a panic in it becomes the error that `panicked` makes of its message.
pub async fn catch_panic<T, E>(
    work: impl Future<Output = Result<T, E>>,
    panicked: impl FnOnce(String) -> E,
) -> Result<T, E> {
    let result = AssertUnwindSafe(work).catch_unwind().await;
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(panicked(text.unwrap_or_else(|| "no message".to_owned())))
    })
}
