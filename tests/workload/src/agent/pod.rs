//! One pod: its containers' reports become its status and its discovery entry; when it is deleted, its end.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    Context,
    container::{Plan, Restart, Stop, Supervisor},
    status::{Report, State, pod_status, restart_policy, status_patch},
};
use crate::discovery::PodEndpoints;

/// The longest that a deleted pod may take, whatever its own grace period.
const MAX_GRACE: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(500);

/// What should become of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Desired {
    /// It runs.
    Running,
    /// It has been deleted: end its processes, then remove it.
    Deleted(Duration),
    /// It is no longer in the cluster, or the agent ends: end its processes.
    Gone,
}

impl Desired {
    /// What the pod object says.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        if pod.metadata.deletion_timestamp.is_none() {
            return Self::Running;
        }
        let seconds = pod
            .metadata
            .deletion_grace_period_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        Self::Deleted(seconds.map_or(MAX_GRACE, |seconds| Duration::from_secs(seconds).min(MAX_GRACE)))
    }

    fn stop(self) -> Stop {
        match self {
            Self::Running => Stop::No,
            Self::Deleted(grace) => Stop::Within(grace),
            Self::Gone => Stop::Within(Duration::from_millis(500)),
        }
    }
}

/// The task of one pod.
pub struct PodTask {
    context: Arc<Context>,
    pods: Api<Pod>,
    pod: Pod,
    desired: watch::Receiver<Desired>,
    reports: Vec<Report>,
    written: Option<PodStatus>,
}

impl PodTask {
    /// A task for a pod that the agent sees for the first time.
    #[must_use]
    pub fn new(context: Arc<Context>, client: Client, pod: Pod, desired: watch::Receiver<Desired>) -> Self {
        let namespace = pod.namespace().unwrap_or_default();
        let reports = containers(&pod)
            .iter()
            .map(|container| known_report(&pod, &container.name))
            .collect();
        Self {
            context,
            pods: Api::namespaced(client, &namespace),
            pod,
            desired,
            reports,
            written: None,
        }
    }

    /// Runs until the pod is gone.
    pub async fn run(mut self) {
        let (sender, mut updates) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(Stop::No);
        let mut containers = self.supervise(&sender, &stopped);
        drop(sender);
        let mut retry = false;
        loop {
            self.announce();
            let desired = *self.desired.borrow_and_update();
            stop.send_replace(desired.stop());
            match desired {
                Desired::Running => retry = !self.write_status().await,
                Desired::Deleted(_) | Desired::Gone if !containers.is_empty() => {}
                Desired::Gone => break,
                Desired::Deleted(_) => {
                    if self.write_status().await && self.delete().await {
                        break;
                    }
                    retry = true;
                }
            }
            tokio::select! {
                Some((index, report)) = updates.recv() => {
                    self.note(index, report);
                    // One status for everything that has happened meanwhile.
                    while let Ok((index, report)) = updates.try_recv() {
                        self.note(index, report);
                    }
                }
                Some(_) = containers.join_next() => {
                    // The last report was sent before its task ended.
                    while let Ok((index, report)) = updates.try_recv() {
                        self.note(index, report);
                    }
                }
                changed = self.desired.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(RETRY), if retry => {}
            }
        }
        self.withdraw();
    }

    fn supervise(&self, updates: &mpsc::UnboundedSender<(usize, Report)>, stop: &watch::Receiver<Stop>) -> JoinSet<()> {
        let (namespace, name) = (self.pod.namespace().unwrap_or_default(), self.pod.name_any());
        let restart = Restart::of(restart_policy(&self.pod));
        let mut tasks = JoinSet::new();
        for (index, (container, report)) in containers(&self.pod).iter().zip(&self.reports).enumerate() {
            let supervisor = Supervisor {
                context: Arc::clone(&self.context),
                plan: Plan::new(&namespace, &name, container, restart),
                report: report.clone(),
                index,
                updates: updates.clone(),
                stop: stop.clone(),
            };
            tasks.spawn(supervisor.run());
        }
        tasks
    }

    fn note(&mut self, index: usize, report: Report) {
        if let Some(known) = self.reports.get_mut(index) {
            *known = report;
        }
    }

