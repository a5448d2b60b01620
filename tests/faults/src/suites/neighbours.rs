//! Others who write the same Deployment: a loop that reapplies what a repository says, an autoscaler, people at the gate while no operator runs, and people
//! without the rights.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use bed::Endpoints;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Event};
use kube::api::{Patch, PatchParams};
use quality_api::{IncidentState, QualityIncident, RollbackCheckpoint};
use serde_json::{Value, json};
use stage::{Space, StageError};

use crate::{
    monitor::{Broken, Promise},
    plan::{Outcome, Plan},
    suites::writes::{Oracle, Scenario},
    world::{Setup, World, bad, good},
};

/// The plans.
pub fn plans(oracles: &[Arc<Oracle>], short: bool) -> Vec<Plan> {
    let mut plans = Vec::new();
    let rollback = oracles.iter().find(|oracle| oracle.scenario == Scenario::Rollback);
    if let Some(oracle) = rollback {
        for force in [true, false] {
            if short && !force {
                continue;
            }
            let oracle = oracle.clone();
            let name = format!("a loop reapplies the bad release every second, force: {force}");
            plans.push(Plan::new("neighbours", name, move |endpoints, namespace| async move {
                reapplied(&endpoints, &namespace, &oracle, force).await
            }));
        }
        let oracle = oracle.clone();
        let name = "an autoscaler writes the replicas every 500 ms";
        plans.push(Plan::new("neighbours", name, move |endpoints, namespace| async move {
            scaled(&endpoints, &namespace, &oracle).await
        }));
    }
    plans.push(Plan::new(
        "neighbours",
        "the gate while no operator runs",
        |endpoints, namespace| async move { held(&endpoints, &namespace).await },
    ));
    plans.push(Plan::new(
        "neighbours",
        "authors without the right to patch",
        |endpoints, namespace| async move { authored(&endpoints, &namespace).await },
    ));
    plans
}

/// A task that ends with its value.
struct Loop(tokio::task::JoinHandle<()>);

