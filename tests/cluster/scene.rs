//! A namespace with the scripted service under a policy, and an operator of its own.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use bed::Endpoints;
use kube::api::{Patch, PatchParams};
use quality_api::{
    APPROVE_ANNOTATION, BREAK_GLASS_ANNOTATION, FIXES_ANNOTATION, IncidentState, QualityIncident, QualityPolicy,
    QualityReport, RollbackCheckpoint,
};
use quality_core::incident::ContainerImage;
use serde_json::{Value, json};
use stage::{Behaviour, Operator, OperatorOptions, Service, Space, script};
use tokio::sync::OnceCell;

static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// The good release's image.
pub fn good() -> String {
    image('a')
}

/// The bad release's image.
pub fn bad() -> String {
    image('b')
}

/// An image by a digest of one repeated digit.
pub fn image(digit: char) -> String {
    format!("registry.example/ranker@sha256:{}", digit.to_string().repeat(64))
}

/// Looks every 2 s, so that a test is quick; everything else is as a user would have it.
pub fn quick() -> String {
    policy(&json!({}))
}

/// The quick policy with some of its spec changed.
pub fn policy(changes: &Value) -> String {
    policy_named("ranker", changes)
}

/// As [`policy`], under another name.
pub fn policy_named(name: &str, changes: &Value) -> String {
    let mut spec = json!({
        "targetRef": {"name": "ranker"},
        "judgement": {"interval": "2s", "warmUp": "0s"},
        "checkpoints": {"registerAfter": "4s"},
    });
    merge(&mut spec, changes);
    object("QualityPolicy", name, &spec)
}

/// A checkpoint as a user writes it.
pub fn checkpoint(name: &str, image: &str) -> String {
    let images = json!([{"container": "server", "image": image}]);
    object(
        "RollbackCheckpoint",
        name,
        &json!({"targetRef": {"name": "ranker"}, "images": images}),
    )
}

fn object(kind: &str, name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "quality-officer.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
    })
    .to_string()
}

/// Merges as a JSON merge patch does, without its deletions.
pub fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, changes) => *into = changes.clone(),
    }
}

pub struct Scene {
    pub space: Space,
    pub service: Service,
    pub operator: Operator,
}

pub async fn space(namespace: &str) -> Space {
    let endpoints = Endpoints::from_env().unwrap_or_else(|error| panic!("{error}"));
    INSTALLED
        .get_or_init(|| async { stage::install(&endpoints).unwrap() })
        .await;
    Space::new(&endpoints, namespace).await.unwrap()
}

impl Scene {
    /// The good release runs and nobody guards it.
    pub async fn unguarded(namespace: &str) -> Self {
        let space = space(namespace).await;
        let targets = space.endpoints.prometheus_targets.clone();
        let options = OperatorOptions::for_namespace(namespace, &space.endpoints.prometheus);
        Self::set(space, targets, options).await
    }

    /// As [`Scene::unguarded`], with targets and an operator of the caller's choice.
    pub async fn set(space: Space, targets: PathBuf, options: OperatorOptions) -> Self {
        Self::running(space, targets, options, &good()).await
    }

    /// As [`Scene::set`], with another image of the good release.
    pub async fn running(space: Space, targets: PathBuf, options: OperatorOptions, image: &str) -> Self {
        let mut service = Service::start(targets).await.unwrap();
        service.behave(image, Behaviour::HEALTHY);
        service.behave(&bad(), Behaviour::FAILING);
        service.follow(space.client.clone(), &space.namespace);
        script::deploy(&space, image).await.unwrap();
        script::rolled_out(&space, "ranker").await.unwrap();
        let operator = Operator::start(&space.endpoints, &space.folder(), options).unwrap();
        Self {
            space,
            service,
            operator,
        }
    }

    /// The good release runs, is judged by `policy` and was registered.
    pub async fn guarded_by(namespace: &str, policy: &str) -> Self {
        Self::unguarded(namespace).await.guard(policy).await
    }

    /// The policy is applied and the release that runs was registered.
    pub async fn guard(self, policy: &str) -> Self {
        self.space.apply(policy).unwrap();
        self.registered(&good()).await;
        self
    }

    /// By the quick policy.
    pub async fn guarded(namespace: &str) -> Self {
        Self::guarded_by(namespace, &quick()).await
    }

