//! Runs [`workload::gpu`].

use std::process::ExitCode;

use clap::Parser;
use workload::{
    gpu::{self, GpuArguments},
    process,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    process::log_to_stderr();
    process::exit_code(gpu::run(GpuArguments::parse()).await)
}
