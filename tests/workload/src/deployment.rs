//! The Deployment of the demo service.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        core::v1::{
            Container, ContainerPort, EnvVar, HTTPGetAction, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use crate::images;

/// What differs between Deployments of the demo service.
#[derive(Debug, Clone)]
pub struct DeploymentOptions {
    /// Name, and value of the `app` label.
    pub name: String,
    /// Image reference of the container `server`.
    pub image: String,
    /// Number of pods.
    pub replicas: i32,
    /// GPUs a pod requests; none with 0.
    pub gpus: u32,
    /// Plain environment of the container: the `RANKER_*` variables of `inference-server --help`.
    pub env: BTreeMap<String, String>,
    /// Annotations of the pod template.
    pub annotations: BTreeMap<String, String>,
}

impl DeploymentOptions {
    /// `ranker` with 3 replicas of a release of [`images::images`].
    #[must_use]
    pub fn release(tag: &str) -> Self {
        Self {
            name: "ranker".into(),
            image: images::image(tag),
            replicas: 3,
            gpus: 1,
            env: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// The Deployment, for nodes of `node-agent` (label `type=agent`).
#[must_use]
pub fn ranker_deployment(namespace: &str, options: &DeploymentOptions) -> Deployment {
    let labels = BTreeMap::from([("app".to_owned(), options.name.clone())]);
    Deployment {
        metadata: ObjectMeta {
            name: Some(options.name.clone()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
        spec: DeploymentSpec {
            replicas: Some(options.replicas),
            selector: LabelSelector {
                match_labels: Some(labels.clone()),
                ..LabelSelector::default()
            },
            progress_deadline_seconds: Some(60),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: (!options.annotations.is_empty()).then(|| options.annotations.clone()),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    containers: vec![container(options)],
                    node_selector: Some(BTreeMap::from([("type".to_owned(), "agent".to_owned())])),
                    termination_grace_period_seconds: Some(2),
                    automount_service_account_token: Some(false),
                    ..PodSpec::default()
                }),
            },
            ..DeploymentSpec::default()
        },
        status: None,
    }
}

fn container(options: &DeploymentOptions) -> Container {
    let env = options.env.iter().map(|(name, value)| EnvVar {
        name: name.clone(),
        value: Some(value.clone()),
        value_from: None,
    });
    Container {
        name: "server".into(),
        image: Some(options.image.clone()),
        env: (!options.env.is_empty()).then(|| env.collect()),
        ports: Some(vec![ContainerPort {
            name: Some("http".into()),
            container_port: 8080,
            ..ContainerPort::default()
        }]),
        readiness_probe: Some(Probe {
            http_get: Some(HTTPGetAction {
                path: Some("/readyz".into()),
                port: IntOrString::String("http".into()),
                ..HTTPGetAction::default()
            }),
            period_seconds: Some(1),
            ..Probe::default()
        }),
        resources: Some(resources(options.gpus)),
        ..Container::default()
    }
}

fn resources(gpus: u32) -> ResourceRequirements {
    let quantity = |text: &str| Quantity(text.to_owned());
    let requests = BTreeMap::from([
        ("cpu".to_owned(), quantity("50m")),
        ("memory".to_owned(), quantity("64Mi")),
    ]);
    let limits = (gpus > 0).then(|| BTreeMap::from([("nvidia.com/gpu".to_owned(), Quantity(gpus.to_string()))]));
    ResourceRequirements {
        requests: Some(requests),
        limits,
        ..ResourceRequirements::default()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_selector_matches_the_template_and_pods_go_to_agents() {
        let deployment = ranker_deployment("shop", &DeploymentOptions::release("v1"));
        let spec = deployment.spec;
        assert_eq!(spec.selector.match_labels, spec.template.metadata.unwrap().labels);
        assert_eq!(spec.replicas, Some(3));
        let pod = spec.template.spec.unwrap();
        assert_eq!(pod.node_selector.unwrap()["type"], "agent");
        assert_eq!(pod.containers[0].name, "server");
        assert_eq!(pod.containers[0].image.as_deref(), Some("registry.example/ranker:v1"));
    }
}
