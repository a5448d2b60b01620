//! `gpu-exporter`: simulated GPUs of the Ready pods, under the metric names and labels of the DCGM exporter.
//!
//! There is no GPU here, and every page says so. Levels come from a file that is read at each scrape.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use clap::Parser;
use prometheus_client::{
    encoding::text::encode,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    discovery::{DiscoveryError, ReadyPod, TargetGroup, read_json, write_json},
    process,
    server::metrics::CONTENT_TYPE,
};

/// Memory of a simulated GPU, MiB.
pub const MEMORY_MIB: f64 = 81_920.0;
/// Key of the level of pods that have none of their own.
pub const EVERY_POD: &str = "*";

const NOTICE: &str = "These GPUs are simulated: no value here is measured on a device.\n";
/// Peak deviation of a value from its level, percentage points.
const JITTER: f64 = 2.0;

/// Failures of the exporter.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// The port is taken.
    #[error("listening: {0}")]
    Listen(std::io::Error),
    /// Accepting connections failed.
    #[error("serving: {0}")]
    Serve(std::io::Error),
    /// A file cannot be read or written.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The page cannot be written.
    #[error("encoding: {0}")]
    Encode(#[from] std::fmt::Error),
    /// Signals cannot be received.
    #[error(transparent)]
    Process(#[from] process::ProcessError),
}

/// Simulated GPUs under the names of the DCGM exporter.
#[derive(Debug, Clone, Parser)]
#[command(name = "gpu-exporter")]
pub struct GpuArguments {
    /// The node agent's list of Ready pods.
    #[arg(long)]
    pub ready_file: PathBuf,
    /// JSON object from `namespace/app`, or `*` for all others, to `{"util": 60, "memory": 55, "xid": 0}` (percent,
    /// percent, last XID error); read at each scrape.
    #[arg(long)]
    pub levels: Option<PathBuf>,
    /// `file_sd` file to write for Prometheus.
    #[arg(long)]
    pub targets_file: Option<PathBuf>,
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Name of the node in the label `Hostname`.
    #[arg(long, default_value = "agent-0")]
    pub node_name: String,
    /// Seed of the jitter.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// How busy a pod's GPU is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuLevel {
    /// Utilisation, percent.
    pub util: f64,
    /// Share of the memory in use, percent.
    pub memory: f64,
    /// The last XID error, 0 for none.
    pub xid: u32,
}

impl Default for GpuLevel {
    fn default() -> Self {
        Self {
            util: 60.0,
            memory: 55.0,
            xid: 0,
        }
    }
}

/// Levels by `namespace/app` or [`EVERY_POD`].
pub type GpuLevels = BTreeMap<String, GpuLevel>;

struct Exporter {
    options: GpuArguments,
    devices: Mutex<Devices>,
}

/// Which GPU each pod holds; a pod keeps its own as long as it is there.
#[derive(Debug)]
struct Devices {
    held: BTreeMap<(String, String), u32>,
    jitter: Xoshiro256PlusPlus,
}

impl Devices {
    fn new(seed: u64) -> Self {
        Self {
            held: BTreeMap::new(),
            jitter: Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x690),
        }
    }

    fn assign(&mut self, pods: &[ReadyPod]) {
        let key = |pod: &ReadyPod| (pod.namespace.clone(), pod.pod.clone());
        self.held.retain(|holder, _| pods.iter().any(|pod| key(pod) == *holder));
        for pod in pods {
            let taken: BTreeSet<u32> = self.held.values().copied().collect();
            // One more than are taken, so that one is free.
            let free = (0..=taken.len() as u32)
                .find(|gpu| !taken.contains(gpu))
                .unwrap_or_default();
            self.held.entry(key(pod)).or_insert(free);
        }
    }
}

type Labels = Vec<(&'static str, String)>;
type Values = Family<Labels, Gauge<f64, AtomicU64>>;

/// Serves until SIGTERM.
pub async fn run(options: GpuArguments) -> Result<(), GpuError> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
        .await
        .map_err(GpuError::Listen)?;
    let address = listener.local_addr().map_err(GpuError::Listen)?;
    if let Some(path) = &options.targets_file {
        write_json(path, &[target(address)])?;
    }
    tracing::info!(%address, "listening; these GPUs are simulated");
    let devices = Mutex::new(Devices::new(options.seed));
    let targets_file = options.targets_file.clone();
    let router = Router::new()
        .route("/", get(async || NOTICE))
        .route("/metrics", get(page))
        .with_state(Arc::new(Exporter { options, devices }));
    let serve = axum::serve(listener, router);
    tokio::select! {
        served = async { serve.await } => served.map_err(GpuError::Serve)?,
        signal = process::shutdown_signal() => signal?,
    }
    if let Some(path) = &targets_file {
        write_json(path, &Vec::<TargetGroup>::new())?;
    }
    Ok(())
}

fn target(address: SocketAddr) -> TargetGroup {
    TargetGroup {
        targets: vec![address.to_string()],
        labels: BTreeMap::new(),
    }
}

