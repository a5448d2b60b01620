//! The tables, as Markdown.

use std::fmt::Write;

use super::coverage::{self, Trial};
use super::layouts::{self, Layout};
use super::releases::{self, CALLED_WORSE, Causes, Rollout};
use super::rollout::{Conditions, Outcome, Shift, floor_of_delay, hourly_threshold, simulate};
use super::rules::Rule;
use super::throughput;
use super::trace::{Request, Server, Trace, replay};
use super::traffic::Traffic;
use quality_stats::StatsError;
use quality_stats::histogram::{EdgeChoice, Histogram};
use quality_stats::sequential::{PRIOR_DESIGN_EFFECT, PRIOR_WEIGHT, design_effect};
use quality_stats::special::{normal_cdf, normal_quantile};

/// Requests per second of the grid.
pub const RATES: [f64; 4] = [1.0, 10.0, 100.0, 1_000.0];
/// The limit of the error rate in the grid.
pub const LIMIT: f64 = 0.01;

/// One section: writes itself.
type Part = fn(&mut String, u64) -> Result<(), StatsError>;

/// All tables, `runs` simulated hours a cell; the replay where `requests` are given.
pub fn all(runs: u64, requests: Option<&[Request]>) -> Result<String, StatsError> {
    let mut text = String::new();
    let parts: [Part; 8] = [
        false_alarms,
        peers,
        delays,
        transients,
        floors,
        side_by_side,
        latency_limits,
        interval_coverage,
    ];
    for part in parts {
        part(&mut text, runs)?;
        text.push('\n');
    }
    if let Some(requests) = requests {
        recorded(&mut text, requests, runs)?;
    }
    Ok(text)
}

// Writing to a String cannot fail.
macro_rules! line {
    ($text:expr, $($argument:tt)*) => {
        let _ = writeln!($text, $($argument)*);
    };
}

/// False alarms of the operator's detector in healthy hours.
pub fn false_alarms(text: &mut String, runs: u64) -> Result<(), StatsError> {
    line!(text, "### False alarms in an hour, limit 1 % errors\n");
    line!(
        text,
        "Detector with the design effect of the six hours before; {runs} hours a cell.\n"
    );
    line!(
        text,
        "| traffic | mean share | 1 req/s | 10 req/s | 100 req/s | 1,000 req/s |"
    );
    line!(text, "|---|---|---|---|---|---|");
    for traffic in Traffic::ALL {
        for (name, share) in [("0.5 %", 0.005), ("0.9 %", 0.009), ("1 % (at the limit)", LIMIT)] {
            let mut row = format!("| {} | {name} |", traffic.name());
            for rate in RATES {
                let conditions = Conditions {
                    traffic,
                    rate,
                    limit: LIMIT,
                    share,
                    shift: Shift::None,
                };
                let _ = write!(
                    row,
                    " {} |",
                    only(simulate(conditions, &[Rule::Tempered], runs)?)?.early
                );
            }
            line!(text, "{row}");
        }
    }
    Ok(())
}

/// The rules side by side.
pub fn peers(text: &mut String, runs: u64) -> Result<(), StatsError> {
    let cell = |traffic, rate, share, shift| Conditions {
        traffic,
        rate,
        limit: LIMIT,
        share,
        shift,
    };
    let columns = [
        cell(Traffic::Flat, 100.0, LIMIT, Shift::None),
        cell(Traffic::Flat, 100.0, 0.009, Shift::None),
        cell(Traffic::Flat, 5.0, 0.005, Shift::None),
        cell(Traffic::Bursty, 100.0, LIMIT, Shift::None),
        cell(Traffic::Wandering, 100.0, 0.008, Shift::None),
        cell(Traffic::Flat, 100.0, 0.005, Shift::To(0.02)),
    ];
    let outcomes: Vec<Vec<Outcome>> = columns
        .into_iter()
        .map(|conditions| simulate(conditions, &Rule::ALL, runs))
        .collect::<Result<_, _>>()?;
    line!(text, "### Beside models of other rules, limit 1 % errors\n");
    line!(
        text,
        "False alarms in an hour, and the median delay of a change from 0.5 to 2 %.\n"
    );
    line!(
        text,
        "| rule | at the limit, 100 req/s | 0.9 %, 100 req/s | 0.5 %, 5 req/s | bursty, at the limit | AR(1), mean 0.8 % | delay at 100 req/s |"
    );
    line!(text, "|---|---|---|---|---|---|---|");
    for (index, rule) in Rule::ALL.into_iter().enumerate() {
        let mut row = format!("| {} |", rule.name());
        for outcome in &outcomes[..5] {
            let _ = write!(row, " {} |", outcome[index].early);
        }
        line!(text, "{row} {} |", delay(&outcomes[5][index]));
    }
    Ok(())
}