impl Drop for Loop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the operator's rollback made of the Deployment's image, seen as often as can be.
async fn reapplied(
    endpoints: &Endpoints,
    namespace: &str,
    oracle: &Oracle,
    force: bool,
) -> Result<Outcome, StageError> {
    let mut world = World::guarded(endpoints, namespace, Setup::default()).await?;
    // What was applied first is taken over once, as an administrator does who moves to such a tool.
    apply(&world.space, &good(), true).await?;
    apply(&world.space, &bad(), true).await?;
    let space = world.space.clone();
    let syncing = Loop(tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // Being refused is what the plan is about.
            let _ = apply(&space, &bad(), force).await;
        }
    }));
    let (space, back, again) = (
        world.space.clone(),
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (seen_back, seen_again) = (back.clone(), again.clone());
    let watching = Loop(tokio::spawn(async move {
        loop {
            let image = space.image("ranker").await.unwrap_or_default();
            if image == good() {
                seen_back.store(true, Ordering::SeqCst);
            } else if image == bad() && seen_back.load(Ordering::SeqCst) {
                seen_again.store(true, Ordering::SeqCst);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }));
    let over = oracle.scenario.over(&world).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    drop(syncing);
    let outcome = world.judged(Instant::now(), Some(&oracle.end)).await?;
    drop(watching);
    let mut broken = outcome.broken;
    if let Err(error) = over {
        broken.push(Broken::new(Promise::Gate, error.to_string()));
    }
    if again.load(Ordering::SeqCst) {
        broken.push(Broken::new(
            Promise::Gate,
            "the bad release came back after its rollback",
        ));
    }
    for about in ["Deployment", "QualityPolicy"] {
        let told = told(&world.space, about, "ImageQuarantined").await?;
        if told != 1 {
            broken.push(Broken::new(
                Promise::Gate,
                format!("{told} Events ImageQuarantined on the {about}"),
            ));
        }
    }
    let reached = back.load(Ordering::SeqCst);
    Ok(Outcome {
        reached,
        broken,
        ..outcome
    })
}

async fn told(space: &Space, kind: &str, reason: &str) -> Result<i32, StageError> {
    let events = space.all::<Event>().await?;
    let of_it = events
        .iter()
        .filter(|event| event.involved_object.kind.as_deref() == Some(kind) && event.reason.as_deref() == Some(reason));
    Ok(of_it.map(|event| event.count.unwrap_or(1)).sum())
}

/// Server-side apply by another field manager, as Flux and Argo CD do it.
async fn apply(space: &Space, image: &str, force: bool) -> Result<(), StageError> {
    let object = stage::script::deployment("ranker", image);
    let parameters = PatchParams {
        force,
        ..PatchParams::apply("gitops")
    };
    space
        .api::<Deployment>()
        .patch("ranker", &parameters, &Patch::Apply(object))
        .await?;
    Ok(())
}

async fn scaled(endpoints: &Endpoints, namespace: &str, oracle: &Oracle) -> Result<Outcome, StageError> {
    let mut world = World::guarded(endpoints, namespace, Setup::default()).await?;
    let (space, last) = (world.space.clone(), Arc::new(AtomicI32::new(3)));
    let said = last.clone();
    world.ship(&bad()).await?;
    let scaling = Loop(tokio::spawn(async move {
        for step in 0.. {
            let replicas = [4, 5, 2, 3][step % 4];
            let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
            if space
                .api::<Deployment>()
                .patch_scale("ranker", &PatchParams::default(), &patch)
                .await
                .is_ok()
            {
                said.store(replicas, Ordering::SeqCst);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }));
    let space = world.space.clone();
    let is_back = |image: &String| *image == good();
    let back = space
        .poll(
            "it is rolled back",
            Duration::from_secs(60),
            || space.image("ranker"),
            is_back,
        )
        .await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    drop(scaling);
    let cleared = Instant::now();
    let mut broken = Vec::new();
    if let Err(error) = back {
        broken.push(Broken::new(
            Promise::OneRollback,
            format!("while replicas change: {error}"),
        ));
    }
    let outcome = oracle.ended(&mut world, cleared).await?;
    broken.extend(outcome.broken);
    let replicas = world.space.api::<Deployment>().get("ranker").await?.spec.replicas;
    let (expected, rollbacks) = (last.load(Ordering::SeqCst), world.rollbacks());
    if replicas != Some(expected) {
        broken.push(Broken::new(
            Promise::OnlyImages,
            format!("{replicas:?} replicas, where {expected} were asked for"),
        ));
    }
    if rollbacks != 1 {
        broken.push(Broken::new(Promise::OneRollback, format!("{rollbacks} rollbacks")));
    }
    Ok(Outcome { broken, ..outcome })
}

/// May change Deployments and nothing else.
const DEVELOPER: &str = "developer";
/// May write what is the operator's, and change no Deployment.
const AUTHOR: &str = "author";

fn users(space: &Space) -> Result<(), StageError> {
    let all = ["get", "list", "watch", "create", "update", "patch"];
    let rule = |group: &str, resources: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": all});
    let kinds = ["qualitypolicies", "rollbackcheckpoints", "recoverydrills"];
    for (user, rules) in [
        (DEVELOPER, json!([rule("apps", &["deployments", "deployments/scale"])])),
        (AUTHOR, json!([rule("quality-officer.dev", &kinds)])),
    ] {
        let api = "rbac.authorization.k8s.io/v1";
        let role = json!({"apiVersion": api, "kind": "Role", "metadata": {"name": user}, "rules": rules});
        let binding = json!({
            "apiVersion": api, "kind": "RoleBinding", "metadata": {"name": user},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        space.apply(&role.to_string())?;
        space.apply(&binding.to_string())?;
    }
    Ok(())
}

/// Whether the API server lets this in; it may take a moment until its admission policies know what was written.
async fn answered(expected: bool, ask: impl Fn() -> Result<String, StageError>) -> Result<(), String> {
    let begin = Instant::now();
    loop {
        let answer = tokio::task::block_in_place(&ask);
        if answer.is_ok() == expected {
            return Ok(());
        }
        if begin.elapsed() > Duration::from_secs(15) {
            return Err(answer.map_or_else(|error| error.to_string(), |_| "it was let in".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn held(endpoints: &Endpoints, namespace: &str) -> Result<Outcome, StageError> {
    // A rollback that waits for a person keeps the gate closed.
    let policy = json!({"rollback": {"mode": "Prepare"}});
    let mut world = World::guarded(
        endpoints,
        namespace,
        Setup {
            policy,
            ..Setup::default()
        },
    )
    .await?;
    tokio::task::block_in_place(|| {
        users(&world.space)?;
        world
            .space
            .kubectl(&["create", "deployment", "other", "--image=x:1", "--replicas=0"])
    })?;
    world.ship(&bad()).await?;
    let waits = |all: &[QualityIncident]| {
        let state = |incident: &QualityIncident| incident.status.as_ref().map(|status| status.state);
        all.iter()
            .any(|incident| state(incident) == Some(IncidentState::AwaitingApproval))
    };
    let all = world
        .space
        .wait_all("the incident waits", Duration::from_secs(90), waits)
        .await?;
    let incident = all
        .into_iter()
        .next()
        .and_then(|incident| incident.metadata.name)
        .unwrap_or_default();
    world.replicas[0].kill();
    let image = |container: &str, image: &str, annotations: Value| {
        json!({
            "metadata": {"annotations": annotations},
            "spec": {"template": {"spec": {"containers": [{"name": container, "image": image}]}}},
        })
    };
    let third = crate::world::image('c');
    let restart = json!({"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}});
    let fix = |named: &str| image("server", &third, json!({"quality-officer.dev/fixes": named}));
    let asked = [
        ("a release", "ranker", image("server", &third, json!({})), false),
        ("a restart", "ranker", restart, false),
        ("a fix of another incident", "ranker", fix("ranker-00000"), false),
        (
            "break-glass without its verb",
            "ranker",
            image("server", &third, json!({"quality-officer.dev/break-glass": "now"})),
            false,
        ),
        (
            "a label",
            "ranker",
            json!({"metadata": {"labels": {"team": "search"}}}),
            true,
        ),
        ("the fix", "ranker", fix(&incident), true),
        ("the rollback path", "ranker", image("server", &good(), json!({})), true),
        ("another Deployment", "other", image("x", "x:2", json!({})), true),
    ];
    let mut broken = Vec::new();
    for (what, deployment, patch, let_in) in asked {
        let text = patch.to_string();
        let arguments = [
            "patch",
            "deployment",
            deployment,
            "-p",
            &text,
            "--as",
            DEVELOPER,
            "--dry-run=server",
        ];
        if let Err(found) = answered(let_in, || world.space.kubectl(&arguments)).await {
            broken.push(Broken::new(Promise::Gate, format!("{what}: {found}")));
        }
    }
    let scale = ["scale", "deployment/ranker", "--replicas=4", "--as", DEVELOPER];
    if let Err(found) = answered(true, || world.space.kubectl(&scale)).await {
        broken.push(Broken::new(Promise::Gate, format!("scaling: {found}")));
    }
    let text = fix(&incident).to_string();
    let arguments = ["patch", "deployment", "ranker", "-p", &text, "--as", DEVELOPER];
    world.service.behave(&third, stage::Behaviour::HEALTHY);
    tokio::task::block_in_place(|| world.space.kubectl(&arguments))?;
    world.replicas[0].restart()?;
    let end = json!({"incidents": [{"state": "Superseded"}], "policies": [{"verdict": "HEALTHY", "gate": ["Open", "RollbackReady"]}]});
    let outcome = world.ends(Instant::now(), &end).await?;
    broken.extend(outcome.broken);
    Ok(Outcome { broken, ..outcome })
}

async fn authored(endpoints: &Endpoints, namespace: &str) -> Result<Outcome, StageError> {
    let mut world = World::guarded(endpoints, namespace, Setup::default()).await?;
    tokio::task::block_in_place(|| users(&world.space))?;
    let checkpoints = world.space.all::<RollbackCheckpoint>().await?;
    let checkpoint = checkpoints
        .into_iter()
        .next()
        .and_then(|checkpoint| checkpoint.metadata.name)
        .unwrap_or_default();
    let api = "quality-officer.dev/v1alpha1";
    let made = [
        json!({"apiVersion": api, "kind": "QualityPolicy", "metadata": {"name": "other"}, "spec": {"targetRef": {"name": "ranker"}}}),
        json!({"apiVersion": api, "kind": "RollbackCheckpoint", "metadata": {"name": "other"}, "spec": {
            "targetRef": {"name": "ranker"}, "images": [{"container": "server", "image": bad()}],
        }}),
        json!({"apiVersion": api, "kind": "RecoveryDrill", "metadata": {"name": "other"}, "spec": {"policyRef": {"name": "ranker"}}}),
    ];
    let changes = [
        (
            "qualitypolicy",
            "ranker",
            json!({"spec": {"rollback": {"mode": "Observe"}}}),
        ),
        (
            "qualitypolicy",
            "ranker",
            json!({"metadata": {"annotations": {"quality-officer.dev/release": "x"}}}),
        ),
        (
            "rollbackcheckpoint",
            checkpoint.as_str(),
            json!({"spec": {"revoked": true}}),
        ),
    ];
    let path = world.space.folder().join("made.json");
    let file = path.display().to_string();
    let mut broken = Vec::new();
    for let_in in [false, true] {
        for object in &made {
            std::fs::write(&path, object.to_string()).map_err(StageError::io("write an object"))?;
            let create = ["create", "--dry-run=server", "-f", &file, "--as", AUTHOR];
            if let Err(found) = answered(let_in, || world.space.kubectl(&create)).await {
                broken.push(Broken::new(
                    Promise::Author,
                    format!("{}, let in {let_in}: {found}", object["kind"]),
                ));
            }
        }
        for (kind, name, patch) in &changes {
            let text = patch.to_string();
            let change = [
                "patch",
                kind,
                name,
                "--type=merge",
                "-p",
                &text,
                "--as",
                AUTHOR,
                "--dry-run=server",
            ];
            if let Err(found) = answered(let_in, || world.space.kubectl(&change)).await {
                broken.push(Broken::new(
                    Promise::Author,
                    format!("{kind} {patch}, let in {let_in}: {found}"),
                ));
            }
        }
        if !let_in {
            tokio::task::block_in_place(|| {
                let right = [
                    "create",
                    "role",
                    "patches",
                    "--verb=patch",
                    "--resource=deployments.apps",
                    "--resource-name=ranker",
                ];
                world.space.kubectl(&right)?;
                let user = format!("--user={AUTHOR}");
                world
                    .space
                    .kubectl(&["create", "rolebinding", "patches", "--role=patches", &user])
            })?;
        }
    }
    let outcome = world
        .ends(
            Instant::now(),
            &json!({"incidents": [], "policies": [{"verdict": "HEALTHY"}]}),
        )
        .await?;
    broken.extend(outcome.broken);
    Ok(Outcome { broken, ..outcome })
}
