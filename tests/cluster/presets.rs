//! Each preset on the names, labels and bucket edges that its server has: what is healthy is registered, what fails or is
//! slow goes back, and what is not the server's own failure counts as none.

use futures::future::join_all;
use quality_api::{IncidentState, QualityReport};
use quality_core::incident::Trigger;
use serde_json::json;
use stage::{Behaviour, Layout};

use crate::scene::{Scene, bad, good, policy};

const PRESETS: [(&str, Layout); 5] = [
    ("vllm", Layout::Vllm),
    ("triton", Layout::Triton),
    ("tgi", Layout::Tgi),
    ("kserve", Layout::Kserve),
    ("istio", Layout::Istio),
];

/// A healthy release of a server that names its metrics so was registered.
async fn guarded(preset: &str, layout: Layout, case: &str) -> Scene {
    let scene = Scene::unguarded(&format!("preset-{preset}-{case}")).await;
    scene.service.speak(layout);
    scene.guard(&policy(&json!({"metrics": {"preset": preset}}))).await
}

async fn goes_back_for(preset: &str, layout: Layout, behaviour: Behaviour, case: &str, trigger: Trigger) {
    let scene = guarded(preset, layout, case).await;
    scene.service.behave(&bad(), behaviour);
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Recovered).await;
    assert_eq!(incident.spec.trigger, trigger, "{preset}: {}", incident.spec.reason);
    assert_eq!(scene.runs().await, good(), "{preset}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_release_goes_back_by_the_names_of_every_preset() {
    join_all(PRESETS.map(|(preset, layout)| goes_back_for(preset, layout, Behaviour::SLOW, "slow", Trigger::Latency)))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_release_goes_back_by_the_names_of_every_preset_that_counts_failures() {
    let counting = PRESETS.into_iter().filter(|(preset, _)| *preset != "kserve");
    let all = counting
        .map(|(preset, layout)| goes_back_for(preset, layout, Behaviour::FAILING, "failing", Trigger::ErrorRate));
    join_all(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_rate_that_a_server_does_not_count_is_unsupported_and_never_zero() {
    let scene = guarded("kserve", Layout::Kserve, "errors").await;
    let row = |report: &QualityReport| {
        let rows = report.status.clone().unwrap_or_default().slo_summary;
        rows.into_iter().find(|row| row.slo == "Error Rate")
    };
    let report = scene
        .report("the report has its rows", |report| row(report).is_some())
        .await;
    let found = row(&report).unwrap();
    assert_eq!(
        (found.current.as_str(), found.status.as_str()),
        ("—", "unsupported"),
        "{found:?}"
    );
    assert_eq!(report.status.unwrap_or_default().errors, "—");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_every_preset_is_taken_by_the_api_server() {
    let space = crate::scene::space("preset-examples").await;
    for (preset, _) in PRESETS {
        let path = stage::install::project().join(format!("examples/presets/{preset}.yaml"));
        let example = std::fs::read_to_string(&path).unwrap();
        assert!(example.contains(&format!("preset: {preset}")), "{preset}");
        let here = example.replace("namespace: shop", "namespace: preset-examples");
        space.apply(&here).unwrap_or_else(|error| panic!("{preset}: {error}"));
        let name = here
            .lines()
            .find_map(|line| line.strip_prefix("metadata: {name: "))
            .unwrap();
        let name = name.split(',').next().unwrap();
        space.kubectl(&["delete", "qualitypolicy", name]).unwrap();
    }
}
