//! Flags of `load`.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::Parser;
use jiff::SignedDuration;

use super::arrivals::ArrivalsKind;

/// Open-loop load: each request is sent when it is due, whether or not earlier ones have been answered.
#[derive(Debug, Clone, Parser)]
#[command(name = "load")]
pub struct LoadArguments {
    /// The node agent's list of Ready pods; followed while running.
    #[arg(long, required_unless_present_any = ["targets_dir", "targets_file", "target"])]
    pub ready_file: Option<PathBuf>,
    /// A `file_sd` file, with Ready pods and others; followed while running.
    #[arg(long, conflicts_with = "ready_file")]
    pub targets_file: Option<PathBuf>,
    /// A folder of `file_sd` files; followed while running.
    #[arg(long, conflicts_with_all = ["ready_file", "targets_file"])]
    pub targets_dir: Option<PathBuf>,
    /// A fixed target, may be repeated.
    #[arg(long, conflicts_with_all = ["ready_file", "targets_file", "targets_dir"])]
    pub target: Vec<SocketAddr>,
    /// Only pods of this namespace.
    #[arg(long)]
    pub namespace: Option<String>,
    /// Only pods with this `app` label.
    #[arg(long)]
    pub app: Option<String>,
    /// Requests per second over all targets.
    #[arg(long, default_value_t = 200.0)]
    pub rate: f64,
    /// `constant`, `poisson`, or `trace:FILE[:SPEED]`. A trace is rescaled to the rate: by time alone, or, with a
    /// speed, played that many times faster and thinned or multiplied to the rate.
    #[arg(long, default_value = "poisson")]
    pub arrivals: ArrivalsKind,
    /// How targets are drawn, as by a Service (random) or a client-side balancer.
    #[arg(long, value_enum, default_value_t = Balance::Random)]
    pub balance: Balance,
    /// When to stop, like `600s` or `10m`; two hours at most.
    #[arg(long = "for", default_value = "600s", value_parser = parse_duration)]
    pub duration: Duration,
    /// Time a client waits for an answer.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Requests in flight above which due ones are skipped.
    #[arg(long, default_value_t = 5000)]
    pub max_in_flight: usize,
    /// Seed of arrivals, inputs and targets.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where to write the summary as JSON at the end.
    #[arg(long)]
    pub summary: Option<PathBuf>,
}

/// How a target is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Balance {
    /// Each with the same probability.
    Random,
    /// One after the other.
    RoundRobin,
}

const MAX_DURATION: Duration = Duration::from_hours(2);

fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = SignedDuration::from_str(text).map_err(|error| error.to_string())?;
    let duration = Duration::try_from(parsed).map_err(|error| error.to_string())?;
    if duration > MAX_DURATION {
        Err(format!("{text} is longer than two hours"))
    } else {
        Ok(duration)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn durations_are_bounded() {
        assert_eq!(parse_duration("600s").unwrap(), Duration::from_mins(10));
        assert_eq!(parse_duration("1m30s").unwrap(), Duration::from_secs(90));
        assert!(parse_duration("3h").is_err());
        assert!(parse_duration("-1s").is_err());
    }

    #[test]
    fn some_target_is_needed() {
        assert!(LoadArguments::try_parse_from(["load"]).is_err());
        assert!(LoadArguments::try_parse_from(["load", "--target", "127.0.0.1:1"]).is_ok());
    }
}
