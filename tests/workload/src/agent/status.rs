//! From what the processes do to a pod's status. Pure: no client, no process, no clock.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
        HostIP, Pod, PodCondition, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use serde_json::{Value, json};

const ADDRESS: &str = "127.0.0.1";
const OWN_CONDITIONS: [&str; 4] = ["PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"];

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, or 128 plus the signal that ended it.
    pub code: i32,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The container's identifier.
    pub container_id: String,
}

/// What a container does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No process.
    Waiting {
        /// As a kubelet names it.
        reason: &'static str,
        /// Why.
        message: String,
    },
    /// A process.
    Running {
        /// When it started.
        started_at: Timestamp,
        /// Whether it answers its readiness probe.
        ready: bool,
        /// Where it listens.
        port: u16,
    },
    /// The process ended and is not coming back.
    Terminated(Exit),
}

/// A container as its supervisor reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Name in the pod.
    pub name: String,
    /// Image reference in the pod.
    pub image: String,
    /// `repository@digest` once pulled.
    pub image_id: String,
    /// Identifier of the last process.
    pub container_id: Option<String>,
    /// What it does.
    pub state: State,
    /// How the process before ended.
    pub last: Option<Exit>,
    /// Starts after the first one.
    pub restarts: i32,
}

impl Report {
    /// A container that has not started yet.
    #[must_use]
    pub fn creating(name: &str, image: &str) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            image_id: String::new(),
            container_id: None,
            state: State::Waiting {
                reason: "ContainerCreating",
                message: String::new(),
            },
            last: None,
            restarts: 0,
        }
    }

    /// Whether it answers its readiness probe.
    #[must_use]
    pub fn ready(&self) -> bool {
        matches!(self.state, State::Running { ready: true, .. })
    }
}

/// The status of a pod with these containers. Conditions keep the time of their last change from `previous`; those of
/// others (the scheduler's) are not part of it.
#[must_use]
pub fn pod_status(pod: &Pod, reports: &[Report], previous: Option<&PodStatus>, now: Timestamp) -> PodStatus {
    let start = previous
        .and_then(|status| status.start_time.clone())
        .or_else(|| pod.status.as_ref().and_then(|status| status.start_time.clone()))
        .unwrap_or(Time(now));
    let phase = phase(pod, reports);
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions(pod, reports, phase, previous, now)),
        container_statuses: Some(reports.iter().map(container_status).collect()),
        host_ip: Some(ADDRESS.to_owned()),
        host_ips: Some(vec![HostIP { ip: ADDRESS.to_owned() }]),
        pod_ip: Some(ADDRESS.to_owned()),
        pod_ips: Some(vec![PodIP { ip: ADDRESS.to_owned() }]),
        start_time: Some(start),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// The strategic merge patch that makes `status` the pod's, with the UID as a kubelet does, so that a new pod of the same
/// name is never touched.
#[must_use]
pub fn status_patch(uid: Option<&str>, status: &PodStatus) -> Value {
    let mut patch = json!({"metadata": {"uid": uid}, "status": status});
    // Conditions are merged one by one: what is absent would stay as it was.
    for condition in patch["status"]["conditions"].as_array_mut().into_iter().flatten() {
        if let Some(fields) = condition.as_object_mut() {
            for field in ["reason", "message"] {
                fields.entry(field).or_insert(Value::Null);
            }
        }
    }
    patch
}

/// As a kubelet's `getPhase`, without init containers.
fn phase(pod: &Pod, reports: &[Report]) -> &'static str {
    let policy = restart_policy(pod);
    if reports
        .iter()
        .any(|report| matches!(report.state, State::Running { .. }))
    {
        return "Running";
    }
    if reports
        .iter()
        .any(|report| matches!(report.state, State::Waiting { .. }) && report.last.is_none())
    {
        return "Pending";
    }
    let exits: Vec<i32> = reports
        .iter()
        .filter_map(|report| match &report.state {
            State::Terminated(exit) => Some(exit.code),
            _ => None,
        })
        .collect();
    if exits.len() < reports.len() || policy == "Always" {
        return "Running";
    }
    if exits.iter().all(|code| *code == 0) {
        "Succeeded"
    } else {
        "Failed"
    }
}

/// The pod's restart policy, with the API's default.
#[must_use]
pub fn restart_policy(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.as_deref())
        .unwrap_or("Always")
}

fn conditions(
    pod: &Pod,
    reports: &[Report],
    phase: &str,
    previous: Option<&PodStatus>,
    now: Timestamp,
) -> Vec<PodCondition> {
    let unready: Vec<&str> = reports
        .iter()
        .filter(|report| !report.ready())
        .map(|report| report.name.as_str())
        .collect();
    let (reason, message) = match (unready.is_empty(), phase) {
        (true, _) => (None, None),
        (false, "Succeeded") => (Some("PodCompleted"), None),
        (false, "Failed") => (Some("PodFailed"), None),
        (false, _) => (
            Some("ContainersNotReady"),
            Some(format!("containers with unready status: [{}]", unready.join(" "))),
        ),
    };
    let known = previous
        .or(pod.status.as_ref())
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    OWN_CONDITIONS
        .into_iter()
        .map(|kind| {
            let about_readiness = matches!(kind, "ContainersReady" | "Ready");
            let status = if about_readiness && !unready.is_empty() {
                "False"
            } else {
                "True"
            };
            let since = known
                .iter()
                .find(|condition| condition.type_ == kind && condition.status == status)
                .and_then(|condition| condition.last_transition_time.clone());
            PodCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: about_readiness.then_some(reason).flatten().map(str::to_owned),
                message: about_readiness.then(|| message.clone()).flatten(),
                last_transition_time: Some(since.unwrap_or(Time(now))),
                last_probe_time: None,
                observed_generation: pod.metadata.generation,
            }
        })
        .collect()
}

