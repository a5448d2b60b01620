//! Ten minutes of history, replayed: a release just under its limit is left alone, one over it is not.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use bed::{Prometheus, PrometheusOptions};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use quality_api::{QualityIncident, QualityPolicy, Trigger};
use serde_json::json;
use stage::{Operator, OperatorOptions, Space, script};

use crate::scene::{good, policy, space};

/// Requests per second, all pods together.
const RATE: u64 = 100;
const STEP: i64 = 5;
const MINUTES: i64 = 10;

/// xorshift64*, so that the history is the same each time. Source: S. Vigna, "An experimental exploration of
/// Marsaglia's xorshift generators, scrambled", ACM TOMS 42 (2016).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Samples of the pods in the OpenMetrics format: each request fails with probability `errors`.
fn history(namespace: &str, pods: &[String], errors: f64, from: i64, to: i64) -> String {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut counts = vec![(0_u64, 0_u64); pods.len()];
    let mut requests = String::new();
    let mut durations = String::new();
    let mut in_flight = String::new();
    for at in (from..=to).step_by(STEP as usize) {
        for (index, pod) in pods.iter().enumerate() {
            let labels = format!("namespace=\"{namespace}\",pod=\"{pod}\"");
            let (all, failed) = counts[index];
            let _ = writeln!(
                requests,
                "http_requests_total{{{labels},code=\"200\"}} {} {at}",
                all - failed
            );
            let _ = writeln!(requests, "http_requests_total{{{labels},code=\"500\"}} {failed} {at}");
            for (edge, share) in [("0.25", 0), ("0.5", 1), ("+Inf", 1)] {
                let name = "http_request_duration_seconds_bucket";
                let _ = writeln!(durations, "{name}{{{labels},le=\"{edge}\"}} {} {at}", all * share);
            }
            let _ = writeln!(durations, "http_request_duration_seconds_count{{{labels}}} {all} {at}");
            let _ = writeln!(durations, "http_request_duration_seconds_sum{{{labels}}} {all} {at}");
            let _ = writeln!(in_flight, "http_requests_in_flight{{{labels}}} 8 {at}");
            // 500 requests in each step of 5 s, dealt to the pods in turn.
            let share = RATE * STEP as u64 / pods.len() as u64 + u64::from(index == 0);
            let bad = (0..share).filter(|_| random.uniform() < errors).count() as u64;
            counts[index] = (all + share, failed + bad);
        }
    }
    format!(
        "# TYPE http_requests counter\n{requests}# TYPE http_request_duration_seconds histogram\n{durations}\
         # TYPE http_requests_in_flight gauge\n{in_flight}# EOF\n"
    )
}

/// A Prometheus that holds these samples and scrapes nothing.
async fn remembers(space: &Space, text: String) -> Prometheus {
    let (endpoints, folder): (_, PathBuf) = (space.endpoints.clone(), space.folder());
    tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&folder).unwrap();
        let (file, blocks) = (folder.join("history.txt"), folder.join("blocks"));
        std::fs::write(&file, text).unwrap();
        bed::prometheus::backfill(&file, &blocks).unwrap();
        let options = PrometheusOptions {
            blocks: Some(blocks),
            ..PrometheusOptions::default()
        };
        Prometheus::start(&endpoints, options).unwrap()
    })
    .await
    .unwrap()
}

struct Replayed {
    space: Space,
    operator: Operator,
    begin: i64,
    _prometheus: Prometheus,
}

/// The operator finds a release that it has judged for ten minutes, of which each request failed with probability
/// `errors`, at looks of the usual 15 s.
async fn replay(namespace: &str, errors: f64) -> Replayed {
    let space = space(namespace).await;
    script::deploy(&space, &good()).await.unwrap();
    let deployment: Deployment = script::rolled_out(&space, "ranker").await.unwrap();
    let pods: Vec<String> = space
        .all::<Pod>()
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    let replica_set = pods[0].rsplit_once('-').unwrap().0.to_owned();
    let now = Timestamp::now().as_second();
    let begin = (now - MINUTES * 60).div_euclid(15) * 15;
    // Further than now, so that the looks go on for a while.
    let text = history(namespace, &pods, errors, begin, now + 300);
    let prometheus = remembers(&space, text).await;
    let changes = json!({"judgement": {"interval": "15s"}, "checkpoints": {"autoRegister": false}});
    space.apply(&policy(&changes)).unwrap();
    let from = Timestamp::from_second(begin).unwrap().to_string();
    let release = json!({
        "deploymentUid": deployment.uid(), "replicaSet": replica_set, "revision": "1",
        "analysisFrom": from, "firstReady": from,
        "designEffects": {"errorRate": "1.0000", "latency": "1.0000", "throughput": "1.0000", "blocks": 12},
    });
    let status =
        json!({"status": {"conditions": [], "verdict": "", "rollback": "", "triggers": [], "release": release}});
    space
        .api::<QualityPolicy>()
        .patch_status("ranker", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let options = OperatorOptions::for_namespace(namespace, &prometheus.url());
    let operator = Operator::start(&space.endpoints, &space.folder(), options).unwrap();
    Replayed {
        space,
        operator,
        begin,
        _prometheus: prometheus,
    }
}

/// The policy, once its error rate was judged on the five minutes that are shown.
async fn judged(replayed: &Replayed) -> QualityPolicy {
    let found = replayed
        .space
        .wait(
            "the history was judged",
            "ranker",
            Duration::from_secs(60),
            |policy: &QualityPolicy| {
                let triggers = policy.status.clone().unwrap_or_default().triggers;
                triggers
                    .iter()
                    .any(|trigger| trigger.name == "ErrorRate" && trigger.n > 25_000)
            },
        )
        .await;
    let policy = found.unwrap_or_else(|error| panic!("{error}\n{}", replayed.operator.log_tail()));
    let release = policy.status.clone().unwrap().release.unwrap();
    assert_eq!(release.analysis_from.0.as_second(), replayed.begin);
    assert_eq!(release.design_effects.error_rate, "1.0000");
    policy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_just_under_its_limit_is_left_alone_for_ten_minutes() {
    let replayed = replay("just-under", 0.009).await;
    let policy = judged(&replayed).await;
    let triggers = policy.status.unwrap().triggers;
    let errors = triggers.iter().find(|trigger| trigger.name == "ErrorRate").unwrap();
    assert_ne!(errors.verdict, quality_api::TriggerState::Breach, "{errors:#?}");
    // And on the looks that follow.
    let looks = || async { Ok(replayed.operator.counter("quality_officer_looks_total")) };
    replayed
        .space
        .poll("a few more looks", Duration::from_secs(120), looks, |looks| {
            *looks >= 4.0
        })
        .await
        .unwrap();
    assert!(replayed.space.all::<QualityIncident>().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_history_with_three_percent_errors_is_a_breach_that_began_no_earlier_than_its_release() {
    let replayed = replay("over", 0.03).await;
    let all = replayed
        .space
        .wait_all(
            "there is an incident",
            Duration::from_secs(60),
            |all: &[QualityIncident]| !all.is_empty(),
        )
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", replayed.operator.log_tail()));
    assert_eq!(all[0].spec.trigger, Trigger::ErrorRate);
    // The history shows it for minutes before there was a release that could be blamed: that is where it is dated.
    let releases = replayed.space.all::<ReplicaSet>().await.unwrap();
    let born = releases[0].metadata.creation_timestamp.as_ref().unwrap();
    assert_eq!(all[0].spec.onset.0, born.0);
}
