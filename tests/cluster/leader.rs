//! Two replicas: one acts, the other takes over, and one that wakes late writes nothing.

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::http::{Method, StatusCode};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use quality_api::{IncidentState, conditions};
use quality_core::lease::Terms;
use serde_json::json;
use stage::{Operator, OperatorOptions};

use crate::{
    proxy::{Act, Proxy, failure},
    scene::{Scene, bad, good, policy, quick, space},
};

/// What one replica asked to be changed, leases apart.
type Writes = Arc<Mutex<Vec<String>>>;

/// A guarded release with two replicas, the first of which leads.
struct Pair {
    scene: Scene,
    first: (Proxy, Writes),
    second: (Proxy, Writes),
    standby: Operator,
}

/// One replica more in the pair's namespace.
fn replica(space: &stage::Space, name: &str, options: OperatorOptions) -> Operator {
    Operator::start(&space.endpoints, &space.folder().join(name), options).unwrap()
}

impl Pair {
    async fn set(namespace: &str) -> Self {
        let space = space(namespace).await;
        let (first, second) = (recorded(&space).await, recorded(&space).await);
        let options = |proxy: &Proxy| OperatorOptions {
            api_server: Some(proxy.url()),
            leader_elect: true,
            ..OperatorOptions::for_namespace(namespace, &space.endpoints.prometheus)
        };
        let targets = space.endpoints.prometheus_targets.clone();
        let (leader, follower) = (options(&first.0), options(&second.0));
        let scene = Scene::set(space, targets, leader).await.guard(&quick()).await;
        let standby = replica(&scene.space, "standby", follower);
        Self {
            scene,
            first,
            second,
            standby,
        }
    }

    /// Waits until the second replica leads; how long that took.
    async fn taken_over(&self) -> Duration {
        let since = Instant::now();
        let leads = || async { Ok(self.standby.counter("quality_officer_leads")) };
        let space = &self.scene.space;
        space
            .poll("the other replica leads", Duration::from_secs(60), leads, |leads| {
                *leads > 0.0
            })
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.standby.log_tail()));
        since.elapsed()
    }

    /// The bad release goes back once, by the second replica alone.
    async fn ends_well(&self) {
        self.scene.incident(IncidentState::Recovered).await;
        assert_eq!(self.scene.runs().await, good());
        assert_eq!(self.scene.revision().await, "3");
        let by_the_second = self.second.1.lock().unwrap().clone();
        assert!(
            by_the_second
                .iter()
                .any(|write| write.starts_with("PATCH") && write.contains("/deployments/ranker")),
            "{by_the_second:#?}"
        );
    }
}

async fn recorded(space: &stage::Space) -> (Proxy, Writes) {
    let authority = space.endpoints.certificate_authority.clone();
    let authority = authority.expect("a control plane of the bed's own");
    let proxy = Proxy::of_tls(&space.endpoints.api_server, &authority).await.unwrap();
    let writes = Writes::default();
    let record = writes.clone();
    proxy.rule(move |asked| {
        if asked.method != Method::GET && !asked.path.contains("/leases") {
            record.lock().unwrap().push(format!("{} {}", asked.method, asked.path));
        }
        Act::Forward
    });
    (proxy, writes)
}

