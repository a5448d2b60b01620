//! `kubectl quality`: the plugin for on-call.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser;
use quality_officer::plugin::{answer, arguments::Arguments};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    quality_officer::client::install_crypto();
    match answer(Arguments::parse()).await {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("kubectl quality: {error}");
            ExitCode::FAILURE
        }
    }
}
