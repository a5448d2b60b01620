//! Internal errors (500) that the API server answers a rollback's write with. One of a server that is about to be well calls
//! nobody; a webhook that fails closed does, once it goes on. They are counted in memory: a record in the incident would
//! begin the next reconcile at once, and the write would be repeated without a pause.

use std::collections::HashMap;

use parking_lot::Mutex;

/// So many of them are a refusal,
const MIN_ERRORS: u32 = 4;
/// over so many seconds.
const MIN_SECONDS: i64 = 10;
/// After so many seconds without one, the next is the first.
const FORGOTTEN_AFTER: i64 = 60;

/// The errors of each incident, by its UID.
#[derive(Default)]
pub struct WriteErrors(Mutex<HashMap<String, Errors>>);

struct Errors {
    since: i64,
    last: i64,
    count: u32,
}

impl WriteErrors {
    /// Counts one at `now`, unix seconds; since when they come, once they are a refusal.
    pub fn count(&self, incident: &str, now: i64) -> Option<i64> {
        let mut all = self.0.lock();
        all.retain(|_, errors| now - errors.last <= FORGOTTEN_AFTER);
        let errors = all.entry(incident.to_owned()).or_insert(Errors {
            since: now,
            last: now,
            count: 0,
        });
        (errors.last, errors.count) = (now, errors.count + 1);
        (errors.count >= MIN_ERRORS && now - errors.since >= MIN_SECONDS).then_some(errors.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_a_refusal_once_there_are_enough_of_them_over_long_enough() {
        let errors = WriteErrors::default();
        for now in [100, 102, 104, 106, 108] {
            assert_eq!(errors.count("a", now), None, "{now}");
        }
        assert_eq!(errors.count("a", 110), Some(100));
        assert_eq!(errors.count("b", 110), None, "each incident has its own");
    }

    #[test]
    fn three_errors_are_none_however_long_they_take_and_those_of_before_are_forgotten() {
        let errors = WriteErrors::default();
        for now in [100, 150, 200] {
            assert_eq!(errors.count("a", now), None, "{now}");
        }
        for now in [300, 302, 304] {
            assert_eq!(errors.count("a", now), None, "{now}");
        }
        assert_eq!(errors.count("a", 310), Some(300));
    }
}
