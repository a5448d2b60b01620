//! The short version of the simulation: the goals, one row each, in seconds instead of minutes.
//!
//! Its seeds are fixed and its numbers are printed coarsely, so that the same table comes out of a test
//! and of the command that writes it into the document, on any machine.

use std::fmt::Write;

use super::coverage::{self, Trial};
use super::layouts::{self, Layout};
use super::releases::{self, Causes, Rollout};
use super::rollout::{Conditions, Outcome, Shift, simulate};
use super::rules::Rule;
use super::tables::{LIMIT, floor, only, seconds};
use super::trace::{Request, Server, Trace, replay};
use super::traffic::Traffic;
use super::{Share, throughput};
use quality_stats::StatsError;
use quality_stats::special::normal_quantile;

/// Simulated hours (or samples) of a row.
pub const RUNS: u64 = 400;

/// The table as Markdown: what is promised, what was measured, and the aim.
pub fn table(requests: &[Request]) -> Result<String, StatsError> {
    let mut rows = Rows(String::new());
    rows.line(&format!("in {RUNS} hours or samples"), "measured", "aim");
    rows.0.push_str("|---|---|---|\n");
    alarms(&mut rows)?;
    delays(&mut rows)?;
    recorded(&mut rows, requests)?;
    coverages(&mut rows)?;
    Ok(rows.0)
}

struct Rows(String);

impl Rows {
    fn line(&mut self, what: &str, measured: &str, aim: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "| {what} | {measured} | {aim} |");
    }
}

fn alarms(rows: &mut Rows) -> Result<(), StatsError> {
    for (traffic, aim) in [
        (Traffic::Flat, "≤ 1 %"),
        (Traffic::Diurnal, "≤ 1 %"),
        (Traffic::Bursty, "≤ 2 %"),
        (Traffic::Wandering, "≤ 2 %"),
    ] {
        let early = only(simulate(errors(traffic, LIMIT, Shift::None), &[Rule::Tempered], RUNS)?)?.early;
        let what = format!("false alarms, {} errors at their limit, 100 req/s", traffic.name());
        rows.line(&what, &percent(early), aim);
    }
    for traffic in [Traffic::Flat, Traffic::Bursty] {
        let early = throughput::simulate(traffic, 80.0, 80.0, None, RUNS)?.early;
        let what = format!("false alarms, {} throughput at its floor, 80 req/s", traffic.name());
        rows.line(&what, &percent(early), "≤ 2 %");
    }
    for (traffic, causes) in [(Traffic::Flat, Causes::Outage), (Traffic::Wandering, Causes::Own)] {
        let called = releases::simulate(beside(traffic, causes, 1.0), RUNS)?.0;
        let what = format!(
            "an equal new release called worse, {} errors, causes {}",
            traffic.name(),
            causes.name()
        );
        rows.line(&what, &percent(called), "≤ 1 %");
    }
    Ok(())
}

fn delays(rows: &mut Rows) -> Result<(), StatsError> {
    for (share, name) in [(0.02, "2 %"), (0.05, "5 %")] {
        let conditions = errors(Traffic::Flat, 0.005, Shift::To(share));
        let rules = [Rule::Tempered, Rule::Untempered, Rule::ThreeChecks];
        let outcomes = simulate(conditions, &rules, RUNS)?;
        let least = floor(conditions.rate, LIMIT, share)?;
        let [at_d, at_one, checks] = [&outcomes[0], &outcomes[1], &outcomes[2]].map(Outcome::median_delay);
        let what = format!("median delay, 0.5 to {name} errors, 100 req/s: D of the baseline, D = 1");
        let measured = format!("{}, {}", seconds(at_d), seconds(at_one));
        let aim = format!("floor {least:.0} s, 3 failed checks {}", seconds(checks));
        rows.line(&what, &measured, &aim);
    }
    let worse = releases::simulate(beside(Traffic::Flat, Causes::Shared, 3.0), RUNS)?.1;
    rows.line(
        "median delay, a new release with 3× the errors of the old",
        &seconds(worse),
        "",
    );
    Ok(())
}

fn recorded(rows: &mut Rows, requests: &[Request]) -> Result<(), StatsError> {
    for (name, server) in [("unlimited", Server::Unlimited), ("8 at once", Server::Slots(8))] {
        let trace = Trace::new(requests, server)?;
        let early = only(replay(&trace, 1.0, 1.0, &[Rule::Tempered], RUNS)?)?.early;
        let what = format!("false alarms, recorded LLM service ({name}), limit at its own P95");
        rows.line(&what, &percent(early), "≤ 2 %");
    }
    Ok(())
}

fn coverages(rows: &mut Rows) -> Result<(), StatsError> {
    for trial in [Trial::Wilson, Trial::Rate, Trial::P95, Trial::Pearson, Trial::Auc] {
        let covers = coverage::coverage(trial, 200, RUNS)?;
        rows.line(
            &format!("coverage at n = 200: {}", trial.name()),
            &percent(covers),
            "95 %",
        );
    }
    for layout in Layout::ALL {
        let [covers, ..] = layouts::coverage(layout, 200, 0.95, normal_quantile(0.95), RUNS)?;
        rows.line(
            &format!("coverage at n = 200: P95 on {} buckets", layout.name()),
            &percent(covers),
            "≥ 95 %",
        );
    }
    Ok(())
}

/// Errors at 100 requests per second.
const fn errors(traffic: Traffic, share: f64, shift: Shift) -> Conditions {
    Conditions {
        traffic,
        rate: 100.0,
        limit: LIMIT,
        share,
        shift,
    }
}

const fn beside(traffic: Traffic, causes: Causes, ratio: f64) -> Rollout {
    Rollout {
        traffic,
        causes,
        rate: 100.0,
        part: 0.5,
        ratio,
    }
}

fn percent(share: Share) -> String {
    format!("{:.1} %", 100.0 * share.value())
}
