//! Real inference servers under real load, looks every 15 s, scrapes every 5 s. Run by `make test`, or
//! `cargo run -p bed -- run -- cargo test --test real`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use bed::Endpoints;
use quality_api::{DrillState, IncidentState, QualityIncident, RecoveryDrill, RollbackCheckpoint, Trigger};
use stage::{Node, Operator, OperatorOptions, Space};
use tokio::sync::OnceCell;
use workload::{Load, load::summary::Summary};

static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// Requests per second, all pods together.
const RATE: f64 = 400.0;

/// From the first bad request to the change of the Deployment. The API shows whole seconds.
const MAX_SECONDS: f64 = 45.0 + 1.0;

struct Scene {
    space: Space,
    operator: Operator,
    load: Option<Load>,
    _node: Node,
}

impl Scene {
    /// Release v1 runs under load, is guarded by `judged`, and was registered.
    async fn guarded(namespace: &str, judged: &str) -> Self {
        let endpoints = Endpoints::from_env().unwrap_or_else(|error| panic!("{error}"));
        INSTALLED
            .get_or_init(|| async { stage::install(&endpoints).unwrap() })
            .await;
        let space = Space::new(&endpoints, namespace).await.unwrap();
        let node = Node::start(&space, namespace, &endpoints.prometheus_targets).unwrap();
        Node::deploy(&space, namespace, "v1").await.unwrap();
        let load = node.load(&space, RATE).unwrap();
        let options = OperatorOptions::for_namespace(namespace, &endpoints.prometheus);
        let operator = Operator::start(&endpoints, &space.folder(), options).unwrap();
        let policy = format!(
            "apiVersion: quality-officer.dev/v1alpha1\nkind: QualityPolicy\nmetadata: {{name: ranker}}\n\
             spec:\n  targetRef: {{name: ranker}}\n  checkpoints: {{registerAfter: 15s}}\n{judged}"
        );
        space.apply(&policy).unwrap();
        let scene = Self {
            space,
            operator,
            load: Some(load),
            _node: node,
        };
        let ready = |checkpoint: &RollbackCheckpoint| {
            quality_api::conditions::is_true(&checkpoint.status.clone().unwrap_or_default().conditions, "Ready")
        };
        let registered = scene
            .space
            .wait_all(
                "v1 is registered",
                Duration::from_secs(120),
                |all: &[RollbackCheckpoint]| all.iter().any(ready),
            )
            .await;
        registered.unwrap_or_else(|error| panic!("{error}\n{}", scene.operator.log_tail()));
        scene
    }

    /// Ships a release and waits until its incident is over.
    async fn ship_until_recovered(&mut self, tag: &str) -> (QualityIncident, Summary) {
        self.space
            .set_image("ranker", "server", &workload::image(tag))
            .await
            .unwrap();
        let recovered = |incident: &QualityIncident| {
            incident
                .status
                .as_ref()
                .is_some_and(|status| status.state == IncidentState::Recovered)
        };
        let all = self
            .space
            .wait_all(
                "the incident is Recovered",
                Duration::from_secs(240),
                |all: &[QualityIncident]| all.iter().any(recovered),
            )
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.operator.log_tail()));
        assert_eq!(all.len(), 1, "one breach, one incident: {all:#?}");
        assert_eq!(
            self.space.image("ranker").await.unwrap(),
            workload::pinned("v1").unwrap()
        );
        let load = self.load.take().unwrap();
        let summary = tokio::task::spawn_blocking(move || load.finish())
            .await
            .unwrap()
            .unwrap();
        (all.into_iter().next().unwrap(), summary)
    }
}

