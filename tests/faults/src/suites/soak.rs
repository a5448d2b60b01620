//! 100 policies that look every second, for a quarter of an hour: memory, open files and tasks stay as they are.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bed::Endpoints;
use serde_json::json;
use stage::StageError;

use crate::{
    fleet::Fleet,
    monitor::{Broken, Promise},
    plan::{Outcome, Plan},
};

/// Memory of the last quarter over that of the second, at most.
const GROWTH: f64 = 1.05;
/// Before that each release's looks fill the five minutes that figures are shown of, and the longer past in coarse points.
const FILL: Duration = Duration::from_mins(5);
/// A sample is taken every two seconds; one of so many is printed.
const SAMPLES_TOLD: u32 = 30;

/// What a soak measured at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Resident memory that was allocated, bytes.
    allocated: f64,
    files: f64,
    tasks: f64,
    looks: f64,
}

/// The plan: so many policies for so long.
pub fn plans(policies: usize, lasts: Duration) -> Vec<Plan> {
    let name = format!("{policies} policies at 1 s for {} min", lasts.as_secs_f64() / 60.0);
    vec![Plan::new("soak", name, move |endpoints, namespace| async move {
        soaked(&endpoints, &namespace, policies, lasts).await
    })]
}

async fn soaked(
    endpoints: &Arc<Endpoints>,
    namespace: &str,
    policies: usize,
    lasts: Duration,
) -> Result<Outcome, StageError> {
    let often = json!({"judgement": {"interval": "1s"}});
    let fleet = Fleet::guarded(endpoints, namespace, policies, &often).await?;
    let id = fleet.replica.operator().id();
    let begin = Instant::now();
    let mut samples = Vec::new();
    let mut taken = 0;
    while begin.elapsed() < FILL + lasts {
        // The record of the proxy is the harness's memory, not the operator's.
        fleet.replica.api.forget();
        fleet.replica.metrics.forget();
        let now = sample(&fleet)?;
        if u32::is_multiple_of(taken, SAMPLES_TOLD) {
            println!(
                "soak: {:.1} min: {:.1} MiB, {} files, {} tasks, {} looks",
                begin.elapsed().as_secs_f64() / 60.0,
                now.allocated / 1_048_576.0,
                now.files,
                now.tasks,
                now.looks
            );
        }
        taken += 1;
        if begin.elapsed() >= FILL {
            samples.push(now);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let mut outcome = Outcome {
        reached: true,
        ..Outcome::default()
    };
    let mut breaks = |promise, what: String| outcome.broken.push(Broken::new(promise, what));
    let quarter = samples.len() / 4;
    let (second, last) = (&samples[quarter..2 * quarter], &samples[samples.len() - quarter..]);
    let of = |part: &[Sample], read: fn(&Sample) -> f64| part.iter().map(read).sum::<f64>() / part.len() as f64;
    let (before, after) = (
        of(second, |sample| sample.allocated),
        of(last, |sample| sample.allocated),
    );
    println!(
        "soak: {:.1} MiB allocated in the second quarter, {:.1} in the last; files {:.0} and {:.0}; tasks {:.0} and {:.0}; {:.0} looks",
        before / 1_048_576.0,
        after / 1_048_576.0,
        of(second, |sample| sample.files),
        of(last, |sample| sample.files),
        of(second, |sample| sample.tasks),
        of(last, |sample| sample.tasks),
        samples[samples.len() - 1].looks - samples[0].looks,
    );
    if after > before * GROWTH {
        breaks(
            Promise::Bounded,
            format!("memory grew from {before:.0} to {after:.0} bytes"),
        );
    }
    for (what, read) in [
        ("files", (|sample| sample.files) as fn(&Sample) -> f64),
        ("tasks", |sample| sample.tasks),
    ] {
        // Connections come and go in dozens: what stays is over what there ever was before.
        let before = samples[..2 * quarter].iter().map(read).fold(0.0, f64::max);
        let after = of(last, read);
        if after > before * GROWTH {
            breaks(Promise::Bounded, format!("{what} grew from {before:.1} to {after:.1}"));
        }
    }
    // It must have worked while it was measured: at least every other second, on a busy machine.
    let looks = samples[samples.len() - 1].looks - samples[0].looks;
    let expected = policies as f64 * lasts.as_secs_f64();
    if looks < expected / 2.0 {
        breaks(Promise::Quiet, format!("{looks:.0} looks instead of {expected:.0}"));
    }
    if fleet.replica.operator().id() != id || fleet.replica.operator().get("/readyz").is_none() {
        breaks(Promise::Contained, "the operator ended".to_owned());
    }
    if !fleet.space.all::<quality_api::QualityIncident>().await?.is_empty() {
        breaks(
            Promise::SoundData,
            "there is an incident, and nothing was wrong".to_owned(),
        );
    }
    Ok(outcome)
}

fn sample(fleet: &Fleet) -> Result<Sample, StageError> {
    let operator = fleet.replica.operator();
    let gone = || StageError::Unexpected("the operator is not there".to_owned());
    Ok(Sample {
        allocated: operator.allocated().ok_or_else(gone)? as f64,
        files: operator.files().ok_or_else(gone)? as f64,
        tasks: operator.counter("quality_officer_tasks"),
        looks: operator.counter("quality_officer_looks_total"),
    })
}
