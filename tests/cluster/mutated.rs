//! A thousand objects that are wrong in one place each, through the API server: it refuses them with clear words, or the
//! operator says of each what it makes of it; and the release beside them is guarded all the while.

use std::{
    collections::BTreeMap,
    io::Write,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use http::{Method, Request};
use kube::Client;
use mutant::{Class, Mutant};
use quality_api::{IncidentState, QualityIncident, QualityPolicy, definitions};
use serde_json::{Value, json};

use crate::{
    gate::OPERATOR,
    scene::{Scene, good, is_ready},
};

/// Of each kind.
const MUTANTS: usize = 200;
/// How many are sent at the same time.
const AT_ONCE: usize = 8;
const SEED: u64 = 20_261_124;

/// One kind as the API server serves it.
struct Kind {
    name: String,
    url: String,
    has_status: bool,
    schema: Value,
}

/// What became of one object.
struct Sent {
    kind: usize,
    what: String,
    class: Class,
    /// The steps to the place that was changed, without the first one.
    place: Vec<String>,
    /// Its name, where it exists.
    exists: Option<String>,
    refused: Option<kube::core::Status>,
}

fn kinds(namespace: &str) -> Vec<Kind> {
    let kind = |definition| {
        let definition = serde_json::to_value(definition).unwrap();
        let (names, version) = (&definition["spec"]["names"], &definition["spec"]["versions"][0]);
        Kind {
            name: names["kind"].as_str().unwrap().to_owned(),
            url: format!(
                "/apis/quality-officer.dev/v1alpha1/namespaces/{namespace}/{}",
                names["plural"].as_str().unwrap()
            ),
            has_status: version["subresources"].get("status").is_some(),
            schema: version["schema"]["openAPIV3Schema"].clone(),
        }
    };
    definitions().into_iter().map(kind).collect()
}

/// A good object of the kind, about a Deployment and a policy that are not there; what has a state is in the middle of
/// things.
fn good_object(kind: &str) -> Value {
    let text = std::fs::read_to_string(stage::install::project().join("tests/data/golden/objects.json")).unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    let items = list["items"].as_array().unwrap();
    let mut object = items.iter().find(|item| item["kind"] == kind).unwrap().clone();
    object["metadata"] = json!({});
    for place in [
        "/spec/targetRef/name",
        "/spec/policyRef/name",
        "/spec/policy/name",
        "/spec/deployment/name",
        "/status/intent/target/name",
    ] {
        if let Some(name) = object.pointer_mut(place) {
            *name = json!("absent");
        }
    }
    if matches!(kind, "QualityIncident" | "RecoveryDrill") {
        object["status"]["state"] = json!("RollingBack");
    }
    object
}

async fn send(client: &Client, method: Method, url: &str, object: &Value) -> Result<Value, kube::Error> {
    let mut request = Request::builder()
        .method(method)
        .uri(url)
        .header("content-type", "application/json");
    if url.ends_with("/status") {
        // Statuses are the operator's own, and nobody else may write a drill's.
        request = request.header("impersonate-user", OPERATOR);
    }
    let request = request.body(object.to_string().into_bytes()).unwrap();
    client.request::<Value>(request).await
}

/// Creates a mutant; one of the status is a good object whose status is then replaced.
async fn create(client: &Client, kind: &Kind, index: usize, number: usize, mut mutant: Mutant) -> Sent {
    let name = format!("mutant-{number}");
    let names_itself = mutant.object["metadata"].get("name").is_some();
    if !names_itself {
        mutant.object["metadata"]["name"] = json!(name);
    }
    let mut result = send(client, Method::POST, &kind.url, &mutant.object).await;
    let mut exists = result
        .as_ref()
        .ok()
        .and_then(|made| made["metadata"]["name"].as_str().map(str::to_owned));
    if mutant.in_status
        && let Ok(made) = &result
    {
        let mut changed = mutant.object.clone();
        changed["metadata"] = made["metadata"].clone();
        let url = format!("{}/{name}/status", kind.url);
        result = send(client, Method::PUT, &url, &changed).await;
        // Somebody, the operator say, was faster: what is meant is that the object has this status.
        for _ in 0..20 {
            if !matches!(&result, Err(kube::Error::Api(status)) if status.code == 409) {
                break;
            }
            let read = Request::get(format!("{}/{name}", kind.url)).body(Vec::new()).unwrap();
            changed["metadata"] = client.request::<Value>(read).await.unwrap()["metadata"].clone();
            result = send(client, Method::PUT, &url, &changed).await;
        }
    }
    let refused = match result {
        Ok(_) => None,
        Err(kube::Error::Api(status)) => Some(*status),
        Err(error) => panic!("{} {}: {error}", kind.name, mutant.what),
    };
    if refused.as_ref().is_some_and(|status| status.code == 409) {
        exists = None;
    }
    let place = mutant.what.split(": ").next().unwrap_or_default();
    let steps = place.split('.').skip(1).filter(|step| step.parse::<usize>().is_err());
    Sent {
        kind: index,
        class: mutant.class,
        place: steps.map(str::to_owned).collect(),
        what: mutant.what,
        exists,
        refused,
    }
}

/// A refusal is the caller's fault and says where; what is wrong with this one.
fn unclear(kind: &Kind, sent: &Sent, status: &kube::core::Status) -> Option<String> {
    let is_fault = (400..500).contains(&status.code) && !status.message.contains("panic");
    // What is too long to be read at all is refused as a whole. A change may lack what belongs to it, which is named.
    let is_too_long = status.code == 413 || status.message.contains("limit is");
    let names_it = sent.place.is_empty() || sent.place.iter().any(|step| status.message.contains(step));
    let is_clear = is_fault && (is_too_long || names_it || sent.class == Class::Metadata) && !status.message.is_empty();
    let message: String = status.message.chars().take(400).collect();
    (!is_clear).then(|| format!("{} {}: {} {message}", kind.name, sent.what, status.code))
}

/// Every policy that is there says what it is for the operator, of the spec that is there.
async fn every_policy_is_answered(scene: &Scene) {
    let answered = |policy: &QualityPolicy| {
        let status = policy.status.clone().unwrap_or_default();
        let of_this = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            condition.type_ == "Ready" && condition.observed_generation == policy.metadata.generation
        };
        status.conditions.iter().any(of_this)
    };
    let what = "every accepted policy has a condition of its newest generation";
    let begin = Instant::now();
    loop {
        let list = scene.space.kubectl(&["get", "qualitypolicies", "-o", "json"]).unwrap();
        let list: Value = serde_json::from_str(&list).unwrap();
        let silent: Vec<String> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| match serde_json::from_value::<QualityPolicy>((*item).clone()) {
                Ok(policy) => !answered(&policy),
                // One that does not decode is told so in its stored conditions.
                Err(_) => !item["status"]["conditions"].to_string().contains("Undecodable"),
            })
            .map(|item| format!("{} {}", item["metadata"]["name"], item["spec"]))
            .collect();
        if silent.is_empty() {
            return;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "{what}: {} are silent: {:?}\n{}",
            silent.len(),
            &silent[..silent.len().min(3)],
            scene.operator.log_tail()
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn delete_all(client: &Client, kinds: &[Kind], sent: &[Sent]) {
    let there = sent
        .iter()
        .filter_map(|sent| Some((&kinds[sent.kind], sent.exists.as_ref()?)));
    let deletions = there.map(|(kind, name)| async move {
        let url = format!("{}/{name}", kind.url);
        match send(client, Method::DELETE, &url, &json!({})).await {
            Ok(_) => {}
            // The operator keeps only so many records.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("{url}: {error}"),
        }
    });
    stream::iter(deletions).buffer_unordered(AT_ONCE).collect::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_mutated_objects_change_nothing_for_the_release_beside_them() {
    let mut scene = Scene::guarded("mutated").await;
    let (client, process) = (scene.space.client.clone(), scene.operator.id());
    let kinds = kinds("mutated");
    let begin = Instant::now();
    let mut sent: Vec<Sent> = Vec::new();
    for (index, kind) in kinds.iter().enumerate() {
        let mutants = mutant::mutants(&kind.schema, &good_object(&kind.name), SEED, MUTANTS);
        // Where there is no status there is nothing to write into it.
        let mutants = mutants
            .into_iter()
            .filter(|mutant| kind.has_status || !mutant.in_status);
        let creations = mutants
            .enumerate()
            .map(|(number, mutant)| create(&client, kind, index, number, mutant));
        sent.extend(
            stream::iter(creations)
                .buffer_unordered(AT_ONCE)
                .collect::<Vec<_>>()
                .await,
        );
    }
    let took = begin.elapsed().as_secs_f64();
    let mut problems = Vec::new();
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for sent in &sent {
        let kind = &kinds[sent.kind];
        let count = counts.entry(&kind.name).or_default();
        match &sent.refused {
            None => count.0 += 1,
            Some(status) => {
                count.1 += 1;
                problems.extend(unclear(kind, sent, status));
            }
        }
    }
    assert!(
        problems.is_empty(),
        "{} refusals: {:#?}",
        problems.len(),
        &problems[..problems.len().min(10)]
    );
    for (kind, (accepted, refused)) in &counts {
        // Past the harness of the tests, which keeps to itself what a test that passes prints.
        let _ = writeln!(
            std::io::stderr(),
            "{kind}: {accepted} mutants accepted, {refused} refused"
        );
        assert!(*accepted > 0 && *refused > 0, "{counts:?}");
    }
    let _ = writeln!(std::io::stderr(), "{} mutants sent in {took:.1} s", sent.len());
    assert!(sent.len() >= 1_000, "{}", sent.len());

    every_policy_is_answered(&scene).await;
    scene.looks(5.0).await;
    let policy = scene.condition("Ready", "Judging").await;
    assert!(is_ready(&policy.status.clone().unwrap_or_default().conditions));
    assert_eq!(policy.status.unwrap_or_default().verdict, "HEALTHY");
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "1".into()));
    // Read without its types: some of the mutants do not decode.
    let incidents = scene.space.kubectl(&["get", "qualityincidents", "-o", "name"]).unwrap();
    let own: Vec<&str> = incidents.lines().filter(|name| !name.contains("/mutant-")).collect();
    assert!(own.is_empty(), "{own:?}");
    assert!(scene.operator.is_running() && scene.operator.id() == process);
    let ready = scene.operator.get("/readyz").unwrap_or_default();
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let log = std::fs::read_to_string(scene.operator.log()).unwrap();
    let panic = log
        .lines()
        .find(|line| line.contains("panicked") || line.contains("panic"));
    assert!(panic.is_none(), "{panic:?}");
    let allocated = scene.operator.allocated().unwrap();
    assert!(allocated < 64 << 20, "{allocated} bytes");

    delete_all(&client, &kinds, &sent).await;
    let begin = Instant::now();
    loop {
        let since = jiff::Timestamp::now();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let writes = scene.writes_since(since);
        if writes.is_empty() {
            break;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "the operator goes on writing: {writes:?}"
        );
    }
    scene.ship(&crate::scene::bad()).await;
    let incident: QualityIncident = scene.incident(IncidentState::Recovered).await;
    assert_eq!(incident.spec.policy.name, "ranker");
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}
