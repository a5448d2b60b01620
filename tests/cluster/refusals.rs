//! What the API server refuses by the schemas alone, with a message that names the field.

use serde_json::{Value, json};
use stage::{Space, StageError};

use crate::scene::{merge, policy, policy_named, space};

fn refused(result: Result<(), StageError>, field: &str) {
    let Err(error) = result else {
        panic!("accepted, and should name {field}");
    };
    let message = error.to_string();
    assert!(message.contains(field), "{field}: {message}");
}

/// Dry, so that each case is a creation.
fn create(space: &Space, changes: &Value) -> Result<(), StageError> {
    space.create(&policy(changes))?;
    space
        .kubectl(&["delete", "qualitypolicy", "ranker", "--wait=true"])
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_the_name_of_its_field() {
    let space = space("refusals").await;
    let at = |path: &str, value: Value| {
        let mut changes = value;
        for key in path.rsplit('.') {
            changes = json!({key: changes});
        }
        changes
    };
    let selector = json!({"metric": "requests_total"});
    for (path, value, field) in [
        ("targetRef.name", json!("../x"), "targetRef.name"),
        ("targetRef.name", json!("a/scale"), "targetRef.name"),
        ("targetRef.name", json!("a?dryRun=All"), "targetRef.name"),
        ("targetRef.name", json!(""), "targetRef.name"),
        ("metrics.source", json!("http://evil"), "metrics.source"),
        ("metrics.preset", json!("custom"), "custom"),
        ("metrics.preset", json!("vendor"), "metrics.preset"),
        ("metrics.custom", json!({"requests": selector}), "custom"),
        ("objectives.errorRate.max", json!("NaN%"), "errorRate.max"),
        ("objectives.errorRate.max", json!("-1%"), "errorRate.max"),
        ("objectives.errorRate.max", json!("1e999%"), "errorRate.max"),
        ("objectives.errorRate.max", json!(0.01), "errorRate.max"),
        ("objectives.errorRate.max", json!("0.00%"), "errorRate max"),
        ("objectives.errorRate.max", json!("51%"), "errorRate max"),
        ("objectives.latency.quantile", json!("NaN"), "latency.quantile"),
        ("objectives.latency.quantile", json!("1e999"), "latency.quantile"),
        ("objectives.latency.quantile", json!("1.5"), "latency quantile"),
        ("objectives.latency.quantile", json!("0.4"), "latency quantile"),
        ("objectives.latency.target", json!("0ms"), "latency target"),
        ("objectives.latency.target", json!("2h"), "latency target"),
        ("objectives.latency.target", json!("-5ms"), "latency.target"),
        ("objectives.latency.tolerance", json!("100y"), "latency.tolerance"),
        ("objectives.latency.tolerance", json!("501ms"), "latency tolerance"),
        ("objectives.throughput.floor", json!("101/s"), "throughput floor"),
        ("objectives.throughput.floor", json!("0/s"), "throughput floor"),
        ("objectives.throughput.target", json!("1e9/s"), "throughput.target"),
        ("objectives.gpu.maxMemory", json!("101%"), "gpu.maxMemory"),
        ("objectives.gpu.maxUtilization", json!("0%"), "gpu maxUtilization"),
        ("objectives.latency.edge", json!("0ms"), "latency edge"),
        ("judgement.interval", json!("0s"), "judgement interval"),
        ("judgement.interval", json!("10m"), "judgement interval"),
        ("judgement.interval", json!("1500ms"), "judgement interval"),
        ("judgement.interval", json!("100y"), "judgement.interval"),
        ("judgement.per", json!("100y"), "judgement.per"),
        ("judgement.per", json!("36500d"), "judgement per"),
        ("judgement.warmUp", json!("2h"), "judgement warmUp"),
        ("judgement.escalateAfter", json!("1s"), "judgement escalateAfter"),
        (
            "judgement.falseRollbackRate",
            json!("0%"),
            "judgement falseRollbackRate",
        ),
        (
            "judgement.onMissingMetrics",
            json!("Ignore"),
            "judgement.onMissingMetrics",
        ),
        ("rollback.mode", json!("Yes"), "rollback.mode"),
        ("drill.schedule", json!("0 3 * *"), "drill.schedule"),
        ("drill.schedule", json!("60 3 * * 0"), "drill.schedule"),
        ("drill.schedule", json!("0 24 * * 0"), "drill.schedule"),
        ("drill.schedule", json!("a b c d e"), "drill.schedule"),
        ("drill.schedule", json!("0 3 * * 0; rm"), "drill.schedule"),
        ("drill.timeZone", json!("../etc/passwd"), "drill.timeZone"),
        ("drill.mode", json!("Production"), "drill.mode"),
        ("drill.keep", json!(0), "drill.keep"),
        ("rollback.cooldown", json!("31d"), "rollback cooldown"),
        ("rollback.cooldown", json!("0s"), "rollback cooldown"),
        ("checkpoints.maxLoadTime", json!("25h"), "checkpoints maxLoadTime"),
        ("checkpoints.maxLoadTime", json!("0s"), "checkpoints maxLoadTime"),
        ("checkpoints.testedWithin", json!("366d"), "checkpoints testedWithin"),
        ("checkpoints.registerAfter", json!("0s"), "checkpoints registerAfter"),
        ("checkpoints.registerAfter", json!("2d"), "checkpoints registerAfter"),
        ("checkpoints.maxAge", json!("0h"), "checkpoints maxAge"),
        ("checkpoints.maxAge", json!("366d"), "checkpoints maxAge"),
        ("checkpoints.keep", json!(1), "checkpoints.keep"),
        ("checkpoints.keep", json!(51), "checkpoints.keep"),
        ("report.review", json!("30s"), "report review"),
        ("report.review", json!("31d"), "report review"),
        ("report.review", json!("90000ms"), "report review"),
        ("report.keep", json!(0), "report.keep"),
        ("report.keep", json!(101), "report.keep"),
        ("recovery.rto", json!("0m"), "recovery rto"),
        ("recovery.rpo", json!("8d"), "recovery rpo"),
    ] {
        let mut changes = at(path, value);
        if path.starts_with("metrics.custom.") {
            merge(&mut changes, &json!({"metrics": {"preset": "custom"}}));
        }
        refused(create(&space, &changes), field);
    }
    let nothing = json!({"objectives": {
        "latency": {"enabled": false}, "errorRate": {"enabled": false}, "throughput": {"enabled": false},
    }});
    refused(create(&space, &nothing), "objectives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_end_is_refused() {
    let space = space("endless").await;
    let matchers: Vec<Value> = (0..50_000).map(|_| json!({"label": "a", "value": "b"})).collect();
    let custom = json!({"requests": {"metric": "requests_total", "matchers": matchers}});
    let changes = json!({"metrics": {"preset": "custom", "custom": custom}});
    refused(create(&space, &changes), "matchers");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_at_their_limits_are_accepted() {
    let space = space("limits").await;
    let matchers: Vec<Value> = (0..16)
        .map(|number| json!({"label": format!("l{number}"), "value": "\"} or vector(1) #"}))
        .collect();
    for changes in [
        json!({"objectives": {
            "errorRate": {"max": "50%"},
            "latency": {"quantile": "0.999", "target": "59m", "tolerance": "59m"},
            "throughput": {"floor": "100/s", "target": "100/s"},
            "gpu": {"maxMemory": "100%", "maxUtilization": "0.0001%"},
        }}),
        json!({"objectives": {
            "errorRate": {"max": "0.0001%"},
            "latency": {"quantile": "0.5", "target": "1ms", "tolerance": "0ms"},
            "throughput": {"floor": "0.0001/s"},
        }}),
        json!({
            "judgement": {"interval": "1s", "per": "5m", "warmUp": "0s", "escalateAfter": "10s", "falseRollbackRate": "0.0001%"},
            "rollback": {"cooldown": "1s"},
            "checkpoints": {"registerAfter": "1s", "maxAge": "1s", "keep": 2},
            "recovery": {"rto": "1s", "rpo": "1s"},
            "report": {"review": "1m", "keep": 1},
        }),
        json!({
            "judgement": {"interval": "5m", "per": "24h", "warmUp": "1h", "escalateAfter": "24h", "falseRollbackRate": "100%"},
            "rollback": {"cooldown": "30d"},
            "checkpoints": {"registerAfter": "24h", "maxAge": "365d", "keep": 50},
            "recovery": {"rto": "7d", "rpo": "7d"},
            "report": {"review": "30d", "keep": 100},
        }),
        json!({"metrics": {
            "preset": "custom", "custom": {"requests": {"metric": "requests_total", "matchers": matchers}},
        }}),
    ] {
        if let Err(error) = create(&space, &changes) {
            panic!("{changes}: {error}");
        }
        // The operator's own check agrees with the API server's.
        let object: Value = serde_json::from_str(&policy_named("ranker", &changes)).unwrap();
        let spec = serde_json::from_value(object["spec"].clone()).unwrap();
        if let Err(error) = quality_officer::validate::policy(&spec) {
            panic!("{changes}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_of_a_policy_and_the_record_of_an_incident_never_change() {
    let space = space("records").await;
    space.create(&policy(&json!({}))).unwrap();
    let other = json!({"spec": {"targetRef": {"name": "other"}}});
    refused(space.merge("qualitypolicy", "ranker", &other), "targetRef");
    let incident = json!({
        "apiVersion": "quality-officer.dev/v1alpha1", "kind": "QualityIncident", "metadata": {"name": "one"},
        "spec": {
            "key": "k", "policy": {"name": "ranker", "uid": "u"}, "deployment": {"name": "ranker", "uid": "u"},
            "replicaSet": "ranker-1", "revision": "1", "trigger": "ErrorRate", "severity": "Rollback",
            "onset": "2026-01-01T00:00:00Z", "detected": "2026-01-01T00:00:00Z", "reason": "r", "from": "f",
            "fromImages": [],
        },
    });
    space.create(&incident.to_string()).unwrap();
    let change = json!({"spec": {"reason": "another"}});
    refused(space.merge("qualityincident", "one", &change), "never changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_makes_no_sense_is_refused_with_the_name_of_its_field() {
    let space = space("refused-artifacts").await;
    let good = json!({"uri": "s3://models/x", "sha256": "a".repeat(64), "size": 1});
    let with = |changes: Value| {
        let mut artifact = good.clone();
        merge(&mut artifact, &changes);
        json!([artifact])
    };
    let many: Vec<Value> = (0..17)
        .map(|n| json!({"uri": format!("s3://models/{n}"), "sha256": "a".repeat(64), "size": 1}))
        .collect();
    for (artifacts, field) in [
        (with(json!({"uri": "models/x"})), "artifacts[0].uri"),
        (with(json!({"uri": "s3://user:secret@models/x"})), "artifacts[0].uri"),
        (with(json!({"uri": "https://models/x?token=1"})), "artifacts[0].uri"),
        (with(json!({"sha256": "abc"})), "artifacts[0].sha256"),
        (with(json!({"size": -1})), "artifacts[0].size"),
        (json!([good, good]), "each artifact is named once"),
        (json!(many), "artifacts"),
    ] {
        let mut object: Value =
            serde_json::from_str(&crate::scene::checkpoint("refused", &crate::scene::good())).unwrap();
        object["spec"]["artifacts"] = artifacts;
        refused(space.create(&object.to_string()), field);
    }
}
