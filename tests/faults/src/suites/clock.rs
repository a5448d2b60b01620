//! The operator's clock is off against those of its servers: everything that it asks of Prometheus is asked of another
//! instant there, and every time in the answers is as far off.
//!
//! Leases compare no clocks of two machines (`core::lease`): who leads is not touched by an offset, and plans of two
//! replicas have no place here.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bed::Endpoints;
use quality_api::{QualityPolicy, RollbackCheckpoint};
use serde_json::{Value, json};
use stage::{
    StageError,
    proxy::{Act, Asked},
};

use super::{
    answers::query::{Ask, ask, at, edited, samples, series},
    writes::{Oracle, Scenario},
};
use crate::{
    monitor::{Broken, Promise},
    plan::{Outcome, Plan},
    world::{Setup, World, bad},
};

/// Seconds by which the operator's clock is ahead of its servers'; behind, where they are negative.
const OFFSETS: [i64; 8] = [1, 5, 30, 600, -1, -5, -30, -600];

/// So much the samples' age hides: a sample counts as fresh within two intervals, at least ten seconds.
fn is_harmless(offset: i64) -> bool {
    // A clock that is behind sees the past: all of it fresh by its own time, and late by the offset.
    (-60..=5).contains(&offset)
}

/// The plans.
pub fn plans(oracles: &[Arc<Oracle>], short: bool) -> Vec<Plan> {
    let of = |scenario| oracles.iter().find(|oracle| oracle.scenario == scenario).cloned();
    let (Some(registration), Some(rollback)) = (of(Scenario::Registration), of(Scenario::Rollback)) else {
        return Vec::new();
    };
    let offsets: &[i64] = if short { &[-5, 30] } else { &OFFSETS };
    let mut plans = Vec::new();
    for offset in offsets.iter().copied() {
        let (registration, whole, midway) = (registration.clone(), rollback.clone(), rollback.clone());
        let side = if offset < 0 { "behind" } else { "ahead" };
        let name = format!("{} s {side} from the beginning", offset.abs());
        plans.push(Plan::new("clock", name, move |endpoints, namespace| async move {
            if is_harmless(offset) {
                all_along(&endpoints, &namespace, &whole, offset).await
            } else {
                until_right(&endpoints, &namespace, &registration, offset).await
            }
        }));
        let name = format!("{} s {side} from the incident on", offset.abs());
        plans.push(Plan::new("clock", name, move |endpoints, namespace| async move {
            from_incident(&endpoints, &namespace, &midway, offset).await
        }));
        if !is_harmless(offset) {
            let (name, oracle) = (
                format!("{} s {side} from before a bad release", offset.abs()),
                rollback.clone(),
            );
            plans.push(Plan::new("clock", name, move |endpoints, namespace| async move {
                hides_a_breach(&endpoints, &namespace, &oracle, offset).await
            }));
        }
    }
    plans
}

/// What a clock that is `offset` seconds ahead sees: the servers are asked about a time that they call so much later, and what
/// they call now is so much earlier by it.
fn off(offset: i64) -> impl Fn(&Asked) -> Act + Send + Sync + 'static {
    move |asked| {
        let is_time = ask(asked) == Ask::SampledAt;
        Act::Ask(
            at(&asked.path, offset),
            Arc::new(move |bytes| edited(bytes, &|answer| shift(answer, offset, is_time))),
        )
    }
}

fn shift(answer: &mut Value, offset: i64, is_time: bool) {
    for sample in series(answer).iter_mut().flat_map(samples) {
        if let Some(at) = sample[0].as_f64() {
            sample[0] = json!(at - offset as f64);
        }
        let value = sample[1].as_str().and_then(|text| text.parse::<f64>().ok());
        if let (true, Some(value)) = (is_time, value) {
            sample[1] = json!((value - offset as f64).to_string());
        }
    }
}

/// It is off all the time, and nobody notices but for the delay.
async fn all_along(
    endpoints: &Endpoints,
    namespace: &str,
    oracle: &Oracle,
    offset: i64,
) -> Result<Outcome, StageError> {
    let mut world = World::unguarded(endpoints, namespace, Setup::default()).await?;
    world.first().metrics.rule(off(offset));
    world.guard().await?;
    oracle.scenario.begin(&world).await?;
    oracle.scenario.over(&world).await?;
    world.judged(Instant::now(), Some(&oracle.end)).await
}

