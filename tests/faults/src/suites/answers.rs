//! Bad answers of Prometheus, MLflow and the registry: over a healthy release, and over one that is in breach.

mod breaching;
mod connection;
mod mlflow;
mod prometheus;
pub mod query;
mod registry;
mod shapes;
mod values;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bed::Endpoints;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use quality_api::QualityPolicy;
use serde_json::json;
use stage::{
    StageError,
    proxy::{Act, Asked, Call},
};

use crate::{
    api::{Target, verb},
    monitor::{Broken, Promise},
    plan::{CONVERGES_WITHIN, Outcome, Plan},
    suites::writes::{Oracle, Scenario},
    world::{Setup, World},
};

/// What may be allocated while bad answers come, bytes.
pub const MAX_MEMORY: u64 = 64 << 20;
/// A bad answer lasts so many looks at least.
const LOOKS: usize = 3;
/// Within this time the policy must say what is wrong: a stalled source costs ten seconds a look.
const SAID_WITHIN: Duration = Duration::from_secs(60);

/// What the policy says while an answer lasts.
#[derive(Clone, Copy, Debug)]
pub enum Says {
    /// The condition `Evaluated` is Unknown for one of these reasons, with a message that has these words.
    Unknown(&'static [&'static str], &'static str),
    /// The answer is sound, if odd: the release is judged as before.
    Usable,
    /// The answer cannot be told from a true one for long, and what it says is no breach.
    Anything,
}

/// What is done with each request.
pub type Rule = Arc<dyn Fn(&Asked) -> Act + Send + Sync>;

/// One bad answer.
#[derive(Clone)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What the server answers.
    pub rule: Rule,
    /// What comes of it.
    pub says: Says,
    /// Whether it is also tried over a release in breach, of which it hides everything.
    pub hides: bool,
}

impl Case {
    /// A bad answer.
    pub fn new(name: impl Into<String>, says: Says, rule: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        Self {
            name: name.into(),
            rule: Arc::new(rule),
            says,
            hides: false,
        }
    }

    /// Also over a release in breach.
    pub fn hides(self) -> Self {
        Self { hides: true, ..self }
    }
}

/// The plans.
pub fn plans(oracles: &[Arc<Oracle>], short: bool) -> Vec<Plan> {
    let of = |scenario| oracles.iter().find(|oracle| oracle.scenario == scenario).cloned();
    let (Some(registration), Some(rollback)) = (of(Scenario::Registration), of(Scenario::Rollback)) else {
        return Vec::new();
    };
    let mut plans = Vec::new();
    for (theme, cases) in prometheus::themes() {
        let cases: Vec<Case> = if short {
            cases.into_iter().step_by(12).collect()
        } else {
            cases
        };
        let oracle = registration.clone();
        let (count, name) = (
            cases.len(),
            format!("Prometheus, {theme}: {} answers over a healthy release", cases.len()),
        );
        let plan = Plan::new("answers", name, move |endpoints, namespace| async move {
            healthy(&endpoints, &namespace, &oracle, cases).await
        });
        plans.push(plan.counting(count));
    }
    plans.extend(breaching::plans(&rollback, short));
    plans.extend(mlflow::plans(short));
    plans.extend(registry::plans(short));
    plans
}

/// One world that takes many bad answers in turn, and recovers after each.
async fn healthy(
    endpoints: &Endpoints,
    namespace: &str,
    oracle: &Oracle,
    cases: Vec<Case>,
) -> Result<Outcome, StageError> {
    // Certified seldom, so that no certification falls into the silence.
    let setup = Setup {
        policy: json!({"recovery": {"rpo": "2h"}}),
        ..Setup::default()
    };
    let mut world = World::guarded(endpoints, namespace, setup).await?;
    let mut broken = Vec::new();
    for case in cases {
        broken.extend(turn(&mut world, &case).await?);
    }
    let mut outcome = world.judged(Instant::now(), Some(&oracle.end)).await?;
    outcome.broken.extend(broken);
    Ok(outcome)
}

