//! Runs [`workload::load`].

use std::process::ExitCode;

use clap::Parser;
use workload::{
    load::{self, options::LoadArguments},
    process,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    process::log_to_stderr();
    process::exit_code(load::run(LoadArguments::parse()).await)
}
