//! Answers of a metrics source to the queries of a look: one of them is mutated, and the release is judged by what is
//! left of it.

use std::sync::Arc;

use proptest::prelude::*;
use quality_api::{Preset, QualityPolicySpec, WhenAbsent};
use quality_core::{
    counters::{CounterDeltas, Coverage, Metric, NoDataReason},
    judge::{Analysis, DesignEffects, State, TriggerVerdict, Verdict},
};
use quality_officer::validate;
use quality_sources::{
    answer,
    presets::{MetricSet, QueryKind},
    table::Table,
};
use serde_json::{Value, json};

use crate::{
    harness::{runs, survives, within},
    mutate::{Format, Mutation, losses, mutated, mutations},
};

const START: i64 = 1_795_000_000;
const LOOKS: i64 = 12;
const INTERVAL: i64 = 15;
const ASKS: [QueryKind; 8] = [
    QueryKind::SampledAt,
    QueryKind::ErrorsSeen,
    QueryKind::Value(Metric::Requests),
    QueryKind::Value(Metric::Errors),
    QueryKind::Value(Metric::Latency),
    QueryKind::Value(Metric::InFlight),
    QueryKind::Value(Metric::GpuUtilization),
    QueryKind::Value(Metric::GpuMemory),
];

/// What a healthy service of two pods answers at a look: 100 requests per second and pod, 2 of 1,000 fail, 1 of 100 is
/// slower than 500 ms.
fn answered(ask: QueryKind, look: i64) -> Value {
    let at = START + look * INTERVAL;
    let requests = 1_500.0 * (look + 10) as f64;
    let mut result = Vec::new();
    for pod in ["ranker-1-a", "ranker-1-b"] {
        let mut row = |labels: Value, value: f64| {
            let mut metric = json!({"namespace": "shop", "pod": pod});
            metric
                .as_object_mut()
                .unwrap()
                .extend(labels.as_object().unwrap().clone());
            result.push(json!({"metric": metric, "value": [at, value.to_string()]}));
        };
        match ask {
            QueryKind::SampledAt => row(json!({}), (at - 1) as f64),
            QueryKind::ErrorsSeen => row(json!({}), 2.0),
            QueryKind::Value(Metric::Requests) => row(json!({}), requests),
            QueryKind::Value(Metric::Errors) => row(json!({}), requests * 0.002),
            QueryKind::Value(Metric::Latency) => {
                for (edge, share) in [("0.1", 0.5), ("0.25", 0.9), ("0.5", 0.99), ("1", 0.999), ("+Inf", 1.0)] {
                    row(json!({"le": edge}), requests * share);
                }
            }
            QueryKind::Value(Metric::InFlight) => row(json!({}), 4.0),
            QueryKind::Value(Metric::GpuUtilization | Metric::GpuMemory) => row(json!({"gpu": "0"}), 0.5),
        }
    }
    json!({"status": "success", "data": {"resultType": "vector", "result": result}})
}

/// Takes an answer into the table of its look as the source does.
fn take(table: &mut Table, (number, ask): (usize, QueryKind), answer: &[u8]) {
    let failed = match answer::read(answer, &mut |row| {
        if let Some((_, value)) = row.samples.last() {
            table.add(ask, number, row, *value);
        }
    }) {
        Ok(answer::ResponseStatus {
            success: true,
            warnings: false,
        }) => return,
        Ok(answer::ResponseStatus { warnings: true, .. }) => NoDataReason::Partial,
        _ => NoDataReason::ProviderError,
    };
    table.fail(ask, failed, "the source did not answer");
}