/// The policy is written while the clock is off: nothing is registered, and it says why, until the clock is right.
async fn until_right(
    endpoints: &Endpoints,
    namespace: &str,
    oracle: &Oracle,
    offset: i64,
) -> Result<Outcome, StageError> {
    let mut world = World::unguarded(endpoints, namespace, Setup::default()).await?;
    world.first().metrics.rule(off(offset));
    oracle.scenario.begin(&world).await?;
    let mut broken = doubted(&world, Duration::from_secs(12)).await?;
    if !world.space.all::<RollbackCheckpoint>().await?.is_empty() {
        broken.push(Broken::new(
            Promise::SoundData,
            "a release was registered on stale data",
        ));
    }
    world.first().metrics.behave();
    let cleared = Instant::now();
    let mut outcome = oracle.ended(&mut world, cleared).await?;
    outcome.broken.extend(broken);
    Ok(outcome)
}

/// A bad release comes while the clock is off: nothing is done until the clock is right.
async fn hides_a_breach(
    endpoints: &Endpoints,
    namespace: &str,
    oracle: &Oracle,
    offset: i64,
) -> Result<Outcome, StageError> {
    let mut world = World::guarded(endpoints, namespace, Setup::default()).await?;
    world.first().metrics.rule(off(offset));
    world.ship(&bad()).await?;
    let mut broken = doubted(&world, Duration::from_secs(15)).await?;
    if !world.incidents().await?.is_empty() {
        broken.push(Broken::new(Promise::SoundData, "an incident was opened on stale data"));
    }
    world.first().metrics.behave();
    let cleared = Instant::now();
    let mut outcome = oracle.ended(&mut world, cleared).await?;
    outcome.broken.extend(broken);
    Ok(outcome)
}

/// It steps once an incident is open, and is set right after a while where it hides the recovery.
async fn from_incident(
    endpoints: &Endpoints,
    namespace: &str,
    oracle: &Oracle,
    offset: i64,
) -> Result<Outcome, StageError> {
    let mut world = World::guarded(endpoints, namespace, Setup::default()).await?;
    oracle.scenario.begin(&world).await?;
    let within = Duration::from_secs(90);
    let opened = |all: &[quality_api::QualityIncident]| !all.is_empty();
    world.space.wait_all("an incident is opened", within, opened).await?;
    world.first().metrics.rule(off(offset));
    let mut cleared = Instant::now();
    let mut broken = Vec::new();
    if is_harmless(offset) {
        oracle.scenario.over(&world).await?;
        cleared = Instant::now();
    } else {
        broken = doubted(&world, Duration::from_secs(15)).await?;
        let recovered = world.incidents().await?.into_iter().any(|incident| {
            incident
                .status
                .is_some_and(|status| status.state == quality_api::IncidentState::Recovered)
        });
        if recovered {
            broken.push(Broken::new(Promise::SoundData, "a recovery was seen on stale data"));
        }
        world.first().metrics.behave();
        cleared = Instant::now().max(cleared);
        oracle.scenario.over(&world).await?;
    }
    let mut outcome = world.judged(cleared, Some(&oracle.end)).await?;
    outcome.broken.extend(broken);
    Ok(outcome)
}

/// For this long; by its end the policy must say that it does not know, and why.
async fn doubted(world: &World, lasts: Duration) -> Result<Vec<Broken>, StageError> {
    tokio::time::sleep(lasts).await;
    let policy = world.space.api::<QualityPolicy>().get("ranker").await?;
    let conditions = policy.status.unwrap_or_default().conditions;
    let said = conditions.iter().find(|condition| condition.type_ == "Evaluated");
    let clear = said.is_some_and(|said| {
        said.status == "Unknown"
            && ["Stale", "NoData"].contains(&said.reason.as_str())
            && said.message.contains("is not known")
    });
    let what = format!("it does not say that its data are stale or not there, but {said:?}");
    Ok(if clear {
        Vec::new()
    } else {
        vec![Broken::new(Promise::SoundData, what)]
    })
}