async fn page(State(exporter): State<Arc<Exporter>>) -> Response {
    match exporter.page() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl Exporter {
    fn page(&self) -> Result<String, GpuError> {
        let pods: Vec<ReadyPod> = read_json(&self.options.ready_file)?;
        let levels: GpuLevels = self
            .options
            .levels
            .as_deref()
            .map(read_json)
            .transpose()?
            .unwrap_or_default();
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(encode_page(&mut devices, &self.options.node_name, &pods, &levels)?)
    }
}

fn encode_page(
    devices: &mut Devices,
    node: &str,
    pods: &[ReadyPod],
    levels: &GpuLevels,
) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    let mut register = |name: &str, help: &str| {
        let values = Values::default();
        registry.register(name, format!("SIMULATED: {help}"), values.clone());
        values
    };
    let util = register("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %)");
    let used = register("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB)");
    let free = register("DCGM_FI_DEV_FB_FREE", "Framebuffer memory free (in MiB)");
    let xid = register("DCGM_FI_DEV_XID_ERRORS", "Value of the last XID error encountered");
    let active = register(
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        "Ratio of time the graphics engine is active",
    );
    devices.assign(pods);
    for pod in pods {
        let level = levels
            .get(&format!("{}/{}", pod.namespace, pod.app))
            .or_else(|| levels.get(EVERY_POD))
            .copied()
            .unwrap_or_default();
        let gpu = devices
            .held
            .get(&(pod.namespace.clone(), pod.pod.clone()))
            .copied()
            .unwrap_or_default();
        let labels = labels(pod, node, gpu);
        let mut jittered = |level: f64| (level + devices.jitter.random_range(-JITTER..=JITTER)).clamp(0.0, 100.0);
        let (busy, full) = (jittered(level.util), jittered(level.memory));
        let used_mib = (MEMORY_MIB * full / 100.0).round();
        // DCGM reports whole percent and MiB.
        for (values, value) in [
            (&util, busy.round()),
            (&used, used_mib),
            (&free, MEMORY_MIB - used_mib),
            (&xid, f64::from(level.xid)),
            (&active, busy / 100.0),
        ] {
            values.get_or_create(&labels).set(value);
        }
    }
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn labels(pod: &ReadyPod, node: &str, gpu: u32) -> Labels {
    let hex = format!("{:x}", Sha256::digest(format!("{node}/{gpu}")));
    let uuid = format!(
        "GPU-{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..32]
    );
    vec![
        ("gpu", gpu.to_string()),
        ("UUID", uuid),
        ("device", format!("nvidia{gpu}")),
        ("modelName", "simulated".to_owned()),
        ("Hostname", node.to_owned()),
        ("container", "server".to_owned()),
        ("namespace", pod.namespace.clone()),
        ("pod", pod.pod.clone()),
    ]
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "tests; the values are set, not computed"
)]
mod tests {
    use super::*;
    use crate::exposition::Exposition;

    fn pod(namespace: &str, name: &str) -> ReadyPod {
        ReadyPod {
            namespace: namespace.into(),
            pod: name.into(),
            app: "ranker".into(),
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
        }
    }

    #[test]
    fn values_follow_the_level_of_namespace_and_app() {
        let levels: GpuLevels =
            serde_json::from_str(r#"{"a/ranker": {"util": 95, "memory": 80, "xid": 79}, "*": {"util": 10}}"#).unwrap();
        let text = encode_page(&mut Devices::new(1), "node", &[pod("a", "p"), pod("b", "q")], &levels).unwrap();
        let page = Exposition::parse(&text).unwrap();
        let value = |name, pod| page.sum(name, &[("pod", pod), ("modelName", "simulated")]);
        assert!((93.0..=97.0).contains(&value("DCGM_FI_DEV_GPU_UTIL", "p")));
        assert!((8.0..=12.0).contains(&value("DCGM_FI_DEV_GPU_UTIL", "q")));
        assert!((0.93..=0.97).contains(&value("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "p")));
        assert_eq!(value("DCGM_FI_DEV_XID_ERRORS", "p"), 79.0);
        assert_eq!(
            value("DCGM_FI_DEV_FB_USED", "q") + value("DCGM_FI_DEV_FB_FREE", "q"),
            MEMORY_MIB
        );
        assert!(
            text.lines()
                .filter(|line| line.starts_with("# HELP"))
                .all(|line| line.contains("SIMULATED"))
        );
    }

    #[test]
    fn a_pod_keeps_its_gpu_while_others_come_and_go() {
        let mut devices = Devices::new(1);
        devices.assign(&[pod("a", "1"), pod("a", "2")]);
        devices.assign(&[pod("a", "2"), pod("a", "3"), pod("a", "4")]);
        let held: Vec<(&str, u32)> = devices
            .held
            .iter()
            .map(|((_, name), gpu)| (name.as_str(), *gpu))
            .collect();
        assert_eq!(held, [("2", 1), ("3", 0), ("4", 2)]);
    }
}
