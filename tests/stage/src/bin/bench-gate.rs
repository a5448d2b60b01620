//! What the gate's admission policies cost: a storm of changes of a Deployment's template, with the policies and without
//! them, in turns on one API server. Run by `make bench-gate`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{
    fmt::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use bed::Endpoints;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use stage::{
    Space, StageError,
    install::{self, install_gate},
};

/// Changes of each Deployment with the policies, and as many without.
const CHANGES: usize = 1_000;
/// The storm comes in turns, so that a machine that is busy for a while is so for both.
const TURNS: usize = 4;
/// The first changes after a switch pay for caches and are not counted.
const WARM_UP: usize = 50;
/// How many changes are under way at a time.
const TOGETHER: usize = 4;
const CONTAINERS: usize = 10;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-gate: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), StageError> {
    let endpoints = Endpoints::from_env()?;
    install::install(&endpoints)?;
    let space = Space::new(&endpoints, "bench-gate").await?;
    for name in ["guarded", "other"] {
        space.apply(&deployment(name))?;
    }
    space.apply(&policy())?;
    let status = json!({"status": {"gate": gate(), "quarantine": quarantine()}}).to_string();
    space.kubectl(&[
        "patch",
        "qualitypolicy",
        "guarded",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ])?;
    println!(
        "{CHANGES} changes of a template of {CONTAINERS} containers each, {TOGETHER} at a time, 50 images in quarantine, in {TURNS} turns"
    );
    let mut taken = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for turn in 0..TURNS {
        for with in if turn % 2 == 0 { [true, false] } else { [false, true] } {
            if with {
                install_gate(&endpoints)?;
                settled(&space).await?;
            } else {
                remove(&endpoints)?;
            }
            for (name, taken) in ["guarded", "other"].iter().zip(&mut taken) {
                storm(&space, name, WARM_UP).await?;
                taken[usize::from(with)].extend(storm(&space, name, CHANGES / TURNS).await?);
            }
        }
    }
    install_gate(&endpoints)?;
    println!("| change of | without, median | with, median | ratio | without, P95 | with, P95 | ratio |");
    println!("|---|---|---|---|---|---|---|");
    for (what, [without, with]) in ["the guarded Deployment", "another Deployment of its namespace"]
        .iter()
        .zip(&mut taken)
    {
        let mut cells = String::new();
        for share in [0.5, 0.95] {
            let (without, with) = (quantile(without, share), quantile(with, share));
            let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
            // Writing to a String cannot fail.
            let _ = write!(
                cells,
                " {:.2} ms | {:.2} ms | {:.2} |",
                milliseconds(without),
                milliseconds(with),
                with.as_secs_f64() / without.as_secs_f64()
            );
        }
        println!("| {what} |{cells}");
    }
    Ok(())
}

/// Changes the template `count` times; how long each took.
async fn storm(space: &Space, name: &str, count: usize) -> Result<Vec<Duration>, StageError> {
    use futures::{StreamExt, TryStreamExt, stream};
    let api: Api<Deployment> = space.api();
    let changes = (0..count).map(|number| {
        let api = api.clone();
        async move {
            let image = format!(
                "registry.example/ranker:{}-{number}",
                jiff::Timestamp::now().as_nanosecond()
            );
            let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c0", "image": image}]}}}});
            let begin = Instant::now();
            api.patch(name, &PatchParams::default(), &Patch::Strategic(patch))
                .await?;
            Ok::<_, StageError>(begin.elapsed())
        }
    });
    stream::iter(changes).buffer_unordered(TOGETHER).try_collect().await
}

/// The control plane checks the types of policies that are new to it, which takes it a while.
async fn settled(space: &Space) -> Result<(), StageError> {
    let read = || async {
        let path = "jsonpath={range .items[*]}{.metadata.generation}={.status.observedGeneration} {end}";
        space.kubectl(&["get", "validatingadmissionpolicies", "-o", path])
    };
    let all = |text: &String| {
        let mut pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.all(|(generation, observed)| generation == observed)
    };
    space
        .poll("the policies are checked", Duration::from_secs(60), read, all)
        .await
        .map(drop)
}

fn remove(endpoints: &Endpoints) -> Result<(), StageError> {
    endpoints.kubectl([
        "delete",
        "--ignore-not-found",
        "-f",
        &install::gate().display().to_string(),
    ])?;
    let make = || {
        endpoints.kubectl([
            "create",
            "deployment",
            "probe",
            "--image=probe",
            "--dry-run=server",
            "-n",
            "quality-officer",
            "--as=system:serviceaccount:quality-officer:quality-officer",
        ])
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while make().is_err() {
        if Instant::now() > deadline {
            return Err(StageError::Unexpected(
                "the policies are still asked after 60 s".to_owned(),
            ));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    let place = (times.len() as f64 * share) as usize;
    times
        .get(place.min(times.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

/// Of no pods, so that nothing but the API server is measured.
fn deployment(name: &str) -> String {
    let containers: Vec<Value> = (0..CONTAINERS)
        .map(|number| json!({"name": format!("c{number}"), "image": format!("registry.example/sidecar:v{number}")}))
        .collect();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 0, "revisionHistoryLimit": 0, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}},
        },
    })
    .to_string()
}

fn policy() -> String {
    json!({
        "apiVersion": "quality-officer.dev/v1alpha1", "kind": "QualityPolicy", "metadata": {"name": "guarded"},
        "spec": {"targetRef": {"name": "guarded"}},
    })
    .to_string()
}

fn gate() -> Value {
    json!({"state": "Open", "reason": "RollbackReady", "message": "", "since": "2026-11-24T14:32:15Z"})
}

fn quarantine() -> Vec<Value> {
    (0..50)
        .map(|number| {
            json!({
                "image": format!("registry.example/ranker:bad-{number}"), "digest": format!("sha256:{number:064}"),
                "incident": format!("guarded-{number}"), "reason": "error rate 3.10%", "since": "2026-11-24T14:32:15Z",
            })
        })
        .collect()
}