/// Seconds from the first request that the bad release got, or that it answered badly, to the change.
fn reaction(incident: &QualityIncident, summary: &Summary, answered_badly: bool) -> f64 {
    let patched = incident
        .status
        .as_ref()
        .and_then(|status| status.patched_at.as_ref())
        .unwrap()
        .0;
    let bad = summary
        .targets
        .iter()
        .filter(|target| target.pod.pod.starts_with(&incident.spec.replica_set));
    let first = bad
        .filter_map(|target| {
            if answered_badly {
                target.first_bad_answer
            } else {
                Some(target.first_sent)
            }
        })
        .min();
    patched
        .duration_since(first.expect("the bad release was called"))
        .as_secs_f64()
}

fn in_breach(incident: &QualityIncident, name: &str) -> bool {
    incident
        .spec
        .triggers
        .iter()
        .any(|trigger| trigger.name == name && trigger.verdict == quality_api::TriggerState::Breach)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_fails_on_3_percent_is_rolled_back_within_45_seconds() {
    let mut scene = Scene::guarded("real-errors", "").await;
    let (incident, summary) = scene.ship_until_recovered("errors").await;
    assert_eq!(incident.spec.trigger, Trigger::ErrorRate);
    let seconds = reaction(&incident, &summary, true);
    println!(
        "3 % errors: {seconds:.0} s to the change, RTO {:?}",
        incident.status.unwrap().rto
    );
    assert!(seconds <= MAX_SECONDS, "{seconds} s; {}", scene.operator.log_tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_release_is_rolled_back_within_45_seconds() {
    // Warm-up is switched off: by default slow requests of the first minute are not held against a release.
    let mut scene = Scene::guarded("real-slow", "  judgement: {warmUp: 0s}\n").await;
    let (incident, summary) = scene.ship_until_recovered("slow").await;
    assert_eq!(incident.spec.trigger, Trigger::Latency);
    let seconds = reaction(&incident, &summary, false);
    println!(
        "slow: {seconds:.0} s to the change, RTO {:?}",
        incident.status.unwrap().rto
    );
    assert!(seconds <= MAX_SECONDS, "{seconds} s; {}", scene.operator.log_tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_completes_less_than_the_floor_while_requests_queue_is_rolled_back() {
    // Requests that wait are long requests as well: with a latency target of 10 s the floor shows first.
    let judged = "  judgement: {warmUp: 0s}\n  objectives: {latency: {target: 10s}}\n";
    let mut scene = Scene::guarded("real-capped", judged).await;
    let (incident, _) = scene.ship_until_recovered("capped").await;
    assert!(in_breach(&incident, "Throughput"), "{:#?}", incident.spec.triggers);
    assert!(!in_breach(&incident, "ErrorRate"), "{:#?}", incident.spec.triggers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_measures_how_long_a_real_server_takes_to_be_back() {
    let scene = Scene::guarded("real-drill", "").await;
    // A server that takes 4 s to load. The drill waits for that rollout.
    let slow = "RANKER_LOAD_MS=4000";
    scene.space.kubectl(&["set", "env", "deployment/ranker", slow]).unwrap();
    let drill = "apiVersion: quality-officer.dev/v1alpha1\nkind: RecoveryDrill\nmetadata: {name: by-hand}\n\
                 spec: {policyRef: {name: ranker}}\n";
    scene.space.apply(drill).unwrap();
    let finished = |drill: &RecoveryDrill| {
        let status = drill.status.as_ref();
        status.is_some_and(|status| status.state == DrillState::Finished)
    };
    let within = Duration::from_secs(120);
    let drill = scene
        .space
        .wait("the drill is finished", "by-hand", within, finished)
        .await;
    let status = drill
        .unwrap_or_else(|error| panic!("{error}\n{}", scene.operator.log_tail()))
        .status
        .unwrap();
    assert_eq!(status.result, "Passed", "{status:#?}");
    let (rto, load) = (status.rto_seconds.unwrap(), status.load_seconds.unwrap());
    println!("drill: RTO {rto} s, of which a server took {load} s to load");
    // The fault took the only pod away, so that recovering takes at least a start.
    assert!((3..=20).contains(&load) && rto >= load, "{status:#?}");
    assert!(scene.space.all::<QualityIncident>().await.unwrap().is_empty());
}