/// Delays of lasting changes.
pub fn delays(text: &mut String, runs: u64) -> Result<(), StatsError> {
    line!(text, "### Delay of a change, limit 1 % errors, 0.5 % before\n");
    line!(
        text,
        "Median seconds to the alarm, looks every 15 s, ({runs} hours a cell); `—`: fewer than half found within 30 minutes. \
         The floor is ln c/(rate · KL) with c = {:.0}, rounded up to whole looks; D = 1 knows that requests are independent.\n",
        hourly_threshold()?
    );
    line!(
        text,
        "| rate | after | floor | flat, D = 1 | flat | diurnal | bursty | AR(1) | 3 failed checks, flat |"
    );
    line!(text, "|---|---|---|---|---|---|---|---|---|");
    for rate in RATES {
        for (name, after) in [
            ("1.25 %", 0.0125),
            ("1.5 %", 0.015),
            ("2 %", 0.02),
            ("3 %", 0.03),
            ("5 %", 0.05),
        ] {
            let of = |traffic, rules: &[Rule]| {
                let shift = Shift::To(after);
                simulate(
                    Conditions {
                        traffic,
                        rate,
                        limit: LIMIT,
                        share: 0.005,
                        shift,
                    },
                    rules,
                    runs,
                )
            };
            let flat = of(Traffic::Flat, &[Rule::Untempered, Rule::Tempered, Rule::ThreeChecks])?;
            let mut row = format!("| {rate:.0} req/s | {name} | {:.0} s |", floor(rate, LIMIT, after)?);
            let _ = write!(row, " {} | {} |", delay(&flat[0]), delay(&flat[1]));
            for traffic in [Traffic::Diurnal, Traffic::Bursty, Traffic::Wandering] {
                let _ = write!(row, " {} |", delay(&only(of(traffic, &[Rule::Tempered])?)?));
            }
            line!(text, "{row} {} |", delay(&flat[2]));
        }
    }
    Ok(())
}

/// One bad minute in an otherwise healthy hour.
pub fn transients(text: &mut String, runs: u64) -> Result<(), StatsError> {
    line!(
        text,
        "### One bad minute in an hour at 0.5 %, limit 1 %, flat traffic\n"
    );
    line!(
        text,
        "Share of {runs} hours with an alarm: the minute is a breach, and may be acted upon.\n"
    );
    line!(text, "| rate | rule | minute at 2 % | minute at 5 % |");
    line!(text, "|---|---|---|---|");
    for rate in [10.0, 100.0, 1_000.0] {
        let of = |share| {
            let shift = Shift::Transient(share);
            let conditions = Conditions {
                traffic: Traffic::Flat,
                rate,
                limit: LIMIT,
                share: 0.005,
                shift,
            };
            simulate(conditions, &[Rule::Tempered, Rule::ThreeChecks], runs)
        };
        let (mild, grave) = (of(0.02)?, of(0.05)?);
        for (mild, grave) in mild.iter().zip(&grave) {
            line!(
                text,
                "| {rate:.0} req/s | {} | {} | {} |",
                mild.rule.name(),
                mild.early,
                grave.early
            );
        }
    }
    Ok(())
}

/// Throughput under a floor.
pub fn floors(text: &mut String, runs: u64) -> Result<(), StatsError> {
    line!(text, "### Throughput under a floor of 80 req/s\n");
    line!(
        text,
        "False alarms in an hour; median delay when the rate falls from 120 req/s; {runs} hours a cell.\n"
    );
    line!(
        text,
        "| traffic | at 80 req/s | at 100 req/s | to 60 req/s | to 40 req/s | to 8 req/s |"
    );
    line!(text, "|---|---|---|---|---|---|");
    for traffic in [Traffic::Flat, Traffic::Bursty] {
        let of = |rate, after| throughput::simulate(traffic, 80.0, rate, after, runs);
        let mut row = format!(
            "| {} | {} | {} |",
            traffic.name(),
            of(80.0, None)?.early,
            of(100.0, None)?.early
        );
        for after in [60.0, 40.0, 8.0] {
            let _ = write!(row, " {} |", delay(&of(120.0, Some(after))?));
        }
        line!(text, "{row}");
    }
    Ok(())
}