fn container_status(report: &Report) -> ContainerStatus {
    let state = match &report.state {
        State::Waiting { reason, message } => ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some((*reason).to_owned()),
                message: (!message.is_empty()).then(|| message.clone()),
            }),
            ..ContainerState::default()
        },
        State::Running { started_at, .. } => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: Some(Time(*started_at)),
            }),
            ..ContainerState::default()
        },
        State::Terminated(exit) => terminated(exit),
    };
    ContainerStatus {
        name: report.name.clone(),
        image: report.image.clone(),
        image_id: report.image_id.clone(),
        container_id: report.container_id.clone(),
        state: Some(state),
        last_state: report.last.as_ref().map(terminated),
        ready: report.ready(),
        started: Some(matches!(report.state, State::Running { .. })),
        restart_count: report.restarts,
        ..ContainerStatus::default()
    }
}

fn terminated(exit: &Exit) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: exit.code,
            reason: Some(if exit.code == 0 { "Completed" } else { "Error" }.to_owned()),
            started_at: Some(Time(exit.started_at)),
            finished_at: Some(Time(exit.finished_at)),
            container_id: Some(exit.container_id.clone()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn exit(code: i32) -> Exit {
        Exit {
            code,
            started_at: NOW,
            finished_at: NOW,
            container_id: "process://1".into(),
        }
    }

    fn report(state: State) -> Report {
        Report {
            state,
            ..Report::creating("server", "x:1")
        }
    }

    fn running(ready: bool) -> Report {
        report(State::Running {
            started_at: NOW,
            ready,
            port: 1,
        })
    }

    fn with_policy(policy: &str) -> Pod {
        serde_json::from_value(serde_json::json!({"spec": {"containers": [], "restartPolicy": policy}})).unwrap()
    }

    fn condition<'a>(status: &'a PodStatus, kind: &str) -> &'a PodCondition {
        status
            .conditions
            .as_ref()
            .unwrap()
            .iter()
            .find(|condition| condition.type_ == kind)
            .unwrap()
    }

    #[test]
    fn phases_follow_the_containers_and_the_restart_policy() {
        let crashed = Report {
            last: Some(exit(1)),
            ..Report::creating("server", "x:1")
        };
        for (policy, reports, expected) in [
            ("Always", vec![Report::creating("server", "x:1")], "Pending"),
            ("Always", vec![running(false)], "Running"),
            ("Always", vec![crashed], "Running"),
            ("Always", vec![report(State::Terminated(exit(1)))], "Running"),
            ("Never", vec![report(State::Terminated(exit(0)))], "Succeeded"),
            (
                "Never",
                vec![report(State::Terminated(exit(0))), report(State::Terminated(exit(2)))],
                "Failed",
            ),
            (
                "Never",
                vec![report(State::Terminated(exit(0))), running(true)],
                "Running",
            ),
        ] {
            assert_eq!(phase(&with_policy(policy), &reports), expected, "{policy} {reports:?}");
        }
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_changes() {
        let pod = with_policy("Always");
        let later = NOW + SignedDuration::from_secs(9);
        let first = pod_status(&pod, &[running(false)], None, NOW);
        let same = pod_status(&pod, &[running(false)], Some(&first), later);
        assert_eq!(first, same);
        let ready = pod_status(&pod, &[running(true)], Some(&same), later);
        assert_eq!(condition(&ready, "Ready").status, "True");
        assert_eq!(condition(&ready, "Ready").last_transition_time, Some(Time(later)));
        assert_eq!(condition(&ready, "Initialized").last_transition_time, Some(Time(NOW)));
        assert_eq!(ready.start_time, Some(Time(NOW)));
    }

    #[test]
    fn a_patch_takes_back_the_reason_of_a_condition_that_no_longer_has_one() {
        let status = pod_status(&with_policy("Always"), &[running(true)], None, NOW);
        let patch = status_patch(Some("u"), &status);
        assert_eq!(patch["metadata"]["uid"], "u");
        for condition in patch["status"]["conditions"].as_array().unwrap() {
            assert_eq!(condition.get("reason"), Some(&Value::Null), "{condition}");
            assert_eq!(condition.get("message"), Some(&Value::Null), "{condition}");
        }
    }

    #[test]
    fn an_unready_container_is_named() {
        let status = pod_status(&with_policy("Always"), &[running(false)], None, NOW);
        let ready = condition(&status, "Ready");
        assert_eq!(
            ready.message.as_deref(),
            Some("containers with unready status: [server]")
        );
        assert!(
            status
                .conditions
                .unwrap()
                .iter()
                .all(|condition| condition.type_ != "PodScheduled")
        );
    }
}
