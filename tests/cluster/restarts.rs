//! Killed again and again, the operator ends where it would have ended: one incident, one rollback, recovered. And
//! what goes well costs nothing. The fault harness (docs/FAULTS.md) meets each single write with each fault.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use jiff::Timestamp;
use quality_api::{IncidentState, QualityIncident, QualityPolicy, conditions};
use serde_json::json;
use stage::{Behaviour, OperatorOptions};

use crate::{
    proxy::{Act, Asked, Proxy, failure},
    scene::{Scene, bad, good, policy, quick, space, state_of},
};

/// Which fault meets a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operator is killed before the API server gets it.
    KilledBefore,
    /// The operator is killed after the API server took it.
    KilledAfter,
    /// It is taken, and the operator never hears of it.
    AnswerLost,
    /// It is delivered twice.
    DeliveredTwice,
}

impl Fault {
    /// It strikes the first request for which `is_it` holds; whether it has.
    pub fn at_the_first(
        self,
        proxy: &Proxy,
        is_it: impl Fn(&Asked) -> bool + Send + Sync + 'static,
    ) -> Arc<AtomicBool> {
        let occurred = Arc::new(AtomicBool::new(false));
        let mark = occurred.clone();
        proxy.rule(move |asked| {
            if !is_it(asked) || mark.swap(true, Ordering::SeqCst) {
                return Act::Forward;
            }
            match self {
                Self::KilledBefore => Act::Swallow,
                Self::KilledAfter | Self::AnswerLost => Act::LoseAnswer,
                Self::DeliveredTwice => Act::Twice,
            }
        });
        occurred
    }

    /// Waits until it occurred, and for a write that is to be taken until it is; then kills the operator where that is the
    /// fault, and starts it again.
    pub async fn passes(
        self,
        scene: &mut Scene,
        case: &str,
        occurred: &AtomicBool,
        taken: impl AsyncFn(&Scene) -> bool,
    ) {
        let occurred = || async { Ok(occurred.load(Ordering::SeqCst)) };
        let what = format!("the fault: {case}");
        let poll = scene
            .space
            .poll(&what, Duration::from_secs(120), occurred, |occurred| *occurred);
        poll.await
            .unwrap_or_else(|error| panic!("{error}\n{}", scene.operator.log_tail()));
        if self == Self::KilledAfter {
            let taken = || async { Ok(taken(scene).await) };
            let what = format!("the API server takes the write: {case}");
            let poll = scene.space.poll(&what, Duration::from_secs(30), taken, |taken| *taken);
            poll.await.unwrap();
        }
        if matches!(self, Self::KilledBefore | Self::KilledAfter) {
            scene.operator.restart().unwrap();
        }
    }
}

/// A guarded release whose operator speaks to the API server through a proxy.
pub async fn behind_a_proxy(namespace: &str) -> (Proxy, Scene) {
    let space = space(namespace).await;
    let authority = space.endpoints.certificate_authority.clone();
    let authority = authority.expect("a control plane of the bed's own");
    let proxy = Proxy::of_tls(&space.endpoints.api_server, &authority).await.unwrap();
    let options = OperatorOptions {
        api_server: Some(proxy.url()),
        ..OperatorOptions::for_namespace(namespace, &space.endpoints.prometheus)
    };
    let targets = space.endpoints.prometheus_targets.clone();
    let scene = Scene::set(space, targets, options).await.guard(&quick()).await;
    (proxy, scene)
}

