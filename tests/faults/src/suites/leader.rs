//! Two replicas, one of which leads: the leader is stopped in the middle of each write and wakes late, is cut off, is killed;
//! the lease is taken by a stranger and deleted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bed::Endpoints;
use quality_api::{IncidentState, QualityIncident};
use quality_core::lease::Terms;
use serde_json::json;
use stage::{
    StageError,
    proxy::{Act, Asked, Call, Hook, Watches},
};
use tokio::sync::Notify;

use crate::{
    api::{Label, Target, verb},
    monitor::{self, Broken, Promise},
    plan::{CONVERGES_WITHIN, Outcome, Plan},
    suites::{partitions::steps, writes::Oracle},
    world::{Setup, World, bad},
};

/// Which fault meets the leader, or its lease, as the incident is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// The leader reaches the API server no more, for longer than its lease lasts.
    CutOff,
    /// The leader is killed, and started again at once.
    Killed,
    /// Both replicas are.
    BothRestarted,
    /// Somebody else writes a name into the lease, and never renews it.
    Stranger,
    /// The lease is deleted, again and again.
    Deleted,
}

const BLOWS: [Blow; 5] = [
    Blow::CutOff,
    Blow::Killed,
    Blow::BothRestarted,
    Blow::Stranger,
    Blow::Deleted,
];

/// A lease that nobody renews runs out, and the other one looks.
fn runs_out() -> Duration {
    let terms = Terms::default();
    Duration::from_millis(terms.duration + terms.retry)
}

/// The plans: the leader stopped at each step, and each other blow.
pub fn plans(oracle: &Arc<Oracle>, short: bool) -> Vec<Plan> {
    let mut plans = Vec::new();
    for label in steps(oracle) {
        if short && !label.to_string().contains("patch") {
            continue;
        }
        let (oracle, name) = (oracle.clone(), format!("stopped while it writes {label}"));
        plans.push(Plan::new("leader", name, move |endpoints, namespace| async move {
            wakes_late(&endpoints, &namespace, &oracle, label).await
        }));
    }
    for blow in BLOWS {
        if short && blow != Blow::Deleted {
            continue;
        }
        let (oracle, name) = (oracle.clone(), format!("{blow:?}"));
        plans.push(Plan::new("leader", name, move |endpoints, namespace| async move {
            survives(&endpoints, &namespace, &oracle, blow).await
        }));
    }
    plans
}

impl World {
    async fn elected(endpoints: &Endpoints, namespace: &str) -> Result<(Self, usize), StageError> {
        let setup = Setup {
            replicas: 2,
            ..Setup::default()
        };
        let world = Self::guarded(endpoints, namespace, setup).await?;
        let leader = world
            .leader()
            .ok_or_else(|| StageError::Unexpected("no replica leads".to_owned()))?;
        Ok((world, leader))
    }

    fn leader(&self) -> Option<usize> {
        let records: Vec<Vec<Call>> = self.replicas.iter().map(|replica| replica.api.calls()).collect();
        monitor::leader(&records)
    }
}

