//! B3: is a change that claims to be faster faster, by at least 2 ms of P95, on the same requests?

use super::{
    Row, Section, Unit,
    consistency::{Pair, with_claim},
    evidence::File,
};
use crate::slo::SloStatus;
use quality_stats::{
    Seed,
    optimisation::{MIN_REDUCTION_MS, validate},
};

const FILE: File = File::ProfilingReport;

/// A row when the run is an attempt to show an optimisation.
pub fn rows(pair: &Pair<'_>) -> Option<Row> {
    let (loaded, claim) = with_claim(FILE, &pair.current.profiling).ok()?;
    let replay = loaded.data.optimisation.as_ref()?;
    let mut row = Row::new(
        Section::Latency,
        "Optimisation",
        format!("P95 falls ≥ {MIN_REDUCTION_MS} ms, CI95 > 0"),
        Unit::Milliseconds,
        FILE,
    )
    .claim(claim);
    row.note = format!("commit {}, replay of run {}", replay.git_commit, replay.baseline_run_id);
    let seed = Seed::new(&loaded.sha256, "Optimisation");
    Some(
        match validate(&replay.before_ms, &replay.after_ms, replay.attempts, &seed) {
            Ok(found) => {
                row.say(&format!(
                    "attempt {}, P95 reduction after all attempts {:.1} to {:.1} ms; mean reduction {}",
                    found.attempts,
                    found.p95_after_attempts.low,
                    found.p95_after_attempts.high,
                    Unit::Milliseconds.estimate(&found.mean_reduction)
                ));
                row.standing = match (found.holds_after_attempts(), found.accepted()) {
                    (true, _) => SloStatus::Passing,
                    (false, true) => SloStatus::Undetermined,
                    (false, false) => SloStatus::Failing,
                };
                row.current = Some(found.p95_reduction);
                row.alert()
            }
            Err(error) => row.alert().without(&error),
        },
    )
}