/// One bad answer over a healthy release.
async fn turn(world: &mut World, case: &Case) -> Result<Vec<Broken>, StageError> {
    let mut broken = Vec::new();
    let mut tell = |promise, what: String| broken.push(Broken::new(promise, format!("{}: {what}", case.name)));
    world.first().metrics.forget();
    let rule = case.rule.clone();
    world.first().metrics.rule(move |asked| rule(asked));
    let begin = Instant::now();
    let (mut heard, mut most) = (false, 0);
    loop {
        most = most.max(world.first().operator().allocated().unwrap_or_default());
        heard |= is_said(&judged(world).await?, case.says);
        let looks = looks(&world.first().metrics.calls());
        if looks >= LOOKS && heard {
            break;
        }
        if begin.elapsed() > SAID_WITHIN {
            tell(
                Promise::SoundData,
                format!(
                    "after {looks} looks it does not say {:?} but {:?}",
                    case.says,
                    judged(world).await?
                ),
            );
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for (promise, what) in acted(world).await? {
        tell(promise, what);
    }
    if most > MAX_MEMORY {
        tell(Promise::Bounded, format!("{} MiB were allocated", most >> 20));
    }
    if world
        .first()
        .metrics
        .calls()
        .iter()
        .any(|call| call.path.contains(ELSEWHERE))
    {
        tell(Promise::NoEcho, "a redirect was followed".to_owned());
    }
    world.first().metrics.behave();
    if world.replicas[0].keep_alive()? {
        tell(Promise::Contained, "the operator ended".to_owned());
    }
    let cleared = Instant::now();
    world.first().metrics.forget();
    // What it says is of good answers alone.
    while looks(&world.first().metrics.calls()) < 2 || judged(world).await?.status != "True" {
        if cleared.elapsed() > CONVERGES_WITHIN {
            let said = judged(world).await?;
            tell(
                Promise::InTime,
                format!("it is not judged again after good answers: {said:?}"),
            );
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for (promise, what) in acted(world).await? {
        tell(promise, format!("once the answers were good again, {what}"));
    }
    println!(
        "    {}: {:.1} s, {} MiB",
        case.name,
        begin.elapsed().as_secs_f64(),
        most >> 20
    );
    Ok(broken)
}

/// Where redirects point to.
pub const ELSEWHERE: &str = "/elsewhere";

fn is_said(condition: &Condition, says: Says) -> bool {
    match says {
        Says::Unknown(reasons, words) => {
            condition.status == "Unknown"
                && reasons.contains(&condition.reason.as_str())
                && condition.message.contains(words)
        }
        Says::Usable => condition.status == "True",
        Says::Anything => true,
    }
}

/// The policy's condition `Evaluated`.
async fn judged(world: &World) -> Result<Condition, StageError> {
    let policy = world.space.api::<QualityPolicy>().get("ranker").await?;
    let conditions = policy.status.unwrap_or_default().conditions;
    let found = conditions.into_iter().find(|condition| condition.type_ == "Evaluated");
    found.ok_or_else(|| StageError::Unexpected("the policy does not say whether it is judged".to_owned()))
}

/// How many instants were looked at.
fn looks(calls: &[Call]) -> usize {
    let instants: BTreeSet<i64> = calls.iter().filter_map(|call| query::instant(&call.path)).collect();
    instants.len()
}

/// An incident, or a write to a Deployment: what a bad answer must not cause.
async fn acted(world: &World) -> Result<Vec<(Promise, String)>, StageError> {
    let mut found = Vec::new();
    for incident in world.incidents().await? {
        found.push((
            Promise::SoundData,
            format!("an incident was opened: {}", incident.spec.reason),
        ));
    }
    let calls = world.replicas.iter().flat_map(|replica| replica.api.calls());
    let to_deployments = |call: &Call| {
        !["get", "list", "watch"].contains(&verb(&call.method, &call.path))
            && Target::of(&call.path).is_some_and(|target| target.resource == "deployments")
    };
    if calls.into_iter().any(|call| to_deployments(&call)) {
        found.push((Promise::SoundData, "the Deployment was written to".to_owned()));
    }
    Ok(found)
}
