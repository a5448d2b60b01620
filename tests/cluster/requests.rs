//! A person asks for a rollback: it is done once, by the rules of every rollback, or refused with its reason.

use std::time::Duration;

use axum::http::Method;
use futures::future::join_all;
use jiff::Timestamp;
use quality_api::{IncidentState, QualityIncident, QualityPolicy, REQUEST_ANNOTATION, Trigger};
use serde_json::json;
use stage::{Behaviour, script};

use crate::{
    plugin::{quality, said},
    proxy::Asked,
    restarts::{Fault, behind_a_proxy},
    scene::{Scene, good, image, policy},
};

/// A write between the request and its answer.
#[derive(Clone, Copy, Debug)]
enum Write {
    Incident,
    Answer,
    Deployment,
}

impl Write {
    fn is_it(self, asked: &Asked) -> bool {
        let path = asked.path.split('?').next().unwrap_or_default();
        match self {
            Self::Incident => asked.method == Method::POST && path.ends_with("/qualityincidents"),
            Self::Answer => {
                asked.method == Method::PUT
                    && path.ends_with("/qualitypolicies/ranker/status")
                    && String::from_utf8_lossy(&asked.body).contains("\"rollbackRequest\"")
            }
            Self::Deployment => asked.method == Method::PATCH && path.ends_with("/deployments/ranker"),
        }
    }
}

/// Another healthy release runs in place of the first one.
async fn ship_healthy(scene: &Scene) {
    scene.service.behave(&image('c'), Behaviour::HEALTHY);
    scene.ship(&image('c')).await;
    script::rolled_out(&scene.space, "ranker").await.unwrap();
}

fn ask(scene: &Scene, reason: &str) {
    let arguments = ["rollback", "ranker", "--reason", reason, "--wait", "0"];
    assert!(said(scene, &arguments).starts_with("asked: "));
}

async fn done_once(scene: &Scene, begin: Timestamp, case: &str) {
    let incident = scene.incident(IncidentState::Recovered).await;
    assert_eq!(incident.spec.trigger, Trigger::Requested);
    assert_eq!(incident.spec.reason, "a person asked for it: wrong prices", "{case}");
    let status = incident.status.unwrap();
    assert!(
        status.rto_seconds.is_some() && status.rpo_seconds.is_none(),
        "{case}: {status:#?}"
    );
    assert!(status.postmortem.unwrap().contains("wrong prices"), "{case}");
    assert_eq!(
        (scene.runs().await, scene.revision().await),
        (good(), "3".to_owned()),
        "{case}"
    );
    scene.looks(2.0).await;
    let policy = scene.space.api::<QualityPolicy>().get("ranker").await.unwrap();
    let answer = policy.status.unwrap().rollback_request.unwrap();
    assert_eq!(
        (answer.accepted, answer.incident),
        (true, incident.metadata.name),
        "{case}"
    );
    let writes = scene.writes_since(begin);
    let count = |verb: &str, what: &str, code: u64| {
        writes
            .iter()
            .filter(|(v, w, c)| (v.as_str(), w.as_str(), *c) == (verb, what, code))
            .count()
    };
    assert_eq!(count("patch", "deployments", 200), 1, "{case}: {writes:#?}");
    assert_eq!(count("create", "qualityincidents", 201), 1, "{case}: {writes:#?}");
    assert_eq!(scene.space.all::<QualityIncident>().await.unwrap().len(), 1, "{case}");
}

async fn is_taken(scene: &Scene, write: Write) -> bool {
    match write {
        Write::Incident => !scene.space.all::<QualityIncident>().await.unwrap().is_empty(),
        Write::Deployment => scene.runs().await == good(),
        Write::Answer => {
            let policy = scene.space.api::<QualityPolicy>().get("ranker").await.unwrap();
            policy.status.unwrap_or_default().rollback_request.is_some()
        }
    }
}

