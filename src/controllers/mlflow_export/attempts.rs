//! What is being logged back to MLflow at the moment.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::Instrument;

/// The first pause after a failure; it doubles.
const MIN_PAUSE: Duration = Duration::from_secs(10);
/// And grows no longer than this.
const MAX_PAUSE: Duration = Duration::from_secs(600);

/// What is being logged back, by the UID of the incident or drill.
#[derive(Default)]
pub struct MlflowExports(Arc<Mutex<HashMap<String, Attempt>>>);

struct Attempt {
    outcome: Option<Result<(), String>>,
    due: Instant,
    pause: Duration,
    running: bool,
}

impl MlflowExports {
    /// What is on record in the object needs no memory here.
    pub fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    /// How the last attempt ended; starts one in the background when it is due.
    pub fn ask<F>(&self, uid: &str, start: impl FnOnce() -> F) -> Option<Result<(), String>>
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let mut attempts = self.0.lock();
        let now = Instant::now();
        let attempt = attempts.entry(uid.to_owned()).or_insert_with(|| Attempt {
            outcome: None,
            due: now,
            pause: MIN_PAUSE,
            running: false,
        });
        if !attempt.running && now >= attempt.due && !matches!(attempt.outcome, Some(Ok(()))) {
            attempt.running = true;
            let (work, attempts, uid) = (start(), self.0.clone(), uid.to_owned());
            let record = async move {
                let outcome = work.await;
                let mut attempts = attempts.lock();
                if let Some(attempt) = attempts.get_mut(&uid) {
                    attempt.running = false;
                    attempt.outcome = Some(outcome);
                    attempt.due = Instant::now() + attempt.pause;
                    attempt.pause = (attempt.pause * 2).min(MAX_PAUSE);
                }
            };
            tokio::spawn(record.in_current_span());
        }
        attempt.outcome.clone()
    }
}
