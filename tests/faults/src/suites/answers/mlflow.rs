//! Bad answers of MLflow: none is evidence, none starts a rollback, and good ones are read as soon as they are asked for.

mod cases;

use std::time::{Duration, Instant};

use bed::Endpoints;
use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::Condition};
use kube::api::{Patch, PatchParams};
use quality_api::{IncidentState, QualityIncident, QualityPolicy};
use serde_json::{Value, json};
use stage::{Behaviour, Proxy, StageError, Tracking, script::rolled_out};

use self::cases::{artifacts, server};
use super::{Case, ELSEWHERE, MAX_MEMORY, Says, acted};
use crate::{
    monitor::{Broken, Promise},
    plan::{Outcome, Plan},
    world::{Setup, World, bad, good, image},
};

/// The runs of a world: 400 queries each, of which so many percent comply.
struct Runs {
    old: String,
    better: String,
    worse: String,
}

impl Runs {
    async fn log(url: &str) -> Result<Self, StageError> {
        let tracking = Tracking::at(url)?;
        Ok(Self {
            old: evaluated(&tracking, 70).await?,
            better: evaluated(&tracking, 83).await?,
            worse: evaluated(&tracking, 60).await?,
        })
    }
}

async fn evaluated(tracking: &Tracking, percent: u64) -> Result<String, StageError> {
    let begun = tracking.begin().await?;
    tracking.dataset(&begun.run, "abc").await?;
    let bytes = compliance(&begun.run, percent).to_string().into_bytes();
    tracking.put(&begun, "compliance_metrics.json", bytes).await?;
    tracking.end(&begun.run, "FINISHED").await?;
    Ok(begun.run)
}

