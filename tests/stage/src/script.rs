//! A scripted service for what needs no real one: pods are KWOK's, and one local exporter shows the counters
//! that such pods would have, by their image. The API server, the Deployments and Prometheus are real; only
//! the requests are not. Counts are exact: rate times the time since the pod appeared.

use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use futures::StreamExt;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, Client, ResourceExt, api::PostParams, runtime::watcher};
use serde_json::json;

use crate::{
    Space, StageError,
    layout::{Layout, Lines},
};

/// How the pods of one image behave.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Requests per second and pod.
    pub rate: f64,
    /// Share that fails.
    pub errors: f64,
    /// Share that takes 1.5 s; the others take 0.2 s.
    pub slow: f64,
    /// Requests in work.
    pub in_flight: f64,
    /// GPU utilisation, share of 1; none without GPU.
    pub gpu: Option<f64>,
    /// Share of the GPU's memory that is used, where there is a GPU.
    pub gpu_memory: f64,
    /// What the exporter answers instead of metrics, when it does.
    pub instead: Option<Instead>,
}

/// What an exporter can do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// Every value is NaN.
    NotANumber,
    /// Status 503: the series end.
    Down,
    /// Every sample carries a time one minute ago: the series go on, and what they say is old.
    Old,
}

impl Behaviour {
    /// 100 requests per second and pod, 0.1 % errors, 1 % slow.
    pub const HEALTHY: Self = Self {
        rate: 100.0,
        errors: 0.001,
        slow: 0.01,
        in_flight: 60.0,
        gpu: None,
        gpu_memory: 0.4,
        instead: None,
    };
    /// 10 % errors.
    pub const FAILING: Self = Self {
        errors: 0.1,
        ..Self::HEALTHY
    };
    /// Half of the requests slow.
    pub const SLOW: Self = Self {
        slow: 0.5,
        ..Self::HEALTHY
    };
    /// A tenth of the requests, and a queue of them.
    pub const CHOKED: Self = Self {
        rate: 4.0,
        in_flight: 400.0,
        ..Self::HEALTHY
    };
}

struct Exported {
    layout: Layout,
    behaviours: HashMap<String, Behaviour>,
    pods: HashMap<(String, String), Counting>,
}

struct Counting {
    image: String,
    begin: Instant,
    requests: f64,
    errors: f64,
    slow: f64,
    last: Instant,
}

type Shared = Arc<Mutex<Exported>>;

/// The exporter and the list of pods that Prometheus scrapes from it. One serves all namespaces of a test.
pub struct Service {
    shared: Shared,
    folder: PathBuf,
    address: SocketAddr,
    namespaces: Vec<String>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Service {
    /// Starts an exporter whose targets are written into `folder`, in the `file_sd` format.
    pub async fn start(folder: PathBuf) -> Result<Self, StageError> {
        std::fs::create_dir_all(&folder).map_err(StageError::io(format!("make {}", folder.display())))?;
        let shared = Arc::new(Mutex::new(Exported {
            layout: Layout::Http,
            behaviours: HashMap::new(),
            pods: HashMap::new(),
        }));
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(StageError::io("listen"))?;
        let address = listener.local_addr().map_err(StageError::io("listen"))?;
        let router = Router::new()
            .route("/{namespace}/{pod}", get(metrics))
            .with_state(shared.clone());
        let server = tokio::spawn(async move {
            // It ends with its task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            shared,
            folder,
            address,
            namespaces: Vec::new(),
            tasks: vec![server],
        })
    }

    /// From now on the counters have the names of this server.
    pub fn speak(&self, layout: Layout) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).layout = layout;
    }

    /// From now on, pods with this image behave so.
    pub fn behave(&self, image: &str, behaviour: Behaviour) {
        let mut exported = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        // What was counted so far stays counted.
        exported.settle();
        exported.behaviours.insert(image.to_owned(), behaviour);
    }

    /// Follows the pods of a namespace: each Ready one is a target, as a PodMonitor would make it.
    pub fn follow(&mut self, client: Client, namespace: &str) {
        let (shared, folder, address) = (self.shared.clone(), self.folder.clone(), self.address);
        let namespace = namespace.to_owned();
        self.namespaces.push(namespace.clone());
        self.tasks.push(tokio::spawn(async move {
            let pods = watcher(Api::<Pod>::namespaced(client, &namespace), watcher::Config::default());
            let mut known: BTreeMap<String, String> = BTreeMap::new();
            let mut written = None;
            let mut pods = std::pin::pin!(pods);
            while let Some(event) = pods.next().await {
                // The API server is away: a pod that it makes when it is back is scraped at once.
                let Ok(event) = event else {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    continue;
                };
                match event {
                    watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => {
                        let image = pod
                            .spec
                            .as_ref()
                            .and_then(|spec| spec.containers.first())
                            .and_then(|container| container.image.clone());
                        if is_running(&pod) {
                            known.insert(pod.name_any(), image.unwrap_or_default());
                        } else {
                            known.remove(&pod.name_any());
                        }
                    }
                    watcher::Event::Delete(pod) => {
                        known.remove(&pod.name_any());
                    }
                    watcher::Event::Init | watcher::Event::InitDone => {}
                }
                update(&shared, &namespace, &known);
                // Prometheus reads every file again when one is written.
                if written.as_ref() != Some(&known) {
                    write_targets(&folder, &namespace, address, known.keys());
                    written = Some(known.clone());
                }
            }
        }));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        // Nobody answers there any more: each scrape of it would fail, every second.
        for namespace in &self.namespaces {
            let _ = std::fs::remove_file(targets(&self.folder, namespace));
        }
    }
}

