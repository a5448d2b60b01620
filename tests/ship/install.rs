//! The chart on a real API server: installed, used by the real operator under the rights and with the configuration that
//! it made, upgraded, uninstalled.
//!
//! No kubelet runs here: a fake node says that the pods are Ready. The operator runs as a process of its own, with the
//! ServiceAccount's token, and the arguments and the file that its pod would get.

use std::{
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bed::{Endpoints, part::HELM};
use serde_json::{Value, json};

use crate::tools;

mod documented;

/// The definitions are the cluster's: one test at a time installs them.
static TURN: Mutex<()> = Mutex::new(());

const NAMESPACE: &str = "quality-officer";

/// An API server that is still setting up the storage of a definition puts its removal off, by twice as long each time: a
/// busy one has taken more than a minute.
const PATIENCE: Duration = Duration::from_secs(300);
const TIMEOUT: &str = "--timeout=300s";

struct Cluster {
    endpoints: Endpoints,
    folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// With an empty namespace for the operator, which refuses pods that are not `restricted`.
    fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = Self {
            endpoints: Endpoints::from_env().unwrap(),
            folder: tempfile::tempdir().unwrap(),
            _turn: turn,
        };
        let namespace = tools::project().join("deploy/cluster-wide/namespace.yaml");
        cluster.kubectl(&["apply", "-f", &namespace.display().to_string()]);
        // It is there for pods that tolerate it, which those of the chart do not.
        let node = cluster.endpoints.kwok_node.clone().expect("a fake node");
        cluster.kubectl(&[
            "patch",
            "node",
            &node,
            "--type",
            "merge",
            "-p",
            r#"{"spec": {"taints": null}}"#,
        ]);
        cluster
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        tools::outcome(&mut self.endpoints.kubectl_command(arguments)).unwrap()
    }

    /// Admission policies that were just made refuse everything until they know the kind of their parameters.
    fn apply(&self, namespace: &str, object: &Value) {
        let path = self.folder.path().join("object.json");
        std::fs::write(&path, object.to_string()).unwrap();
        self.until(&format!("{object} is taken"), |cluster| {
            let mut command = cluster.endpoints.kubectl_command(["apply", "-n", namespace, "-f"]);
            tools::outcome(command.arg(&path)).is_ok()
        });
    }

    fn get(&self, arguments: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat());
        serde_json::from_str(&text).unwrap()
    }

    fn names(&self, arguments: &[&str]) -> Vec<String> {
        let text = self.kubectl(&[&["get", "-o", "name", "--ignore-not-found"], arguments].concat());
        text.lines().map(ToOwned::to_owned).collect()
    }

    fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = tools::helm(&HELM, self.folder.path(), arguments);
        command
            .args(["--namespace", NAMESPACE])
            .envs(self.endpoints.environment());
        tools::outcome(&mut command)
    }

    /// `install` or `upgrade` with these values and the bed's Prometheus; ready when this returns.
    fn deploy(&self, action: &str, chart: &Path, values: &str, more: &[&str]) {
        let source = format!("config.metricsSources.default.url={}", self.endpoints.prometheus);
        let chart = chart.display().to_string();
        let values = tools::values_of(values);
        let mut arguments = vec![action, NAMESPACE, &chart, "-f", &values, "--set", &source];
        arguments.extend(["--wait", "--timeout", "120s"]);
        arguments.extend(more);
        self.helm(&arguments).unwrap();
    }

    /// A namespace with a Deployment and a policy for it.
    fn guarded(&self, namespace: &str) {
        self.apply(
            namespace,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        );
        let pod = json!({
            "metadata": {"labels": {"app": "ranker"}},
            "spec": {"containers": [{"name": "server", "image": "registry.example/ranker:1"}]},
        });
        self.apply(
            namespace,
            &json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "ranker"},
                "spec": {"selector": {"matchLabels": {"app": "ranker"}}, "template": pod},
            }),
        );
        let policy = tools::project().join("examples/ranker.yaml").display().to_string();
        self.kubectl(&["apply", "-n", namespace, "-f", &policy]);
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn is_judged(&self, namespace: &str) -> bool {
        let policy = self.get(&["qualitypolicy", "ranker", "-n", namespace]);
        policy["status"]["conditions"].is_array()
    }

    /// Everything of the release, anywhere, whatever kind it is.
    fn of_the_release(&self) -> Vec<String> {
        let kinds = self.kubectl(&["api-resources", "--verbs=list,delete", "-o", "name"]);
        let kinds: Vec<_> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
        self.names(&[
            &kinds.join(","),
            "-A",
            "-l",
            "app.kubernetes.io/instance=quality-officer",
        ])
    }

    /// They may go once the gate, which reads them, is no longer asked.
    fn delete_definitions(&self) {
        let definitions = tools::project().join("deploy/crds").display().to_string();
        let delete = ["delete", "-k", &definitions, "--ignore-not-found", "--wait=false"];
        self.until("the definitions may be deleted", |cluster| {
            tools::outcome(&mut cluster.endpoints.kubectl_command(delete)).is_ok()
        });
        self.until("the definitions are gone", |cluster| {
            cluster.names(&["-k", &definitions]).is_empty()
        });
        assert_eq!(self.of_the_release(), Vec::<String>::new());
    }

    /// As the operator's pod would be started.
    fn operator(&self) -> Operator {
        let deployment = self.get(&["deployment", NAMESPACE, "-n", NAMESPACE]);
        let config = self.get(&["configmap", NAMESPACE, "-n", NAMESPACE]);
        let path = self.folder.path().join("config.yaml");
        std::fs::write(&path, config["data"]["config.yaml"].as_str().unwrap()).unwrap();
        let port = bed::port::free().unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let arguments = container["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|argument| match argument.as_str().unwrap() {
                "--config=/etc/quality-officer/config/config.yaml" => format!("--config={}", path.display()),
                "--listen=0.0.0.0:8080" => format!("--listen=127.0.0.1:{port}"),
                other => other.to_owned(),
            });
        Operator::start(self, arguments.collect(), port)
    }
}