async fn wakes_late(
    endpoints: &Endpoints,
    namespace: &str,
    oracle: &Oracle,
    label: Label,
) -> Result<Outcome, StageError> {
    let (mut world, leader) = World::elected(endpoints, namespace).await?;
    let (stopped, late) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let process = world.replicas[leader].operator().id();
    let process = process.ok_or_else(|| StageError::Unexpected("the leader has ended".to_owned()))?;
    let (mark, held, wanted) = (stopped.clone(), late.clone(), label.clone());
    world.replicas[leader].api.rule(move |asked| {
        if Label::asked(asked).as_ref() != Some(&wanted) || mark.swap(true, Ordering::SeqCst) {
            return Act::Forward;
        }
        // It cannot fail but for a process that has ended, and then nothing of it is left to be held.
        let _ = workload::process::pause(process);
        let held = held.clone();
        let hook: Hook = Arc::new(move || {
            let held = held.clone();
            Box::pin(async move { held.notified().await })
        });
        Act::Between(Some(hook), None)
    });
    world.ship(&bad()).await?;
    if !world
        .until(Duration::from_secs(90), |_| stopped.load(Ordering::SeqCst))
        .await?
    {
        let outcome = world.judged(Instant::now(), Some(&oracle.end)).await?;
        return Ok(Outcome {
            reached: false,
            ..outcome
        });
    }
    let mut broken = Vec::new();
    let since = Instant::now();
    let other_leads = |world: &World| world.leader().is_some_and(|now| now != leader);
    if !world.until(runs_out() + CONVERGES_WITHIN, other_leads).await? {
        broken.push(Broken::new(Promise::InTime, "no other replica took over"));
    }
    let recovered = |all: &[QualityIncident]| {
        let states = all.iter().filter_map(|incident| incident.status.as_ref());
        states
            .map(|status| status.state)
            .any(|state| state == IncidentState::Recovered)
    };
    world
        .space
        .wait_all(
            "the other replica ends the incident",
            Duration::from_secs(120),
            recovered,
        )
        .await?;
    let took = since.elapsed();
    if took > runs_out() + CONVERGES_WITHIN {
        let what = format!("the other replica took {took:?} after the leader was stopped");
        broken.push(Broken::new(Promise::InTime, what));
    }
    world.quiet(Instant::now(), Duration::from_secs(5)).await?;
    // Now what it sent is delivered, and it goes on.
    late.notify_one();
    let delivered = |world: &World| {
        let calls = world.replicas[leader].api.calls();
        let held = |call: &Call| Label::call(call).as_ref() == Some(&label) && !call.delivered.is_empty();
        calls.iter().any(held)
    };
    world.until(Duration::from_secs(10), delivered).await?;
    workload::process::resume(process)?;
    let woken = Instant::now();
    while world.replicas[leader].operator().id() == Some(process) && !world.replicas[leader].keep_alive()? {
        if woken.elapsed() > Duration::from_secs(20) {
            let what = "a leader that woke after its lease did not end itself";
            broken.push(Broken::new(Promise::LeaderOnly, what));
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut outcome = world.judged(woken, Some(&oracle.end)).await?;
    outcome.converged = Some(took.saturating_sub(runs_out()));
    outcome.broken.extend(broken);
    Ok(outcome)
}

async fn survives(endpoints: &Endpoints, namespace: &str, oracle: &Oracle, blow: Blow) -> Result<Outcome, StageError> {
    let (mut world, leader) = World::elected(endpoints, namespace).await?;
    let recorded = Arc::new(AtomicBool::new(false));
    let mark = recorded.clone();
    world.replicas[leader].api.rule(move |asked| {
        let label = Label::asked(asked).map(|label| label.to_string());
        if label.as_deref() == Some("create qualityincidents") {
            mark.store(true, Ordering::SeqCst);
        }
        Act::Forward
    });
    world.ship(&bad()).await?;
    let reached = world
        .until(Duration::from_secs(90), |_| recorded.load(Ordering::SeqCst))
        .await?;
    let api = world.replicas[leader].api.clone();
    let begin = Instant::now();
    match blow {
        Blow::CutOff => {
            api.watches(Watches::HalfOpen);
            api.rule(|_| Act::Swallow);
            world.pass(Duration::from_secs(25)).await?;
            api.behave();
        }
        Blow::Killed => world.replicas[leader].restart_unready()?,
        Blow::BothRestarted => {
            for replica in &mut world.replicas {
                replica.restart_unready()?;
            }
        }
        Blow::Stranger => {
            let lasts = Terms::default().duration / 1_000;
            let patch = json!({"spec": {"holderIdentity": "stranger", "leaseDurationSeconds": lasts}});
            lease(&world, &["patch", "--type", "merge", "-p", &patch.to_string()])?;
        }
        Blow::Deleted => {
            // Now the other one sees it first, now another one.
            for (sees_late, pass) in [(true, 5_000), (false, 2_500), (true, 5_000), (false, 2_500)] {
                api.behave();
                if sees_late {
                    api.rule(reads_leases_late);
                }
                lease(&world, &["delete", "--ignore-not-found"])?;
                world.pass(Duration::from_millis(pass)).await?;
            }
        }
    }
    // From then on somebody may lead again.
    let cleared = match blow {
        Blow::Deleted => Instant::now(),
        _ => begin + runs_out(),
    };
    let outcome = world.judged(cleared, Some(&oracle.end)).await?;
    Ok(Outcome { reached, ..outcome })
}

/// The lease is read after the other replica has looked.
fn reads_leases_late(asked: &Asked) -> Act {
    let of_lease = Target::of(&asked.path).is_some_and(|target| target.resource == "leases");
    if !of_lease || verb(&asked.method, &asked.path) != "get" {
        return Act::Forward;
    }
    let lasts = Duration::from_millis(Terms::default().retry + 300);
    let hook: Hook = Arc::new(move || Box::pin(tokio::time::sleep(lasts)));
    Act::Between(Some(hook), None)
}

/// kubectl VERB lease NAME …
fn lease(world: &World, arguments: &[&str]) -> Result<(), StageError> {
    let name = format!("quality-officer-{}", world.space.namespace);
    let (verb, more) = arguments.split_first().unwrap_or((&"get", &[]));
    let words = [*verb, "lease", &name, "-n", "quality-officer"];
    tokio::task::block_in_place(|| world.space.endpoints.kubectl(words.iter().chain(more)))?;
    Ok(())
}
