//! The goals of the statistics, short version with fixed seeds: what docs/STATISTICS.md shows at length.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use simulator::rollout::{Conditions, Outcome, Shift, floor_of_delay, simulate};
use simulator::rules::Rule;
use simulator::trace::{Server, Trace, parse, replay};
use simulator::traffic::Traffic;
use simulator::{INTERVAL, coverage, layouts, releases, short, tables, throughput};

const RUNS: u64 = 2_000;

fn errors(traffic: Traffic, rate: f64, share: f64, shift: Shift, rule: Rule) -> Outcome {
    let conditions = Conditions {
        traffic,
        rate,
        limit: 0.01,
        share,
        shift,
    };
    simulate(conditions, &[rule], RUNS).unwrap().remove(0)
}

#[test]
fn at_most_one_healthy_hour_in_a_hundred_is_rolled_back_at_the_limit() {
    for share in [0.009, 0.01] {
        let outcome = errors(Traffic::Flat, 100.0, share, Shift::None, Rule::Tempered);
        assert!(outcome.early.value() <= 0.01, "{}", outcome.early);
    }
    let untempered = errors(Traffic::Flat, 100.0, 0.01, Shift::None, Rule::Untempered);
    assert!(untempered.early.value() <= 0.01, "{}", untempered.early);
}

#[test]
fn at_most_two_in_a_hundred_when_requests_share_causes() {
    for traffic in [Traffic::Bursty, Traffic::Wandering] {
        let outcome = errors(traffic, 100.0, 0.01, Shift::None, Rule::Tempered);
        assert!(outcome.early.value() <= 0.02, "{traffic:?}: {}", outcome.early);
        // And the test can fail: without the design effect it does.
        let untempered = errors(traffic, 100.0, 0.01, Shift::None, Rule::Untempered);
        assert!(untempered.early.value() > 0.5, "{traffic:?}: {}", untempered.early);
    }
}

#[test]
fn a_doubling_is_found_in_half_the_time_of_three_checks() {
    for (share, most) in [(0.02, 60.0), (0.05, 30.0)] {
        let shift = Shift::To(share);
        let outcome = errors(Traffic::Flat, 100.0, 0.005, shift, Rule::Tempered);
        let delay = outcome.median_delay().unwrap();
        let checks = errors(Traffic::Flat, 100.0, 0.005, shift, Rule::ThreeChecks)
            .median_delay()
            .unwrap();
        assert!(
            delay <= most && delay <= checks / 2.0,
            "{delay} s, three checks {checks} s"
        );
        assert_eq!(outcome.early.hits, 0);
        // Where requests are known to be independent, in the fewest looks that any test needs.
        let untempered = errors(Traffic::Flat, 100.0, 0.005, shift, Rule::Untempered);
        let looks = (floor_of_delay(100.0, 0.01, share).unwrap() / INTERVAL).ceil();
        assert!(untempered.median_delay().unwrap() <= looks * INTERVAL);
    }
}

#[test]
fn intervals_on_every_bucket_layout_cover() {
    for layout in layouts::Layout::ALL {
        let [covers, ..] = layouts::coverage(layout, 500, 0.95, 1.644_853_627, 1_000).unwrap();
        assert!(covers.value() >= 0.94, "{layout:?}: {covers}");
    }
}

#[test]
fn intervals_cover_in_about_95_of_100_samples() {
    for trial in [
        coverage::Trial::Wilson,
        coverage::Trial::Pearson,
        coverage::Trial::Auc,
        coverage::Trial::Rate,
    ] {
        let covers = coverage::coverage(trial, 200, RUNS).unwrap();
        assert!((0.935..=0.975).contains(&covers.value()), "{trial:?}: {covers}");
    }
    let sequence = coverage::coverage(coverage::Trial::Sequence, 200, 400).unwrap();
    assert!(sequence.value() >= 0.95, "{sequence}");
}

#[test]
fn a_recorded_service_is_not_rolled_back_while_it_is_healthy() {
    let requests = parse(include_str!("data/azure_llm_inference_2023_code.csv")).unwrap();
    assert_eq!(requests.len(), 8_819);
    let rules = [Rule::Tempered, Rule::Untempered, Rule::ThreeChecks];
    let trace = Trace::new(&requests, Server::Unlimited).unwrap();
    let healthy = replay(&trace, 1.0, 1.0, &rules, RUNS).unwrap();
    assert!(healthy[0].early.value() <= 0.02, "{}", healthy[0].early);
    assert!(healthy[2].early.value() > 0.9, "{}", healthy[2].early);
    let slower = replay(&trace, 1.1, 3.0, &rules[..1], 500).unwrap();
    assert!(slower[0].median_delay().unwrap() <= 60.0);
    // With queues the slow requests come in one stretch: only the design effect keeps still.
    let trace = Trace::new(&requests, Server::Slots(8)).unwrap();
    let healthy = replay(&trace, 1.0, 1.0, &rules, RUNS).unwrap();
    assert!(healthy[0].early.value() <= 0.02, "{}", healthy[0].early);
    assert!(healthy[1].early.value() > 0.5, "{}", healthy[1].early);
}

#[test]
fn throughput_at_its_floor_is_no_breach_though_it_comes_in_bursts() {
    let outcome = throughput::simulate(Traffic::Bursty, 80.0, 80.0, None, RUNS).unwrap();
    assert!(outcome.early.value() <= 0.02, "{}", outcome.early);
}

#[test]
fn a_new_release_is_called_worse_only_when_it_is() {
    let rollout = |causes, ratio| releases::Rollout {
        traffic: Traffic::Wandering,
        causes,
        rate: 100.0,
        part: 0.5,
        ratio,
    };
    for causes in releases::Causes::ALL {
        let (called, _) = releases::simulate(rollout(causes, 1.0), 500).unwrap();
        assert!(called.value() <= 0.01, "{causes:?}: {called}");
    }
    let flat = releases::Rollout {
        traffic: Traffic::Flat,
        ..rollout(releases::Causes::Shared, 3.0)
    };
    let (_, delay) = releases::simulate(flat, 200).unwrap();
    assert!(delay.unwrap() <= 60.0, "{delay:?}");
}

#[test]
fn the_short_table_is_that_of_the_document() {
    let requests = parse(include_str!("data/azure_llm_inference_2023_code.csv")).unwrap();
    let table = short::table(&requests).unwrap();
    let document = include_str!("../docs/STATISTICS.md");
    let (_, rest) = document.split_once("<!-- short simulation: begin -->\n").unwrap();
    let (written, _) = rest.split_once("<!-- short simulation: end -->").unwrap();
    assert_eq!(
        written, table,
        "docs/STATISTICS.md says how to write the short table anew"
    );
}

#[test]
fn the_tables_print() {
    let requests = parse(include_str!("data/azure_llm_inference_2023_code.csv")).unwrap();
    let mut text = String::new();
    tables::transients(&mut text, 20).unwrap();
    tables::recorded(&mut text, &requests, 20).unwrap();
    assert!(text.contains("| 3 failed checks of 1 min |"));
}