struct Operator {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Operator {
    fn start(cluster: &Cluster, arguments: Vec<String>, port: u16) -> Self {
        let kubeconfig = stage::install::service_account_kubeconfig(&cluster.endpoints, cluster.folder.path()).unwrap();
        let log = cluster.folder.path().join("operator.log");
        let output = std::fs::File::create(&log).unwrap();
        let program = env!("CARGO_BIN_EXE_quality-officer");
        let child = workload::process::start(program, |command| {
            command.args(arguments).env("KUBECONFIG", kubeconfig);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        });
        let operator = Self {
            child: child.unwrap(),
            port,
            log,
        };
        cluster.until("the probes of the chart are answered", |_| {
            operator.answers("/healthz") && operator.answers("/readyz")
        });
        operator
    }

    fn answers(&self, path: &str) -> bool {
        bed::rest::Rest::plain().is_ok(&format!("http://127.0.0.1:{}{path}", self.port))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        workload::process::stop(&mut self.child, Duration::from_secs(5));
    }
}

/// The chart as an earlier release might have been: a definition without a column, and rights to less.
fn earlier_chart(folder: &Path) -> PathBuf {
    let chart = folder.join("earlier");
    tools::copy(&tools::chart(), &chart);
    let edit = |file: &str, from: &str, to: &str| {
        let path = chart.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file}: {from}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    edit("Chart.yaml", "\nversion: 0.1.0", "\nversion: 0.0.1");
    let column = "    - jsonPath: .status.verdict\n      name: Verdict\n      type: string\n";
    edit("files/crds/qualityreports.yaml", column, "");
    edit("templates/_rules.tpl", "verbs: [list, watch, create]", "verbs: [list]");
    chart
}

fn columns(cluster: &Cluster) -> String {
    cluster.get(&["crd", "qualityreports.quality-officer.dev"])["spec"]["versions"][0]["additionalPrinterColumns"]
        .to_string()
}

#[test]
fn a_release_is_installed_upgraded_and_uninstalled_and_what_people_wrote_stays() {
    let cluster = Cluster::new();
    let earlier = earlier_chart(cluster.folder.path());
    cluster.deploy("install", &earlier, "minimal", &["--set", "admission.enabled=false"]);
    assert!(!columns(&cluster).contains(".status.verdict"));
    cluster.guarded("shop");
    let policy = cluster.get(&["qualitypolicy", "ranker", "-n", "shop"])["metadata"]["uid"].clone();

    cluster.deploy("upgrade", &tools::chart(), "minimal", &[]);
    assert!(
        columns(&cluster).contains(".status.verdict"),
        "definitions follow an upgrade"
    );
    let operator = cluster.operator();
    cluster.until("the policy is judged", |cluster| cluster.is_judged("shop"));
    assert!(!operator.log().contains("Forbidden"), "{}", operator.log());
    drop(operator);

    cluster.helm(&["uninstall", NAMESPACE, "--wait"]).unwrap();
    let definitions = std::fs::read_dir(tools::project().join("crds")).unwrap().count();
    cluster.until("only the definitions are left", |cluster| {
        let left = cluster.of_the_release();
        left.len() == definitions && left.iter().all(|name| name.starts_with("customresourcedefinition"))
    });
    assert_eq!(
        cluster.get(&["qualitypolicy", "ranker", "-n", "shop"])["metadata"]["uid"],
        policy
    );

    // Installed again it finds its definitions; told to take them along, it leaves nothing.
    cluster.deploy(
        "install",
        &tools::chart(),
        "minimal",
        &["--set", "crds.keep=false,admission.enabled=false"],
    );
    let operator = cluster.operator();
    cluster.until("the policy is judged", |cluster| cluster.is_judged("shop"));
    drop(operator);
    cluster.helm(&["uninstall", NAMESPACE, "--wait"]).unwrap();
    cluster.until("nothing is left", |cluster| cluster.of_the_release().is_empty());
    cluster.kubectl(&["delete", "namespace", "shop", TIMEOUT]);
}

#[test]
fn every_switch_makes_objects_that_the_api_server_takes() {
    let cluster = Cluster::new();
    let monitoring = bed::go_module::sources("github.com/prometheus-operator/prometheus-operator@v0.85.0").unwrap();
    for name in ["servicemonitors", "prometheusrules"] {
        let path = monitoring.join(format!(
            "example/prometheus-operator-crd/monitoring.coreos.com_{name}.yaml"
        ));
        let path = path.display().to_string();
        cluster.kubectl(&["apply", "--server-side", "-f", &path]);
        cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "-f", &path]);
    }
    let has = |folder: &str| tools::chart().join("files").join(folder).exists();
    let switches = format!(
        "crds.keep=true,admission.enabled=true,prometheusRule.enabled={monitoring},dashboard.enabled={monitoring}",
        monitoring = has("monitoring")
    );
    cluster.deploy("install", &tools::chart(), "everything", &["--set", &switches]);
    assert_eq!(cluster.names(&["servicemonitor", "-n", NAMESPACE]).len(), 1);
    cluster.helm(&["uninstall", NAMESPACE, "--wait"]).unwrap();
    cluster.delete_definitions();
}