/// The verdict after all looks, of which some were changed.
fn judged(change: &dyn Fn(QueryKind, i64, Vec<u8>) -> Vec<u8>) -> Vec<Verdict> {
    let spec: QualityPolicySpec = serde_json::from_value(json!({
        "targetRef": {"name": "ranker"}, "objectives": {"gpu": {"enabled": true}},
    }))
    .unwrap();
    let policy = Arc::new(validate::policy(&spec).unwrap());
    let unit = MetricSet::new(Preset::Http, None).latency_unit();
    let effects = DesignEffects {
        error_rate: 1.0,
        latency: 1.0,
        throughput: 1.0,
        blocks: 72,
    };
    let mut analysis = Analysis::new(policy, START, effects).unwrap();
    analysis.first_ready(START - 1_000);
    let mut differ = CounterDeltas::default();
    let mut verdicts = Vec::new();
    for look in 0..LOOKS {
        let mut table = Table::new(START + look * INTERVAL, unit);
        for (number, ask) in ASKS.into_iter().enumerate() {
            take(
                &mut table,
                (number, ask),
                &change(ask, look, answered(ask, look).to_string().into_bytes()),
            );
        }
        table.finish(WhenAbsent::Unknown);
        let coverage = Coverage {
            belongs: &|pod| pod.starts_with("ranker-1-"),
            expected: 2,
            born: Some(START - 100_000),
            stale_after: 30.0,
        };
        analysis.look(differ.look(&table.snapshot("shop", &|_| true), coverage));
        verdicts.push(analysis.verdict());
    }
    verdicts
}

/// What holds of every verdict: its numbers are numbers, and a breach is one by its own numbers.
fn is_sound(verdict: &Verdict) {
    for trigger in &verdict.triggers {
        assert!(!trigger.log_evidence.is_nan(), "{trigger:?}");
        for estimate in trigger.estimate.iter().chain(&trigger.level) {
            assert!(
                !estimate.value.is_nan() && estimate.ci95.low <= estimate.ci95.high,
                "{trigger:?}"
            );
        }
        if trigger.state == State::Breach {
            let estimate = trigger.estimate.as_ref().expect("a breach has its figures");
            assert!(estimate.value.is_finite() && estimate.n > 0, "{trigger:?}");
            assert!(trigger.onset.is_some(), "{trigger:?}");
        }
    }
}

#[test]
fn answers_of_the_query_api_survive() {
    let documents: Vec<Vec<u8>> = ASKS
        .iter()
        .map(|ask| answered(*ask, 3).to_string().into_bytes())
        .collect();
    let range = json!({"status": "success", "data": {"resultType": "matrix", "result": [
        {"metric": {"namespace": "shop", "pod": "p"}, "values": [[1, "1"], [2, "+Inf"], [3, "NaN"]]},
    ]}});
    survives(
        "answers of Prometheus",
        Format::Json,
        &[&documents[..], &[range.to_string().into_bytes()]].concat(),
        |bytes| {
            let mut rows = 0_u64;
            let said = answer::read(bytes, &mut |row| {
                rows += 1;
                assert!(row.samples.iter().all(|(at, _)| at.is_finite()));
            });
            match said {
                Ok(answer::ResponseStatus {
                    success: true,
                    warnings: false,
                }) => Ok(rows),
                Ok(_) => Err("it says that it failed".to_owned()),
                Err(error) => Err(quality_core::format::plain(&error.to_string(), 200)),
            }
        },
        |rows| within("rows", rows as f64, 0.0, 1e6),
    );
}

#[test]
fn a_service_that_is_healthy_is_judged_healthy() {
    let last = judged(&|_, _, answer| answer).pop().unwrap();
    assert!(last.all_healthy(), "{last:#?}");
}

#[test]
fn no_mutated_answer_makes_a_verdict_without_numbers() {
    let case = (mutations(), 0..ASKS.len(), 1..LOOKS, any::<bool>());
    runs(
        "looks with a mutated answer",
        &case,
        |(mutations, which, from, lasts)| {
            let verdicts = changed(&mutations, ASKS[which], from, lasts);
            verdicts.iter().for_each(is_sound);
        },
    );
}

#[test]
fn what_is_missing_or_no_number_is_never_a_breach() {
    let case = (losses(), 0..ASKS.len(), 1..LOOKS, any::<bool>());
    runs(
        "looks with a loss in an answer",
        &case,
        |(mutations, which, from, lasts)| {
            for verdict in changed(&mutations, ASKS[which], from, lasts) {
                is_sound(&verdict);
                assert!(!verdict.triggers.iter().any(TriggerVerdict::in_breach), "{verdict:#?}");
            }
        },
    );
}

/// The verdicts when the answers to one query are changed at one look, or from it on.
fn changed(mutations: &[Mutation], which: QueryKind, from: i64, lasts: bool) -> Vec<Verdict> {
    judged(&|ask, look, answer| {
        let is_meant = ask == which && (look == from || lasts && look > from);
        if is_meant {
            mutated(&answer, Format::Json, mutations)
        } else {
            answer
        }
    })
}
