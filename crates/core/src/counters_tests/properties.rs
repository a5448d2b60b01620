//! What holds for any traffic.

use proptest::prelude::*;

use super::*;

/// A minute of a pod: requests, failures among them, slow ones among them.
#[derive(Clone, Debug)]
struct Step {
    requests: u16,
    failed: u16,
    slow: u16,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..2_000_u16).prop_flat_map(|requests| {
        (Just(requests), 0..=requests, 0..=requests).prop_map(|(requests, failed, slow)| Step {
            requests,
            failed,
            slow,
        })
    });
    prop::collection::vec(step, 2..30)
}

/// Snapshots every 15 s of two pods that do the same, the second three seconds late.
fn history(steps: &[Step]) -> Vec<Snapshot> {
    let (mut requests, mut failed, mut slow) = (10_000.0, 0.0, 700.0);
    let mut snapshots = Vec::new();
    for (at, step) in (1_000..).step_by(15).zip(steps) {
        requests += f64::from(step.requests);
        failed += f64::from(step.failed);
        slow += f64::from(step.slow);
        let counters = |scraped| PodCounters {
            errors: (failed > 0.0).then_some(failed),
            latency: vec![(0.5, requests - slow), (f64::INFINITY, requests)],
            ..pod(scraped, requests, None)
        };
        snapshots.push(snapshot(at, [("new-a", counters(at)), ("new-b", counters(at - 3))]));
    }
    snapshots
}

fn looks(snapshots: &[Snapshot]) -> Vec<Look> {
    let mut release = Release::old(2);
    snapshots.iter().map(|snapshot| release.look(snapshot)).collect()
}

/// Requests, failures, slow requests, completed and seconds.
fn sums(looks: &[Look]) -> [f64; 5] {
    let mut sums = [0.0; 5];
    for look in looks {
        if let Ok(counts) = look.errors {
            sums[0] += counts.n;
            sums[1] += counts.bad;
        }
        if let Ok(histogram) = &look.latency {
            sums[2] += histogram.cumulative[1] - histogram.cumulative[0];
        }
        if let Ok(completed) = look.completed {
            sums[3] += completed.count;
            sums[4] += completed.seconds;
        }
    }
    sums
}

proptest! {
    #[test]
    fn splitting_a_stretch_into_more_looks_does_not_change_the_sums(
        steps in steps(),
        kept in prop::collection::vec(any::<bool>(), 30),
    ) {
        let all = history(&steps);
        let last = all.len() - 1;
        let some: Vec<Snapshot> = all
            .iter()
            .enumerate()
            .filter(|(index, _)| *index == 0 || *index == last || kept[*index])
            .map(|(_, snapshot)| snapshot.clone())
            .collect();
        prop_assert_eq!(sums(&looks(&all)), sums(&looks(&some)));
    }

    #[test]
    fn the_same_snapshots_give_the_same_looks_live_and_replayed(steps in steps(), restart in 0..30_usize) {
        let all = history(&steps);
        let live = looks(&all);
        prop_assert_eq!(&live, &looks(&all));
        // After a restart the first look only sets the marks; from there on nothing differs.
        let restart = restart.min(all.len() - 1);
        let replayed = looks(&all[restart..]);
        prop_assert_eq!(&live[restart + 1..], &replayed[1..]);
    }

    #[test]
    fn no_look_has_more_than_happened(steps in steps(), resets in prop::collection::vec(any::<bool>(), 30)) {
        // A pod that restarts now and then: what is counted is at most what it did.
        let mut release = Release::old(1);
        let (mut requests, mut failed, mut done) = (0.0, 0.0, [0.0, 0.0]);
        let mut counted = [0.0, 0.0];
        for (index, (at, step)) in (1_000..).step_by(15).zip(&steps).enumerate() {
            if resets[index] {
                (requests, failed) = (0.0, 0.0);
            }
            requests += f64::from(step.requests);
            failed += f64::from(step.failed);
            if index > 0 {
                done[0] += f64::from(step.requests);
                done[1] += f64::from(step.failed);
            }
            let sample = pod(at, requests, (failed > 0.0).then_some(failed));
            if let Ok(counts) = release.look(&snapshot(at, [("new-a", sample)])).errors {
                counted[0] += counts.n;
                counted[1] += counts.bad;
                prop_assert!(counts.bad <= counts.n);
            }
        }
        prop_assert!(counted[0] <= done[0] && counted[1] <= done[1], "{counted:?} of {done:?}");
    }
}
