//! The objects that a bed creates in its cluster before it is ready.

use serde_json::{Value, json};

/// The fake node's name.
pub const KWOK_NODE: &str = "kwok-0";
/// The user that KWOK is.
pub const KWOK_USER: &str = "kwok";
/// The annotation of the nodes that KWOK keeps; it leaves all others alone.
pub const KWOK_ANNOTATION: &str = "kwok.x-k8s.io/node";

/// Collection and object, in the order in which they are created.
pub fn for_kwok() -> Vec<(&'static str, Value)> {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": KWOK_USER },
        "rules": [
            { "apiGroups": [""], "resources": ["nodes", "pods"],
              "verbs": ["get", "list", "watch", "update", "patch", "delete"] },
            { "apiGroups": [""], "resources": ["nodes/status", "pods/status"], "verbs": ["update", "patch"] },
            { "apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch", "update"] },
            { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"] },
            { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
              "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"] },
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": KWOK_USER },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": KWOK_USER },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": KWOK_USER }],
    });
    vec![
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", role),
        ("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding),
        ("/api/v1/nodes", node()),
    ]
}

/// The fake node: room for thousands of pods and GPUs, which only pods that tolerate its taint use.
fn node() -> Value {
    let resources = json!({
        "cpu": "1000", "memory": "4Ti", "ephemeral-storage": "10Ti", "pods": "10000", "nvidia.com/gpu": "1000",
    });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": KWOK_NODE,
            "annotations": { KWOK_ANNOTATION: "fake" },
            "labels": {
                "type": "kwok",
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": KWOK_NODE,
                "kubernetes.io/os": "linux",
            },
        },
        "spec": { "taints": [{ "key": KWOK_ANNOTATION, "value": "fake", "effect": "NoSchedule" }] },
        "status": { "allocatable": resources, "capacity": resources },
    })
}

/// Whether pods can be scheduled to the node: Ready, and no taint says otherwise any more.
pub fn is_node_ready(node: &Value) -> bool {
    let ready = node["status"]["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
    let tainted = node["spec"]["taints"]
        .as_array()
        .is_some_and(|all| all.iter().any(|taint| taint["key"] == "node.kubernetes.io/not-ready"));
    ready && !tainted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_once_its_condition_and_its_taints_say_so() {
        let mut node = node();
        assert!(!is_node_ready(&node));
        node["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]);
        assert!(is_node_ready(&node));
        node["spec"]["taints"] = json!([{ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" }]);
        assert!(!is_node_ready(&node));
    }
}
