//! At every write of a registration, a rollback and a drill: killed before it is forwarded, killed after it is committed, its
//! answer lost, delivered twice.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bed::Endpoints;
use quality_api::{ENVIRONMENT_LABEL, IncidentState, QualityIncident, RecoveryDrill};
use serde_json::{Value, json};
use stage::{
    Behaviour, StageError,
    proxy::{Act, Call},
};

use crate::{
    api::Label,
    end_state::end_state,
    monitor::Promise,
    plan::{Outcome, Plan},
    world::{Setup, World, bad, good, image},
};

/// What happens in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A policy is written, and the release that runs becomes its first checkpoint.
    Registration,
    /// A bad release is shipped and rolled back.
    Rollback,
    /// A shadow drill is asked for and passes.
    Drill,
    /// A drill on the Deployment itself, whose release is newer than the one checkpoint, in a staging namespace.
    InPlace,
}

/// All of them.
pub const SCENARIOS: [Scenario; 4] = [
    Scenario::Registration,
    Scenario::Rollback,
    Scenario::Drill,
    Scenario::InPlace,
];

impl Scenario {
    /// The world before it.
    pub async fn world(self, endpoints: &Endpoints, namespace: &str, setup: Setup) -> Result<World, StageError> {
        match self {
            Self::Registration => World::unguarded(endpoints, namespace, setup).await,
            Self::Rollback | Self::Drill => World::guarded(endpoints, namespace, setup).await,
            Self::InPlace => {
                let world = World::guarded(endpoints, namespace, setup).await?;
                // The newer release is not to become a checkpoint.
                let later = json!({"spec": {"checkpoints": {"registerAfter": "1h"}}});
                world.space.merge("qualitypolicy", "ranker", &later)?;
                world.service.behave(&image('c'), Behaviour::HEALTHY);
                world.ship(&image('c')).await?;
                stage::script::rolled_out(&world.space, "ranker").await?;
                let staging = format!("{ENVIRONMENT_LABEL}=staging");
                world.space.kubectl(&["label", "namespace", namespace, &staging])?;
                world.objectives_met().await?;
                Ok(world)
            }
        }
    }

    /// It begins.
    pub async fn begin(self, world: &World) -> Result<(), StageError> {
        match self {
            Self::Registration => world.space.apply(&world.policy.to_string()),
            Self::Rollback => world.ship(&bad()).await,
            Self::Drill | Self::InPlace => {
                let mode = if self == Self::Drill { "Shadow" } else { "InPlace" };
                let drill = json!({
                    "apiVersion": "quality-officer.dev/v1alpha1", "kind": "RecoveryDrill", "metadata": {"name": "asked"},
                    "spec": {"policyRef": {"name": "ranker"}, "mode": mode},
                });
                world.space.apply(&drill.to_string())
            }
        }
    }

    /// Waits until it is over.
    pub async fn over(self, world: &World) -> Result<(), StageError> {
        let within = Duration::from_secs(180);
        match self {
            Self::Registration => world.registered(&good()).await,
            Self::Rollback => {
                let recovered = |all: &[QualityIncident]| {
                    let mut states = all
                        .iter()
                        .filter_map(|incident| incident.status.as_ref().map(|status| status.state));
                    states.any(|state| state == IncidentState::Recovered)
                };
                world
                    .space
                    .wait_all("the incident is over", within, recovered)
                    .await
                    .map(drop)
            }
            Self::Drill | Self::InPlace => {
                let finished =
                    |drill: &RecoveryDrill| drill.status.as_ref().is_some_and(|status| status.finished_at.is_some());
                world
                    .space
                    .wait("the drill is finished", "asked", within, finished)
                    .await
                    .map(drop)
            }
        }
    }
}

/// The fault-free run of a scenario.
#[derive(Clone, Debug)]
pub struct Oracle {
    /// Which scenario.
    pub scenario: Scenario,
    /// Its writes, in their order, each label once.
    pub writes: Vec<Label>,
    /// Its end.
    pub end: Value,
    /// How long it took.
    pub took: Duration,
    /// What became of it: it must break nothing either.
    pub outcome: Outcome,
}

impl Oracle {
    /// Runs a scenario without a fault.
    pub async fn of(endpoints: &Endpoints, scenario: Scenario) -> Result<Self, StageError> {
        let namespace = format!("oracle-{scenario:?}").to_lowercase();
        let mut world = scenario.world(endpoints, &namespace, Setup::default()).await?;
        let before = world.first().api.calls().len();
        let begin = Instant::now();
        scenario.begin(&world).await?;
        scenario.over(&world).await?;
        let over = Instant::now();
        let outcome = world.judged(over, None).await?;
        let mut seen = BTreeSet::new();
        let calls = world.first().api.calls();
        let labels = calls[before..].iter().filter_map(Label::call);
        Ok(Self {
            scenario,
            writes: labels.filter(|label| seen.insert(label.clone())).collect(),
            end: end_state(&world).await?,
            took: over.duration_since(begin) + outcome.converged.unwrap_or_default(),
            outcome,
        })
    }
}

