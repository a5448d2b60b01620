//! Our numbers against those of scipy, statsmodels, scikit-learn, `trec_eval` and ranx.
//!
//! `tests/reference/make_reference.py` writes the values.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use quality_stats::calibration::{self, Binning};
use quality_stats::correlation::{self, Pairs};
use quality_stats::ranking::{self, Gain, Retrieved};
use quality_stats::sequential::Detector;
use quality_stats::{Estimate, Seed, bootstrap, poisson, proportion, quantile, recovery, roc, special, trend};
use serde_json::Value;

fn values(section: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("reference/values.json")).unwrap();
    all[section].clone()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

#[track_caller]
fn close(ours: f64, theirs: f64, tolerance: f64) {
    let scale = theirs.abs().max(1e-12);
    assert!((ours - theirs).abs() <= tolerance * scale, "{ours} against {theirs}");
}

#[track_caller]
fn interval(estimate: &Estimate, theirs: &Value, tolerance: f64) {
    close(estimate.ci95.low, number(&theirs[0]), tolerance);
    close(estimate.ci95.high, number(&theirs[1]), tolerance);
}

#[test]
fn proportions_match_statsmodels() {
    for case in list(&values("proportions")) {
        let (bad, n) = (number(&case["bad"]), number(&case["n"]));
        let wilson = proportion::wilson(bad, n, 1.0).unwrap();
        // statsmodels leaves rounding at the ends 0 and 1.
        assert!((wilson.ci95.low - number(&case["wilson"][0])).abs() < 1e-9, "{case}");
        assert!((wilson.ci95.high - number(&case["wilson"][1])).abs() < 1e-9, "{case}");
        interval(
            &proportion::clopper_pearson(bad, n).unwrap(),
            &case["clopper_pearson"],
            1e-7,
        );
    }
}

#[test]
fn rates_match_scipy() {
    for case in list(&values("rates")) {
        let estimate = poisson::rate(number(&case["count"]), 1.0, 1.0).unwrap();
        close(estimate.ci95.low, number(&case["low"]), 1e-8);
        close(estimate.ci95.high, number(&case["high"]), 1e-8);
    }
}

#[test]
fn quantile_ranks_match_scipy() {
    for case in list(&values("quantile_ranks")) {
        let n = number(&case["n"]) as u32;
        let ranks: Vec<f64> = (1..=n).map(f64::from).collect();
        let estimate = quantile::quantile_of_sorted(&ranks, number(&case["q"]), 1.0).unwrap();
        close(estimate.ci95.low, number(&case["low"]), 0.0);
        let high = number(&case["high"]);
        close(estimate.ci95.high.min(f64::from(n) + 1.0), high, 0.0);
    }
}

#[test]
fn special_functions_match_scipy() {
    let special = values("special");
    for case in list(&special["beta"]) {
        let x = special::beta_quantile(number(&case["p"]), number(&case["a"]), number(&case["b"]));
        close(x, number(&case["x"]), 1e-9);
    }
    for case in list(&special["incomplete"]) {
        let p = special::beta_inc(number(&case["a"]), number(&case["b"]), number(&case["x"]));
        close(p, number(&case["p"]), 1e-8);
    }
    for case in list(&special["gamma"]) {
        close(
            special::gamma_quantile(number(&case["p"]), number(&case["shape"])),
            number(&case["x"]),
            1e-8,
        );
    }
    for case in list(&special["student"]) {
        close(
            special::student_quantile(number(&case["p"]), number(&case["freedom"])),
            number(&case["t"]),
            1e-8,
        );
    }
    for case in list(&special["normal"]) {
        let z = special::normal_quantile(number(&case["p"]));
        assert!((z - number(&case["z"])).abs() < 1e-9, "{case}");
    }
}

#[test]
fn bootstraps_match_scipy() {
    let bootstraps = values("bootstraps");
    for case in list(&bootstraps["means"]) {
        let seed = Seed::new("reference", case["name"].as_str().unwrap());
        // The simulation error of 10,000 resamples is below 1 % of these ends.
        interval(
            &bootstrap::mean(&numbers(&case["x"]), &seed).unwrap(),
            &case["mean"],
            0.01,
        );
    }
    let case = &bootstraps["ratio"];
    let estimate = bootstrap::ratio(
        &numbers(&case["top"]),
        &numbers(&case["bottom"]),
        &Seed::new("reference", "ratio"),
    )
    .unwrap();
    interval(&estimate, &case["ratio"], 0.01);
}

