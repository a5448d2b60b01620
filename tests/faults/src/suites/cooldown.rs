//! A second bad release within the cooldown halts for a person: the Deployment is not changed a second time.

use std::time::{Duration, Instant};

use bed::Endpoints;
use quality_api::{IncidentState, QualityIncident};
use stage::{Behaviour, StageError};

use crate::{
    monitor::{Broken, Promise},
    plan::{Outcome, Plan},
    suites::writes::Scenario,
    world::{Setup, World, image},
};

/// The plans: quietly, and with a kill at the moment of the decision.
pub fn plans() -> Vec<Plan> {
    [false, true]
        .map(|killed| {
            let name = if killed {
                "a second bad release within the cooldown, and a kill"
            } else {
                "a second bad release within the cooldown"
            };
            Plan::new("cooldown", name, move |endpoints, namespace| async move {
                halted(&endpoints, &namespace, killed).await
            })
        })
        .into_iter()
        .collect()
}

async fn halted(endpoints: &Endpoints, namespace: &str, killed: bool) -> Result<Outcome, StageError> {
    let mut world = World::guarded(endpoints, namespace, Setup::default()).await?;
    Scenario::Rollback.begin(&world).await?;
    Scenario::Rollback.over(&world).await?;
    world.service.behave(&image('c'), Behaviour::FAILING);
    world.ship_past_the_gate(&image('c')).await?;
    let second = |all: &[QualityIncident]| all.len() > 1;
    let within = Duration::from_secs(90);
    world
        .space
        .wait_all("there is a second incident", within, second)
        .await?;
    if killed {
        world.replicas[0].restart()?;
    }
    let cleared = Instant::now();
    let halted = |all: &[QualityIncident]| {
        let mut states = all
            .iter()
            .filter_map(|incident| incident.status.as_ref().map(|status| status.state));
        states.any(|state| state == IncidentState::Halted)
    };
    let late = world
        .space
        .wait_all("the second incident halts", within, halted)
        .await
        .err();
    let mut outcome = match late {
        // It says once that the breach lasts, minutes later: silence is not what is asked here.
        None => Outcome {
            reached: true,
            converged: Some(cleared.elapsed()),
            broken: world.broken(Duration::from_secs(1_800)),
        },
        Some(late) => world.never_ended(&late),
    };
    let runs = world.space.image("ranker").await?;
    if runs != image('c') {
        outcome
            .broken
            .push(Broken::new(Promise::OneRollback, format!("{runs} runs")));
    }
    Ok(outcome)
}