async fn survives((fault, write): (Fault, Write)) {
    let case = format!("{fault:?} at {write:?}");
    let namespace = format!("request-{fault:?}-{write:?}").to_lowercase();
    let (proxy, mut scene) = behind_a_proxy(&namespace).await;
    ship_healthy(&scene).await;
    let begin = Timestamp::now();
    let occurred = fault.at_the_first(&proxy, move |asked| write.is_it(asked));
    ask(&scene, "wrong prices");
    fault
        .passes(&mut scene, &case, &occurred, async |scene| is_taken(scene, write).await)
        .await;
    done_once(&scene, begin, &case).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requested_rollback_is_done_once_whatever_restarts() {
    let cases = [
        (Fault::KilledBefore, Write::Incident),
        (Fault::KilledAfter, Write::Incident),
        (Fault::KilledBefore, Write::Answer),
        (Fault::KilledAfter, Write::Answer),
        (Fault::KilledAfter, Write::Deployment),
        (Fault::DeliveredTwice, Write::Incident),
    ];
    join_all(cases.map(survives)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_goes_back_is_told_so_and_a_second_time_waits_for_the_cooldown() {
    let scene = Scene::guarded("requested").await;
    ship_healthy(&scene).await;
    let second = scene.registered(&image('c')).await.metadata.name.unwrap();
    let begin = Timestamp::now();
    let told = said(&scene, &["rollback", "ranker", "--reason", "wrong prices"]);
    assert!(told.starts_with("accepted: incident ranker-"), "{told}");
    done_once(&scene, begin, "asked").await;
    for kind in ["QualityPolicy", "Deployment"] {
        let reasons = scene.events_with(kind, "ranker", "Recovered").await;
        let story = ["RollbackRequested", "RolledBack", "Recovered"];
        let own: Vec<_> = reasons
            .iter()
            .filter(|reason| story.contains(&reason.as_str()))
            .collect();
        assert_eq!(own, story, "{kind}: {reasons:?}");
    }
    // What was taken away stays away until a person lets it in again.
    let (back, text) = quality(
        &scene,
        &["rollback", "ranker", "--to", &second, "--reason", "wrong prices"],
    );
    assert!(!back && text.contains("is quarantined by incident ranker-"), "{text}");
    let told = said(&scene, &["release", "ranker", "--image", &image('c')]);
    assert!(told.contains("released"), "{told}");
    // The same words again are another request; within the cooldown it waits for a second word.
    let told = said(
        &scene,
        &["rollback", "ranker", "--to", &second, "--reason", "wrong prices"],
    );
    assert!(told.starts_with("accepted: "), "{told}");
    let halted = scene.second_incident(IncidentState::Halted).await;
    assert_eq!(scene.runs().await, good());
    let (again, text) = quality(&scene, &["rollback", "ranker", "--to", &second, "--reason", "now"]);
    assert!(!again && text.contains("`kubectl quality approve ranker-"), "{text}");
    scene.approve(&halted);
    scene.second_incident(IncidentState::Recovered).await;
    assert_eq!(
        (scene.runs().await, scene.revision().await),
        (image('c'), "4".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_with_its_reason_and_changes_nothing() {
    let observe = policy(&json!({"rollback": {"mode": "Observe"}}));
    let scene = Scene::guarded_by("refused-request", &observe).await;
    let refused = |arguments: &[&str], why: &str| {
        let all = [&["rollback", "ranker"], arguments].concat();
        let (succeeded, text) = quality(&scene, &all);
        assert!(!succeeded && text.contains(why), "{arguments:?}: {text}");
    };
    refused(
        &["--reason", "x"],
        "refused, nothing was changed: the policy's mode is Observe",
    );
    scene.edit(&json!({"rollback": {"mode": "Automatic"}}));
    refused(&["--reason", "x"], "and there is no other one to roll back to");
    refused(
        &["--reason", "x", "--to", "nowhere"],
        "there is no checkpoint nowhere of this Deployment",
    );
    refused(&["--reason", "a\nb"], "a reason is one line of 1 to 300 characters");
    scene.edit(&json!({"paused": true}));
    refused(&["--reason", "x"], "policy ranker is paused");
    scene.edit(&json!({"paused": false}));
    // By hand, and not as it should be.
    let mark = format!("{REQUEST_ANNOTATION}=please");
    scene
        .space
        .kubectl(&["annotate", "--overwrite", "qualitypolicy", "ranker", &mark])
        .unwrap();
    let answered = |policy: &QualityPolicy| {
        let answer = policy.status.clone().unwrap_or_default().rollback_request;
        answer.is_some_and(|answer| !answer.accepted && answer.message.contains("the request is not {"))
    };
    scene
        .space
        .wait("it is answered", "ranker", Duration::from_secs(60), answered)
        .await
        .unwrap();
    assert!(scene.space.all::<QualityIncident>().await.unwrap().is_empty());
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "1".to_owned()));
}
