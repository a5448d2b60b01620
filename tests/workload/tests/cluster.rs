//! The node agent on a real control plane: Deployments roll out, crash and go as real processes.
//!
//! `cargo run -p bed -- run --scrape-interval 1s -- cargo test -p workload --test cluster -- --ignored`
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use bed::Endpoints;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ContainerStatus, Namespace, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use workload::{
    Agent, AgentOptions, DeploymentOptions, GpuExporter, GpuExporterOptions, Load, LoadOptions, http, images,
    ranker_deployment,
};

/// Everything that the steps of the test share.
struct Stage {
    client: Client,
    http: http::Client,
    endpoints: Endpoints,
    agent: Agent,
}

impl Stage {
    async fn create(&self, namespace: &str, options: &DeploymentOptions) {
        let name = json!({"metadata": {"name": namespace}});
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces
            .create(&PostParams::default(), &serde_json::from_value(name).unwrap())
            .await
            .unwrap();
        let deployment = ranker_deployment(namespace, options);
        self.deployments(namespace)
            .create(&PostParams::default(), &deployment)
            .await
            .unwrap();
    }

    fn deployments(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn pods(&self, namespace: &str) -> Vec<Pod> {
        Api::namespaced(self.client.clone(), namespace)
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
    }

    async fn complete(&self, namespace: &str) -> bool {
        let deployment = self.deployments(namespace).get("ranker").await.unwrap();
        let wanted = deployment.spec.replicas;
        deployment.status.is_some_and(|status| {
            status.observed_generation == deployment.metadata.generation
                && status.updated_replicas == wanted
                && status.replicas == wanted
                && status.available_replicas == wanted
        })
    }

    async fn set_image(&self, namespace: &str, image: &str) {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "server", "image": image}]}}}});
        let api = self.deployments(namespace);
        api.patch("ranker", &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .unwrap();
    }

    /// The value of an instant query that has one result.
    async fn query(&self, query: &str) -> Option<f64> {
        let encoded = query.bytes().fold(String::new(), |mut text, byte| {
            write!(text, "%{byte:02x}").unwrap();
            text
        });
        let address = self
            .endpoints
            .prometheus
            .strip_prefix("http://")
            .unwrap()
            .parse()
            .unwrap();
        let answer = self
            .http
            .get(address, &format!("/api/v1/query?query={encoded}"))
            .await
            .unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

async fn eventually<F: Future<Output = bool>>(what: &str, check: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !check().await {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn status(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn waiting_reason(pod: &Pod) -> Option<&str> {
    status(pod)?.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

/// Process ids of the pods' containers.
fn processes(pods: &[Pod]) -> Vec<String> {
    let id = |pod: &Pod| {
        Some(
            status(pod)?
                .container_id
                .as_ref()?
                .strip_prefix("process://")?
                .to_owned(),
        )
    };
    pods.iter().filter_map(id).collect()
}

fn alive(id: &str) -> bool {
    // A zombie has ended; it only waits for its parent to notice.
    fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
#[ignore = "needs a control plane: see the first lines of this file"]
async fn deployments_run_as_real_processes() {
    let endpoints = Endpoints::from_env().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(&AgentOptions::new(
        &endpoints.kubeconfig,
        &endpoints.prometheus_targets,
        folder.path(),
    ))
    .unwrap();
    let http = http::Client::new(Duration::from_secs(5));
    let stage = Stage {
        client: Client::try_default().await.unwrap(),
        http,
        endpoints,
        agent,
    };
    tokio::join!(
        a_rolling_update_loses_no_request(&stage, folder.path()),
        releases_that_do_not_start_say_why(&stage)
    );
    no_process_outlives_a_killed_agent(stage).await;
}

async fn a_rolling_update_loses_no_request(stage: &Stage, folder: &Path) {
    stage.create("rolling", &DeploymentOptions::release("v1")).await;
    eventually("rollout of v1", || stage.complete("rolling")).await;
    for pod in stage.pods("rolling").await {
        let status = status(&pod).unwrap();
        assert_eq!(status.image, images::image("v1"));
        assert_eq!(status.image_id, images::pinned("v1").unwrap());
        assert_eq!(status.restart_count, 0);
        let conditions = pod.status.as_ref().unwrap().conditions.as_ref().unwrap();
        assert_eq!(conditions.len(), 5, "{conditions:?}");
        assert!(
            conditions
                .iter()
                .all(|condition| condition.status == "True" && condition.reason.is_none()),
            "{conditions:?}"
        );
    }
    let _exporter = GpuExporter::start(&GpuExporterOptions {
        ready_file: stage.agent.ready_file(),
        targets_file: stage.endpoints.prometheus_targets.join("gpu-exporter.json"),
        work_dir: folder.to_owned(),
    })
    .unwrap();
    let options = LoadOptions {
        rate: 100.0,
        ..LoadOptions::new(stage.agent.ready_file(), "rolling", folder)
    };
    let load = Load::start(&options).unwrap();

    let up = r#"count(up{namespace="rolling",app="ranker"} == 1)"#;
    eventually("three targets up", async || stage.query(up).await == Some(3.0)).await;
    let gpus = r#"count(DCGM_FI_DEV_GPU_UTIL{namespace="rolling",modelName="simulated"})"#;
    eventually("three GPUs", async || stage.query(gpus).await == Some(3.0)).await;
    let counted = r#"sum(http_requests_total{namespace="rolling",code="200"})"#;
    eventually("counted requests", async || stage.query(counted).await > Some(100.0)).await;

    // By digest, as a rollback does it.
    stage.set_image("rolling", &images::pinned("v2").unwrap()).await;
    eventually("rollout of v2", || stage.complete("rolling")).await;
    let gone = async || stage.pods("rolling").await.len() == 3;
    eventually("old pods are removed", gone).await;
    for pod in stage.pods("rolling").await {
        assert_eq!(status(&pod).unwrap().image_id, images::pinned("v2").unwrap());
    }
    let summary = load.finish().unwrap();
    assert!(summary.sent > 200, "{summary:?}");
    assert_eq!(summary.errors, 0, "{summary:?}");
    assert_eq!(summary.targets.len(), 6, "three old pods and three new ones");

    stage
        .deployments("rolling")
        .delete("ranker", &DeleteParams::default())
        .await
        .unwrap();
    eventually("pods end", async || stage.pods("rolling").await.is_empty()).await;
    let targets = fs::read_dir(&stage.endpoints.prometheus_targets).unwrap();
    let left = targets.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains("rolling"));
    assert_eq!(left.count(), 0);
}

async fn releases_that_do_not_start_say_why(stage: &Stage) {
    let one = |tag| DeploymentOptions {
        replicas: 1,
        ..DeploymentOptions::release(tag)
    };
    stage.create("crashing", &one("crash")).await;
    stage.create("unknown", &one("no-such-release")).await;
    stage.create("loading", &one("never-ready")).await;

    eventually("a crash loop", async || {
        stage.pods("crashing").await.iter().any(|pod| {
            let last = status(pod).and_then(|status| status.last_state.as_ref()?.terminated.as_ref());
            waiting_reason(pod) == Some("CrashLoopBackOff")
                && last.is_some_and(|terminated| terminated.exit_code == 1)
                && status(pod).is_some_and(|status| status.restart_count >= 1)
        })
    })
    .await;
    eventually("a failed pull", async || {
        stage
            .pods("unknown")
            .await
            .iter()
            .any(|pod| waiting_reason(pod) == Some("ImagePullBackOff"))
    })
    .await;
    eventually("an unready pod", async || {
        stage
            .pods("loading")
            .await
            .iter()
            .any(|pod| status(pod).is_some_and(|status| status.started == Some(true) && !status.ready))
    })
    .await;
    let ready = stage.agent.ready_pods().unwrap();
    assert!(ready.iter().all(|pod| pod.namespace == "rolling"), "{ready:?}");
}

async fn no_process_outlives_a_killed_agent(stage: Stage) {
    stage.create("ending", &DeploymentOptions::release("v1")).await;
    eventually("rollout", || stage.complete("ending")).await;

    // One process dies: its pod says so and starts it again.
    let pods = stage.pods("ending").await;
    let victim = processes(&pods[..1]).remove(0);
    std::process::Command::new("kill")
        .args(["-9", &victim])
        .status()
        .unwrap();
    let name = pods[0].name_any();
    eventually("a restart", async || {
        let pods = stage.pods("ending").await;
        pods.iter()
            .filter(|pod| pod.name_any() == name)
            .filter_map(status)
            .any(|status| {
                let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
                status.ready && status.restart_count == 1 && last.is_some_and(|last| last.exit_code == 137)
            })
    })
    .await;

    let running = processes(&stage.pods("ending").await);
    assert!(running.len() == 3 && running.iter().all(|id| alive(id)), "{running:?}");
    std::process::Command::new("kill")
        .args(["-9", &stage.agent.id().to_string()])
        .status()
        .unwrap();
    eventually("processes end with the agent", async || {
        !running.iter().any(|id| alive(id))
    })
    .await;
}