fn targets(folder: &std::path::Path, namespace: &str) -> PathBuf {
    folder.join(format!("{namespace}.json"))
}

fn is_running(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod
            .status
            .as_ref()
            .is_some_and(|status| status.phase.as_deref() == Some("Running"))
}

fn update(shared: &Shared, namespace: &str, known: &BTreeMap<String, String>) {
    let mut exported = shared.lock().unwrap_or_else(PoisonError::into_inner);
    exported
        .pods
        .retain(|(pod_namespace, pod), _| pod_namespace != namespace || known.contains_key(pod));
    let now = Instant::now();
    for (pod, image) in known {
        exported
            .pods
            .entry((namespace.to_owned(), pod.clone()))
            .or_insert_with(|| Counting {
                image: image.clone(),
                begin: now,
                requests: 0.0,
                errors: 0.0,
                slow: 0.0,
                last: now,
            });
    }
}

fn write_targets<'a>(
    folder: &std::path::Path,
    namespace: &str,
    address: SocketAddr,
    pods: impl Iterator<Item = &'a String>,
) {
    let list: Vec<_> = pods
        .map(|pod| {
            json!({"targets": [address.to_string()], "labels": {
                "namespace": namespace, "pod": pod, "instance": pod, "__metrics_path__": format!("/{namespace}/{pod}"),
            }})
        })
        .collect();
    // Prometheus reads the old file or the new one, never half of one.
    let part = folder.join(format!("{namespace}.part"));
    if std::fs::write(&part, json!(list).to_string()).is_ok() {
        let _ = std::fs::rename(part, targets(folder, namespace));
    }
}

impl Exported {
    /// Counts up to now, by the behaviours as they are.
    fn settle(&mut self) {
        let now = Instant::now();
        for counting in self.pods.values_mut() {
            let Some(behaviour) = self.behaviours.get(&counting.image) else {
                continue;
            };
            let seconds = now.duration_since(counting.last).as_secs_f64();
            counting.last = now;
            let requests = behaviour.rate * seconds;
            counting.requests += requests;
            counting.errors += requests * behaviour.errors;
            counting.slow += requests * behaviour.slow;
        }
    }
}

async fn metrics(State(shared): State<Shared>, Path((namespace, pod)): Path<(String, String)>) -> (StatusCode, String) {
    let mut exported = shared.lock().unwrap_or_else(PoisonError::into_inner);
    exported.settle();
    let found = exported.pods.get(&(namespace, pod));
    let behaviour = found.and_then(|counting| exported.behaviours.get(&counting.image));
    let (Some(counting), Some(behaviour)) = (found, behaviour) else {
        return (StatusCode::NOT_FOUND, String::new());
    };
    match behaviour.instead {
        Some(Instead::Down) => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
        Some(Instead::NotANumber | Instead::Old) | None => (StatusCode::OK, text(counting, behaviour, exported.layout)),
    }
}

fn text(counting: &Counting, behaviour: &Behaviour, layout: Layout) -> String {
    let mut lines = Lines::new(behaviour.instead);
    layout.write(
        &mut lines,
        counting.requests,
        counting.errors,
        counting.slow,
        behaviour.in_flight,
    );
    if let Some(gpu) = behaviour.gpu {
        lines.add("DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"}", gpu * 100.0);
        lines.add("DCGM_FI_DEV_FB_USED{gpu=\"0\"}", behaviour.gpu_memory * 100.0);
        lines.add("DCGM_FI_DEV_FB_FREE{gpu=\"0\"}", 100.0 - behaviour.gpu_memory * 100.0);
    }
    lines.add("scripted_seconds", counting.begin.elapsed().as_secs_f64());
    lines.text()
}

/// A Deployment of one container `server` on the fake node, as a person would write it.
pub fn deployment(name: &str, image: &str) -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "nodeSelector": {"type": "kwok"},
                    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
                    "containers": [{"name": "server", "image": image}],
                },
            },
        },
    })
}

/// Makes a Deployment `ranker` of 3 pods on the fake node.
pub async fn deploy(space: &Space, image: &str) -> Result<Deployment, StageError> {
    let mut object = deployment("ranker", image);
    object["spec"]["replicas"] = json!(3);
    let deployment = serde_json::from_value(object).map_err(|error| StageError::Unexpected(error.to_string()))?;
    Ok(space
        .api::<Deployment>()
        .create(&PostParams::default(), &deployment)
        .await?)
}

/// Waits until every replica of a Deployment runs its newest template.
pub async fn rolled_out(space: &Space, deployment: &str) -> Result<Deployment, StageError> {
    space
        .wait(
            "the rollout is complete",
            deployment,
            Duration::from_secs(60),
            |deployment: &Deployment| {
                let desired = deployment.spec.replicas.unwrap_or(1);
                deployment.status.as_ref().is_some_and(|status| {
                    status.observed_generation >= deployment.metadata.generation
                        && [status.updated_replicas, status.replicas, status.available_replicas]
                            .iter()
                            .all(|count| *count == Some(desired))
                })
            },
        )
        .await
}
