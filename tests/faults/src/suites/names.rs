//! Names and label values that would change a query or a path, if they were spliced.

use std::time::{Duration, Instant};

use bed::Endpoints;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::PostParams;
use serde_json::json;
use stage::{StageError, script};

use crate::{
    monitor::{Broken, Promise},
    plan::Outcome,
    world::{Setup, World, good, policy},
};

const VALUE: &str = "\"} or vector(1) #";
const PATTERN: &str = "5..|\\d+\"} or vector(1) #";

/// A Deployment with dots in its name and metrics with such values: what is asked of the metrics source has them escaped, and
/// nothing is done on what is not there.
pub async fn spliced(endpoints: &Endpoints, namespace: &str) -> Result<Outcome, StageError> {
    let mut world = World::unguarded(endpoints, namespace, Setup::default()).await?;
    let mut dotted = script_deployment(&world).await?;
    dotted.metadata.name = Some("ranker.v2".to_owned());
    world
        .space
        .api::<Deployment>()
        .create(&PostParams::default(), &dotted)
        .await?;
    script::rolled_out(&world.space, "ranker.v2").await?;
    let requests = |operator: &str, value: &str| json!({"metric": "http_requests_total", "matchers": [{"label": "code", "operator": operator, "value": value}]});
    let mut object = policy(&json!({
        "targetRef": {"name": "ranker.v2"},
        "metrics": {"preset": "custom", "custom": {
            "requests": requests("Equal", VALUE), "errors": requests("Matches", PATTERN),
            "latency": {"metric": "http_request_duration_seconds", "matchers": [{"label": "team", "value": VALUE}]},
        }},
    }));
    object["metadata"]["name"] = json!("dotted.name");
    tokio::task::block_in_place(|| world.space.apply(&object.to_string()))?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let queries: Vec<String> = world.first().metrics.calls().iter().map(asked).collect();
    let mut outcome = world.judged(Instant::now(), None).await?;
    let escaped = VALUE.replace('"', "\\\"");
    let spliced = |text: &str| {
        text.match_indices("\"} or vector(1) #").any(|(at, _)| {
            let slashes = text[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
            slashes % 2 == 0
        })
    };
    for query in queries.iter().filter(|query| spliced(query)).take(3) {
        outcome.broken.push(Broken::new(Promise::Escaped, query.clone()));
    }
    for part in [escaped.as_str(), "ranker\\\\.v2-.+", "\\\\d+\\\"} or vector(1) #"] {
        if !queries.iter().any(|query| query.contains(part)) {
            outcome.broken.push(Broken::new(
                Promise::Escaped,
                format!("no query has {part}: {:?}", queries.last()),
            ));
        }
    }
    let incidents = world.incidents().await?.len();
    if incidents + world.rollbacks() > 0 {
        outcome.broken.push(Broken::new(
            Promise::SoundData,
            format!("{incidents} incidents of no data"),
        ));
    }
    Ok(outcome)
}

async fn script_deployment(world: &World) -> Result<Deployment, StageError> {
    let mut deployment = world.space.api::<Deployment>().get("ranker").await?;
    deployment.metadata = kube::core::ObjectMeta::default();
    deployment.status = None;
    let labels = [("app".to_owned(), "ranker.v2".to_owned())];
    deployment.spec.selector.match_labels = Some(labels.clone().into());
    if let Some(metadata) = &mut deployment.spec.template.metadata {
        metadata.labels = Some(labels.into());
    }
    let first = deployment
        .spec
        .template
        .spec
        .as_mut()
        .and_then(|spec| spec.containers.first_mut());
    if let Some(container) = first {
        container.image = Some(good());
    }
    Ok(deployment)
}

/// Path, query and body of what was asked, decoded.
fn asked(call: &stage::proxy::Call) -> String {
    let text = format!("{} {}", call.path, String::from_utf8_lossy(&call.body));
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let hexadecimal = text
            .get(at + 1..at + 3)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, hexadecimal) {
            (b'%', Some(value)) => {
                decoded.push(value);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (other, _) => decoded.push(*other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
