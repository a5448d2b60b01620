//! The fault harness: it tries to break every promise of the operator on a real control plane, and says what it broke.
//! `make faults` runs all of it, `make test` a selection.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod api;
mod end_state;
mod fleet;
mod monitor;
mod plan;
mod seeded;
mod suites;
mod table;
mod world;

use std::{process::ExitCode, sync::Arc, time::Instant};

use bed::Endpoints;
use clap::Parser;
use plan::{Plan, Ran, run_all};
use seeded::{Bug, Workshop};
use stage::StageError;
use suites::{
    Choice,
    servers::Servers,
    writes::{self, Oracle},
};
use world::PROGRAM;

/// Tries to break every promise of the operator.
#[derive(Parser)]
#[command(name = "faults")]
struct CommandLine {
    /// Only the selection that `make test` runs.
    #[arg(long)]
    short: bool,
    /// Only these parts.
    #[arg(long, value_delimiter = ',')]
    suites: Vec<String>,
    /// Only plans (with --prove: bugs) whose names contain this, or one of these.
    #[arg(long)]
    only: Vec<String>,
    /// How many plans are busy at a time, beside those that wait out the silence.
    #[arg(long, default_value_t = 20)]
    jobs: usize,
    /// Name the plans and run none.
    #[arg(long)]
    list: bool,
    /// Put bugs into the operator on purpose, and see that the plans catch them.
    #[arg(long)]
    prove: bool,
}