#[test]
fn correlations_match_scipy_and_statsmodels() {
    for case in list(&values("correlations")) {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        let pearson = correlation::pearson(&x, &y, Pairs::Independent).unwrap();
        close(pearson.value, number(&case["pearson"]), 1e-10);
        interval(&pearson, &case["pearson_ci"], 1e-9);
        let spearman = correlation::spearman(&x, &y, Pairs::Independent).unwrap();
        close(spearman.value, number(&case["spearman"]), 1e-10);
        interval(&spearman, &case["spearman_ci"], 1e-9);
        close(correlation::autocorrelation(&x), number(&case["lag1"][0]), 1e-9);
        close(correlation::autocorrelation(&y), number(&case["lag1"][1]), 1e-9);
    }
}

#[test]
fn areas_match_scikit_learn_and_delong_pair_by_pair() {
    for case in list(&values("areas")) {
        let estimate = roc::auc(&numbers(&case["positives"]), &numbers(&case["negatives"])).unwrap();
        close(estimate.value, number(&case["auc"]), 1e-12);
        interval(&estimate, &case["ci"], 1e-10);
    }
}

#[test]
fn ndcg_matches_trec_eval_and_ranx() {
    for case in list(&values("rankings")) {
        let judged = case["judged"].as_object().unwrap();
        let mut documents: Vec<Retrieved<'_>> = case["run"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(document, score)| Retrieved {
                document,
                score: number(score),
            })
            .collect();
        ranking::order(&mut documents).unwrap();
        let ranked: Vec<f64> = documents
            .iter()
            .map(|retrieved| judged.get(retrieved.document).map_or(0.0, number))
            .collect();
        let grades: Vec<f64> = judged.values().map(number).collect();
        let linear = ranking::ndcg(&ranked, &grades, 10, Gain::Linear).unwrap();
        close(linear, number(&case["linear"]), 1e-9);
        close(linear, number(&case["ranx_linear"]), 1e-9);
        close(
            ranking::ndcg(&ranked, &grades, 10, Gain::Exponential).unwrap(),
            number(&case["exponential"]),
            1e-9,
        );
    }
}

#[test]
fn calibration_matches_scikit_learn() {
    let case = values("calibration");
    let correct: Vec<bool> = list(&case["correct"])
        .iter()
        .map(|hit| hit.as_bool().unwrap())
        .collect();
    let confidences = numbers(&case["confidence"]);
    let seed = Seed::new("reference", "calibration");
    let result = calibration::calibration(&confidences, &correct, Binning::EqualWidth, &seed).unwrap();
    close(result.ece.value, number(&case["ece"]), 1e-10);
    assert_eq!(result.curve.len(), list(&case["curve"]).len());
    for (ours, theirs) in result.curve.iter().zip(list(&case["curve"])) {
        close(ours.confidence, number(&theirs[0]), 1e-10);
        close(ours.observed, number(&theirs[1]), 1e-10);
    }
}

#[test]
fn trends_match_scipy() {
    for case in list(&values("trends")) {
        let trend = trend::mann_kendall(&numbers(&case["x"])).unwrap();
        close(trend.tau, number(&case["tau"]), 1e-10);
        close(trend.slope, number(&case["slope"]), 1e-10);
        let two_sided = (2.0 * trend.p_falling.min(trend.p_rising)).min(1.0);
        close(two_sided, number(&case["p_two_sided"]), 1e-8);
    }
}

#[test]
fn recovery_times_match_scipy() {
    let case = values("recovery");
    let estimate = recovery::typical_time(&numbers(&case["x"])).unwrap();
    close(estimate.value, number(&case["value"]), 1e-10);
    interval(&estimate, &case["ci"], 1e-9);
}

#[test]
fn detectors_follow_the_recursion() {
    for case in list(&values("detectors")) {
        let mut detector = Detector::share(number(&case["p0"]), number(&case["effect"])).unwrap();
        detector.start(0);
        for ((look, evidence), at) in list(&case["looks"]).iter().zip(numbers(&case["evidence"])).zip(1_i64..) {
            detector.look(at, number(&look[0]), number(&look[1])).unwrap();
            close(detector.evidence(), evidence, 1e-9);
        }
    }
}