impl Oracle {
    /// What became of its scenario in another world, where the fault cleared at this time.
    pub async fn ended(&self, world: &mut World, cleared: Instant) -> Result<Outcome, StageError> {
        match self.scenario.over(world).await {
            Ok(()) => world.judged(cleared, Some(&self.end)).await,
            Err(late) => Ok(world.never_ended(&late)),
        }
    }
}

/// Which fault meets a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operator is killed before the API server gets it.
    KilledBefore,
    /// The operator is killed after the API server took it.
    KilledAfter,
    /// It is taken, and the operator never hears of it.
    AnswerLost,
    /// It is delivered twice.
    DeliveredTwice,
}

/// All of them.
pub const FAULTS: [Fault; 4] = [
    Fault::KilledBefore,
    Fault::KilledAfter,
    Fault::AnswerLost,
    Fault::DeliveredTwice,
];

/// What `make test` meets: a record, a change of a Deployment, a clean-up, each in its worst moment.
const SHORT: [(&str, Fault); 8] = [
    ("create rollbackcheckpoints", Fault::KilledAfter),
    ("create qualityincidents", Fault::AnswerLost),
    ("patch deployments rollback", Fault::KilledAfter),
    ("patch deployments rollback", Fault::DeliveredTwice),
    ("update qualityincidents/status RollingBack", Fault::KilledBefore),
    ("create deployments", Fault::KilledAfter),
    ("patch deployments drill-", Fault::KilledBefore),
    ("delete deployments", Fault::KilledBefore),
];

/// The plans: each write of each scenario under each fault.
pub fn plans(oracles: &[Arc<Oracle>], short: bool) -> Vec<Plan> {
    let mut plans = Vec::new();
    for oracle in oracles {
        for label in &oracle.writes {
            for fault in FAULTS {
                let text = label.to_string();
                if short && !SHORT.contains(&(text.as_str(), fault)) {
                    continue;
                }
                let name = format!("{:?}: {fault:?} at {label}", oracle.scenario);
                let (oracle, label) = (oracle.clone(), label.clone());
                plans.push(Plan::new("writes", name, move |endpoints, namespace| async move {
                    survives(&endpoints, &namespace, &oracle, label, fault).await
                }));
            }
        }
    }
    plans
}

async fn survives(
    endpoints: &Endpoints,
    namespace: &str,
    oracle: &Oracle,
    label: Label,
    fault: Fault,
) -> Result<Outcome, StageError> {
    let mut world = oracle.scenario.world(endpoints, namespace, Setup::default()).await?;
    let occurred = Arc::new(AtomicBool::new(false));
    let mark = occurred.clone();
    let wanted = label.clone();
    world.first().api.rule(move |asked| {
        if Label::asked(asked).as_ref() != Some(&wanted) || mark.swap(true, Ordering::SeqCst) {
            return Act::Forward;
        }
        match fault {
            Fault::KilledBefore => Act::Swallow,
            Fault::KilledAfter | Fault::AnswerLost => Act::LoseAnswer,
            Fault::DeliveredTwice => Act::Twice,
        }
    });
    oracle.scenario.begin(&world).await?;
    let taken = |world: &World| {
        let calls = world.first().api.calls();
        let is_taken = |call: &Call| match fault {
            Fault::DeliveredTwice => call.delivered.len() == 2,
            _ => !call.heard && !call.delivered.is_empty(),
        };
        calls
            .iter()
            .any(|call| Label::call(call).as_ref() == Some(&label) && is_taken(call))
    };
    let begin = Instant::now();
    while !occurred.load(Ordering::SeqCst) || fault != Fault::KilledBefore && !taken(&world) {
        if begin.elapsed() > Duration::from_secs(90) {
            let outcome = world.judged(Instant::now(), Some(&oracle.end)).await?;
            return Ok(Outcome {
                reached: false,
                ..outcome
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match fault {
        Fault::KilledBefore | Fault::KilledAfter => world.replicas[0].restart()?,
        // The operator gives the call up after its deadline.
        Fault::AnswerLost => tokio::time::sleep(Duration::from_secs(10)).await,
        Fault::DeliveredTwice => {}
    }
    let cleared = Instant::now();
    let mut outcome = oracle.ended(&mut world, cleared).await?;
    let drill = matches!(oracle.scenario, Scenario::Drill | Scenario::InPlace);
    for broken in outcome.broken.iter_mut().filter(|_| drill) {
        if broken.promise == Promise::SameEnd && broken.what.starts_with(".deployments") {
            broken.promise = Promise::Restored;
        }
    }
    Ok(outcome)
}