/// One incident, recovered; one rollback; each step told and taken once; and the checkpoint's image runs.
async fn ended_well(scene: &Scene, case: &str, begin: Timestamp) {
    let incident = scene.incident(IncidentState::Recovered).await;
    let states: Vec<_> = incident.status.unwrap().steps.iter().map(|step| step.state).collect();
    assert_eq!(
        states,
        [
            IncidentState::RollingBack,
            IncidentState::Verifying,
            IncidentState::Recovered
        ],
        "{case}"
    );
    assert_eq!(
        (scene.runs().await, scene.revision().await),
        (good(), "3".to_owned()),
        "{case}"
    );
    scene.looks(2.0).await;
    let writes = scene.writes_since(begin);
    let rollbacks = writes
        .iter()
        .filter(|(verb, what, status)| (verb.as_str(), what.as_str(), *status) == ("patch", "deployments", 200));
    assert_eq!(rollbacks.count(), 1, "{case}: {writes:#?}");
    assert_eq!(scene.space.all::<QualityIncident>().await.unwrap().len(), 1, "{case}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_ends_the_same() {
    let mut scene = Scene::guarded("kills").await;
    let begin = Timestamp::now();
    scene.ship(&bad()).await;
    let end = Instant::now() + Duration::from_secs(25);
    let mut lives = 0_u64;
    while Instant::now() < end {
        // From before its first look to after several steps.
        tokio::time::sleep(Duration::from_millis(700 + lives * 977 % 2_600)).await;
        scene.operator.restart().unwrap();
        lives += 1;
    }
    assert!(lives > 5, "{lives} lives are too few to tell");
    let incident = scene.incident(IncidentState::Recovered).await;
    assert_eq!(incident.spec.revision, "2");
    ended_well(&scene, "killed again and again", begin).await;
}

/// `SplitMix64`, so that the failures are the same each time and follow no pattern. Source: G. L. Steele, D. Lea and
/// C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
fn mixed(turn: u64) -> u64 {
    let mut state = turn.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_refuses_for_a_while_changes_nothing_of_the_end() {
    let (proxy, scene) = behind_a_proxy("refusing").await;
    let begin = Timestamp::now();
    // A third of the calls that are no watches fail, in no order, each time in another way.
    let count = AtomicUsize::new(0);
    proxy.rule(move |asked| {
        let turn = count.fetch_add(1, Ordering::SeqCst);
        if asked.path.contains("watch=") || !mixed(turn as u64).is_multiple_of(3) {
            return Act::Forward;
        }
        let code = [429, 500, 503, 409, 504][turn % 5];
        Act::Answer(failure(StatusCode::from_u16(code).unwrap()))
    });
    scene.ship(&bad()).await;
    ended_well(&scene, "refusing", begin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_while_all_is_well_it_takes_its_analysis_up_where_it_was() {
    let mut scene = Scene::guarded("restarted").await;
    // Registered comes first, the verdict that rests on it a write later.
    let before = scene.condition("SLOsMet", "Healthy").await.status.unwrap();
    scene.operator.restart().unwrap();
    scene.looks(5.0).await;
    let after = scene.condition("SLOsMet", "Healthy").await.status.unwrap();
    assert_eq!(after.release, before.release);
    assert_eq!(
        (after.verdict.as_str(), before.verdict.as_str()),
        ("HEALTHY", "HEALTHY")
    );
    assert!(
        conditions::is_true(&after.conditions, "Evaluated"),
        "{:#?}",
        after.conditions
    );
    assert!(scene.space.all::<QualityIncident>().await.unwrap().is_empty());
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "1".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_policy_judges_the_same_release_anew_by_its_new_limits() {
    let scene = Scene::unguarded("edited").await;
    let just_so = Behaviour {
        errors: 0.008,
        ..Behaviour::HEALTHY
    };
    scene.service.behave(&good(), just_so);
    let observe = policy(&json!({"rollback": {"mode": "Observe"}}));
    let scene = scene.guard(&observe).await;
    let release = || async {
        let policy = scene.space.api::<QualityPolicy>().get("ranker").await.unwrap();
        policy.status.unwrap().release
    };
    let before = release().await;
    scene.edit(&json!({"objectives": {"errorRate": {"max": "0.1%"}}}));
    scene.incident(IncidentState::NoSafeTarget).await;
    assert_eq!(release().await, before, "the analysis goes on from where it began");
    scene.edit(&json!({"objectives": {"errorRate": {"max": "1%"}}}));
    scene.incident(IncidentState::Resolved).await;
    assert_eq!(release().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_that_comes_back_has_an_incident_of_its_own_though_earlier_records_were_deleted() {
    let scene = Scene::unguarded("again").await;
    let just_so = Behaviour {
        errors: 0.008,
        ..Behaviour::HEALTHY
    };
    scene.service.behave(&good(), just_so);
    let observe = policy(&json!({"rollback": {"mode": "Observe"}}));
    let scene = scene.guard(&observe).await;
    let all_are = |state| move |all: &[QualityIncident]| all.iter().all(|incident| state_of(incident) == state);
    let mut names = Vec::new();
    for round in 0..3 {
        scene.edit(&json!({"objectives": {"errorRate": {"max": "0.1%"}}}));
        let waits = |incident: &QualityIncident| state_of(incident) == IncidentState::NoSafeTarget;
        let what = format!("there is an incident in round {round}");
        let all = scene.incidents(&what, |all| all.iter().any(waits)).await;
        let newest = all.into_iter().find(waits).unwrap().metadata.name.unwrap();
        assert!(!names.contains(&newest), "{newest} is no new one of {names:?}");
        names.push(newest);
        scene.edit(&json!({"objectives": {"errorRate": {"max": "1%"}}}));
        scene.incidents("it is over", all_are(IncidentState::Resolved)).await;
        if round == 1 {
            scene.space.kubectl(&["delete", "qualityincident", &names[0]]).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_is_well_nothing_is_written_for_a_minute_and_little_memory_is_used() {
    let seldom = policy(&json!({"recovery": {"rpo": "10m"}}));
    let scene = Scene::guarded_by("silent", &seldom).await;
    scene.condition("SLOsMet", "Healthy").await;
    // Figures are renewed every four minutes: the minute begins soon after the last write.
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut last = Timestamp::now();
    while Timestamp::now().duration_since(last) < jiff::SignedDuration::from_secs(15) {
        assert!(Instant::now() < deadline, "{:?}", scene.writes_since(last));
        tokio::time::sleep(Duration::from_secs(1)).await;
        if !scene.writes_since(last).is_empty() {
            last = Timestamp::now();
        }
    }
    let (begin, looks) = (Timestamp::now(), scene.operator.counter("quality_officer_looks_total"));
    let writes = scene.operator.counter("quality_officer_writes_total");
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(scene.writes_since(begin), []);
    assert!((scene.operator.counter("quality_officer_writes_total") - writes).abs() < 0.5);
    let taken = scene.operator.counter("quality_officer_looks_total") - looks;
    assert!(taken > 20.0, "it did look: {taken} times");
    // What it allocates is what grows. Of the rest most is the program itself, which is not optimised here.
    let (allocated, memory) = (scene.operator.allocated().unwrap(), scene.operator.memory().unwrap());
    assert!(allocated < 16 << 20, "{allocated} bytes");
    assert!(memory < 48 << 20, "{memory} bytes");
}
