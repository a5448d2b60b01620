//! Runs [`workload::server`].

use std::process::ExitCode;

use clap::Parser;
use workload::{
    process,
    server::{self, options::ServerOptions},
};

// One thread: a pod computes on one core, and inference of concurrent requests queues behind it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    process::log_to_stderr();
    process::exit_code(server::run(ServerOptions::parse()).await)
}
