//! The demonstration: a good release is registered and a drill tests the rollback path; one that fails is shipped and rolled back
//! by its metrics; one that answers worse is shipped and rolled back by its evaluation. Run by `make demo`; exit code 0
//! only if all of it happened.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use bed::{Endpoints, Mlflow};
use quality_api::{
    IncidentState, QualityIncident, QualityPolicy, QualityReport, RUN_ANNOTATION, RecoveryDrill, RollbackCheckpoint,
    Trigger,
};
use serde_json::json;
use stage::{Node, Operator, OperatorOptions, Space, StageError, Tracking, install};

const NAMESPACE: &str = "shop";
const NODE: &str = "agent-0";
/// What the demonstration's evaluation does not write.
const OPTIONAL: [&str; 3] = ["conflict_logs", "calibration_report.json", "compliance_timeseries.csv"];
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
    tell.step("Install: the resource definitions, the operator's rights, the gate's admission policies");
    install(&endpoints)?;
    let space = Space::new(&endpoints, NAMESPACE).await?;

    tell.step(&format!(
        "A service: Deployment ranker with 3 real inference servers, {RATE:.0} requests/s, release v1"
    ));
    let node = Node::start(&space, NODE, &endpoints.prometheus_targets)?;
    let start = endpoints.clone();
    let mlflow = tokio::task::spawn_blocking(move || Mlflow::shared(&start)).await;
    let mlflow = mlflow.map_err(|error| StageError::Unexpected(error.to_string()))?;
    let mlflow = mlflow.map_err(|error| StageError::Unexpected(error.to_string()))?;
    let tracking = Tracking::at(mlflow.url())?;
    let run = tracking.evaluate("v1").await?;
    tell.line(&format!("its model was evaluated before: MLflow run {run}"));
    Node::deploy_annotated(&space, NODE, "v1", &[(RUN_ANNOTATION, &run)]).await?;
    let load = node.load(&space, RATE)?;

    tell.step("The operator starts, under its own ServiceAccount; the policy is applied:");
    let options = OperatorOptions {
        namespace: None,
        more: json!({"mlflowSources": {"default": {"url": mlflow.url()}}}),
        ..OperatorOptions::for_namespace(NAMESPACE, &endpoints.prometheus)
    };
    let operator = Operator::start(&endpoints, &space.folder(), options)?;
    let example = install::project().join("examples/ranker.yaml");
    let policy = std::fs::read_to_string(&example).map_err(StageError::io("read examples/ranker.yaml"))?;
    for line in policy.lines().filter(|line| !line.trim_start().starts_with('#')) {
        println!("          {line}");
    }
    space.apply(&policy)?;
    let mut result = story(&tell, &space).await;
    if result.is_ok() {
        result = worse_answers(&tell, &space, &tracking, &run).await;
    }
    if let Err(error) = &result {
        eprintln!("\n{error}\nThe operator's log ends with:\n{}", operator.log_tail());
    }
    result?;
    if let Some(folder) = std::env::var_os("RECORDS") {
        records(&space, std::path::Path::new(&folder)).await?;
    }
    let memory = operator.memory().map_or(0.0, |bytes| bytes as f64 / f64::from(1 << 20));
    tell.step(&format!("Done. The operator uses {memory:.0} MiB."));
    if std::env::var_os("KEEP").is_some_and(|keep| keep == "1") {
        keep(&endpoints, &operator).await?;
    }
    drop(load);
    Ok(())
}

/// Writes the records that a report page is made from, a file a kind; secrets are in none of them.
async fn records(space: &Space, folder: &std::path::Path) -> Result<(), StageError> {
    std::fs::create_dir_all(folder).map_err(StageError::io("make the folder of the records"))?;
    let write = |name: &str, text: Result<String, serde_json::Error>| {
        let text = text.map_err(|error| StageError::Unexpected(error.to_string()))?;
        std::fs::write(folder.join(name), text).map_err(StageError::io(format!("write {name}")))
    };
    write(
        "reports.json",
        serde_json::to_string_pretty(&space.all::<QualityReport>().await?),
    )?;
    write(
        "incidents.json",
        serde_json::to_string_pretty(&space.all::<QualityIncident>().await?),
    )?;
    write(
        "drills.json",
        serde_json::to_string_pretty(&space.all::<RecoveryDrill>().await?),
    )?;
    write(
        "checkpoints.json",
        serde_json::to_string_pretty(&space.all::<RollbackCheckpoint>().await?),
    )
}

/// A drill tests the rollback path before it is needed.
async fn rehearsal(tell: &Tell, space: &Space) -> Result<(), StageError> {
    tell.step("A recovery drill, by hand: the rollback is rehearsed on a shadow of the Deployment");
    let drill = json!({
        "apiVersion": "quality-officer.dev/v1alpha1", "kind": "RecoveryDrill", "metadata": {"name": "by-hand"},
        "spec": {"policyRef": {"name": "ranker"}},
    });
    space.apply(&drill.to_string())?;
    let finished = |drill: &RecoveryDrill| drill.status.as_ref().is_some_and(|status| !status.result.is_empty());
    let within = Duration::from_secs(120);
    let drill = space.wait("the drill is finished", "by-hand", within, finished).await?;
    let status = drill.status.unwrap_or_default();
    for step in &status.steps {
        tell.line(&format!("{:<12} {}", step.state.name(), step.message));
    }
    show(space, &["get", "recoverydrills"])?;
    expect(status.result == "Passed", "the drill passed")
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
                    quality_api::conditions::is_true(&conditions, "Ready")
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
            |report: &quality_api::QualityReport| {
                report
                    .status
                    .as_ref()
                    .is_some_and(|status| status.verdict == "HEALTHY" && status.rollback == "READY")
            },
        )
        .await?;
    show(space, &["get", "qualityreports"])?;
    rehearsal(tell, space).await?;

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
            |report: &quality_api::QualityReport| {
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
    refused(tell, space, &image)
}

