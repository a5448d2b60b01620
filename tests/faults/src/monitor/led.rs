//! The records of several replicas of one operator: who led when, and what was taken from those that did not.

use std::time::{Duration, Instant};

use quality_core::lease::Terms;
use serde_json::Value;
use stage::proxy::Call;

use super::{Broken, Promise, body, read};
use crate::api::{Target, verb};

/// The records of several replicas as one, in the order in which things were asked. A life is that of one replica.
pub fn merged(records: Vec<Vec<Call>>) -> Vec<Call> {
    let mut all = Vec::new();
    for (replica, mut record) in (0..).zip(records) {
        for call in &mut record {
            call.life += replica * LIVES;
        }
        all.append(&mut record);
    }
    all.sort_by_key(|call| call.at);
    all
}

/// No replica lives as often.
const LIVES: u32 = 1_000;

/// A lease that was taken or renewed.
struct Held {
    by: (usize, u32),
    holder: String,
    passed: Instant,
    answered: Instant,
}

/// The times at which a call was passed on and answered, for each delivery that was accepted.
fn accepted(call: &Call) -> impl Iterator<Item = (Instant, Instant)> {
    let taken = |status: &u16| (200..300).contains(status);
    let deliveries = call.delivered.iter().zip(&call.spans);
    deliveries
        .filter(move |(status, _)| taken(status))
        .map(|(_, span)| *span)
}

fn leases(records: &[Vec<Call>]) -> Vec<Held> {
    let mut all = Vec::new();
    for (replica, record) in records.iter().enumerate() {
        for call in record {
            let is_lease = Target::of(&call.path).is_some_and(|target| target.resource == "leases");
            if !is_lease || verb(&call.method, &call.path) == "get" {
                continue;
            }
            let body = body(&call.body);
            let holder = body.pointer("/spec/holderIdentity").and_then(Value::as_str);
            all.extend(accepted(call).map(|(passed, answered)| Held {
                by: (replica, call.life),
                holder: holder.unwrap_or_default().to_owned(),
                passed,
                answered,
            }));
        }
    }
    all.sort_by_key(|held| held.answered);
    all
}

/// Which replica wrote the lease last, unless it gave it back.
pub fn leader(records: &[Vec<Call>]) -> Option<usize> {
    let last = leases(records).pop()?;
    (!last.holder.is_empty()).then_some(last.by.0)
}

/// 9: no replica takes a lease that another one may rely on, and nothing is accepted from one after another was given the lease.
pub fn led(records: &[Vec<Call>]) -> Vec<Broken> {
    let leases = leases(records);
    let mut broken = usurped(&leases);
    for (replica, record) in records.iter().enumerate() {
        for write in record.iter().enumerate().filter_map(read) {
            let by = (replica, write.call.life);
            for (passed, answered) in accepted(write.call) {
                let Some(holds) = leases.iter().rev().find(|held| held.answered < passed) else {
                    continue;
                };
                let own_since = |held: &Held| held.by == by && held.answered > holds.answered && held.passed < answered;
                if holds.by != by && !holds.holder.is_empty() && !leases.iter().any(own_since) {
                    let what = format!("{} of replica {replica} while {} led", write.word(), holds.by.0);
                    broken.push(Broken::new(Promise::LeaderOnly, what));
                }
            }
        }
    }
    broken
}

/// Leases that were taken before they had run out, though nobody had given them back.
fn usurped(leases: &[Held]) -> Vec<Broken> {
    let lasts = Duration::from_millis(Terms::default().duration);
    let pairs = leases.iter().zip(leases.iter().skip(1));
    pairs
        .filter(|(before, after)| {
            !before.holder.is_empty() && !after.holder.is_empty() && before.holder != after.holder
        })
        .map(|(before, after)| (before, after, after.passed.saturating_duration_since(before.passed)))
        .filter(|(_, _, since)| *since < lasts)
        .map(|(before, after, since)| {
            let what = format!(
                "replica {} took the lease {since:.1?} after replica {} had renewed it",
                after.by.0, before.by.0
            );
            Broken::new(Promise::LeaderOnly, what)
        })
        .collect()
}

#[cfg(test)]
mod tests {

    use axum::{body::Bytes, http::Method};
    use serde_json::json;

    use super::*;

    const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/quality-officer/leases/quality-officer-shop";
    const POLICY: &str = "/apis/quality-officer.dev/v1alpha1/namespaces/shop/qualitypolicies/ranker/status";

    fn put(begin: Instant, path: &str, holder: &str, status: u16, second: u64) -> Call {
        let at = begin + Duration::from_secs(second);
        Call {
            at,
            life: 0,
            method: Method::PUT,
            path: path.to_owned(),
            body: Bytes::from(json!({"spec": {"holderIdentity": holder}}).to_string()),
            delivered: vec![status],
            unanswered: 0,
            spans: vec![(at, at + Duration::from_millis(10))],
            answer: Bytes::new(),
            heard: true,
        }
    }

    #[test]
    fn the_one_that_holds_the_lease_writes() {
        let begin = Instant::now();
        let lease = |holder, second| put(begin, LEASE, holder, 200, second);
        let policy = |second| put(begin, POLICY, "", 200, second);
        let records = [
            vec![lease("a", 0), policy(1), lease("", 10)],
            vec![lease("b", 20), policy(21)],
        ];
        assert_eq!(led(&records), []);
        assert_eq!(leader(&records), Some(1));
    }

    #[test]
    fn a_lease_that_is_taken_before_it_ran_out_is_found() {
        let begin = Instant::now();
        let lease = |holder, second| put(begin, LEASE, holder, 200, second);
        let taken = |after| led(&[vec![lease("a", 0), lease("a", 4)], vec![lease("b", after)]]);
        assert_eq!(taken(19), []);
        let early = taken(18);
        assert_eq!(early.len(), 1, "{early:?}");
        assert_eq!(early[0].promise, Promise::LeaderOnly);
    }

    #[test]
    fn what_is_taken_from_another_one_is_told_by_when_it_was_delivered() {
        let begin = Instant::now();
        let lease = |holder, second| put(begin, LEASE, holder, 200, second);
        let mut late = put(begin, POLICY, "", 200, 1);
        late.spans[0].0 = begin + Duration::from_secs(21);
        let records = |write: &Call| [vec![lease("a", 0), write.clone()], vec![lease("b", 20)]];
        let broken = led(&records(&late));
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0].promise, Promise::LeaderOnly);
        // What the API server refused changed nothing.
        late.delivered[0] = 409;
        assert_eq!(led(&records(&late)), []);
    }

    #[test]
    fn a_new_life_of_the_leader_does_not_lead() {
        let begin = Instant::now();
        let again = Call {
            life: 1,
            ..put(begin, POLICY, "", 200, 5)
        };
        let records = [vec![put(begin, LEASE, "a", 200, 0), again]];
        assert_eq!(led(&records).len(), 1);
    }

    #[test]
    fn a_refused_lease_gives_nothing() {
        let begin = Instant::now();
        let records = [
            vec![put(begin, LEASE, "a", 200, 0), put(begin, POLICY, "", 200, 5)],
            vec![put(begin, LEASE, "b", 409, 1)],
        ];
        assert_eq!(led(&records), []);
        assert_eq!(leader(&records), Some(0));
    }

    #[test]
    fn lives_of_two_replicas_are_told_apart() {
        let begin = Instant::now();
        let one = |second| vec![put(begin, POLICY, "", 200, second)];
        let all = merged(vec![one(2), one(1)]);
        assert_eq!(all.iter().map(|call| call.life).collect::<Vec<_>>(), [LIVES, 0]);
    }
}
