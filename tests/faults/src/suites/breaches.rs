//! Many breaches of many Deployments while faults come at random: exactly one incident and one change of the Deployment a
//! breach.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use bed::Endpoints;
use quality_api::{IncidentState, QualityIncident, ROLLBACK_ANNOTATION};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::{Value, json};
use stage::{
    Behaviour, StageError,
    proxy::{Act, Asked, Call, Watches, answer, failure},
};

use crate::{
    api::{Target, verb},
    fleet::Fleet,
    monitor::{Broken, Promise, Rules, broken},
    plan::{CONVERGES_WITHIN, Outcome, PLANTED, Plan},
    world::good,
};

/// Two rollbacks of one Deployment lie further apart than this.
const COOLDOWN: Duration = Duration::from_secs(1);
/// The round without faults may take so long.
const PATIENCE: Duration = Duration::from_secs(240);
/// The faults are the same each time.
const SEED: u64 = 20_261_124;

/// The plan: so many rounds in which a bad release of every Deployment is shipped, after one without faults that says how
/// long a breach takes here from its release to its recovery.
pub fn plans(deployments: usize, rounds: usize) -> Vec<Plan> {
    let name = format!("{rounds} bad releases of {deployments} Deployments each");
    let plan = Plan::new("breaches", name, move |endpoints, namespace| async move {
        survived(&endpoints, &namespace, deployments, rounds).await
    });
    vec![plan.counting(deployments * rounds)]
}

fn bad(round: usize) -> String {
    format!("registry.example/ranker@sha256:{:064x}", 0xbad_0000 + round)
}

async fn survived(
    endpoints: &Arc<Endpoints>,
    namespace: &str,
    deployments: usize,
    rounds: usize,
) -> Result<Outcome, StageError> {
    let policy = json!({"rollback": {"cooldown": format!("{}s", COOLDOWN.as_secs())}});
    let mut fleet = Fleet::guarded(endpoints, namespace, deployments, &policy).await?;
    let random = Arc::new(Mutex::new(Xoshiro256PlusPlus::seed_from_u64(SEED)));
    let mut outcome = Outcome {
        reached: true,
        ..Outcome::default()
    };
    let image = bad(0);
    fleet.service.behave(&image, Behaviour::FAILING);
    fleet.ship(&image).await?;
    let begin = Instant::now();
    outcome.broken.extend(recovered(&mut fleet, &image, PATIENCE).await?);
    let usual = begin.elapsed();
    println!(
        "breaches: without faults, everything recovered in {:.1} s",
        usual.as_secs_f64()
    );
    fleet.healthy(PATIENCE).await?;
    for round in 1..=rounds {
        let image = bad(round);
        fleet.service.behave(&image, Behaviour::FAILING);
        fleet.replica.api.rule(misbehaving(&random));
        fleet.ship(&image).await?;
        let begin = Instant::now();
        // The faults come while the breaches are judged and rolled back.
        while begin.elapsed() < Duration::from_secs(25) {
            inject(&mut fleet, &random).await?;
        }
        fleet.replica.api.behave();
        fleet.replica.metrics.behave();
        let cleared = Instant::now();
        // A breach that was not even seen yet takes as long as one without faults.
        let slow = recovered(&mut fleet, &image, usual + CONVERGES_WITHIN).await?;
        outcome.converged = outcome.converged.max(Some(cleared.elapsed()));
        println!(
            "breaches: round {round} of {rounds}, everything recovered {:.1} s after the last fault",
            cleared.elapsed().as_secs_f64()
        );
        outcome.broken.extend(slow);
        fleet.healthy(PATIENCE).await?;
    }
    let calls = fleet.replica.api.calls();
    // A client that is killed in the middle of many calls has the proxy's own connection to the API server ended.
    let unanswered = calls.iter().filter(|call| call.unanswered > 0).count();
    println!(
        "breaches: {unanswered} of {} calls had no answer from the API server",
        calls.len()
    );
    let incidents = fleet.space.all::<QualityIncident>().await?;
    outcome
        .broken
        .extend(counted(&calls, &incidents, &fleet.names, rounds + 1));
    for name in &fleet.names {
        let of_it: Vec<Call> = calls.iter().filter(|call| concerns(call, name)).cloned().collect();
        let rules = Rules {
            namespace,
            target: name,
            cooldown: COOLDOWN,
            planted: PLANTED,
        };
        outcome.broken.extend(broken(&of_it, &rules));
    }
    for (name, image) in fleet.images().await? {
        if image != good() {
            outcome
                .broken
                .push(Broken::new(Promise::SameEnd, format!("{name} runs {image}")));
        }
    }
    Ok(outcome)
}

/// Whether a call is about this Deployment, or about none in particular.
fn concerns(call: &Call, name: &str) -> bool {
    let Some(target) = Target::of(&call.path) else {
        return false;
    };
    let named = if target.name.is_empty() {
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let names = [
            "/metadata/name",
            "/spec/targetRef/name",
            "/involvedObject/name",
            "/spec/policyRef/name",
        ];
        names
            .iter()
            .find_map(|pointer| body.pointer(pointer)?.as_str().map(str::to_owned))
    } else {
        Some(target.name)
    };
    named.is_none_or(|named| named.starts_with(name))
}

