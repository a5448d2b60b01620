//! A namespace with the scripted service under a policy, and an operator of its own.

use std::time::Duration;

use bed::Endpoints;
use quality_officer::{
    api::{IncidentState, QualityIncident, QualityPolicy, QualityReport, RollbackCheckpoint},
    core::incident::ContainerImage,
};
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
pub const POLICY: &str = "
apiVersion: quality-officer.dev/v1alpha1
kind: QualityPolicy
metadata: {name: ranker}
spec:
  targetRef: {name: ranker}
  judgement: {interval: 2s, warmUp: 0s}
  checkpoints: {registerAfter: 4s}
";

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
        let mut service = Service::start(space.endpoints.prometheus_targets.clone())
            .await
            .unwrap();
        service.behave(&good(), Behaviour::HEALTHY);
        service.behave(&bad(), Behaviour::FAILING);
        service.follow(space.client.clone(), namespace);
        script::deploy(&space, &good()).await.unwrap();
        script::rolled_out(&space, "ranker").await.unwrap();
        let options = OperatorOptions::for_namespace(namespace, &space.endpoints.prometheus);
        let operator = Operator::start(&space.endpoints, &space.folder(), options).unwrap();
        Self {
            space,
            service,
            operator,
        }
    }

    /// The good release runs, is judged by `policy` and was registered.
    pub async fn guarded_by(namespace: &str, policy: &str) -> Self {
        let scene = Self::unguarded(namespace).await;
        scene.space.apply(policy).unwrap();
        scene.registered(&good()).await;
        scene
    }

    /// By the quick policy.
    pub async fn guarded(namespace: &str) -> Self {
        Self::guarded_by(namespace, POLICY).await
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

    /// The only incident, once it is in `state`.
    pub async fn incident(&self, state: IncidentState) -> QualityIncident {
        let what = format!("one incident is {}", state.name());
        let all = self
            .space
            .wait_all(&what, Duration::from_secs(90), |all: &[QualityIncident]| {
                all.iter().any(|incident| state_of(incident) == state)
            })
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.operator.log_tail()));
        assert_eq!(all.len(), 1, "one breach, one incident: {all:#?}");
        all.into_iter().next().unwrap()
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
    quality_officer::api::conditions::is_true(conditions, "Ready")
}