/// The release that was rolled back is shipped again: the gate keeps it out.
fn refused(tell: &Tell, space: &Space, image: &str) -> Result<(), StageError> {
    tell.step("The bad release is shipped again, as a GitOps loop would");
    let change = format!("server={image}");
    println!("\n          $ kubectl set image deployment/ranker {change} -n {NAMESPACE}");
    let Err(refusal) = space.kubectl(&["set", "image", "deployment/ranker", &change]) else {
        return Err(StageError::Unexpected("the bad release was let in again".to_owned()));
    };
    let words = refusal.to_string();
    println!("          {words}");
    expect(words.contains("is quarantined by incident"), "it is quarantined")
}

/// The second scene: a release that is fast and has no errors, and whose answers are worse.
async fn worse_answers(tell: &Tell, space: &Space, tracking: &Tracking, good: &str) -> Result<(), StageError> {
    tell.step("A release with quantised weights is evaluated: its answers come sooner, and are worse");
    let run = tracking.evaluate("quantised").await?;
    tell.line(&format!("MLflow run {run}; its pipeline could have asked first:"));
    let evidence = json!({"mlflow": {"source": "default"}, "optional": OPTIONAL});
    let spec = json!({"spec": {
        "evidence": evidence, "objectives": {"compliance": {"minUplift": "0%"}}, "rollback": {"cooldown": "1s"},
    }});
    pipeline_check(space, tracking, &run, good)?;
    tell.step("The policy names that evidence, and (for the demonstration) no cooldown; the release is shipped");
    show(
        space,
        &[
            "patch",
            "qualitypolicy",
            "ranker",
            "--type",
            "merge",
            "-p",
            &spec.to_string(),
        ],
    )?;
    let open = [
        "wait",
        "--for=condition=GateOpen",
        "qualitypolicy/ranker",
        "--timeout=30s",
    ];
    space.kubectl(&open)?;
    let template = json!({"spec": {"template": {
        "metadata": {"annotations": {RUN_ANNOTATION: run}},
        "spec": {"containers": [{"name": "server", "image": workload::image("quantised")}]},
    }}});
    show(space, &["patch", "deployment", "ranker", "-p", &template.to_string()])?;
    let shipped = Instant::now();
    let is_it = |incident: &&QualityIncident| incident.spec.trigger == Trigger::Compliance;
    let found = space
        .wait_all(
            "an incident on compliance",
            Duration::from_secs(90),
            |all: &[QualityIncident]| all.iter().any(|incident| is_it(&incident)),
        )
        .await?;
    let incident = found.iter().find(is_it);
    let reason = incident
        .map(|incident| incident.spec.reason.clone())
        .unwrap_or_default();
    tell.step(&format!(
        "{} s after it was shipped: {reason}",
        shipped.elapsed().as_secs()
    ));
    space
        .wait_all(
            "it is Recovered",
            Duration::from_secs(120),
            |all: &[QualityIncident]| all.iter().all(|incident| state(incident) == IncidentState::Recovered),
        )
        .await?;
    let image = space.image("ranker").await?;
    expect(image == workload::pinned("v1").unwrap_or_default(), "v1 runs again")?;
    show(space, &["get", "qualityincidents"])?;
    show(space, &["get", "qualityreports"])
}

/// What the release's pipeline would have read: `quality-officer check`, with no cluster.
fn pipeline_check(space: &Space, tracking: &Tracking, run: &str, good: &str) -> Result<(), StageError> {
    let policy = space.folder().join("check.yaml");
    let text = json!({
        "apiVersion": "quality-officer.dev/v1alpha1", "kind": "QualityPolicy", "metadata": {"name": "ranker"},
        "spec": {
            "targetRef": {"name": "ranker"},
            "evidence": {"mlflow": {"source": "default"}, "optional": OPTIONAL},
            "objectives": {"compliance": {"minUplift": "0%"}},
        },
    });
    std::fs::write(&policy, text.to_string()).map_err(StageError::io("write check.yaml"))?;
    let program = workload::harness::program("quality-officer")?;
    let output = std::process::Command::new(program)
        .args([
            "check",
            "--evidence",
            run,
            "--baseline",
            good,
            "--mlflow",
            tracking.url(),
            "-f",
        ])
        .arg(&policy)
        .output()
        .map_err(StageError::io("run quality-officer check"))?;
    println!("\n          $ quality-officer check -f policy.yaml --evidence {run} --baseline {good}");
    let text = String::from_utf8_lossy(&output.stdout);
    let shown = |line: &&str| line.contains("Policy") || line.contains("Compliance@") || line.contains("nDCG");
    for line in text.lines().filter(shown) {
        println!("          {line}");
    }
    println!("          exit code {}", output.status.code().unwrap_or(-1));
    expect(output.status.code() == Some(4), "the check says BREACH")
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
                errors.verdict.name(),
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
async fn keep(endpoints: &Endpoints, operator: &Operator) -> Result<(), StageError> {
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
    Ok(workload::process::shutdown_signal().await?)
}
