//! Prints (or writes into a document) the tables of what the statistics promise, measured by simulation.
//!
//! `cargo run --release -p simulator --example simulate -- [--short] [--runs N] [--trace CSV] [--write FILE]`
//!
//! `--short` makes the table of the goals that `tests/simulation.rs` checks; it needs the trace.

use std::process::ExitCode;

use simulator::{short, tables, trace};

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
    let (mut runs, mut is_short, mut recording, mut document) = (2_000, false, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        if option == "--short" {
            is_short = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--runs" => runs = value.parse()?,
            "--trace" => recording = Some(trace::parse(&std::fs::read_to_string(&value)?)?),
            "--write" => document = Some(value),
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    let (block, tables) = if is_short {
        let recording = recording.ok_or("--short needs --trace")?;
        ("short simulation", short::table(&recording)?)
    } else {
        ("simulation", tables::all(runs, recording.as_deref())?)
    };
    let Some(document) = document else {
        println!("{tables}");
        return Ok(());
    };
    let (begin, end) = (format!("<!-- {block}: begin -->"), format!("<!-- {block}: end -->"));
    let text = std::fs::read_to_string(&document)?;
    let (before, rest) = text
        .split_once(&begin)
        .ok_or_else(|| format!("{document}: no {begin}"))?;
    let (_, after) = rest.split_once(&end).ok_or_else(|| format!("{document}: no {end}"))?;
    std::fs::write(&document, format!("{before}{begin}\n{tables}{end}{after}"))?;
    Ok(())
}
