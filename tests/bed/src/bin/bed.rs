//! The command line of the bed.

use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bed::interrupt::Interrupt;
use bed::message::say;
use bed::part::{PARTS, PARTS_OF_A_BED, Part};
use bed::{Bed, BedOptions, Endpoints, go_build, mlflow, run};
use clap::{Args, Parser, Subcommand};

/// A real Kubernetes control plane on this machine, for tests and the demonstration.
#[derive(Parser)]
#[command(name = "bed")]
struct CommandLine {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build programs that are not built yet, and print where they are.
    Build {
        /// Which (etcd, kubernetes, kwok, prometheus; promtool, versitygw, registry, alertmanager, helm, helm3,
        /// kubeconform, mlflow); the first four when none is named.
        #[arg(value_parser = parse_build)]
        parts: Vec<Build>,
    },
    /// Start a bed, print where everything is, and stay until Ctrl-C.
    Up(SetUp),
    /// Start a bed, run a command on it, stop the bed, and exit with the command's exit code.
    Run {
        #[command(flatten)]
        set_up: SetUp,
        /// The command, with `KUBECONFIG`, `QO_BED` and the `PATH` set.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// The name of MLflow among the parts on the command line.
const MLFLOW: &str = "mlflow";

/// What can be built.
#[derive(Clone, Copy)]
enum Build {
    /// A Go program.
    Part(&'static Part),
    /// MLflow's Python environment.
    Mlflow,
}

#[derive(Args)]
struct SetUp {
    /// No fake node.
    #[arg(long)]
    no_kwok: bool,
    /// How often Prometheus scrapes, such as 500ms, 5s or 1m.
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    scrape_interval: Duration,
    /// Start an MLflow tracking server too, whose URL is in `QO_MLFLOW`.
    #[arg(long)]
    mlflow: bool,
    /// Use this existing cluster in place of a control plane of the bed's own.
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// Keep the temporary folder, with all logs.
    #[arg(long)]
    keep: bool,
}

impl From<SetUp> for BedOptions {
    fn from(set_up: SetUp) -> Self {
        Self {
            kwok: !set_up.no_kwok,
            scrape_interval: set_up.scrape_interval,
            mlflow: set_up.mlflow,
            kubeconfig: set_up.kubeconfig,
            keep: set_up.keep,
        }
    }
}

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let interrupt = match Interrupt::on_signals() {
        Ok(interrupt) => interrupt,
        Err(error) => return fail(&error),
    };
    let code = match act(command_line.action, &interrupt) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&*error),
    };
    interrupt.exit_code().map_or(code, ExitCode::from)
}

/// Prints the error and all its causes.
fn fail(error: &dyn Error) -> ExitCode {
    say(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        say(format_args!("because: {error}"));
        cause = error.source();
    }
    ExitCode::FAILURE
}

fn act(action: Action, interrupt: &Interrupt) -> Result<u8, Box<dyn Error>> {
    match action {
        Action::Build { parts } => {
            let of_a_bed = PARTS_OF_A_BED.iter().copied().map(Build::Part).collect();
            for part in if parts.is_empty() { of_a_bed } else { parts } {
                let program = match part {
                    Build::Part(part) => go_build::program(part, interrupt)?,
                    Build::Mlflow => mlflow::Environment::find(interrupt)?.python(),
                };
                println!("{}", program.display());
            }
            Ok(0)
        }
        Action::Up(set_up) => {
            let mut bed = start(set_up, interrupt)?;
            // The reader may have seen enough (`| head`): no reason to end.
            let _ = writeln!(std::io::stdout(), "{}", describe(bed.endpoints()));
            let outcome = run::wait_for_interrupt(&mut bed, interrupt);
            let stopped = bed.stop();
            outcome?;
            stopped?;
            Ok(0)
        }
        Action::Run { set_up, command } => {
            let mut bed = start(set_up, interrupt)?;
            let outcome = run::run(&mut bed, &command, interrupt);
            let stopped = bed.stop();
            let code = outcome?;
            stopped?;
            Ok(code)
        }
    }
}

fn start(set_up: SetUp, interrupt: &Interrupt) -> Result<Bed, Box<dyn Error>> {
    let options = BedOptions::from(set_up);
    let bed = Bed::start(&options, interrupt)?;
    if options.keep {
        say(format_args!("logs stay in {}", bed.endpoints().work_folder.display()));
    }
    Ok(bed)
}

/// What a person needs to use the bed, as lines for a shell.
fn describe(endpoints: &Endpoints) -> String {
    let variables = endpoints.environment();
    let mut lines: Vec<_> = variables
        .iter()
        .map(|(name, value)| format!("export {name}={}", value.display()))
        .collect();
    lines.push(format!("export PATH={}:$PATH", endpoints.programs.display()));
    lines.push(format!("# API server  {}", endpoints.api_server));
    lines.push(format!("# Prometheus  {}", endpoints.prometheus));
    lines.extend(endpoints.mlflow.iter().map(|url| format!("# MLflow      {url}")));
    lines.push(format!("# logs        {}", endpoints.logs.display()));
    lines.push("# Ctrl-C stops all of it.".to_owned());
    lines.join("\n")
}

fn parse_build(name: &str) -> Result<Build, String> {
    if name == MLFLOW {
        return Ok(Build::Mlflow);
    }
    Part::named(name).map(Build::Part).ok_or_else(|| {
        let names: Vec<_> = PARTS.iter().map(|part| part.name).chain([MLFLOW]).collect();
        format!("the parts are {}", names.join(", "))
    })
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => 0,
    };
    match number.parse::<u64>().map(|number| number.saturating_mul(milliseconds)) {
        Ok(total) if total > 0 => Ok(Duration::from_millis(total)),
        _ => Err("a duration is a number with ms, s or m, such as 5s".to_owned()),
    }
}
