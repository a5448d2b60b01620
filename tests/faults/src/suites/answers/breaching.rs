//! A bad release is shipped while the answers are bad: nothing is done until they are good again, and then all of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bed::Endpoints;
use stage::{StageError, script::rolled_out};

use super::{Case, LOOKS, acted, is_said, judged, looks, prometheus};
use crate::{
    monitor::{Broken, Promise},
    plan::{Outcome, Plan},
    suites::writes::Oracle,
    world::{Setup, World, bad},
};

/// Bad answers last so long: what contradicts the reading before is believed after two intervals or ten seconds, if it
/// goes on.
const LASTS: Duration = Duration::from_secs(15);

/// The plans.
pub fn plans(oracle: &Arc<Oracle>, short: bool) -> Vec<Plan> {
    let cases = prometheus::themes().into_iter().flat_map(|(_, cases)| cases);
    let step = if short { 7 } else { 1 };
    let hiding = cases.filter(|case| case.hides).step_by(step);
    hiding
        .map(|case| {
            let oracle = oracle.clone();
            let name = format!("Prometheus, over a release in breach: {}", case.name);
            Plan::new("answers", name, move |endpoints, namespace| async move {
                breaching(&endpoints, &namespace, &oracle, case).await
            })
        })
        .collect()
}

async fn breaching(endpoints: &Endpoints, namespace: &str, oracle: &Oracle, case: Case) -> Result<Outcome, StageError> {
    let mut world = World::guarded(endpoints, namespace, Setup::default()).await?;
    let rule = case.rule.clone();
    world.first().metrics.forget();
    world.first().metrics.rule(move |asked| rule(asked));
    world.ship(&bad()).await?;
    rolled_out(&world.space, "ranker").await?;
    world.first().metrics.forget();
    let begin = Instant::now();
    let mut said = false;
    let mut broken = Vec::new();
    while begin.elapsed() < LASTS || looks(&world.first().metrics.calls()) < LOOKS {
        said |= is_said(&judged(&world).await?, case.says);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    if !said {
        let now = judged(&world).await?;
        broken.push(Broken::new(
            Promise::SoundData,
            format!("it does not say {:?} but {now:?}", case.says),
        ));
    }
    for (promise, what) in acted(&world).await? {
        broken.push(Broken::new(promise, format!("while the answers were bad: {what}")));
    }
    world.first().metrics.behave();
    let cleared = Instant::now();
    let mut outcome = oracle.ended(&mut world, cleared).await?;
    outcome.broken.extend(broken);
    Ok(outcome)
}
