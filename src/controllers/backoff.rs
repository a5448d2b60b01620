//! How soon a watch that failed is tried again.

use std::time::Duration;

use kube::runtime::{utils::Backoff, watcher::DefaultBackoff};

/// A watch that begins again later than this acts late after the API server is back: kube's pauses grow to half a minute.
const MAX_PAUSE: Duration = Duration::from_secs(4);

/// The pauses of client-go, as kube has them, but for the longest.
#[derive(Default)]
pub struct Soon(DefaultBackoff);

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|pause| pause.min(MAX_PAUSE))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_short() {
        let pauses: Vec<Duration> = Soon::default().take(20).collect();
        assert!(pauses[0] < MAX_PAUSE, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= MAX_PAUSE), "{pauses:?}");
        assert_eq!(pauses[19], MAX_PAUSE);
    }
}
