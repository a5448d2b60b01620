//! A start at which one cache is filled late, in the middle of a rollback: nothing is done before it is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bed::Endpoints;
use futures::FutureExt;
use stage::{StageError, proxy::Act};

use crate::{
    api::{Label, Target, verb},
    monitor::CACHED,
    plan::{Outcome, Plan},
    suites::writes::Oracle,
    world::{Setup, World},
};

/// How late the cache is.
const LATE: Duration = Duration::from_secs(6);

/// One plan for each cache; the one that a rollback is decided on for the selection.
pub fn plans(rollback: &Arc<Oracle>, short: bool) -> Vec<Plan> {
    let plan = |kind: &'static str| {
        let oracle = rollback.clone();
        Plan::new(
            "lists",
            format!("restarted in a rollback, {kind} are listed late"),
            move |endpoints, namespace| async move { started_late(&endpoints, &namespace, &oracle, kind).await },
        )
    };
    let chosen = |kind: &&str| !short || *kind == "qualityincidents";
    CACHED.into_iter().filter(chosen).map(plan).collect()
}

async fn started_late(
    endpoints: &Endpoints,
    namespace: &str,
    oracle: &Oracle,
    kind: &'static str,
) -> Result<Outcome, StageError> {
    let mut world = World::guarded(endpoints, namespace, Setup::default()).await?;
    oracle.scenario.begin(&world).await?;
    // The incident is recorded, and what follows is to be decided by the next life.
    let recorded = |world: &World| {
        let calls = world.first().api.calls();
        let incident = |label: Label| label.to_string() == "create qualityincidents";
        calls.iter().any(|call| Label::call(call).is_some_and(incident))
    };
    let begin = Instant::now();
    while !recorded(&world) {
        if begin.elapsed() > Duration::from_secs(90) {
            return Ok(world.never_ended(&StageError::Unexpected("no incident was recorded".to_owned())));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.first().api.rule(move |asked| {
        let of_kind = Target::of(&asked.path).is_some_and(|target| target.resource == kind);
        if !of_kind || verb(&asked.method, &asked.path) != "list" {
            return Act::Forward;
        }
        Act::Between(Some(Arc::new(|| tokio::time::sleep(LATE).boxed())), None)
    });
    world.replicas[0].restart_unready()?;
    tokio::time::sleep(LATE).await;
    let cleared = Instant::now();
    oracle.ended(&mut world, cleared).await
}
