//! Runs [`workload::agent`].

use std::process::ExitCode;

use clap::Parser;
use workload::{
    agent::{self, AgentArguments},
    process,
};

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    process::log_to_stderr();
    process::exit_code(agent::run(AgentArguments::parse()).await)
}