    /// Tells Prometheus and the load generator. A pod that is being deleted takes no more traffic, but is still scraped.
    fn announce(&self) {
        let containers: Vec<_> = self
            .reports
            .iter()
            .filter_map(|report| match report.state {
                State::Running { port, .. } => {
                    Some((report.name.clone(), std::net::SocketAddr::from(([127, 0, 0, 1], port))))
                }
                State::Waiting { .. } | State::Terminated(_) => None,
            })
            .collect();
        let ready = *self.desired.borrow() == Desired::Running && self.reports.iter().all(Report::ready);
        let app = ["app", "app.kubernetes.io/name"]
            .iter()
            .find_map(|label| self.pod.labels().get(*label));
        let endpoints = PodEndpoints {
            namespace: self.pod.namespace().unwrap_or_default(),
            pod: self.pod.name_any(),
            app: app.cloned().unwrap_or_default(),
            containers,
            ready,
        };
        let mut discovery = self.context.discovery.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = discovery.set(endpoints) {
            tracing::warn!(%error, "discovery files are out of date");
        }
    }

    fn withdraw(&self) {
        let mut discovery = self.context.discovery.lock().unwrap_or_else(PoisonError::into_inner);
        let namespace = self.pod.namespace().unwrap_or_default();
        if let Err(error) = discovery.remove(&namespace, &self.pod.name_any()) {
            tracing::warn!(%error, "discovery files are out of date");
        }
    }

    /// Writes the status when it differs from the last one; false when it has to be tried again.
    async fn write_status(&mut self) -> bool {
        let status = pod_status(&self.pod, &self.reports, self.written.as_ref(), Timestamp::now());
        if self.written.as_ref() == Some(&status) {
            return true;
        }
        let patch = status_patch(self.pod.metadata.uid.as_deref(), &status);
        match self
            .pods
            .patch_status(&self.pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch))
            .await
        {
            Ok(_) => {
                self.written = Some(status);
                true
            }
            // Gone or replaced: the watch will say so.
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => true,
            Err(error) => {
                tracing::warn!(pod = self.pod.name_any(), %error, "status not written");
                false
            }
        }
    }

    async fn delete(&self) -> bool {
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: self.pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.pods.delete(&self.pod.name_any(), &now).await {
            Ok(_) => true,
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => true,
            Err(error) => {
                tracing::warn!(pod = self.pod.name_any(), %error, "pod not deleted");
                false
            }
        }
    }
}

fn containers(pod: &Pod) -> &[k8s_openapi::api::core::v1::Container] {
    pod.spec.as_ref().map_or(&[], |PodSpec { containers, .. }| containers)
}

/// What an earlier agent reported about a container, without its process, which ended with that agent.
fn known_report(pod: &Pod, name: &str) -> Report {
    let container = containers(pod).iter().find(|container| container.name == name);
    let image = container
        .and_then(|container| container.image.as_deref())
        .unwrap_or_default();
    let known = pod.status.as_ref().and_then(|status| {
        status
            .container_statuses
            .as_ref()?
            .iter()
            .find(|known| known.name == name)
    });
    Report {
        restarts: known.map_or(0, |known| known.restart_count),
        container_id: known.and_then(|known| known.container_id.clone()),
        ..Report::creating(name, image)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_deleted_pod_gets_its_grace_up_to_the_longest() {
        let deleted = |seconds| {
            Desired::of(&pod(serde_json::json!({"metadata": {
                "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": seconds,
            }})))
        };
        assert_eq!(deleted(30), Desired::Deleted(MAX_GRACE));
        assert_eq!(deleted(1), Desired::Deleted(Duration::from_secs(1)));
        assert_eq!(Desired::of(&pod(serde_json::json!({"metadata": {}}))), Desired::Running);
    }

    #[test]
    fn restarts_count_on_after_a_restart_of_the_agent() {
        let known = pod(serde_json::json!({
            "spec": {"containers": [{"name": "server", "image": "x:1"}]},
            "status": {"containerStatuses": [{
                "name": "server", "image": "x:1", "imageID": "", "ready": true, "restartCount": 2,
                "containerID": "process://4",
            }]},
        }));
        let report = known_report(&known, "server");
        assert_eq!((report.restarts, report.image.as_str()), (2, "x:1"));
        assert!(report.container_id.is_some(), "its next start is a restart");
    }
}
