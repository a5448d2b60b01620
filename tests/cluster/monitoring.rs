//! The dashboard's queries and the rules' expressions against a Prometheus that scrapes a real operator, and each alert
//! by promtool.

use std::{path::PathBuf, process::Command, time::Duration};

use quality_api::{DrillMode, IncidentState};
use serde_json::{Value, json};

use crate::{
    drills::{ask, finished},
    scene::{Scene, bad},
};

fn monitoring(name: &str) -> String {
    let path = stage::install::project().join("deploy/monitoring").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every query of the dashboard with its panel, as Grafana would send it.
fn dashboard_queries(namespace: &str) -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&monitoring("dashboard.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let query = query
                .replace("$namespace", namespace)
                .replace("$policy", ".*")
                .replace("$__rate_interval", "1m")
                .replace("$__range", "1h");
            assert!(!query.contains('$'), "{query}");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    queries
}

fn rules() -> Value {
    let rules: Value = serde_saphyr::from_str(&monitoring("rules.yaml")).unwrap();
    rules["spec"].clone()
}

fn each_rule(rules: &Value) -> Vec<Value> {
    let groups = rules["groups"].as_array().unwrap();
    groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

async fn asked(prometheus: &str, query: &str) -> Value {
    let url = format!("{prometheus}/api/v1/query");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut address = reqwest::Url::parse(&url).unwrap();
    address.query_pairs_mut().append_pair("query", query);
    let answer = client.get(address).send().await.unwrap().bytes().await.unwrap();
    serde_json::from_slice(&answer).unwrap()
}

async fn samples(prometheus: &str, query: &str) -> usize {
    let answer = asked(prometheus, query).await;
    assert_eq!(answer["status"], "success", "{query}: {answer}");
    answer["data"]["result"].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_and_every_alert_is_answered_from_a_real_operator() {
    let scene = Scene::guarded("monitored").await;
    let targets = json!([{"targets": [scene.operator.address()], "labels": {"job": "quality-officer"}}]);
    let file = scene.space.endpoints.prometheus_targets.join("operator-monitored.json");
    std::fs::write(&file, targets.to_string()).unwrap();
    ask(&scene, "rehearsal", DrillMode::Shadow);
    finished(&scene, "rehearsal").await;
    scene.ship(&bad()).await;
    scene.incident(IncidentState::Recovered).await;
    let prometheus = scene.space.endpoints.prometheus.clone();
    for (panel, query) in dashboard_queries("monitored") {
        let found = || async { Ok(samples(&prometheus, &query).await) };
        let what = format!("panel {panel} shows something: {query}");
        scene
            .space
            .poll(&what, Duration::from_secs(60), found, |count| *count > 0)
            .await
            .unwrap();
    }
    for (query, least) in [
        ("sum(quality_officer_rollbacks_total{job=\"quality-officer\"})", 1.0),
        (
            "sum(quality_officer_incidents_closed_total{state=\"Recovered\",escalated=\"false\"})",
            1.0,
        ),
        ("sum(quality_officer_drills_total{result=\"Passed\"})", 1.0),
        ("sum(quality_officer_false_rollbacks_allowed_total)", 0.000_01),
    ] {
        let read = || async {
            let answer = asked(&prometheus, query).await;
            let value = answer["data"]["result"][0]["value"][1]
                .as_str()
                .and_then(|value| value.parse::<f64>().ok());
            Ok(value.unwrap_or(0.0))
        };
        scene
            .space
            .poll(query, Duration::from_secs(30), read, |value| *value >= least)
            .await
            .unwrap();
    }
    for rule in each_rule(&rules()) {
        // It is evaluated; whether it fires is promtool's part.
        samples(&prometheus, rule["expr"].as_str().unwrap()).await;
    }
    std::fs::remove_file(file).unwrap();
}

fn promtool(folder: &PathBuf, arguments: &[&str]) {
    let program = bed::prometheus::promtool().unwrap();
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_fires_when_it_should_and_not_before_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let mut rules = rules();
    std::fs::write(path.join("full.yml"), rules.to_string()).unwrap();
    // promtool compares annotations word by word; what they say is looked at below.
    for group in rules["groups"].as_array_mut().unwrap() {
        for rule in group["rules"].as_array_mut().unwrap() {
            rule.as_object_mut().unwrap().remove("annotations");
        }
    }
    std::fs::write(path.join("rules.yml"), rules.to_string()).unwrap();
    let tests = monitoring("rules_test.yaml");
    std::fs::write(path.join("rules_test.yaml"), &tests).unwrap();
    tokio::task::spawn_blocking(move || {
        promtool(&path, &["check", "rules", "full.yml"]);
        promtool(&path, &["test", "rules", "rules_test.yaml"]);
    })
    .await
    .unwrap();
    for rule in each_rule(&self::rules()) {
        let name = rule["alert"].as_str().unwrap();
        assert!(
            tests.matches(&format!("alertname: {name}")).count() >= 2,
            "{name} is tested firing and not firing"
        );
        let said = |key: &str| rule["annotations"][key].as_str().unwrap_or_default().len();
        assert!(
            said("summary") > 20 && said("runbook") > 80,
            "{name} says what it means and what to do"
        );
    }
}