/// One request in twelve fails in one way or another.
fn misbehaving(random: &Arc<Mutex<Xoshiro256PlusPlus>>) -> impl Fn(&Asked) -> Act + Send + Sync + 'static {
    let random = random.clone();
    move |asked| {
        if asked.is_watch() {
            return Act::Forward;
        }
        let turn = random
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .random_range(0..120_u32);
        match turn {
            0 | 1 => Act::Answer(failure(StatusCode::INTERNAL_SERVER_ERROR)),
            2 => Act::Answer(failure(StatusCode::SERVICE_UNAVAILABLE)),
            3 => Act::Answer(failure(StatusCode::TOO_MANY_REQUESTS)),
            4 => Act::Answer(failure(StatusCode::GATEWAY_TIMEOUT)),
            5 => Act::Reset,
            6 => Act::Truncate,
            7 => Act::LoseAnswer,
            8 | 9 => Act::Twice,
            _ => Act::Forward,
        }
    }
}

/// One fault of the whole operator, and some time.
async fn inject(fleet: &mut Fleet, random: &Arc<Mutex<Xoshiro256PlusPlus>>) -> Result<(), StageError> {
    let (fault, pause) = {
        let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
        (
            random.random_range(0..6_u32),
            Duration::from_millis(random.random_range(800..3_000)),
        )
    };
    match fault {
        0 => fleet.replica.restart_unready()?,
        1 => fleet.replica.api.watches(Watches::Torn),
        2 => fleet.replica.api.watches(Watches::Gone),
        3 => fleet.replica.api.watches(Watches::HalfOpen),
        4 => fleet
            .replica
            .metrics
            .rule(|_| Act::Answer(answer(StatusCode::SERVICE_UNAVAILABLE, "on purpose"))),
        _ => {}
    }
    tokio::time::sleep(pause).await;
    fleet.replica.api.watches(Watches::Flow);
    fleet.replica.metrics.behave();
    fleet.replica.keep_alive()?;
    tokio::time::sleep(pause / 2).await;
    Ok(())
}

/// Waits until every Deployment's breach by this image has recovered; those that have not in time.
async fn recovered(fleet: &mut Fleet, image: &str, within: Duration) -> Result<Vec<Broken>, StageError> {
    let begin = Instant::now();
    loop {
        fleet.replica.keep_alive()?;
        let incidents = fleet.space.all::<QualityIncident>().await?;
        let over = |name: &String| {
            let of_it = |incident: &&QualityIncident| {
                incident.spec.policy.name == *name && incident.spec.from_images.iter().any(|from| from.image == image)
            };
            let state = |incident: &QualityIncident| incident.status.as_ref().map(|status| status.state);
            incidents
                .iter()
                .filter(of_it)
                .any(|incident| state(incident) == Some(IncidentState::Recovered))
        };
        let waiting: Vec<&String> = fleet.names.iter().filter(|name| !over(name)).collect();
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        if begin.elapsed() > within {
            let what = format!(
                "{} of {} have not recovered within {:.1} s: {waiting:?}",
                waiting.len(),
                fleet.names.len(),
                within.as_secs_f64()
            );
            return Ok(vec![Broken::new(Promise::InTime, what)]);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// One incident and one taken rollback for each Deployment and round. What there is at the end counts for incidents, for
/// nothing deletes them; a change of the Deployment may have been taken where no answer came.
fn counted(calls: &[Call], incidents: &[QualityIncident], names: &[String], rounds: usize) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut of_breach: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for incident in incidents {
        let images = incident.spec.from_images.iter().map(|from| from.image.as_str());
        for image in images {
            *of_breach.entry((&incident.spec.policy.name, image)).or_default() += 1;
        }
    }
    for ((policy, image), count) in of_breach.iter().filter(|(_, count)| **count != 1) {
        let what = format!("{count} incidents of {policy} for {image}");
        broken.push(Broken::new(Promise::OneIncident, what));
    }
    let breaches = names.len() * rounds;
    if of_breach.len() != breaches {
        let what = format!("{} breaches have an incident, of {breaches}", of_breach.len());
        broken.push(Broken::new(Promise::OneIncident, what));
    }
    let mut rollbacks: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for call in calls.iter().filter(|call| verb(&call.method, &call.path) == "patch") {
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let marks = body.pointer("/metadata/annotations");
        let is_rollback = marks.is_some_and(|marks| marks.get(ROLLBACK_ANNOTATION).is_some());
        if let Some(target) = Target::of(&call.path).filter(|target| is_rollback && target.resource == "deployments") {
            let (taken, perhaps) = rollbacks.entry(target.name).or_default();
            *taken += call
                .delivered
                .iter()
                .filter(|status| (200..300).contains(*status))
                .count();
            *perhaps += call.unanswered;
        }
    }
    for name in names {
        let (taken, perhaps) = rollbacks.get(name).copied().unwrap_or_default();
        if !(taken..=taken + perhaps).contains(&rounds) {
            let what = format!("{name}: {taken} rollbacks for {rounds} breaches");
            broken.push(Broken::new(Promise::OneRollback, what));
        }
    }
    broken
}
