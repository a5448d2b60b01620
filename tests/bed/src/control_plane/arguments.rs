//! The command line of each server.

use std::path::Path;

use super::files::Files;

/// The ports that the servers of one bed listen on, all on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub etcd: u16,
    pub etcd_peers: u16,
    pub api_server: u16,
    pub controllers: u16,
    pub scheduler: u16,
    pub kwok: u16,
}

/// The Services' addresses: 10.0.0.1 is on the server certificate.
const SERVICE_RANGE: &str = "10.0.0.0/16";

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

/// The servers' certificate, and the port on 127.0.0.1: the same flags for the three Kubernetes servers.
fn serving(files: &Files, port: u16) -> Vec<String> {
    vec![
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        flag("tls-cert-file", &files.server.certificate),
        flag("tls-private-key-file", &files.server.key),
    ]
}

/// How a client of the API server reaches it, also to check who asks it for metrics.
fn client(files: &Files, kubeconfig: &Path) -> Vec<String> {
    vec![
        flag("kubeconfig", kubeconfig),
        flag("authentication-kubeconfig", kubeconfig),
        flag("authorization-kubeconfig", kubeconfig),
        flag("client-ca-file", &files.authority.certificate),
        // Who asks for metrics is checked against the authority below, not against one read from the cluster.
        "--authentication-skip-lookup=true".to_owned(),
        // The only replica: nothing to wait for.
        "--leader-elect=false".to_owned(),
    ]
}

pub fn etcd(data: &Path, ports: Ports) -> Vec<String> {
    let clients = format!("http://127.0.0.1:{}", ports.etcd);
    let peers = format!("http://127.0.0.1:{}", ports.etcd_peers);
    vec![
        "--name=bed".to_owned(),
        flag("data-dir", data),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=bed={peers}"),
        // The data ends with the bed, so it need not survive a power cut.
        "--unsafe-no-fsync".to_owned(),
    ]
}

pub fn api_server(files: &Files, ports: Ports) -> Vec<String> {
    let mut arguments = serving(files, ports.api_server);
    arguments.extend([
        format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd),
        "--advertise-address=127.0.0.1".to_owned(),
        // A loopback address cannot be an endpoint of the `kubernetes` Service.
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--allow-privileged=true".to_owned(),
        flag("client-ca-file", &files.authority.certificate),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        flag("service-account-key-file", &files.token_public_key),
        flag("service-account-signing-key-file", &files.token_key),
        flag("audit-policy-file", &files.audit_policy),
        flag("audit-log-path", &files.audit_log),
        "--profiling=false".to_owned(),
    ]);
    arguments
}

pub fn controller_manager(files: &Files, ports: Ports) -> Vec<String> {
    let mut arguments = serving(files, ports.controllers);
    arguments.extend(client(files, &files.controllers));
    arguments.extend([
        // It hands out pod networks, which no bed has.
        "--controllers=*,-node-ipam-controller".to_owned(),
        // Each controller has the rights of its own role, as in a real cluster.
        "--use-service-account-credentials=true".to_owned(),
        flag("service-account-private-key-file", &files.token_key),
        flag("root-ca-file", &files.authority.certificate),
        flag("cluster-signing-cert-file", &files.authority.certificate),
        flag("cluster-signing-key-file", &files.authority.key),
        // Many tests at once, and no one else to be fair to.
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
        "--profiling=false".to_owned(),
    ]);
    arguments
}

pub fn scheduler(files: &Files, ports: Ports) -> Vec<String> {
    let mut arguments = serving(files, ports.scheduler);
    arguments.extend(client(files, &files.scheduler));
    arguments.push("--profiling=false".to_owned());
    arguments
}

pub fn kwok(files: &Files, ports: Ports, annotation: &str) -> Vec<String> {
    vec![
        flag("kubeconfig", &files.kwok),
        flag("config", &files.stages),
        "--manage-all-nodes=false".to_owned(),
        format!("--manage-nodes-with-annotation-selector={annotation}=fake"),
        "--node-lease-duration-seconds=40".to_owned(),
        "--node-ip=127.0.0.1".to_owned(),
        "--cidr=10.244.0.1/16".to_owned(),
        format!("--server-address=127.0.0.1:{}", ports.kwok),
    ]
}
