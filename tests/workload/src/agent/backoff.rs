//! How long to wait before the next attempt: doubling, capped, as a kubelet does with longer times.

use std::time::Duration;

/// A capped exponential backoff.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

/// A container that ran at least this long starts again without its earlier delays.
pub const STABLE: Duration = Duration::from_mins(1);

impl Backoff {
    /// Waits `first`, then twice as long each time, at most `cap`.
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap,
            next: first,
        }
    }

    /// The wait before the next attempt, given how long the last one lasted.
    pub fn after(&mut self, ran: Duration) -> Duration {
        if ran >= STABLE {
            self.next = self.first;
        }
        let wait = self.next;
        self.next = (self.next * 2).min(self.cap);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_start_anew_after_a_stable_run() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let waits: Vec<u64> = (0..5).map(|_| backoff.after(Duration::ZERO).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        assert_eq!(backoff.after(STABLE), Duration::from_secs(1));
        assert_eq!(backoff.after(Duration::ZERO), Duration::from_secs(2));
    }
}
