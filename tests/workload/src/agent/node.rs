//! The node's own objects: Node, its status, and the Lease that says that it lives.

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

const MANAGER: &str = "node-agent";
const NAME: &str = "agent-0";
const CPU: &str = "32";
const MEMORY: &str = "128Gi";
const PODS: &str = "500";
const GPUS: &str = "256";
const LEASES: &str = "kube-node-lease";
const RENEW: Duration = Duration::from_secs(10);
const LEASE_SECONDS: u64 = 40;

/// Identity and capacity of a node.
#[derive(Debug, Clone, Args)]
pub struct NodeOptions {
    /// Name of the Node.
    #[arg(long, default_value = NAME)]
    pub node_name: String,
    /// Labels in addition to `type=agent`, as `key=value`.
    #[arg(long = "node-label", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// CPUs.
    #[arg(long, default_value = CPU)]
    pub cpu: String,
    /// Memory.
    #[arg(long, default_value = MEMORY)]
    pub memory: String,
    /// Pods.
    #[arg(long, default_value = PODS)]
    pub pods: String,
    /// GPUs.
    #[arg(long, default_value = GPUS)]
    pub gpus: String,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            node_name: NAME.to_owned(),
            labels: Vec::new(),
            cpu: CPU.to_owned(),
            memory: MEMORY.to_owned(),
            pods: PODS.to_owned(),
            gpus: GPUS.to_owned(),
        }
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Creates or updates the Node, its status and its Lease.
pub async fn register(client: &Client, options: &NodeOptions) -> kube::Result<()> {
    let nodes = Api::<Node>::all(client.clone());
    let force = PatchParams::apply(MANAGER).force();
    nodes
        .patch(&options.node_name, &force, &Patch::Apply(node(options)))
        .await?;
    nodes
        .patch_status(
            &options.node_name,
            &force,
            &Patch::Apply(status(options, Timestamp::now())),
        )
        .await?;
    renew(client, options).await
}

async fn renew(client: &Client, options: &NodeOptions) -> kube::Result<()> {
    let leases = Api::<Lease>::namespaced(client.clone(), LEASES);
    let force = PatchParams::apply(MANAGER).force();
    leases
        .patch(
            &options.node_name,
            &force,
            &Patch::Apply(lease(options, Timestamp::now())),
        )
        .await
        .map(drop)
}

/// Keeps the node alive; a failure is logged and tried again.
pub async fn heartbeat(client: Client, options: NodeOptions) {
    loop {
        tokio::time::sleep(RENEW).await;
        // The status goes with it: registering again also restores a Node that someone has deleted.
        if let Err(error) = register(&client, &options).await {
            tracing::warn!(%error, "renewing the node");
        }
    }
}

fn node(options: &NodeOptions) -> Value {
    let mut labels = BTreeMap::from([
        ("type", "agent"),
        ("kubernetes.io/hostname", &options.node_name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
    ]);
    labels.extend(options.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": options.node_name, "labels": labels},
    })
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    }
}

fn status(options: &NodeOptions, now: Timestamp) -> Value {
    let resources = json!({
        "cpu": options.cpu,
        "memory": options.memory,
        "pods": options.pods,
        "nvidia.com/gpu": options.gpus,
    });
    let condition = |kind: &str, status: &str, reason: &str| {
        // No lastTransitionTime: these never change while the agent lives.
        json!({"type": kind, "status": status, "reason": reason, "lastHeartbeatTime": now})
    };
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": options.node_name},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": options.node_name},
            ],
            "conditions": [
                condition("Ready", "True", "AgentReady"),
                condition("MemoryPressure", "False", "AgentHasSufficientMemory"),
                condition("DiskPressure", "False", "AgentHasNoDiskPressure"),
                condition("PIDPressure", "False", "AgentHasSufficientPID"),
            ],
            "nodeInfo": {
                "architecture": architecture(),
                "operatingSystem": "linux",
                "osImage": "local processes",
                "kernelVersion": "",
                "containerRuntimeVersion": "process://1",
                "kubeletVersion": "v1.37.2-node-agent",
                "kubeProxyVersion": "",
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
            },
        },
    })
}

fn lease(options: &NodeOptions, now: Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": options.node_name, "namespace": LEASES},
        "spec": {
            "holderIdentity": options.node_name,
            "leaseDurationSeconds": LEASE_SECONDS,
            // A MicroTime has exactly six digits.
            "renewTime": format!("{now:.6}"),
        },
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn options() -> NodeOptions {
        NodeOptions {
            node_name: "agent-7".into(),
            labels: vec![("zone".into(), "a".into())],
            cpu: "4".into(),
            memory: "8Gi".into(),
            pods: "10".into(),
            gpus: "2".into(),
        }
    }

    #[test]
    fn the_objects_have_the_shape_of_the_api() {
        let now = Timestamp::UNIX_EPOCH;
        let node: Node = serde_json::from_value(node(&options())).unwrap();
        let labels = node.metadata.labels.unwrap();
        assert_eq!((labels["type"].as_str(), labels["zone"].as_str()), ("agent", "a"));
        let node: Node = serde_json::from_value(status(&options(), now)).unwrap();
        assert_eq!(node.status.unwrap().capacity.unwrap()["nvidia.com/gpu"].0, "2");
        let lease = lease(&options(), now);
        assert_eq!(lease["spec"]["renewTime"], "1970-01-01T00:00:00.000000Z");
        serde_json::from_value::<Lease>(lease).unwrap();
    }

    #[test]
    fn a_label_needs_a_value() {
        assert!(parse_label("zone").is_err());
        assert_eq!(parse_label("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
    }
}
