//! Streams of changes that tell nothing, tear, or are told that they ask for what is gone, from each step of a rollback and
//! of a drill on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use bed::Endpoints;
use stage::{
    StageError,
    proxy::{Act, Asked, Watches, failure},
};

use crate::{
    api::Label,
    plan::{Outcome, Plan},
    suites::writes::{Oracle, Scenario},
    world::Setup,
};

/// How long it lasts.
const LASTS: Duration = Duration::from_secs(10);

/// Which fault meets the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// They stay open and tell nothing.
    HalfOpen,
    /// They end in the middle of a line.
    Torn,
    /// They tell 410 Gone in their midst.
    Gone,
    /// They are torn, and a new one is answered with status 410.
    Refused,
}

const FAULTS: [Fault; 4] = [Fault::HalfOpen, Fault::Torn, Fault::Gone, Fault::Refused];

impl Fault {
    fn watches(self) -> Watches {
        match self {
            Self::HalfOpen => Watches::HalfOpen,
            Self::Torn | Self::Refused => Watches::Torn,
            Self::Gone => Watches::Gone,
        }
    }

    fn act(self, asked: &Asked) -> Act {
        if self == Self::Refused && asked.is_watch() {
            Act::Answer(failure(StatusCode::GONE))
        } else {
            Act::Forward
        }
    }
}

/// The plans: each step under each fault; `short` has those of the most telling step.
pub fn plans(oracles: &[Arc<Oracle>], short: bool) -> Vec<Plan> {
    let mut plans = Vec::new();
    for oracle in oracles
        .iter()
        .filter(|oracle| oracle.scenario != Scenario::Registration)
    {
        let steps = oracle.writes.iter().filter(|label| is_step(oracle.scenario, label));
        for step in std::iter::once(None).chain(steps.map(Some)) {
            let text = step.map_or_else(|| "its begin".to_owned(), ToString::to_string);
            for fault in FAULTS {
                let is_telling =
                    text == "patch deployments rollback" && [Fault::HalfOpen, Fault::Gone].contains(&fault);
                if short && !(is_telling && oracle.scenario == Scenario::Rollback) {
                    continue;
                }
                let name = format!("{:?}: {fault:?} from {text}", oracle.scenario);
                let (oracle, step) = (oracle.clone(), step.cloned());
                plans.push(Plan::new("streams", name, move |endpoints, namespace| async move {
                    survives(&endpoints, &namespace, &oracle, step, fault).await
                }));
            }
        }
    }
    plans
}

fn is_step(scenario: Scenario, label: &Label) -> bool {
    let label = label.to_string();
    let of_drill = label.starts_with("update recoverydrills/status");
    let of_rollback = label == "create qualityincidents" || label.starts_with("update qualityincidents/status");
    label.contains(" deployments")
        || if scenario == Scenario::Drill {
            of_drill
        } else {
            of_rollback
        }
}

async fn survives(
    endpoints: &Endpoints,
    namespace: &str,
    oracle: &Oracle,
    step: Option<Label>,
    fault: Fault,
) -> Result<Outcome, StageError> {
    let mut world = oracle.scenario.world(endpoints, namespace, Setup::default()).await?;
    let api = world.first().api.clone();
    let begun = Arc::new(AtomicBool::new(step.is_none()));
    if step.is_none() {
        api.watches(fault.watches());
    }
    let (mark, streams) = (begun.clone(), Arc::downgrade(&api));
    api.rule(move |asked| {
        if step.is_some()
            && Label::asked(asked) == step
            && !mark.swap(true, Ordering::SeqCst)
            && let Some(api) = streams.upgrade()
        {
            api.watches(fault.watches());
        }
        if mark.load(Ordering::SeqCst) {
            fault.act(asked)
        } else {
            Act::Forward
        }
    });
    oracle.scenario.begin(&world).await?;
    let begin = Instant::now();
    while !begun.load(Ordering::SeqCst) {
        if begin.elapsed() > Duration::from_secs(90) {
            let outcome = world.judged(Instant::now(), Some(&oracle.end)).await?;
            return Ok(Outcome {
                reached: false,
                ..outcome
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(LASTS).await;
    api.behave();
    let cleared = Instant::now();
    oracle.ended(&mut world, cleared).await
}