/// A new release beside the old one.
pub fn side_by_side(text: &mut String, runs: u64) -> Result<(), StatsError> {
    line!(
        text,
        "### A new release beside an old one with 1 % errors, 100 req/s in all\n"
    );
    line!(
        text,
        "Called worse in an hour (evidence {CALLED_WORSE:.0}) although equal; median time from the first look when it has \
         so many times as many errors. The design effect is that of the old release alone in the six hours before; \
         the outage makes 20 % of both releases' requests fail for ten minutes; {runs} hours a cell.\n"
    );
    line!(
        text,
        "| traffic | causes | equal, half of the traffic | equal, a tenth | 2×, half | 3×, half | 5×, half | 5×, a tenth |"
    );
    line!(text, "|---|---|---|---|---|---|---|---|");
    for traffic in Traffic::ALL {
        for causes in Causes::ALL {
            let of = |part, ratio| {
                let rate = 100.0;
                releases::simulate(
                    Rollout {
                        traffic,
                        causes,
                        rate,
                        part,
                        ratio,
                    },
                    runs,
                )
            };
            let mut row = format!("| {} | {} |", traffic.name(), causes.name());
            let _ = write!(row, " {} | {} |", of(0.5, 1.0)?.0, of(0.1, 1.0)?.0);
            for (part, ratio) in [(0.5, 2.0), (0.5, 3.0), (0.5, 5.0), (0.1, 5.0)] {
                let _ = write!(row, " {} |", seconds(of(part, ratio)?.1));
            }
            line!(text, "{row}");
        }
    }
    Ok(())
}

/// P95 limits on bucket layouts: the share of requests above the edge that the layout offers.
pub fn latency_limits(text: &mut String, runs: u64) -> Result<(), StatsError> {
    line!(
        text,
        "### P95 limits on bucket layouts, lognormal σ 0.5, flat 100 req/s\n"
    );
    line!(
        text,
        "Breach is judged at the edge named. False alarms with P95 at the limit; median delay when all latencies, \
         with P95 10 % under the limit before, become this much longer; {runs} hours a cell.\n"
    );
    line!(
        text,
        "| layout | limit | judged at | P95 at the limit | 1.25× | 1.5× | 2× | 3× | 5× |"
    );
    line!(text, "|---|---|---|---|---|---|---|---|---|");
    for layout in Layout::ALL {
        for limit in [0.5, 0.505, 0.7] {
            let Some(edge) = breach_edge(layout, limit) else {
                continue;
            };
            // Share above the edge when P95 is `p95`.
            let above = |p95: f64| 1.0 - normal_cdf((edge / p95).ln() / 0.5 + normal_quantile(0.95));
            let cell = |share, shift| Conditions {
                traffic: Traffic::Flat,
                rate: 100.0,
                limit: 0.05,
                share,
                shift,
            };
            let at = only(simulate(cell(above(limit), Shift::None), &[Rule::Tempered], runs)?)?.early;
            let mut row = format!(
                "| {} | {:.0} ms | {:.0} ms | {at} |",
                layout.name(),
                1e3 * limit,
                1e3 * edge
            );
            for factor in [1.25, 1.5, 2.0, 3.0, 5.0] {
                let before = 0.9 * limit;
                let shift = Shift::To(above(before * factor));
                let outcome = only(simulate(cell(above(before), shift), &[Rule::Tempered], runs)?)?;
                let _ = write!(row, " {} |", delay(&outcome));
            }
            line!(text, "{row}");
        }
    }
    line!(text, "\n### P95 and P99 on bucket layouts: coverage of the interval\n");
    line!(
        text,
        "Lognormal, median 200 ms, σ 0.5; {runs} samples a cell: interval covers / interpolated point within 5 % / no upper end.\n"
    );
    line!(text, "| layout | P95, n = 200 | P95, n = 2,000 | P99, n = 2,000 |");
    line!(text, "|---|---|---|---|");
    for layout in Layout::ALL {
        let mut row = format!("| {} |", layout.name());
        for (n, q) in [(200, 0.95), (2_000, 0.95), (2_000, 0.99)] {
            let [covers, near, open] = layouts::coverage(layout, n, q, normal_quantile(q), runs)?;
            let _ = write!(
                row,
                " {} / {:.0} % / {:.0} % |",
                covers,
                100.0 * near.value(),
                100.0 * open.value()
            );
        }
        line!(text, "{row}");
    }
    Ok(())
}