    /// The checkpoint with this image, once it is Ready.
    pub async fn registered(&self, image: &str) -> RollbackCheckpoint {
        let wanted = ContainerImage {
            container: "server".into(),
            image: image.into(),
        };
        let is_it = |checkpoint: &RollbackCheckpoint| {
            checkpoint.spec.images.contains(&wanted)
                && is_ready(&checkpoint.status.clone().unwrap_or_default().conditions)
        };
        let all = self
            .space
            .wait_all(
                "the release is registered",
                Duration::from_secs(60),
                |all: &[RollbackCheckpoint]| all.iter().any(is_it),
            )
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.operator.log_tail()));
        all.into_iter().find(is_it).unwrap()
    }

    pub async fn ship(&self, image: &str) {
        self.space.set_image("ranker", "server", image).await.unwrap();
    }

    /// As [`Scene::ship`], past a gate that may be closed, with the right to do so.
    pub async fn ship_past_the_gate(&self, image: &str) {
        let reason = format!("a test ships {image}");
        self.ship_with(image, BREAK_GLASS_ANNOTATION, &reason).await;
    }

    /// As [`Scene::ship`], as the fix of an incident.
    pub async fn ship_fix(&self, image: &str, incident: &QualityIncident) {
        self.ship_with(image, FIXES_ANNOTATION, incident.metadata.name.as_deref().unwrap())
            .await;
    }

    async fn ship_with(&self, image: &str, annotation: &str, value: &str) {
        let patch = json!({
            "metadata": {"annotations": {annotation: value}},
            "spec": {"template": {"spec": {"containers": [{"name": "server", "image": image}]}}},
        });
        let deployments = self.space.api::<k8s_openapi::api::apps::v1::Deployment>();
        // The gate that names the incident follows the incident.
        let begin = Instant::now();
        while let Err(error) = deployments
            .patch("ranker", &PatchParams::default(), &Patch::Strategic(&patch))
            .await
        {
            assert!(begin.elapsed() < Duration::from_secs(15), "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The policy, once its gate stands for this reason.
    pub async fn gate(&self, reason: &str) -> QualityPolicy {
        self.condition("GateOpen", reason).await
    }

    /// The only incident, once it is in `state`.
    pub async fn incident(&self, state: IncidentState) -> QualityIncident {
        let what = format!("one incident is {}", state.name());
        let all = self
            .incidents(&what, |all| all.iter().any(|incident| state_of(incident) == state))
            .await;
        assert_eq!(all.len(), 1, "one breach, one incident: {all:#?}");
        all.into_iter().next().unwrap()
    }

    /// The incidents, oldest first, once `holds` is true of them.
    pub async fn incidents(&self, what: &str, holds: impl Fn(&[QualityIncident]) -> bool) -> Vec<QualityIncident> {
        let within = Duration::from_secs(150);
        let found = self.space.wait_all(what, within, holds).await;
        let mut all = found.unwrap_or_else(|error| panic!("{error}\n{}", self.operator.log_tail()));
        all.sort_by_key(|incident| incident.metadata.creation_timestamp.as_ref().map(|at| at.0));
        all
    }

    /// The second incident, once it is in `state`.
    pub async fn second_incident(&self, state: IncidentState) -> QualityIncident {
        let what = format!("a second incident is {}", state.name());
        let mut all = self
            .incidents(&what, |all| {
                let newest = all
                    .iter()
                    .max_by_key(|i| i.metadata.creation_timestamp.as_ref().map(|at| at.0));
                all.len() > 1 && newest.is_some_and(|newest| state_of(newest) == state)
            })
            .await;
        let second = all.pop().unwrap();
        assert_eq!((all.len(), state_of(&second)), (1, state), "{all:#?}\n{second:#?}");
        second
    }

    /// A person lets a prepared rollback go ahead.
    pub fn approve(&self, incident: &QualityIncident) {
        let name = incident.metadata.name.as_deref().unwrap();
        let mark = format!("{APPROVE_ANNOTATION}=true");
        self.space
            .kubectl(&["annotate", "qualityincident", name, &mark])
            .unwrap();
    }

    /// Changes the policy.
    pub fn edit(&self, spec: &Value) {
        let patch = json!({"spec": spec});
        self.space.merge("qualitypolicy", "ranker", &patch).unwrap();
    }

    /// For `time` the Deployment's template and the number of incidents stay as they are.
    pub async fn nothing_happens_for(&self, time: Duration) {
        let now = || async {
            let incidents = self.space.all::<QualityIncident>().await.unwrap().len();
            (self.runs().await, self.revision().await, incidents)
        };
        let before = now().await;
        let end = Instant::now() + time;
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(now().await, before, "{}", self.operator.log_tail());
        }
    }

    /// What the operator wrote in this namespace since `since`, by the API server's own audit log: verb, what, and
    /// the status of the answer.
    pub fn writes_since(&self, since: jiff::Timestamp) -> Vec<(String, String, u64)> {
        let path = self
            .space
            .endpoints
            .audit_log
            .as_ref()
            .expect("a control plane of the bed's own");
        let log = std::fs::read_to_string(path).unwrap();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let in_namespace = format!("\"namespace\":\"{}\"", self.space.namespace);
        log.lines()
            .filter(|line| line.contains("system:serviceaccount:quality-officer") && line.contains(&in_namespace))
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| {
                event["stage"] == "ResponseComplete" && event["objectRef"]["namespace"] == self.space.namespace
            })
            .filter(|event| ["create", "update", "patch", "delete"].contains(&word(&event["verb"]).as_str()))
            .filter(|event| {
                word(&event["requestReceivedTimestamp"])
                    .parse::<jiff::Timestamp>()
                    .is_ok_and(|at| at >= since)
            })
            .map(|event| {
                let object = &event["objectRef"];
                let what = format!("{}/{}", word(&object["resource"]), word(&object["subresource"]));
                let status = event["responseStatus"]["code"].as_u64().unwrap_or(0);
                (word(&event["verb"]), what.trim_end_matches('/').to_owned(), status)
            })
            .collect()
    }

    /// Reasons of the Events about an object, once this one is among them: an Event follows the status that it tells of.
    pub async fn events_with(&self, kind: &str, name: &str, reason: &str) -> Vec<String> {
        let what = format!("{kind} {name} has an Event {reason}");
        let read = || self.space.event_reasons(kind, name);
        let told = |reasons: &Vec<String>| reasons.iter().any(|told| told == reason);
        let found = self.space.poll(&what, Duration::from_secs(20), read, told).await;
        found.unwrap_or_else(|error| panic!("{error}\n{}", self.operator.log_tail()))
    }

    /// The policy, once its condition `kind` has this reason.
    pub async fn condition(&self, kind: &str, reason: &str) -> QualityPolicy {
        self.condition_of("ranker", kind, reason).await
    }

    pub async fn condition_of(&self, policy: &str, kind: &str, reason: &str) -> QualityPolicy {
        let what = format!("condition {kind} of policy {policy} has reason {reason}");
        let has = |policy: &QualityPolicy| {
            let conditions = policy.status.clone().unwrap_or_default().conditions;
            conditions
                .iter()
                .any(|condition| condition.type_ == kind && condition.reason == reason)
        };
        let found = self.space.wait(&what, policy, Duration::from_secs(60), has).await;
        found.unwrap_or_else(|error| panic!("{error}\n{}", self.operator.log_tail()))
    }

    pub async fn report(&self, what: &str, holds: impl Fn(&QualityReport) -> bool) -> QualityReport {
        let found = self.space.wait(what, "ranker", Duration::from_secs(60), holds).await;
        found.unwrap_or_else(|error| panic!("{error}\n{}", self.operator.log_tail()))
    }

    pub async fn runs(&self) -> String {
        self.space.image("ranker").await.unwrap()
    }

    /// Waits until the operator has taken this many more looks.
    pub async fn looks(&self, more: f64) {
        let goal = self.operator.counter("quality_officer_looks_total") + more;
        let read = || async { Ok(self.operator.counter("quality_officer_looks_total")) };
        self.space
            .poll("the operator looks", Duration::from_secs(120), read, |looks| {
                *looks >= goal
            })
            .await
            .unwrap();
    }

    /// How many times the Deployment's template was changed, its creation included.
    pub async fn revision(&self) -> String {
        let deployment = self
            .space
            .api::<k8s_openapi::api::apps::v1::Deployment>()
            .get("ranker")
            .await
            .unwrap();
        deployment
            .metadata
            .annotations
            .unwrap_or_default()
            .remove("deployment.kubernetes.io/revision")
            .unwrap_or_default()
    }
}

pub fn state_of(incident: &QualityIncident) -> IncidentState {
    incident.status.as_ref().map(|status| status.state).unwrap_or_default()
}

pub fn is_ready(conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]) -> bool {
    quality_api::conditions::is_true(conditions, "Ready")
}
