//! One container: pulls its image, keeps its process running, and reports every change.

use std::{
    fs::OpenOptions,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use tokio::{
    process::Child,
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};

use super::{
    Context,
    backoff::Backoff,
    ports::Lease,
    status::{Exit, Report, State},
};
use crate::{
    images::{ImageEntry, ImageTable},
    process,
};

/// First and longest wait between pulls and between restarts; a kubelet's are ten seconds and five minutes.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
const PROBE_UNTIL_READY: Duration = Duration::from_millis(100);
/// Failed probes in a row that make a ready container unready.
const FAILURE_THRESHOLD: u32 = 3;

/// When a container has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Not yet.
    No,
    /// SIGTERM now, SIGKILL after this time.
    Within(Duration),
}

/// Whether an ended process starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Always,
    /// When its exit code is not 0.
    OnFailure,
    /// Never.
    Never,
}

impl Restart {
    /// Reads the pod's `restartPolicy`.
    #[must_use]
    pub fn of(policy: &str) -> Self {
        match policy {
            "Never" => Self::Never,
            "OnFailure" => Self::OnFailure,
            _ => Self::Always,
        }
    }

    fn applies(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// What the supervisor needs to know about a container.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `namespace_pod_container`.
    pub identity: String,
    /// Name of the pod, which is its host name.
    pub host_name: String,
    /// Arguments in place of the image's.
    pub args: Option<Vec<String>>,
    /// Environment with plain values.
    pub env: Vec<(String, String)>,
    /// Path of the readiness probe.
    pub readiness_path: String,
    /// Time between probes of a ready container.
    pub readiness_period: Duration,
    /// Whether it starts again.
    pub restart: Restart,
}

impl Plan {
    /// The plan of a container of a pod.
    #[must_use]
    pub fn new(namespace: &str, pod: &str, container: &Container, restart: Restart) -> Self {
        let probe = container.readiness_probe.as_ref();
        let path = probe.and_then(|probe| probe.http_get.as_ref()?.path.clone());
        let seconds = probe
            .and_then(|probe| u64::try_from(probe.period_seconds?).ok())
            .unwrap_or(1);
        Self {
            identity: format!("{namespace}_{pod}_{}", container.name),
            host_name: pod.to_owned(),
            args: container.args.clone().filter(|args| !args.is_empty()),
            env: container
                .env
                .iter()
                .flatten()
                .filter_map(|variable| Some((variable.name.clone(), variable.value.clone()?)))
                .collect(),
            readiness_path: path.unwrap_or_else(|| "/readyz".to_owned()),
            readiness_period: Duration::from_secs(seconds.clamp(1, 10)),
            restart,
        }
    }
}

/// Keeps one container running until told to stop.
pub struct Supervisor {
    /// Shared by all pods.
    pub context: Arc<Context>,
    /// What to run.
    pub plan: Plan,
    /// What is known so far; `restarts` counts on from it.
    pub report: Report,
    /// Position in the pod.
    pub index: usize,
    /// Where changes go.
    pub updates: mpsc::UnboundedSender<(usize, Report)>,
    /// When to stop.
    pub stop: watch::Receiver<Stop>,
}

impl Supervisor {
    /// Runs until told to stop, or until the process has ended for good.
    pub async fn run(mut self) {
        let mut restarts = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut lease = None;
        let mut started_before = self.report.container_id.is_some();
        while let Some(entry) = self.pull().await {
            self.report.restarts += i32::from(started_before);
            started_before = true;
            let started = Instant::now();
            let exit = match self.start(&entry, &mut lease) {
                Ok((child, port)) => self.watch(child, port).await,
                Err(error) => self.failed_to_start(&error),
            };
            if self.stopping() || !self.plan.restart.applies(exit.code) {
                return self.publish(State::Terminated(exit));
            }
            let wait = restarts.after(started.elapsed());
            self.report.last = Some(exit);
            self.publish(State::Waiting {
                reason: "CrashLoopBackOff",
                message: format!("back-off {wait:?} restarting failed container"),
            });
            if self.stopped_within(wait).await {
                break;
            }
        }
        // Stopped between two runs: the last exit is the final state.
        if let Some(exit) = self.report.last.take() {
            self.publish(State::Terminated(exit));
        }
    }

    fn publish(&mut self, state: State) {
        self.report.state = state;
        // The pod's task outlives its containers.
        let _ = self.updates.send((self.index, self.report.clone()));
    }

    fn stopping(&self) -> bool {
        *self.stop.borrow() != Stop::No
    }

    /// Waits; true when the container has to stop meanwhile.
    async fn stopped_within(&mut self, wait: Duration) -> bool {
        tokio::select! {
            _grace = stop_requested(&mut self.stop) => true,
            () = tokio::time::sleep(wait) => false,
        }
    }

    /// The image's entry; none when stopped before there is one.
    async fn pull(&mut self) -> Option<ImageEntry> {
        let mut pulls = Backoff::new(BACKOFF.0, BACKOFF.1);
        while !self.stopping() {
            let resolved =
                ImageTable::read(&self.context.images).and_then(|table| table.resolve(&self.report.image).cloned());
            match resolved {
                Ok(entry) => {
                    self.report.image_id = entry.pinned();
                    return Some(entry);
                }
                Err(error) => {
                    tracing::warn!(container = self.plan.identity, %error, "pull failed");
                    self.publish(State::Waiting {
                        reason: "ErrImagePull",
                        message: error.to_string(),
                    });
                }
            }
            let wait = pulls.after(Duration::ZERO);
            // A kubelet shows the error first and then that it waits.
            if self.stopped_within(wait / 2).await {
                break;
            }
            self.publish(State::Waiting {
                reason: "ImagePullBackOff",
                message: format!("Back-off pulling image {:?}", self.report.image),
            });
            if self.stopped_within(wait / 2).await {
                break;
            }
        }
        None
    }

