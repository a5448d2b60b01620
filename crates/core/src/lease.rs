//! Who leads: a Lease read and judged. Pure: the time is passed in.
//!
//! Clocks of two machines are never compared. A lease has run out when it was *seen here* unchanged for as long as it lasts,
//! by this process's own clock: the times that its record holds are for people.

/// How long things take, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Others wait this long after the last renewal that they saw.
    pub duration: u64,
    /// The holder writes nothing when its last renewal began longer ago than this: well under `duration`, so that what it
    /// sent at the last moment arrives before another leads.
    pub renew_within: u64,
    /// The pause between two attempts.
    pub retry: u64,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            duration: 15_000,
            renew_within: 10_000,
            retry: 2_000,
        }
    }
}

/// The longest time that a lease's record is believed, milliseconds: nonsense in it must not keep everybody out.
const MAX_DURATION: u64 = 300_000;

/// What a lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty when it was given back.
    pub holder: String,
    /// How long it lasts after a renewal, milliseconds.
    pub duration: u64,
    /// When it was renewed, in the holder's words: only compared for equality.
    pub renewed: String,
}

/// A lease as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseObservation {
    /// What it says.
    pub record: Record,
    /// Since when it has said so, milliseconds of this process's clock.
    pub since: u64,
}

impl LeaseObservation {
    /// A new reading: what has not changed keeps its time.
    pub fn again(before: Option<Self>, record: Record, now: u64) -> Self {
        match before {
            Some(before) if before.record == record => before,
            _ => Self { record, since: now },
        }
    }
}

/// What to do about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStep {
    /// There is none: make it.
    Create,
    /// It is free: put one's own name in it.
    Take,
    /// It is one's own: renew it.
    Renew,
    /// Somebody else holds it.
    StandBy,
}

/// The one next step of the candidate `identity` at `now`, milliseconds of the clock that `seen` was noted by; `exists` says
/// whether the lease that was seen is still there. One that was deleted binds every replica that saw it until it has run out: its holder
/// writes on until it looks again.
pub fn evaluate(seen: Option<&LeaseObservation>, exists: bool, identity: &str, now: u64) -> LeaseStep {
    let Some(LeaseObservation { record, since }) = seen else {
        return LeaseStep::Create;
    };
    let own = record.holder == identity;
    let lasts = record.duration.min(MAX_DURATION);
    let free = record.holder.is_empty() || now.saturating_sub(*since) >= lasts;
    match (own, exists) {
        (false, _) if !free => LeaseStep::StandBy,
        (_, false) => LeaseStep::Create,
        (true, true) => LeaseStep::Renew,
        (false, true) => LeaseStep::Take,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, renewed: &str) -> Record {
        Record {
            holder: holder.to_owned(),
            duration: 15_000,
            renewed: renewed.to_owned(),
        }
    }

    fn seen(holder: &str, since: u64) -> LeaseObservation {
        LeaseObservation {
            record: record(holder, "t"),
            since,
        }
    }

    #[test]
    fn each_case_has_its_step() {
        let cases = [
            (None, 0, LeaseStep::Create),
            (Some(seen("me", 0)), 0, LeaseStep::Renew),
            // One's own lease may be long past: nobody else took it.
            (Some(seen("me", 0)), 1_000_000, LeaseStep::Renew),
            (Some(seen("other", 1_000)), 1_000, LeaseStep::StandBy),
            (Some(seen("other", 1_000)), 15_999, LeaseStep::StandBy),
            (Some(seen("other", 1_000)), 16_000, LeaseStep::Take),
            // A clock that went back says nothing.
            (Some(seen("other", 20_000)), 1_000, LeaseStep::StandBy),
            (Some(seen("", 1_000)), 1_000, LeaseStep::Take),
        ];
        for (seen, now, step) in cases {
            let exists = seen.is_some();
            assert_eq!(evaluate(seen.as_ref(), exists, "me", now), step, "{seen:?} at {now}");
        }
    }

    #[test]
    fn a_lease_that_was_deleted_is_made_by_its_holder_at_once_and_by_others_when_it_has_run_out() {
        let step = |holder, now| evaluate(Some(&seen(holder, 1_000)), false, "me", now);
        assert_eq!(step("me", 1_000), LeaseStep::Create);
        assert_eq!(step("other", 15_999), LeaseStep::StandBy);
        assert_eq!(step("other", 16_000), LeaseStep::Create);
        assert_eq!(step("", 1_000), LeaseStep::Create);
    }

    #[test]
    fn only_a_change_of_the_record_starts_the_wait_anew() {
        let first = LeaseObservation::again(None, record("other", "1"), 10);
        let same = LeaseObservation::again(Some(first.clone()), record("other", "1"), 5_000);
        assert_eq!(same.since, 10);
        assert_eq!(
            LeaseObservation::again(Some(same.clone()), record("other", "2"), 6_000).since,
            6_000
        );
        assert_eq!(
            LeaseObservation::again(Some(same), record("third", "1"), 7_000).since,
            7_000
        );
    }

    #[test]
    fn a_record_of_nonsense_keeps_nobody_out_for_long() {
        let mut forever = seen("other", 0);
        forever.record.duration = u64::MAX;
        assert_eq!(evaluate(Some(&forever), true, "me", MAX_DURATION), LeaseStep::Take);
        forever.record.duration = 0;
        assert_eq!(evaluate(Some(&forever), true, "me", 0), LeaseStep::Take);
    }

    #[test]
    fn a_holder_stops_writing_before_another_may_lead() {
        let terms = Terms::default();
        assert!(terms.renew_within + 2 * terms.retry < terms.duration);
    }
}
