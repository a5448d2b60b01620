//! The demonstration: a good release is registered, a bad one is shipped, the operator rolls it back and says
//! why. Run by `make demo`; exit code 0 only if all of it happened.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use bed::Endpoints;
use quality_officer::api::{IncidentState, QualityIncident, QualityPolicy, RollbackCheckpoint};
use stage::{Node, Operator, OperatorOptions, Space, StageError, install};

const NAMESPACE: &str = "shop";
const NODE: &str = "agent-0";
/// Requests per second, all pods together.
const RATE: f64 = 300.0;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what happens with the seconds since the start.
struct Tell(Instant);

impl Tell {
    fn step(&self, text: &str) {
        println!("\n\x1b[1m[{:>3} s] {text}\x1b[0m", self.0.elapsed().as_secs());
    }

    fn line(&self, text: &str) {
        println!("[{:>3} s]   {text}", self.0.elapsed().as_secs());
    }
}

async fn run() -> Result<(), StageError> {
    let tell = Tell(Instant::now());
    let endpoints = Endpoints::from_env()?;
    tell.step("Install: the resource definitions and the operator's rights");
    install(&endpoints)?;
    let space = Space::new(&endpoints, NAMESPACE).await?;

    tell.step(&format!(
        "A service: Deployment ranker with 3 real inference servers, {RATE:.0} requests/s, release v1"
    ));
    let node = Node::start(&space, NODE, &endpoints.prometheus_targets)?;
    Node::deploy(&space, NODE, "v1").await?;
    let load = node.load(&space, RATE)?;

    tell.step("The operator starts, under its own ServiceAccount; the policy is applied:");
    let options = OperatorOptions {
        namespace: None,
        ..OperatorOptions::for_namespace(NAMESPACE, &endpoints.prometheus)
    };
    let operator = Operator::start(&endpoints, &space.folder(), options)?;
    let example = install::project().join("examples/ranker.yaml");
    let policy = std::fs::read_to_string(&example).map_err(StageError::io("read examples/ranker.yaml"))?;
    for line in policy.lines().filter(|line| !line.trim_start().starts_with('#')) {
        println!("          {line}");
    }
    space.apply(&policy)?;
    let result = story(&tell, &space).await;
    if let Err(error) = &result {
        eprintln!("\n{error}\nThe operator's log ends with:\n{}", operator.log_tail());
    }
    result?;
    let memory = operator.memory().map_or(0.0, |bytes| bytes as f64 / f64::from(1 << 20));
    tell.step(&format!("Done. The operator uses {memory:.0} MiB."));
    if std::env::var_os("KEEP").is_some_and(|keep| keep == "1") {
        keep(&endpoints, &operator).await;
    }
    drop(load);
    Ok(())
}