    fn start(&mut self, entry: &ImageEntry, lease: &mut Option<Lease>) -> Result<(Child, u16), process::ProcessError> {
        // The same address after a restart, as in a pod, unless someone else took the port meanwhile.
        let port = match lease.take().filter(Lease::is_free) {
            Some(kept) => lease.insert(kept).port(),
            None => lease.insert(self.context.ports.lease()?).port(),
        };
        let program = if entry.command.contains('/') {
            entry.command.clone()
        } else {
            self.context
                .programs
                .join(&entry.command)
                .to_string_lossy()
                .into_owned()
        };
        let log = self
            .context
            .logs
            .as_deref()
            .map(|folder| log_file(folder, &self.plan.identity))
            .transpose()?;
        let child = process::start_async(&program, |command| prepare(command, &self.plan, entry, port, log))?;
        let id = child.id().unwrap_or_default();
        self.report.container_id = Some(format!("process://{id}"));
        tracing::info!(container = self.plan.identity, image = entry.image, port, id, "started");
        Ok((child, port))
    }

    fn failed_to_start(&mut self, error: &process::ProcessError) -> Exit {
        tracing::warn!(container = self.plan.identity, %error, "not started");
        let now = Timestamp::now();
        let container_id = self.report.container_id.clone().unwrap_or_default();
        Exit {
            code: 128,
            started_at: now,
            finished_at: now,
            container_id,
        }
    }

    /// Reports readiness until the process ends, by itself or because it has to.
    async fn watch(&mut self, mut child: Child, port: u16) -> Exit {
        let started_at = Timestamp::now();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut failures = 0;
        let mut ready = false;
        self.publish(State::Running {
            started_at,
            ready,
            port,
        });
        let mut probes = probe_every(PROBE_UNTIL_READY);
        let mut stop = self.stop.clone();
        let ended = loop {
            tokio::select! {
                ended = child.wait() => break ended,
                grace = stop_requested(&mut stop) => break end(&mut child, grace).await,
                _ = probes.tick() => {
                    let answer = self.context.prober.get(address, &self.plan.readiness_path).await;
                    let passed = answer.is_ok_and(|answer| answer.status.is_success());
                    failures = if passed { 0 } else { failures + 1 };
                    let now_ready = passed || (ready && failures < FAILURE_THRESHOLD);
                    if now_ready != ready {
                        ready = now_ready;
                        probes = probe_every(if ready { self.plan.readiness_period } else { PROBE_UNTIL_READY });
                        self.publish(State::Running { started_at, ready, port });
                    }
                }
            }
        };
        let code = ended.map_or(137, exit_code);
        tracing::info!(container = self.plan.identity, code, "ended");
        let container_id = self.report.container_id.clone().unwrap_or_default();
        Exit {
            code,
            started_at,
            finished_at: Timestamp::now(),
            container_id,
        }
    }
}

/// Waits until the container has to stop; returns the time that its process gets.
async fn stop_requested(stop: &mut watch::Receiver<Stop>) -> Duration {
    loop {
        if let Stop::Within(grace) = *stop.borrow_and_update() {
            return grace;
        }
        if stop.changed().await.is_err() {
            // The pod's task is gone, and nobody is left to wait for.
            return Duration::ZERO;
        }
    }
}

fn probe_every(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn end(child: &mut Child, grace: Duration) -> std::io::Result<ExitStatus> {
    if let Some(id) = child.id()
        && let Err(error) = process::terminate(id)
    {
        tracing::warn!(%error, id, "SIGTERM not delivered");
    }
    if let Ok(ended) = tokio::time::timeout(grace, child.wait()).await {
        return ended;
    }
    child.kill().await?;
    child.wait().await
}

fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(137)
}

fn log_file(folder: &Path, identity: &str) -> std::io::Result<std::fs::File> {
    std::fs::create_dir_all(folder)?;
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(format!("{identity}.log")))
}

fn prepare(command: &mut Command, plan: &Plan, entry: &ImageEntry, port: u16, log: Option<std::fs::File>) {
    // A container does not see the agent's environment.
    command.env_clear();
    for name in ["PATH", "RUST_LOG"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("HOSTNAME", &plan.host_name)
        .envs(plan.env.iter().map(|(name, value)| (name, value)));
    command
        .args(plan.args.as_ref().unwrap_or(&entry.args))
        .arg("--port")
        .arg(port.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(log.map_or_else(Stdio::null, Stdio::from));
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_plan_takes_probe_arguments_and_plain_environment_from_the_pod() {
        let container: Container = serde_json::from_value(serde_json::json!({
            "name": "server",
            "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "readinessProbe": {"httpGet": {"path": "/up", "port": 80}, "periodSeconds": 30},
        }))
        .unwrap();
        let plan = Plan::new("shop", "ranker-1", &container, Restart::of("Always"));
        assert_eq!(plan.env, [("A".to_owned(), "1".to_owned())]);
        assert_eq!(plan.readiness_path, "/up");
        assert_eq!(plan.readiness_period, Duration::from_secs(10));
        assert_eq!(plan.args, None);
    }

    #[test]
    fn the_restart_policy_decides_by_exit_code() {
        assert!(Restart::of("Always").applies(0));
        assert!(Restart::of("OnFailure").applies(1) && !Restart::of("OnFailure").applies(0));
        assert!(!Restart::of("Never").applies(1));
    }

    #[test]
    fn a_signal_becomes_an_exit_code() {
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
    }
}
