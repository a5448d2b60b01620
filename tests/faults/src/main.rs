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

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use bed::Endpoints;
use clap::Parser;
use plan::{Plan, Ran, run_all};
use stage::StageError;
use suites::{
    breaches, cooldown, lists, soak,
    writes::{self, Oracle, Scenario},
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
    /// Only plans whose names contain this.
    #[arg(long)]
    only: Option<String>,
    /// How many plans run at a time.
    #[arg(long, default_value_t = 16)]
    jobs: usize,
    /// Name the plans and run none.
    #[arg(long)]
    list: bool,
    /// Put bugs into the operator on purpose, and see that the plans catch them.
    #[arg(long)]
    prove: bool,
}

impl CommandLine {
    fn wants(&self, suite: &str) -> bool {
        self.suites.is_empty() || self.suites.iter().any(|wanted| wanted == suite)
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
    let oracles = if ["writes", "lists"].iter().any(|suite| wanted.wants(suite)) {
        oracles(&endpoints).await?
    } else {
        Vec::new()
    };
    if wanted.prove {
        return prove(wanted, &endpoints, || plans(wanted, &oracles)).await;
    }
    let mut plans = plans(wanted, &oracles);
    if let Some(only) = &wanted.only {
        plans.retain(|plan| plan.name.contains(only.as_str()));
    }
    if wanted.list {
        for plan in &plans {
            println!("{} {}", plan.suite, plan.name);
        }
        return Ok(true);
    }
    let ran = run_and_tell(&endpoints, plans, wanted.jobs).await;
    print!("{}", table::summary(&ran, begin.elapsed()));
    Ok(table::is_whole(&ran))
}

fn plans(wanted: &CommandLine, oracles: &[Arc<Oracle>]) -> Vec<Plan> {
    let mut plans = Vec::new();
    if wanted.wants("writes") {
        plans.extend(writes::plans(oracles, wanted.short));
    }
    if let Some(rollback) = oracles.iter().find(|oracle| oracle.scenario == Scenario::Rollback) {
        if wanted.wants("lists") {
            plans.extend(lists::plans(rollback));
        }
    }
    if wanted.wants("cooldown") {
        plans.extend(cooldown::plans());
    }
    if wanted.wants("soak") {
        plans.extend(soak::plans(100, Duration::from_mins(15)));
    }
    if wanted.wants("breaches") {
        plans.extend(breaches::plans(100, 10));
    }
    plans
}

async fn run_and_tell(endpoints: &Arc<Endpoints>, plans: Vec<Plan>, jobs: usize) -> Vec<Ran> {
    let all = plans.len();
    println!("{all} plans, {jobs} at a time");
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
    endpoints: &Arc<Endpoints>,
    plans: impl Fn() -> Vec<Plan>,
) -> Result<bool, StageError> {
    let mut bugs = seeded::bugs()?;
    bugs.retain(|bug| wanted.only.as_ref().is_none_or(|only| bug.name.contains(only.as_str())));
    bugs.retain(|bug| wanted.wants(&bug.suite));
    let workshop = seeded::Workshop::set_up()?;
    let mut under = Vec::new();
    for (number, bug) in bugs.iter().enumerate() {
        println!("building bug {} of {}: {}", number + 1, bugs.len(), bug.name);
        let program = tokio::task::block_in_place(|| workshop.build(bug))?;
        let named = |plan: &Plan| plan.suite == bug.suite && plan.name.contains(&bug.plan);
        let plan = plans().into_iter().find(named).ok_or_else(|| {
            StageError::Unexpected(format!(
                "bug `{}`: no plan of {} is named {}",
                bug.name, bug.suite, bug.plan
            ))
        })?;
        let name = format!("promise {}: {}", bug.promise, bug.name);
        under.push(Plan {
            name,
            run: Box::new(move |endpoints, namespace| {
                Box::pin(PROGRAM.scope(program, (plan.run)(endpoints, namespace)))
            }),
            ..plan
        });
    }
    let ran = run_and_tell(endpoints, under, wanted.jobs).await;
    let missed: Vec<&Ran> = ran.iter().filter(|ran| !ran.caught()).collect();
    println!("{} bugs on purpose, {} caught", ran.len(), ran.len() - missed.len());
    for ran in &missed {
        println!("missed: {}", ran.name);
    }
    Ok(missed.is_empty())
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
