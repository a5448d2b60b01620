use super::*;
use quality_core::notification::{
    Kind,
    message::{self, MessageContext, RollbackPath},
};
use quality_sources::http::{Answered, HttpError};

fn message(began: i64) -> Message {
    let way = RollbackPath {
        uid: "p".into(),
        began,
        message: "no checkpoint".into(),
        ended: None,
    };
    message::rollback_path(MessageContext::default(), &way, Kind::AtRisk, &[], &[])
}

fn letters(began: &[i64]) -> Wanted {
    Wanted {
        letters: began.iter().copied().map(message).collect(),
        standing: Vec::new(),
    }
}

fn key(began: i64) -> Key {
    ("policy".to_owned(), message(began).id)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn sent(state: &State, now: Instant) -> Option<String> {
    match state.next(now) {
        Work::Send((_, id), _) => Some(id),
        Work::Renew(..) | Work::Wait(_) => None,
    }
}

fn refused(status: u16, retry_after: Option<u64>) -> SendError {
    SendError::Refused(Answered {
        status,
        retry_after: retry_after.map(Duration::from_secs),
    })
}

#[test]
fn letters_go_in_the_order_in_which_they_came_and_only_while_they_are_wanted() {
    let (mut state, now) = (State::default(), Instant::now());
    state.want("policy", letters(&[2, 1]), now);
    assert_eq!(sent(&state, now), Some(message(2).id));
    state.want("policy", letters(&[1]), now);
    assert_eq!(sent(&state, now), Some(message(1).id));
    state.want("another", letters(&[]), now);
    assert_eq!(sent(&state, now), Some(message(1).id), "of another policy");
    state.letters.get_mut(&key(1)).unwrap().delivered = Some(at(7));
    assert_eq!(sent(&state, now), None, "delivered once");
    // Told at each reconcile until it is on record.
    assert_eq!(state.want("policy", letters(&[1]), now), [(message(1).id, at(7))]);
    state.want("policy", letters(&[]), now);
    assert!(state.letters.is_empty());
}

#[test]
fn a_receiver_that_fails_rests_longer_each_time_and_is_down_after_three() {
    let (mut state, now) = (State::default(), Instant::now());
    state.want("policy", letters(&[1, 2]), now);
    for (failure, pause) in (0..).zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        state.failed(&HttpError::Timeout.into(), now, at(100 + failure));
        assert_eq!(sent(&state, now + Duration::from_millis(pause * 1_000 - 1)), None);
        assert!(sent(&state, now + Duration::from_secs(pause)).is_some(), "{failure}");
        let is_down = matches!(state.health(), ReceiverHealth::Down { .. });
        assert_eq!(is_down, failure >= 2, "{failure}");
    }
    let down = ReceiverHealth::Down {
        since: at(100),
        problem: "did not answer in time".into(),
    };
    assert_eq!(state.health(), down);
    state.succeeded();
    assert_eq!(state.health(), ReceiverHealth::Up);
}

#[test]
fn a_receivers_wish_to_be_left_alone_counts_and_has_an_end() {
    for (asked, pause) in [(20, 20), (86_400, 300)] {
        let (mut state, now) = (State::default(), Instant::now());
        state.want("policy", letters(&[1]), now);
        state.failed(&refused(429, Some(asked)), now, at(1));
        assert_eq!(sent(&state, now + Duration::from_secs(pause - 1)), None);
        assert!(sent(&state, now + Duration::from_secs(pause)).is_some());
    }
}

#[test]
fn a_message_that_is_refused_holds_up_no_other_one() {
    let (mut state, now) = (State::default(), Instant::now());
    state.want("policy", letters(&[1, 2]), now);
    let error = refused(400, None);
    assert!(error.is_about_the_message() && !refused(404, None).is_about_the_message());
    for _ in 0..3 {
        state.refused(&key(1), &error, now, at(5));
    }
    assert_eq!(sent(&state, now), Some(message(2).id));
    let ReceiverHealth::Down { since, problem } = state.health() else {
        panic!("it is told");
    };
    assert_eq!((since, problem.ends_with("answered with status 400")), (at(5), true));
}

#[test]
fn what_alternates_is_not_another_problem_each_time() {
    let (mut state, now) = (State::default(), Instant::now());
    let problem = |state: &State| match state.health() {
        ReceiverHealth::Down { problem, .. } => problem,
        _ => String::new(),
    };
    for _ in 0..3 {
        state.failed(&HttpError::Timeout.into(), now, at(1));
        state.failed(&HttpError::Connection.into(), now, at(1));
    }
    assert_eq!(problem(&state), "did not answer in time");
    state.failed(&HttpError::Connection.into(), now, at(1));
    assert_eq!(problem(&state), "did not answer");
}

#[test]
fn an_alert_that_stands_is_renewed_until_its_end_is_due() {
    let (mut state, now) = (State::default(), Instant::now());
    let standing = || Wanted {
        letters: Vec::new(),
        standing: vec![message(1)],
    };
    state.want("policy", standing(), now);
    assert!(matches!(state.next(now), Work::Renew(keys, _) if keys == [key(1)]));
    state.standing.get_mut(&key(1)).unwrap().due = now + RENEWED;
    state.want("policy", standing(), now);
    assert!(matches!(state.next(now), Work::Wait(Some(until)) if until == now + RENEWED));
    assert!(matches!(state.next(now + RENEWED), Work::Renew(..)));
    state.want("policy", Wanted::default(), now);
    assert!(matches!(state.next(now + RENEWED), Work::Wait(None)));
}