/// Outcomes that are no pattern of sessions; a query that complies at a low percentage does at every higher one.
fn compliance(run: &str, percent: u64) -> Value {
    let queries: Vec<Value> = (0_u64..400)
        .map(|query| {
            let hit = (query.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % 100 < percent;
            json!({
                "query": format!("q{query}"), "session": format!("s{}", query / 4),
                "correct_at_1": hit, "correct_at_5": hit || query % 10 != 0,
                "grades": [if hit { 3 } else { 0 }, 1], "judged": [3, 1],
            })
        })
        .collect();
    json!({"run_id": run, "dataset": {"version": "v7", "digest": "abc"}, "queries": queries})
}

/// A world whose release is better than its checkpoint, by its run; MLflow behind a proxy.
async fn world(endpoints: &Endpoints, namespace: &str) -> Result<(World, Proxy, Runs), StageError> {
    let url = endpoints.mlflow.clone();
    let url = url.ok_or_else(|| StageError::Unexpected("the bed has no MLflow: run it with --mlflow".to_owned()))?;
    let (proxy, runs) = (Proxy::of(&url).await?, Runs::log(&url).await?);
    let setup = Setup {
        policy: json!({
            "recovery": {"rpo": "2h"},
            "evidence": {
                "mlflow": {"source": "default"},
                "optional": ["conflict_logs", "calibration_report.json", "compliance_timeseries.csv"],
            },
            "objectives": {"compliance": {"minUplift": "0%"}},
        }),
        more: json!({"mlflowSources": {"default": {"url": proxy.url(), "timeoutMilliseconds": 2_000}}}),
        ..Setup::default()
    };
    let world = World::unguarded(endpoints, namespace, setup).await?;
    ship(&world, &good(), &runs.old).await?;
    rolled_out(&world.space, "ranker").await?;
    world.guard().await?;
    world.service.behave(&image('c'), Behaviour::HEALTHY);
    ship(&world, &image('c'), &runs.better).await?;
    world.registered(&image('c')).await?;
    Ok((world, proxy, runs))
}

/// Ships an image whose model comes from a run.
async fn ship(world: &World, image: &str, run: &str) -> Result<(), StageError> {
    let template = json!({"spec": {"template": {
        "metadata": {"annotations": {"mlflow.org/run-id": run}},
        "spec": {"containers": [{"name": "server", "image": image}]},
    }}});
    let deployments = world.space.api::<Deployment>();
    deployments
        .patch("ranker", &PatchParams::default(), &Patch::Strategic(template))
        .await?;
    Ok(())
}

/// The plans.
pub fn plans(short: bool) -> Vec<Plan> {
    let step = if short { 10 } else { 1 };
    let mut plans = Vec::new();
    for (theme, cases) in [("server", server as fn() -> Vec<Case>), ("artifacts", artifacts)] {
        let cases: Vec<Case> = cases().into_iter().step_by(step).collect();
        let count = cases.len();
        let name = format!("MLflow, {theme}: {count} answers over a healthy release");
        let plan = Plan::new("answers", name, move |endpoints, namespace| async move {
            healthy(&endpoints, &namespace, cases).await
        });
        plans.push(plan.counting(count));
    }
    let hiding = server().into_iter().chain(artifacts()).filter(|case| case.hides);
    plans.extend(hiding.take(if short { 1 } else { usize::MAX }).map(|case| {
        let name = format!("MLflow, over a worse release: {}", case.name);
        Plan::new("answers", name, move |endpoints, namespace| async move {
            worse(&endpoints, &namespace, case).await
        })
    }));
    plans
}

async fn healthy(endpoints: &Endpoints, namespace: &str, cases: Vec<Case>) -> Result<Outcome, StageError> {
    let (mut world, proxy, _runs) = world(endpoints, namespace).await?;
    let mut broken = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let rule = case.rule.clone();
        proxy.rule(move |asked| rule(asked));
        // Another limit is another question: the runs are read anew at once.
        ask_anew(&world, number)?;
        let begin = Instant::now();
        let most = loop {
            let said = complete(&world).await?;
            let most = world.first().operator().allocated().unwrap_or_default();
            if said.as_ref().is_some_and(|said| is_said(said, case.says)) {
                break most;
            }
            if begin.elapsed() > Duration::from_secs(40) {
                let what = format!("{}: it does not say {:?} but {said:?}", case.name, case.says);
                broken.push(Broken::new(Promise::SoundData, what));
                break most;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        if most > MAX_MEMORY {
            broken.push(Broken::new(
                Promise::Bounded,
                format!("{}: {} MiB", case.name, most >> 20),
            ));
        }
        for (promise, what) in acted(&world).await? {
            broken.push(Broken::new(promise, format!("{}: {what}", case.name)));
        }
        if proxy.calls().iter().any(|call| call.path.contains(ELSEWHERE)) {
            broken.push(Broken::new(
                Promise::NoEcho,
                format!("{}: a redirect was followed", case.name),
            ));
        }
        proxy.forget();
        if world.replicas[0].keep_alive()? {
            broken.push(Broken::new(
                Promise::Contained,
                format!("{}: the operator ended", case.name),
            ));
        }
        println!(
            "    {}: {:.1} s, {} MiB",
            case.name,
            begin.elapsed().as_secs_f64(),
            most >> 20
        );
    }
    proxy.behave();
    ask_anew(&world, cases.len())?;
    let cleared = Instant::now();
    let usable = |policy: &QualityPolicy| {
        let found = condition(policy, "EvidenceComplete");
        found.is_some_and(|found| found.status == "True")
            && condition(policy, "SLOsMet").is_some_and(|met| met.status == "True")
    };
    let within = Duration::from_secs(30);
    world
        .space
        .wait("good answers are evidence", "ranker", within, usable)
        .await?;
    let mut outcome = world.judged(cleared, None).await?;
    for (promise, what) in acted(&world).await? {
        outcome.broken.push(Broken::new(promise, what));
    }
    outcome.broken.extend(broken);
    Ok(outcome)
}

fn ask_anew(world: &World, number: usize) -> Result<(), StageError> {
    let limit = format!("0.05{}", 101 + number);
    world.space.merge(
        "qualitypolicy",
        "ranker",
        &json!({"spec": {"objectives": {"compliance": {"maxEce": limit}}}}),
    )
}

fn condition(policy: &QualityPolicy, kind: &str) -> Option<Condition> {
    let conditions = policy.status.clone().unwrap_or_default().conditions;
    conditions.into_iter().find(|condition| condition.type_ == kind)
}

/// The condition `EvidenceComplete`, once it is of the policy as it is.
async fn complete(world: &World) -> Result<Option<Condition>, StageError> {
    let policy = world.space.api::<QualityPolicy>().get("ranker").await?;
    let found = condition(&policy, "EvidenceComplete");
    Ok(found.filter(|found| found.observed_generation == policy.metadata.generation && found.reason != "Pending"))
}

fn is_said(condition: &Condition, says: Says) -> bool {
    match says {
        Says::Unknown(reasons, words) => {
            condition.status == "False"
                && reasons.contains(&condition.reason.as_str())
                && condition.message.contains(words)
        }
        Says::Usable => condition.status == "True",
        Says::Anything => true,
    }
}

/// A worse release is shipped while the answers are bad: it stays, and goes when they are good.
async fn worse(endpoints: &Endpoints, namespace: &str, case: Case) -> Result<Outcome, StageError> {
    let (mut world, proxy, runs) = world(endpoints, namespace).await?;
    world.service.behave(&bad(), Behaviour::HEALTHY);
    let rule = case.rule.clone();
    proxy.rule(move |asked| rule(asked));
    ship(&world, &bad(), &runs.worse).await?;
    rolled_out(&world.space, "ranker").await?;
    let mut broken = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(8) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let said = complete(&world).await?;
    if !said.as_ref().is_some_and(|said| is_said(said, case.says)) {
        let what = format!("it does not say {:?} but {said:?}", case.says);
        broken.push(Broken::new(Promise::SoundData, what));
    }
    for (promise, what) in acted(&world).await? {
        broken.push(Broken::new(promise, format!("while the answers were bad: {what}")));
    }
    proxy.behave();
    // It is asked again after 10 s, and then after twice as long each time; what was read and found unusable is evidence
    // that was judged, and is asked for again after minutes: here the question changes.
    ask_anew(&world, 1)?;
    let opened = |all: &[QualityIncident]| !all.is_empty();
    let within = Duration::from_secs(60);
    world.space.wait_all("the worse release goes", within, opened).await?;
    let cleared = Instant::now();
    let over = |all: &[QualityIncident]| {
        let state = |incident: &QualityIncident| incident.status.as_ref().map(|status| status.state);
        all.iter()
            .all(|incident| state(incident) == Some(IncidentState::Recovered))
    };
    world
        .space
        .wait_all("the incident is over", Duration::from_secs(120), over)
        .await?;
    let mut outcome = world.judged(cleared, None).await?;
    let (incidents, runs) = (world.incidents().await?.len(), world.space.image("ranker").await?);
    if (incidents, runs.as_str()) != (1, image('c').as_str()) {
        outcome.broken.push(Broken::new(
            Promise::SameEnd,
            format!("{incidents} incidents, {runs} runs"),
        ));
    }
    outcome.broken.extend(broken);
    Ok(outcome)
}