/// The edge at which a breach of `limit` is judged.
fn breach_edge(layout: Layout, limit: f64) -> Option<f64> {
    if layout == Layout::Native {
        // The upper edge of the bucket that holds the limit.
        return Some(((limit.log2() * 8.0 - 1e-9).ceil() / 8.0).exp2());
    }
    match Histogram::split(&layout.edges(), limit) {
        EdgeChoice::At { edge, .. } => Some(edge),
        EdgeChoice::Between { high, .. } | EdgeChoice::Below { high } => Some(high),
        EdgeChoice::Above { .. } | EdgeChoice::Unresolved => None,
    }
}

/// Coverage of the intervals that reports print.
pub fn interval_coverage(text: &mut String, runs: u64) -> Result<(), StatsError> {
    line!(text, "### Coverage of 95 % intervals\n");
    line!(text, "{runs} samples a cell.\n");
    line!(text, "| interval | n = 200 | n = 1,000 |");
    line!(text, "|---|---|---|");
    for trial in Trial::ALL {
        let at = |n| coverage::coverage(trial, n, runs);
        line!(text, "| {} | {} | {} |", trial.name(), at(200)?, at(1_000)?);
    }
    Ok(())
}

/// The recorded service.
pub fn recorded(text: &mut String, requests: &[Request], runs: u64) -> Result<(), StatsError> {
    line!(text, "### A recorded LLM service, replayed\n");
    line!(
        text,
        "Azure LLM inference trace 2023 (code), {} requests; latency 0.25 ms a context token and 30 ms a generated one, \
         on a server without and with a limit of requests at once. 5-minute blocks drawn from anywhere in the recording; \
         limit on P95 at and above the recording's own; {runs} hours a cell. False alarms in an hour, then the median delay \
         of a slow-down of all requests.\n",
        requests.len()
    );
    let rules = [
        Rule::Tempered,
        Rule::Untempered,
        Rule::ThreeChecks,
        Rule::FiveChecks,
        Rule::TwelveInARow,
    ];
    for (name, server) in [("unlimited", Server::Unlimited), ("8 at once", Server::Slots(8))] {
        let trace = Trace::new(requests, server)?;
        line!(
            text,
            "Server {name}: P95 {:.2} s; variance of 15-s counts {:.0} times their mean; design effect of the slow share over the recording {:.1}.\n",
            trace.p95(),
            trace.dispersion(),
            trace_effect(&trace)
        );
        line!(text, "| rule | limit 1× | 1.1× | 1.25× slower | 1.5× | 2× | 3× | 5× |");
        line!(text, "|---|---|---|---|---|---|---|---|");
        let at = |margin, factor| replay(&trace, margin, factor, &rules, runs);
        let quiet = [at(1.0, 1.0)?, at(1.1, 1.0)?];
        let slower: Vec<Vec<Outcome>> = [1.25, 1.5, 2.0, 3.0, 5.0]
            .into_iter()
            .map(|factor| at(1.1, factor))
            .collect::<Result<_, _>>()?;
        for (index, rule) in rules.into_iter().enumerate() {
            let mut row = format!("| {} |", rule.name());
            for outcomes in &quiet {
                let _ = write!(row, " {} |", outcomes[index].early);
            }
            for outcomes in &slower {
                let _ = write!(row, " {} |", delay(&outcomes[index]));
            }
            line!(text, "{row}");
        }
        line!(text, "");
    }
    Ok(())
}

fn trace_effect(trace: &Trace) -> f64 {
    let blocks: Vec<(f64, f64)> = trace
        .slow(trace.p95(), 1.0)
        .chunks_exact(super::BLOCK)
        .map(|block| {
            block
                .iter()
                .fold((0.0, 0.0), |sum, look| (sum.0 + look.0, sum.1 + look.1))
        })
        .collect();
    design_effect(&blocks, PRIOR_DESIGN_EFFECT, PRIOR_WEIGHT)
        .raw
        .unwrap_or(f64::NAN)
}

/// The floor of the delay, in whole looks.
pub(super) fn floor(rate: f64, limit: f64, share: f64) -> Result<f64, StatsError> {
    Ok((floor_of_delay(rate, limit, share)? / super::INTERVAL).ceil() * super::INTERVAL)
}

fn delay(outcome: &Outcome) -> String {
    if outcome.early.value() > 0.5 {
        "always early".to_owned()
    } else {
        seconds(outcome.median_delay())
    }
}

pub(super) fn seconds(median: Option<f64>) -> String {
    median.map_or("—".to_owned(), |seconds| format!("{seconds:.0} s"))
}

pub(super) fn only(outcomes: Vec<Outcome>) -> Result<Outcome, StatsError> {
    outcomes.into_iter().next().ok_or(StatsError::Empty { what: "rules" })
}
