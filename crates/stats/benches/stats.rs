//! Speed of the statistics. `tests/reference/compare_speed.py` runs the bootstraps beside scipy's.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use quality_stats::sequential::Detector;
use quality_stats::special::normal_quantile;
use quality_stats::{Seed, bootstrap, shortcut};

fn lognormal(n: u32) -> Vec<f64> {
    (1..=n)
        .map(|i| 200.0 * (0.5 * normal_quantile(f64::from(i) / f64::from(n + 1))).exp())
        .collect()
}

fn bootstraps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bootstrap_10000_resamples");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let seed = Seed::new("bench", "bootstrap");
    for n in [1_000_u32, 10_000] {
        let values = lognormal(n);
        group.bench_with_input(BenchmarkId::new("mean", n), &values, |bencher, values| {
            bencher.iter(|| pool.install(|| bootstrap::mean(black_box(values), &seed)));
        });
        group.bench_with_input(BenchmarkId::new("p95", n), &values, |bencher, values| {
            bencher.iter(|| pool.install(|| shortcut::quantile(black_box(values), 0.95, &seed)));
        });
        group.bench_with_input(BenchmarkId::new("proportion", n), &n, |bencher, &n| {
            bencher.iter(|| pool.install(|| shortcut::proportion(black_box(u64::from(n) / 20), u64::from(n), &seed)));
        });
    }
    group.finish();
}

fn looks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("detector");
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    let mut detector = Detector::share(0.01, 2.0).unwrap();
    detector.start(0);
    let mut at = 0;
    group.bench_function("look", |bencher| {
        bencher.iter(|| {
            at += 15;
            let bad = if at % 45 == 0 { 17.0 } else { 14.0 };
            detector
                .look(black_box(at), black_box(1_500.0), black_box(bad))
                .unwrap();
        });
    });
    group.bench_function("log_evidence", |bencher| {
        bencher.iter(|| black_box(&detector).log_evidence());
    });
    group.finish();
}

criterion_group!(benches, bootstraps, looks);
criterion_main!(benches);
