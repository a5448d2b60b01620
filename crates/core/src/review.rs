//! When a report is reviewed, and which of its snapshots are kept. Pure.

/// The newest review at or before `now`: reviews lie on a grid of their period in UTC, so that one of 24 h is at midnight.
pub fn last(now: i64, period: i64) -> i64 {
    let period = period.max(1);
    now.div_euclid(period) * period
}

/// The review after `now`, unix seconds.
pub fn next(now: i64, period: i64) -> i64 {
    last(now, period) + period.max(1)
}

/// The review to hold now, where the one before was at `reviewed`. Of several that were missed only the newest is held. A
/// report that was never reviewed waits for its first one.
pub fn due(reviewed: Option<i64>, now: i64, period: i64) -> Option<i64> {
    let last = last(now, period);
    reviewed.filter(|reviewed| *reviewed < last).map(|_| last)
}

/// The oldest snapshots beyond the `keep` newest ones. Each is its instant, unix seconds, and its name.
pub fn surplus(mut snapshots: Vec<(i64, String)>, keep: usize) -> Vec<String> {
    snapshots.sort_by(|a, b| b.cmp(a));
    snapshots.into_iter().skip(keep).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn a_daily_review_is_at_midnight_and_the_next_one_a_day_later() {
        let noon = 20 * DAY + DAY / 2;
        assert_eq!((last(noon, DAY), next(noon, DAY)), (20 * DAY, 21 * DAY));
        assert_eq!((last(20 * DAY, DAY), next(20 * DAY, DAY)), (20 * DAY, 21 * DAY));
    }

    #[test]
    fn a_review_is_held_once_and_what_was_missed_is_caught_up_with_once() {
        assert_eq!(due(None, 20 * DAY + 5, DAY), None);
        assert_eq!(due(Some(19 * DAY), 20 * DAY - 1, DAY), None);
        assert_eq!(due(Some(19 * DAY), 20 * DAY, DAY), Some(20 * DAY));
        assert_eq!(due(Some(20 * DAY), 20 * DAY + 5, DAY), None);
        assert_eq!(due(Some(3 * DAY), 20 * DAY + 5, DAY), Some(20 * DAY));
        // Another period, or a clock that went back.
        assert_eq!(due(Some(20 * DAY), 20 * DAY - 60, 3_600), None);
    }

    #[test]
    fn the_oldest_snapshots_beyond_the_limit_go() {
        let all = || vec![(3, "c".to_owned()), (1, "a".to_owned()), (2, "b".to_owned())];
        assert_eq!(surplus(all(), 2), ["a"]);
        assert_eq!(surplus(all(), 3), Vec::<String>::new());
        assert_eq!(surplus(all(), 0), ["c", "b", "a"]);
    }
}
