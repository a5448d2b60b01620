//! B4 and B5 from files: error rate, throughput and GPU of the load test. Live metrics judge the service; these
//! judge the run.

use super::{
    Limit, Row, Section, Unit,
    consistency::{Pair, with_claim},
    evidence::{File, Sample},
    row::under,
};
use crate::{policy::Performance, slo::SloStatus};
use quality_stats::{Estimate, proportion, rolling};

/// Error Rate, Throughput and GPU, each from the first file that has it.
pub fn rows(performance: &Performance, pair: &Pair<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(performance.error_rate.map(|limit| error_rate(limit, pair)));
    rows.extend(
        performance
            .throughput
            .map(|(target, floor)| throughput(target, floor, pair)),
    );
    if let Some((utilization, memory)) = performance.gpu {
        rows.push(gpu("GPU Utilization (run)", utilization, pair, |sample| {
            sample.gpu_utilization
        }));
        rows.push(gpu("GPU Memory (run)", memory, pair, |sample| sample.gpu_memory));
    }
    rows
}

type Found<'a> = Result<(&'a [Sample], File, String), String>;

/// The samples of `first`, else of the telemetry.
fn samples<'a>(pair: &Pair<'a>, first: File) -> Found<'a> {
    let own = match first {
        File::GpuProfiler => &pair.current.gpu,
        _ => &pair.current.runtime,
    };
    with_claim(first, own)
        .map(|(loaded, claim)| (loaded.data.as_slice(), first, claim))
        .or_else(|why| {
            with_claim(File::Telemetry, &pair.current.telemetry)
                .map(|(loaded, claim)| (loaded.data.as_slice(), File::Telemetry, claim))
                .map_err(|_| why)
        })
}

fn error_rate(limit: f64, pair: &Pair<'_>) -> Row {
    let mut row = Row::new(
        Section::Resources,
        "Error Rate (run)",
        format!("< {}", Unit::Share.print(limit)),
        Unit::Share,
        File::ErrorLogs,
    )
    .limited(Limit::Current(limit));
    let counted = match with_claim(File::ErrorLogs, &pair.current.errors) {
        Ok((loaded, claim)) => Ok((loaded.data.failed as f64, loaded.data.requests as f64, claim)),
        Err(why) => samples(pair, File::RuntimePerf)
            .map_err(|_| why)
            .and_then(|(samples, file, claim)| {
                row.file = file;
                let known = samples
                    .iter()
                    .filter_map(|sample| Some((sample.errors?, sample.requests?.0)));
                let (failed, all) = known.fold((0.0, 0.0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
                if all > 0.0 {
                    Ok((failed, all, claim))
                } else {
                    Err(format!("{} counts no errors", file.name()))
                }
            }),
    };
    match counted {
        Ok((failed, all, claim)) => {
            row = row.claim(claim);
            match proportion::wilson(failed, all, 1.0) {
                Ok(estimate) => {
                    row.standing = under(&estimate, limit);
                    row.current = Some(estimate);
                    row
                }
                Err(error) => row.without(&error),
            }
        }
        Err(why) => row.unsupported(why),
    }
}

fn throughput(target: f64, floor: f64, pair: &Pair<'_>) -> Row {
    let mut row = Row::new(
        Section::Resources,
        "Throughput (run)",
        format!("≥ {target:.0}/s"),
        Unit::Rate,
        File::RuntimePerf,
    )
    .limited(Limit::Current(target));
    let (samples, file, claim) = match samples(pair, File::RuntimePerf) {
        Ok(found) => found,
        Err(why) => return row.unsupported(why),
    };
    row.file = file;
    row = row.claim(claim);
    let rates: Vec<f64> = samples
        .iter()
        .filter_map(|sample| sample.requests)
        .map(|(count, seconds)| count / seconds)
        .collect();
    // The interval by intervals: requests come in bursts, so the count's own would be too narrow.
    match rolling::average(&rates) {
        Ok(estimate) => {
            row.standing = if estimate.ci95.low >= target {
                SloStatus::Passing
            } else if estimate.ci95.high < target {
                SloStatus::Failing
            } else {
                SloStatus::Undetermined
            };
            if estimate.ci95.high < floor {
                row.say(&format!("under the floor of {floor:.0}/s"));
            }
            row.current = Some(estimate);
            row
        }
        Err(error) => row.without(&error),
    }
}

fn gpu(name: &str, limit: f64, pair: &Pair<'_>, pick: impl Fn(&Sample) -> Option<f64>) -> Row {
    let mut row = Row::new(
        Section::Resources,
        name,
        format!("≤ {}", Unit::Share.print(limit)),
        Unit::Share,
        File::GpuProfiler,
    )
    .limited(Limit::Current(limit))
    .alert();
    let (samples, file, claim) = match samples(pair, File::GpuProfiler) {
        Ok(found) => found,
        Err(why) => return row.unsupported(why),
    };
    row.file = file;
    row = row.claim(claim);
    let values: Vec<f64> = samples.iter().filter_map(pick).collect();
    match rolling::average(&values) {
        Ok(mut estimate) => {
            clamp(&mut estimate);
            row.standing = under(&estimate, limit);
            row.current = Some(estimate);
            row
        }
        Err(error) => row.without(&error),
    }
}

fn clamp(estimate: &mut Estimate) {
    estimate.ci95.low = estimate.ci95.low.max(0.0);
    estimate.ci95.high = estimate.ci95.high.min(1.0);
}
