//! Prints (or writes into a document) the tables of what the statistics promise, measured by simulation.
//!
//! `cargo run --release --no-default-features --example simulate -- [--runs N] [--trace CSV] [--write FILE]`

use std::process::ExitCode;

use quality_officer::core::simulate::{tables, trace};

const BEGIN: &str = "<!-- simulation: begin -->";
const END: &str = "<!-- simulation: end -->";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (mut runs, mut recording, mut document) = (2_000, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--runs" => runs = value.parse()?,
            "--trace" => recording = Some(trace::parse(&std::fs::read_to_string(&value)?)?),
            "--write" => document = Some(value),
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    let tables = tables::all(runs, recording.as_deref())?;
    let Some(document) = document else {
        println!("{tables}");
        return Ok(());
    };
    let text = std::fs::read_to_string(&document)?;
    let (before, rest) = text
        .split_once(BEGIN)
        .ok_or_else(|| format!("{document}: no {BEGIN}"))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| format!("{document}: no {END}"))?;
    std::fs::write(&document, format!("{before}{BEGIN}\n{tables}{END}{after}"))?;
    Ok(())
}
