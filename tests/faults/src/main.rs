//! The fault harness: it tries to break every promise of the operator on a real control plane, and says what it broke.
//! `make faults` runs all of it, `make test` a selection.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod api;
mod end_state;
mod monitor;
mod plan;
mod suites;
mod table;
mod world;

use std::{process::ExitCode, sync::Arc, time::Instant};

use bed::Endpoints;
use clap::Parser;
use plan::{Ran, run_all};
use stage::StageError;
use suites::{
    answers, clock,
    writes::{self, Oracle, Scenario},
};

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
    let oracles = oracles(&endpoints).await?;
    let mut plans = Vec::new();
    if wanted.wants("writes") {
        plans.extend(writes::plans(&oracles));
    }
    if wanted.wants("answers") {
        plans.extend(answers::plans(&oracles, wanted.short));
    }
    if wanted.wants("clock") {
        plans.extend(clock::plans(&oracles, wanted.short));
    }
    if let Some(only) = &wanted.only {
        plans.retain(|plan| plan.name.contains(only.as_str()));
    }
    if wanted.list {
        for plan in &plans {
            println!("{} {}", plan.suite, plan.name);
        }
        return Ok(true);
    }
    let all = plans.len();
    println!("{all} plans, {} at a time", wanted.jobs);
    let done = std::cell::Cell::new(0);
    let tell = |ran: &Ran| {
        done.set(done.get() + 1);
        println!("[{}/{all}] {}", done.get(), table::line(ran));
    };
    let ran = run_all(&endpoints, plans, wanted.jobs, tell).await;
    print!("{}", table::summary(&ran, begin.elapsed()));
    Ok(table::is_whole(&ran))
}

async fn oracles(endpoints: &Endpoints) -> Result<Vec<Arc<Oracle>>, StageError> {
    let scenarios = [Scenario::Registration, Scenario::Rollback, Scenario::Drill];
    let runs = scenarios.map(|scenario| Oracle::of(endpoints, scenario));
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