async fn story(tell: &Tell, space: &Space) -> Result<(), StageError> {
    tell.line("waiting until v1 has been healthy for 30 s and is registered as the checkpoint to go back to");
    let registered = space
        .wait_all(
            "v1 is registered as a Ready checkpoint",
            Duration::from_secs(120),
            |all: &[RollbackCheckpoint]| {
                all.iter().any(|checkpoint| {
                    let conditions = checkpoint.status.clone().unwrap_or_default().conditions;
                    quality_officer::api::conditions::is_true(&conditions, "Ready")
                })
            },
        )
        .await?;
    let checkpoint = registered
        .first()
        .map(|checkpoint| checkpoint.spec.images[0].image.clone())
        .unwrap_or_default();
    show(space, &["get", "rollbackcheckpoints"])?;
    space
        .wait(
            "the report is HEALTHY",
            "ranker",
            Duration::from_secs(60),
            |report: &quality_officer::api::QualityReport| {
                report
                    .status
                    .as_ref()
                    .is_some_and(|status| status.verdict == "HEALTHY" && status.rollback == "READY")
            },
        )
        .await?;
    show(space, &["get", "qualityreports"])?;

    tell.step("A bad release is shipped: it fails on 3 % of its inputs");
    let image = workload::image("errors");
    show(
        space,
        &["set", "image", "deployment/ranker", &format!("server={image}")],
    )?;
    let shipped = Instant::now();
    let incident = evidence_grows(tell, space).await?;
    tell.step(&format!(
        "{} s after it was shipped: {}",
        shipped.elapsed().as_secs(),
        incident.spec.reason
    ));

    let incident = space
        .wait_all(
            "the incident is Recovered",
            Duration::from_secs(120),
            |all: &[QualityIncident]| all.iter().any(|incident| state(incident) == IncidentState::Recovered),
        )
        .await?
        .remove(0);
    let status = incident.status.clone().unwrap_or_default();
    for step in &status.steps {
        let after = step.at.0.as_second() - incident.spec.onset.0.as_second();
        tell.line(&format!(
            "{after:>3} s after onset  {:<12} {}",
            step.state.name(),
            step.message
        ));
    }
    expect(
        space.image("ranker").await? == checkpoint,
        "the Deployment runs the checkpoint's digest",
    )?;
    expect(
        space.all::<QualityIncident>().await?.len() == 1,
        "one breach, one incident",
    )?;

    tell.step("What on-call reads");
    show(space, &["get", "qualityincidents"])?;
    space
        .wait(
            "the report is HEALTHY again",
            "ranker",
            Duration::from_secs(60),
            |report: &quality_officer::api::QualityReport| {
                report.status.as_ref().is_some_and(|status| status.verdict == "HEALTHY")
            },
        )
        .await?;
    show(space, &["get", "qualityreports"])?;
    println!("\n          $ kubectl describe deployment ranker -n {NAMESPACE}    # its Events");
    let described = space.kubectl(&["describe", "deployment", "ranker"])?;
    let events = described
        .lines()
        .skip_while(|line| !line.starts_with("Events:"))
        .skip(3);
    for line in events.filter(|line| line.contains("quality-officer")) {
        println!("          {}", line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    Ok(())
}

/// Prints the evidence against the release whenever the operator writes it down, until there is an incident.
async fn evidence_grows(tell: &Tell, space: &Space) -> Result<QualityIncident, StageError> {
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut last = String::new();
    while Instant::now() < deadline {
        if let Some(incident) = space.all::<QualityIncident>().await?.into_iter().next() {
            return Ok(incident);
        }
        let policy = space.api::<QualityPolicy>().get("ranker").await?;
        let status = policy.status.unwrap_or_default();
        let errors = status.triggers.iter().find(|trigger| trigger.name == "ErrorRate");
        let line = errors.map_or_else(String::new, |errors| {
            format!(
                "release {}: {} {} (CI95 {}, n = {}), evidence {}, needs {}",
                status.release.as_ref().map_or("?", |release| release.revision.as_str()),
                errors.verdict,
                errors.value,
                errors.ci95,
                errors.n,
                errors.evidence,
                errors.needs
            )
        });
        if line != last && !line.is_empty() {
            tell.line(&line);
            last = line;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(StageError::Unexpected(
        "no incident within 120 s of the bad release".to_owned(),
    ))
}

fn state(incident: &QualityIncident) -> IncidentState {
    incident.status.as_ref().map(|status| status.state).unwrap_or_default()
}

fn expect(holds: bool, what: &str) -> Result<(), StageError> {
    if holds {
        Ok(())
    } else {
        Err(StageError::Unexpected(format!("not so: {what}")))
    }
}

fn show(space: &Space, arguments: &[&str]) -> Result<(), StageError> {
    println!("\n          $ kubectl {} -n {}", arguments.join(" "), space.namespace);
    for line in space.kubectl(arguments)?.lines() {
        println!("          {line}");
    }
    Ok(())
}

/// Leaves everything running until Ctrl-C.
async fn keep(endpoints: &Endpoints, operator: &Operator) {
    println!("\nKEEP=1: it all goes on until Ctrl-C. In another terminal:\n");
    for (name, value) in endpoints.environment() {
        println!("  export {name}={}", value.display());
    }
    println!("  export PATH={}:$PATH", endpoints.programs.display());
    println!("  kubectl get qualityreports,qualityincidents,rollbackcheckpoints -n {NAMESPACE}");
    println!(
        "  kubectl set image deployment/ranker server={} -n {NAMESPACE}   # also: {}",
        workload::image("slow"),
        workload::image("capped")
    );
    println!(
        "\nPrometheus: {}\nThe operator's log: {}",
        endpoints.prometheus,
        operator.log().display()
    );
    quality_officer::client::stop_signal().await;
}
