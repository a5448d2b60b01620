//! `kubectl quality`: the plugin for on-call.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser;
use kubectl_quality::{COMPLETE, answer, arguments::Arguments, completion};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    quality_sources::tls::install_crypto();
    let mut words = std::env::args().skip(1);
    if words.next().is_some_and(|word| word == COMPLETE) {
        print!("{}", completion(&words.collect::<Vec<_>>()).await);
        return ExitCode::SUCCESS;
    }
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