#[test]
fn one_namespace_needs_no_cluster_role() {
    let cluster = Cluster::new();
    let definitions = tools::project().join("deploy/crds").display().to_string();
    cluster.kubectl(&["apply", "--server-side", "-k", &definitions]);
    cluster.guarded("alpha");
    cluster.guarded("beta");
    cluster.deploy(
        "install",
        &tools::chart(),
        "single-namespace",
        &["--set", "watchNamespace=alpha"],
    );
    let is_ours = |name: &String| name.contains("quality-officer");
    assert!(!cluster.names(&["clusterroles,clusterrolebindings"]).iter().any(is_ours));
    let operator = cluster.operator();
    cluster.until("the policy is judged", |cluster| cluster.is_judged("alpha"));
    assert!(!operator.log().contains("Forbidden"), "{}", operator.log());
    assert!(!cluster.is_judged("beta"), "another namespace is not looked at");
    drop(operator);
    cluster.helm(&["uninstall", NAMESPACE, "--wait"]).unwrap();
    for namespace in ["alpha", "beta"] {
        cluster.kubectl(&["delete", "namespace", namespace, TIMEOUT]);
    }
    cluster.delete_definitions();
}

#[test]
fn the_manifests_for_kustomize_are_applied_and_deleted() {
    let cluster = Cluster::new();
    let overlay = tools::project().join("examples/kustomize").display().to_string();
    cluster.kubectl(&["apply", "--server-side", "-k", &overlay]);
    cluster.kubectl(&[
        "rollout",
        "status",
        "deployment/quality-officer",
        "-n",
        NAMESPACE,
        TIMEOUT,
    ]);
    cluster.guarded("shop");
    let operator = cluster.operator();
    cluster.until("the policy has a status", |cluster| cluster.is_judged("shop"));
    drop(operator);
    cluster.kubectl(&["delete", "namespace", "shop", TIMEOUT]);
    cluster.kubectl(&["delete", "-k", &overlay, TIMEOUT]);
}