impl CommandLine {
    /// Whether a plan or bug of this name is wanted.
    fn names(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}

// Plans run kubectl and wait for it: the exporters and proxies beside them must go on answering.
#[tokio::main(worker_threads = 48)]
async fn main() -> ExitCode {
    match run(&CommandLine::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("faults: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(wanted: &CommandLine) -> Result<bool, StageError> {
    let begin = Instant::now();
    let endpoints = Arc::new(Endpoints::from_env()?);
    stage::install(&endpoints)?;
    let choice = Choice {
        suites: wanted.suites.clone(),
        short: wanted.short,
    };
    let oracles = if choice.needs_oracles() {
        oracles(&endpoints).await?
    } else {
        Vec::new()
    };
    if wanted.prove {
        return prove(wanted, &choice, &endpoints, &oracles).await;
    }
    let mut plans = choice.plans(&oracles);
    let mut heavy = choice.heavy();
    let servers = Servers::of(&endpoints);
    let mut alone = choice.alone(&servers, &oracles);
    for suite in &wanted.suites {
        let mut chosen = plans.iter().chain(&heavy).chain(&alone);
        if !chosen.any(|plan| plan.suite == suite.as_str()) {
            return Err(StageError::Unexpected(format!(
                "no part that may run is named `{suite}`"
            )));
        }
    }
    for plans in [&mut plans, &mut heavy, &mut alone] {
        plans.retain(|plan| wanted.names(&plan.name));
    }
    if plans.len() + heavy.len() + alone.len() == 0 {
        return Err(StageError::Unexpected(format!("no plan is named {:?}", wanted.only)));
    }
    if wanted.list {
        for plan in plans.iter().chain(&heavy).chain(&alone) {
            println!("{} {}", plan.suite, plan.name);
        }
        return Ok(true);
    }
    // A server that starts again reads what there is: what the other plans leave behind would be waited for.
    let mut ran = run_and_tell(&endpoints, alone, 1).await;
    let together = heavy.len();
    ran.extend(run_and_tell(&endpoints, heavy, together).await);
    ran.extend(run_and_tell(&endpoints, plans, wanted.jobs).await);
    print!("{}", table::summary(&ran, begin.elapsed()));
    Ok(table::is_whole(&ran))
}

async fn run_and_tell(endpoints: &Arc<Endpoints>, plans: Vec<Plan>, jobs: usize) -> Vec<Ran> {
    let all = plans.len();
    if all > 0 {
        println!("{all} plans, {jobs} busy at a time");
    }
    let done = std::cell::Cell::new(0);
    let tell = |ran: &Ran| {
        done.set(done.get() + 1);
        println!("[{}/{all}] {}", done.get(), table::line(ran));
    };
    run_all(endpoints, plans, jobs, tell).await
}

/// Builds the operator with each bug, and runs the plan that must catch it.
async fn prove(
    wanted: &CommandLine,
    choice: &Choice,
    endpoints: &Arc<Endpoints>,
    oracles: &[Arc<Oracle>],
) -> Result<bool, StageError> {
    let mut bugs = seeded::bugs()?;
    bugs.retain(|bug| wanted.names(&bug.name) && choice.wants(bug.suite()));
    if bugs.is_empty() {
        return Err(StageError::Unexpected("no bug is named so".to_owned()));
    }
    let workshop = Workshop::set_up()?;
    let (tested, bugs): (Vec<Bug>, Vec<Bug>) = bugs.into_iter().partition(|bug| bug.test.is_some());
    let tests_caught_all = prove_by_tests(&tested, &workshop, endpoints)?;
    if bugs.is_empty() {
        return Ok(tests_caught_all);
    }
    let plan = |bug: &Bug| {
        let named = |plan: &Plan| plan.suite == bug.suite() && plan.name.contains(&bug.plan);
        let found = choice.plans(oracles).into_iter().find(named);
        let name = format!("promise {}: {}", bug.promise, bug.name);
        let missing = || format!("bug `{}`: no plan of {} is named {}", bug.name, bug.suite(), bug.plan);
        found
            .map(|plan| Plan { name, ..plan })
            .ok_or_else(|| StageError::Unexpected(missing()))
    };
    let (installed, built): (Vec<Bug>, Vec<Bug>) = bugs.into_iter().partition(Bug::is_installed);
    let (mut under, mut unbuilt) = (Vec::new(), Vec::new());
    for (number, bug) in built.iter().enumerate() {
        println!("building bug {} of {}: {}", number + 1, built.len(), bug.name);
        let program = match tokio::task::block_in_place(|| workshop.build(bug)) {
            Ok(program) => program,
            Err(error) => {
                println!("{error}");
                unbuilt.push(bug.name.clone());
                continue;
            }
        };
        let plan = plan(bug)?;
        under.push(Plan {
            run: Box::new(move |endpoints, namespace| {
                Box::pin(PROGRAM.scope(program, (plan.run)(endpoints, namespace)))
            }),
            ..plan
        });
    }
    let mut ran = run_and_tell(endpoints, under, wanted.jobs).await;
    // What an administrator installs is there for every world: one bug of it at a time.
    for bug in &installed {
        seeded::installed(endpoints, bug, true)?;
        ran.extend(run_and_tell(endpoints, vec![plan(bug)?], 1).await);
        seeded::installed(endpoints, bug, false)?;
    }
    let missed: Vec<&Ran> = ran.iter().filter(|ran| !ran.caught()).collect();
    println!(
        "{} bugs on purpose, {} caught",
        ran.len() + unbuilt.len(),
        ran.len() - missed.len()
    );
    for ran in &missed {
        println!("missed: {}", ran.name);
    }
    for name in &unbuilt {
        println!("not built: {name}");
    }
    Ok(missed.is_empty() && unbuilt.is_empty() && tests_caught_all)
}

/// As [`prove`], for bugs that a test of the control plane must catch; whether each was caught.
fn prove_by_tests(bugs: &[Bug], workshop: &Workshop, endpoints: &Endpoints) -> Result<bool, StageError> {
    let mut caught = 0;
    for bug in bugs {
        let Some(test) = &bug.test else { continue };
        let program = tokio::task::block_in_place(|| workshop.build(bug))?;
        let is_caught = tokio::task::block_in_place(|| seeded::fails(endpoints, test, &program))?;
        caught += usize::from(is_caught);
        let verdict = if is_caught { "caught" } else { "missed" };
        println!("{verdict}: promise {}: {}, by {test}", bug.promise, bug.name);
    }
    if !bugs.is_empty() {
        println!("{} bugs on purpose, {caught} caught by tests", bugs.len());
    }
    Ok(caught == bugs.len())
}

async fn oracles(endpoints: &Endpoints) -> Result<Vec<Arc<Oracle>>, StageError> {
    let runs = writes::SCENARIOS.map(|scenario| Oracle::of(endpoints, scenario));
    let mut oracles = Vec::new();
    for oracle in futures::future::join_all(runs).await {
        let oracle = oracle?;
        println!(
            "{:?} without a fault: {} writes, quiet {:.1} s after its begin",
            oracle.scenario,
            oracle.writes.len(),
            oracle.took.as_secs_f64()
        );
        for broken in &oracle.outcome.broken {
            println!("  {broken}");
        }
        if !oracle.outcome.broken.is_empty() {
            return Err(StageError::Unexpected("the fault-free run breaks a promise".to_owned()));
        }
        oracles.push(Arc::new(oracle));
    }
    Ok(oracles)
}
