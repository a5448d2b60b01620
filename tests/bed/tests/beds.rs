//! Real beds: what runs on them works, and nothing of them stays behind, however they end.
//!
//! Each test gives its beds a temporary folder of its own. Every process of a bed names that folder on its command
//! line, so the test can see whether one is left.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bed::interrupt::Interrupt;
use bed::part::{ETCD, KUBERNETES};
use bed::rest::Rest;
use bed::{Endpoints, Mlflow, Prometheus, PrometheusOptions, go_build, prometheus};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The bed's command line, with a temporary folder of the test's own.
fn bed(parent: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bed"));
    command.env("TMPDIR", parent.path()).stdin(Stdio::null());
    command
}

/// The command lines of all processes that name the folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&*folder.to_string_lossy()))
        .collect()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        thread::sleep(Duration::from_millis(50));
    }
}

fn send(id: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
}

/// A bed that stays up until it is signalled; killed at the latest when the test ends.
struct Up {
    child: Child,
    endpoints: Endpoints,
}

impl Up {
    fn start(parent: &TempDir, arguments: &[&str]) -> Self {
        let mut command = bed(parent);
        command.arg("up").args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let file = output
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("export QO_BED=").map(PathBuf::from))
            .expect("the bed did not start");
        Self {
            child,
            endpoints: Endpoints::read(&file).unwrap(),
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Deployment whose pods tolerate the fake node's taint, and a Job.
const WORKLOADS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]
      containers:
        - name: web
          image: example.org/web@sha256:0000000000000000000000000000000000000000000000000000000000000000
          resources: {limits: {nvidia.com/gpu: "1"}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]
      containers: [{name: once, image: example.org/once}]
"#;

#[test]
fn a_command_runs_on_a_real_control_plane_and_nothing_is_left_behind() {
    let parent = tempfile::tempdir().unwrap();
    let workloads = tempfile::NamedTempFile::new().unwrap();
    fs::write(workloads.path(), WORKLOADS).unwrap();
    let script = r#"set -e
        kubectl apply -f "$WORKLOADS"
        kubectl rollout status deployment/web --timeout=60s
        kubectl wait --for=condition=complete job/once --timeout=60s
        test "$(kubectl get deployment web -o 'jsonpath={.status.readyReplicas}')" = 3
        kubectl get pods -l app=web -o 'jsonpath={.items[0].status.containerStatuses[0].imageID}' |
            grep -q '^example.org/web@sha256:0000'
        kubectl version -o yaml | grep -q 'gitVersion: v1.37.2'
        kubectl create token default | grep -q '^ey'
        kubectl auth can-i list pods --as system:serviceaccount:default:default && exit 1
        grep -q '"resource":"deployments"' "$(dirname "$QO_BED")/audit.log"
        "$BED" run --kubeconfig "$KUBECONFIG" -- kubectl get node kwok-0
        sleep 1000 &
        exit 7"#;
    let status = bed(&parent)
        .args(["run", "--", "sh", "-c", script])
        .env("WORKLOADS", workloads.path())
        .env("BED", env!("CARGO_BIN_EXE_bed"))
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(7));
    assert_eq!(processes_of(parent.path()), Vec::<String>::new());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn two_beds_run_side_by_side_and_their_servers_end_with_them() {
    let parent = tempfile::tempdir().unwrap();
    let (mut first, mut second) = thread::scope(|scope| {
        let first = scope.spawn(|| Up::start(&parent, &["--scrape-interval", "200ms"]));
        let second = scope.spawn(|| Up::start(&parent, &["--no-kwok", "--mlflow"]));
        (first.join().unwrap(), second.join().unwrap())
    });
    first
        .endpoints
        .kubectl(["create", "namespace", "only-in-the-first"])
        .unwrap();
    first.endpoints.kubectl(["get", "node", "kwok-0"]).unwrap();
    let error = second
        .endpoints
        .kubectl(["get", "namespace", "only-in-the-first"])
        .unwrap_err();
    assert!(error.to_string().contains("NotFound"), "{error}");
    assert_eq!(second.endpoints.kwok_node, None);
    the_shared_prometheus_scrapes_the_listed_targets(&first.endpoints);
    another_prometheus_keeps_its_history_over_a_restart(&first.endpoints);

    assert!(first.endpoints.mlflow.is_none());
    let variables = second.endpoints.environment();
    let (_, url) = variables.iter().find(|(name, _)| *name == "QO_MLFLOW").unwrap();
    let shared = Mlflow::shared(&second.endpoints).unwrap();
    assert_eq!((shared.id(), Path::new(shared.url())), (None, url.as_path()));
    drop(shared);
    assert!(Rest::plain().is_ok(&format!("{}/health", url.display())));

    let folder = second.endpoints.work_folder.clone();
    send(second.child.id(), Signal::TERM);
    assert_eq!(second.child.wait().unwrap().code(), Some(143));
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder), Vec::<String>::new());

    let folder = first.endpoints.work_folder.clone();
    assert_eq!(processes_of(&folder).len(), 6);
    send(first.child.id(), Signal::KILL);
    first.child.wait().unwrap();
    wait_until("no process of a killed bed", || processes_of(&folder).is_empty());
}

