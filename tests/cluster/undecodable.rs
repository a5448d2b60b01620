//! A stored policy of a shape that this operator does not know.

use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::{Scene, policy_named};

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_policy_that_does_not_decode_says_so_once_and_the_others_run_on() {
    let scene = Scene::guarded("undecodable").await;
    // No zone is that far off, and the API server's format check lets it through.
    let status = json!({"status": {"release": {"analysisFrom": "2026-11-24T10:00:00+99:99"}}});
    let patch = status.to_string();
    let arguments = [
        "patch",
        "qualitypolicy",
        "ranker",
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    scene.space.kubectl(&arguments).unwrap();
    let read = || async {
        let text = scene.space.kubectl(&["get", "qualitypolicy", "ranker", "-o", "json"])?;
        Ok(serde_json::from_str::<Value>(&text).unwrap())
    };
    let ready = |policy: &Value| -> Value {
        let conditions = policy["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
        ready.unwrap_or_default()
    };
    let is_told = |policy: &Value| ready(policy)["reason"] == "Undecodable";
    let within = Duration::from_secs(30);
    let told = scene.space.poll("the policy says it", within, read, is_told).await;
    let told = told.unwrap_or_else(|error| panic!("{error}\n{}", scene.operator.log_tail()));
    let message = ready(&told)["message"].to_string();
    assert!(message.contains("offset"), "{message}");

    let since = jiff::Timestamp::now();
    scene
        .space
        .apply(&policy_named("other", &json!({"targetRef": {"name": "missing"}})))
        .unwrap();
    scene.condition_of("other", "Ready", "TargetNotFound").await;
    scene.nothing_happens_for(Duration::from_secs(5)).await;
    let writes = scene.writes_since(since);
    let patches = writes.iter().filter(|(verb, _, _)| verb == "patch").count();
    assert_eq!(patches, 0, "{writes:?}");
}