fn signal(operator: &Operator, signal: &str) {
    let id = operator.id().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

/// A lease runs out, the other replica looks again after its pause, and some more for a busy machine.
fn takeover_limit() -> Duration {
    Duration::from_millis(Terms::default().duration) + Duration::from_secs(5)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stands_by_writes_nothing_and_takes_over_from_one_that_was_killed() {
    let mut pair = Pair::set("leader-killed").await;
    assert!(
        pair.standby.log_tail().contains("standing by"),
        "{}",
        pair.standby.log_tail()
    );
    pair.scene.looks(3.0).await;
    assert_eq!(*pair.second.1.lock().unwrap(), Vec::<String>::new());
    pair.scene.operator.kill();
    pair.scene.ship(&bad()).await;
    let took = pair.taken_over().await;
    assert!(took <= takeover_limit(), "{took:?}");
    pair.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_leader_that_wakes_after_its_lease_writes_nothing_and_ends() {
    let mut pair = Pair::set("leader-paused").await;
    signal(&pair.scene.operator, "-STOP");
    pair.scene.ship(&bad()).await;
    pair.taken_over().await;
    let before = pair.first.1.lock().unwrap().len();
    // It wakes in the middle of the other's rollback.
    pair.scene
        .incidents("the other replica opens the incident", |all| !all.is_empty())
        .await;
    signal(&pair.scene.operator, "-CONT");
    let end = Instant::now() + Duration::from_secs(30);
    while pair.scene.operator.is_running() {
        assert!(Instant::now() < end, "{}", pair.scene.operator.log_tail());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    pair.ends_well().await;
    let after = pair.first.1.lock().unwrap()[before..].to_vec();
    assert_eq!(after, Vec::<String>::new(), "written after it woke");
    assert!(
        pair.scene.operator.log_tail().contains("is lost"),
        "{}",
        pair.scene.operator.log_tail()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_told_to_stop_gives_the_lease_back() {
    let pair = Pair::set("leader-stopped").await;
    signal(&pair.scene.operator, "-TERM");
    // Within two looks of the default interval, far from the time that a lease takes to run out.
    let took = pair.taken_over().await;
    assert!(took < Duration::from_millis(Terms::default().duration) / 2, "{took:?}");
    pair.scene.ship(&bad()).await;
    pair.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_could_not_be_renewed_is_given_back_so_that_the_next_life_leads_at_once() {
    let namespace = "leader-unrenewed";
    let space = space(namespace).await;
    let (proxy, _) = recorded(&space).await;
    let options = OperatorOptions {
        api_server: Some(proxy.url()),
        leader_elect: true,
        ..OperatorOptions::for_namespace(namespace, &space.endpoints.prometheus)
    };
    let targets = space.endpoints.prometheus_targets.clone();
    let mut scene = Scene::set(space, targets, options).await.guard(&quick()).await;
    let space = &scene.space;
    proxy.rule(|asked| {
        if asked.path.contains("/leases") {
            Act::Answer(failure(StatusCode::SERVICE_UNAVAILABLE))
        } else {
            Act::Forward
        }
    });
    let limit = Duration::from_secs(30);
    let leads = || async { Ok(scene.operator.counter("quality_officer_leads")) };
    space
        .poll("it leads no more", limit, leads, |leads| *leads < 1.0)
        .await
        .unwrap();
    proxy.behave();
    let end = Instant::now() + limit;
    while scene.operator.is_running() {
        assert!(Instant::now() < end, "{}", scene.operator.log_tail());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let leases = Api::<Lease>::namespaced(space.client.clone(), "quality-officer");
    let lease = leases.get(&format!("quality-officer-{namespace}")).await.unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some(""));
    scene.operator.restart().unwrap();
    scene.ship(&bad()).await;
    scene.incident(IncidentState::Recovered).await;
    assert_eq!(scene.runs().await, good());
}

/// As a rolling update does it: a new replica is ready before an old one is told to stop. Here it is each time the one that
/// leads that goes, so that the lease changes hands twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_leaves_no_gap_in_judgement_longer_than_two_intervals() {
    const INTERVAL: Duration = Duration::from_secs(5);
    let namespace = "leader-rolled";
    let space = space(namespace).await;
    let prometheus = Proxy::of(&space.endpoints.prometheus).await.unwrap();
    let asked = Arc::new(Mutex::new(vec![Instant::now()]));
    let times = asked.clone();
    prometheus.rule(move |_| {
        times.lock().unwrap().push(Instant::now());
        Act::Forward
    });
    let options = OperatorOptions {
        leader_elect: true,
        ..OperatorOptions::for_namespace(namespace, &prometheus.url())
    };
    let targets = space.endpoints.prometheus_targets.clone();
    let scene = Scene::set(space, targets, options.clone()).await;
    let every_five_seconds = policy(&json!({"judgement": {"interval": "5s"}}));
    let scene = scene.guard(&every_five_seconds).await;
    let Scene { space, operator, .. } = &scene;

    let second = replica(space, "second", options.clone());
    let led_by = |operator: &Operator| operator.counter("quality_officer_leads") > 0.0;
    assert!(led_by(operator) && !led_by(&second));
    let before = second.counter("quality_officer_looks_total");
    scene.looks(2.0).await;
    let looks = second.counter("quality_officer_looks_total") - before;
    assert!(looks.abs() < 0.5, "one that stands by asks nothing: {looks} looks");
    asked.lock().unwrap().clear();

    let third = replica(space, "third", options.clone());
    signal(operator, "-TERM");
    let leads = || async { Ok(led_by(&second) || led_by(&third)) };
    let limit = Duration::from_secs(60);
    let taken = space.poll("another leads", limit, leads, |leads| *leads);
    taken
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", second.log_tail()));
    let (leader, other) = if led_by(&second) {
        (second, third)
    } else {
        (third, second)
    };
    let fourth = replica(space, "fourth", options);
    signal(&leader, "-TERM");
    // Some looks more, by the last two.
    let looks =
        || async { Ok(other.counter("quality_officer_looks_total") + fourth.counter("quality_officer_looks_total")) };
    let seen = space.poll("the last two look", limit, looks, |looks| *looks >= 3.0);
    seen.await
        .unwrap_or_else(|error| panic!("{error}\n{}", other.log_tail()));

    let times = asked.lock().unwrap().clone();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    println!("longest time without a look: {longest:.1?}, looks every {INTERVAL:?}");
    assert!(longest <= 2 * INTERVAL, "{longest:?}");
    let told = scene.condition("SLOsMet", "Healthy").await.status.unwrap();
    assert!(
        conditions::is_true(&told.conditions, "Evaluated"),
        "{:#?}",
        told.conditions
    );
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "1".to_owned()));
}
