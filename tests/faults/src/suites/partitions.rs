//! At each step of a rollback the operator is cut off: from the API server, from Prometheus, from both; or it loses its
//! rights. What was asked meanwhile is never answered, and streams stay open and tell nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bed::Endpoints;
use stage::{
    StageError,
    proxy::{Act, Watches},
};

use crate::{
    api::Label,
    plan::{Outcome, Plan},
    suites::{
        matrix::{Kind, refused},
        writes::Oracle,
    },
    world::{Setup, World, bad},
};

/// Longer than a call's deadline, and over before what failed by it is tried again.
const LASTS: Duration = Duration::from_secs(11);
/// Calls come through before streams do: what is decided then is decided on what was seen before.
const STREAMS_LATER: Duration = Duration::from_secs(4);
/// Longer than every deadline, a lease's too.
const LASTS_LONG: Duration = Duration::from_secs(40);

/// What is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The API server.
    Server,
    /// Prometheus.
    Metrics,
    /// Both.
    Both,
    /// Nothing, but every call is forbidden.
    Rights,
}

/// When it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Before the write is forwarded.
    Before,
    /// After it was taken.
    After,
}

/// The steps: what is written of the incident, the Deployment and the policy.
pub fn steps(oracle: &Oracle) -> Vec<Label> {
    let is_step = |label: &&Label| {
        let text = label.to_string();
        let resources = ["qualityincidents", "deployments", "qualitypolicies"];
        resources.iter().any(|resource| text.contains(resource))
    };
    oracle.writes.iter().filter(is_step).cloned().collect()
}

/// The plans: each step under each cut.
pub fn plans(oracle: &Arc<Oracle>, short: bool) -> Vec<Plan> {
    let mut cases = Vec::new();
    for label in steps(oracle) {
        let is = |step: &str| label.to_string().contains(step);
        for when in [When::Before, When::After] {
            for cut in [Cut::Server, Cut::Both] {
                let selected = is("patch") && cut == Cut::Server && when == When::After
                    || is("create") && cut == Cut::Both && when == When::Before;
                cases.push((label.clone(), when, cut, LASTS, selected));
            }
        }
        cases.push((label.clone(), When::Before, Cut::Metrics, LASTS, is("Verifying")));
        cases.push((label.clone(), When::Before, Cut::Rights, LASTS, is("RollingBack")));
        if is("patch") || is("Verifying") {
            cases.push((label.clone(), When::After, Cut::Both, LASTS_LONG, false));
        }
    }
    cases
        .into_iter()
        .filter(|case| !short || case.4)
        .map(|(label, when, cut, lasts, _)| {
            let oracle = oracle.clone();
            let name = format!("{cut:?} cut off for {} s {when:?} {label}", lasts.as_secs());
            Plan::new("partitions", name, move |endpoints, namespace| async move {
                survives(&endpoints, &namespace, &oracle, (label, when), cut, lasts).await
            })
        })
        .collect()
}

async fn survives(
    endpoints: &Endpoints,
    namespace: &str,
    oracle: &Oracle,
    (label, when): (Label, When),
    cut: Cut,
    lasts: Duration,
) -> Result<Outcome, StageError> {
    let mut world = World::guarded(endpoints, namespace, Setup::default()).await?;
    let occurred = Arc::new(AtomicBool::new(false));
    let mark = occurred.clone();
    let (api, metrics) = (world.first().api.clone(), world.first().metrics.clone());
    let (streams, away) = (api.clone(), occurred.clone());
    if matches!(cut, Cut::Metrics | Cut::Both) {
        metrics.rule(move |_| {
            if away.load(Ordering::SeqCst) {
                Act::Swallow
            } else {
                Act::Forward
            }
        });
    }
    api.rule(move |asked| {
        let begins = Label::asked(asked).as_ref() == Some(&label) && !mark.swap(true, Ordering::SeqCst);
        if !mark.load(Ordering::SeqCst) {
            return Act::Forward;
        }
        match cut {
            Cut::Metrics => Act::Forward,
            Cut::Rights => Act::Answer(refused(Kind::Get, 403)),
            Cut::Server | Cut::Both => {
                streams.watches(Watches::HalfOpen);
                match (begins, when) {
                    (true, When::After) => Act::LoseAnswer,
                    _ => Act::Swallow,
                }
            }
        }
    });
    world.ship(&bad()).await?;
    let begun = occurred.clone();
    let reached = world
        .until(Duration::from_secs(90), |_| begun.load(Ordering::SeqCst))
        .await?;
    if reached {
        world.pass(lasts).await?;
    }
    metrics.behave();
    api.rule(|_| Act::Forward);
    if reached && matches!(cut, Cut::Server | Cut::Both) {
        world.pass(STREAMS_LATER).await?;
    }
    api.behave();
    let outcome = world.judged(Instant::now(), Some(&oracle.end)).await?;
    Ok(Outcome { reached, ..outcome })
}