#[test]
fn who_may_read_and_write_in_a_namespace_may_do_so_with_the_operators_kinds() {
    let cluster = Cluster::new();
    cluster.deploy(
        "install",
        &tools::chart(),
        "minimal",
        &["--set", "crds.keep=false,admission.enabled=false"],
    );
    cluster.apply(
        "default",
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}),
    );
    for role in ["view", "edit", "admin"] {
        cluster.kubectl(&[
            "create",
            "rolebinding",
            role,
            &format!("--clusterrole={role}"),
            &format!("--user={role}"),
            "-n",
            "team",
        ]);
    }
    let may = |user: &str, verb: &str, kind: &str, namespace: &str| {
        let kind = format!("{kind}.quality-officer.dev");
        let mut command = cluster.endpoints.kubectl_command(["auth", "can-i", verb, &kind]);
        command.args(["--as", user, "-n", namespace]);
        tools::outcome(&mut command).is_ok()
    };
    cluster.until("the roles are aggregated", |_| {
        may("view", "list", "qualityreports", "team") && may("admin", "delete", "qualityincidents", "team")
    });
    for (user, verb, kind, expected) in [
        ("view", "create", "qualitypolicies", false),
        ("view", "list", "qualityincidents", true),
        ("edit", "create", "qualitypolicies", false),
        ("edit", "create", "rollbackcheckpoints", true),
        ("edit", "create", "recoverydrills", true),
        ("edit", "patch", "qualityincidents", true),
        ("edit", "create", "qualityincidents", false),
        ("edit", "delete", "qualityincidents", false),
        ("admin", "create", "qualitypolicies", true),
        ("admin", "bypass", "qualitypolicies", false),
        ("admin", "delete", "qualityreports", true),
        ("admin", "update", "qualityreports", false),
    ] {
        assert_eq!(may(user, verb, kind, "team"), expected, "{user} {verb} {kind}");
    }
    assert!(!may("view", "list", "qualityreports", "default"));
    cluster.helm(&["uninstall", NAMESPACE, "--wait"]).unwrap();
    cluster.kubectl(&["delete", "namespace", "team", TIMEOUT]);
}

#[test]
fn a_key_that_the_operator_does_not_know_is_passed_on_and_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let text = tools::template(
        &HELM,
        &tools::chart(),
        &tools::values_of("minimal"),
        &["--set", "config.metricSources.default.url=http://x"],
    );
    let objects = tools::documents(&text.unwrap());
    let path = folder.path().join("config.yaml");
    let config = tools::only(&objects, "ConfigMap")["data"]["config.yaml"]
        .as_str()
        .unwrap();
    std::fs::write(&path, config).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_quality-officer"));
    command.args(["run", "--config"]).arg(&path).env_remove("KUBECONFIG");
    let said = tools::outcome(&mut command).unwrap_err();
    assert!(said.contains("metricSources"), "{said}");
}