fn the_shared_prometheus_scrapes_the_listed_targets(endpoints: &Endpoints) {
    let address = endpoints.prometheus.trim_start_matches("http://");
    let targets = format!(r#"[{{"targets": ["{address}"], "labels": {{"namespace": "n", "pod": "p"}}}}]"#);
    fs::write(endpoints.prometheus_targets.join("test.json"), targets).unwrap();
    let query = format!(
        "{}/api/v1/query?query=up%7Bnamespace%3D%22n%22%2Cpod%3D%22p%22%7D",
        endpoints.prometheus
    );
    wait_until("a scrape of the listed target", || {
        Rest::plain()
            .get(&query)
            .is_ok_and(|answer| answer["data"]["result"][0]["value"][1] == "1")
    });
}

fn another_prometheus_keeps_its_history_over_a_restart(endpoints: &Endpoints) {
    let folder = tempfile::tempdir().unwrap();
    let samples = folder.path().join("samples");
    fs::write(
        &samples,
        "# TYPE history gauge\nhistory{pod=\"p\"} 42 1790000000\n# EOF\n",
    )
    .unwrap();
    let blocks = folder.path().join("blocks");
    prometheus::backfill(&samples, &blocks).unwrap();
    let options = PrometheusOptions {
        blocks: Some(blocks),
        retention: "100y".to_owned(),
        ..PrometheusOptions::default()
    };
    let mut prometheus = Prometheus::start(endpoints, options).unwrap();
    let query = format!("{}/api/v1/query?query=history&time=1790000010", prometheus.url());
    let value = || Rest::plain().get(&query).unwrap()["data"]["result"][0]["value"][1].clone();
    assert_eq!(value(), "42");
    prometheus.kill();
    assert!(!prometheus.is_ready());
    prometheus.restart().unwrap();
    assert_eq!(value(), "42");
    let (id, folder) = (prometheus.id(), prometheus.log().parent().unwrap().to_owned());
    drop(prometheus);
    assert!(!Path::new(&format!("/proc/{id}")).exists() && !folder.exists());
}

#[test]
fn an_interrupted_command_ends_with_all_that_it_started() {
    let parent = tempfile::tempdir().unwrap();
    let assets = tempfile::tempdir().unwrap();
    for (name, part) in [
        ("etcd", &ETCD),
        ("kube-apiserver", &KUBERNETES),
        ("kubectl", &KUBERNETES),
    ] {
        let program = go_build::program(part, &Interrupt::default()).unwrap();
        symlink(program, assets.path().join(name)).unwrap();
    }
    // The sleepers carry the folder's name so that the test can see them.
    let script = r#"sleep 1000 "$TMPDIR" & echo "$QO_BED"; sh -c 'sleep 1000; true' "$TMPDIR""#;
    let mut child = bed(&parent)
        .args(["run", "--no-kwok", "--", "sh", "-c", script])
        .env("KUBEBUILDER_ASSETS", assets.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let endpoints = Endpoints::read(Path::new(line.trim())).unwrap();
    for name in ["etcd", "kube-apiserver"] {
        let given = fs::read_link(endpoints.programs.join(name)).unwrap();
        assert_eq!(given, assets.path().join(name));
    }

    let errors = BufReader::new(child.stderr.take().unwrap());
    send(endpoints.processes["kube-scheduler"], Signal::KILL);
    let told = errors
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains("ended by itself"));
    assert!(
        told.unwrap()
            .contains("kube-scheduler ended by itself (signal: 9 (SIGKILL))")
    );

    send(child.id(), Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(processes_of(parent.path()), Vec::<String>::new());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn a_cluster_that_does_not_answer_is_an_error_that_names_it() {
    let parent = tempfile::tempdir().unwrap();
    let output = bed(&parent)
        .args(["run", "--kubeconfig", "/nowhere/config", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("the cluster of /nowhere/config does not answer"),
        "{text}"
    );
    assert_eq!(processes_of(parent.path()), Vec::<String>::new());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}
