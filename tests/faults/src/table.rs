//! What is printed.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use crate::plan::{Outcome, Ran};

/// One plan that ended.
pub fn line(ran: &Ran) -> String {
    let mut text = format!("{}: {}: ", ran.suite, ran.name);
    match &ran.outcome {
        Err(error) => {
            let _ = write!(text, "NOT RUN: {error}");
        }
        Ok(outcome) => {
            let word = match (outcome.broken.is_empty(), outcome.reached) {
                (true, true) => "held",
                (true, false) => "held, the fault did not occur",
                (false, _) => "BROKEN",
            };
            text.push_str(word);
            if let Some(converged) = outcome.converged {
                let _ = write!(text, ", converged in {:.1} s", converged.as_secs_f64());
            }
            for broken in &outcome.broken {
                let _ = write!(text, "\n    {broken}");
            }
        }
    }
    text
}

#[derive(Default)]
struct Row {
    plans: usize,
    reached: usize,
    converged: usize,
    broken: usize,
    failed: usize,
    slowest: Duration,
}

/// The summary: one line for each part.
pub fn summary(all: &[Ran], took: Duration) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for ran in all {
        for row in [ran.suite, "~all"] {
            let row = rows.entry(row).or_default();
            row.plans += ran.counts;
            match &ran.outcome {
                Err(_) => row.failed += ran.counts,
                Ok(outcome) => {
                    row.reached += if outcome.reached { ran.counts } else { 0 };
                    row.converged += if outcome.broken.is_empty() { ran.counts } else { 0 };
                    row.broken += outcome.broken.len();
                    row.slowest = row.slowest.max(outcome.converged.unwrap_or_default());
                }
            }
        }
    }
    let mut text = "part            plans  occurred  held  not run  broken promises  slowest convergence\n".to_owned();
    for (name, row) in rows {
        let name = if name == "~all" { "all" } else { name };
        let _ = writeln!(
            text,
            "{name:<14} {:>6}  {:>8}  {:>4}  {:>7}  {:>15}  {:>17.1} s",
            row.plans,
            row.reached,
            row.converged,
            row.failed,
            row.broken,
            row.slowest.as_secs_f64()
        );
    }
    let _ = writeln!(text, "in {:.1} min", took.as_secs_f64() / 60.0);
    text
}

/// Whether every plan ran, its fault occurred, and nothing was broken.
pub fn is_whole(all: &[Ran]) -> bool {
    let held = |outcome: &Outcome| outcome.reached && outcome.broken.is_empty();
    all.iter().all(|ran| ran.outcome.as_ref().is_ok_and(held))
}
