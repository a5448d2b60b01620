//! The real service: inference servers as processes, under a real open-loop load.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::PostParams;
use workload::{
    Agent, AgentOptions, DeploymentOptions, GpuExporter, GpuExporterOptions, Load, LoadOptions, images::ImageTable,
};

use crate::{Space, StageError, script::rolled_out};

/// A node with real processes and a GPU exporter beside it.
pub struct Node {
    agent: Agent,
    gpu: GpuExporter,
    folder: PathBuf,
}

impl Node {
    /// Starts both. `name` is the Node's; Prometheus reads its targets from `targets`. Blocks.
    pub fn start(space: &Space, name: &str, targets: &Path) -> Result<Self, StageError> {
        let folder = space.folder();
        std::fs::create_dir_all(&folder).map_err(StageError::io(format!("make {}", folder.display())))?;
        let mut options = AgentOptions::new(space.endpoints.kubeconfig.clone(), targets, folder.clone());
        name.clone_into(&mut options.node.node_name);
        options.node.labels.push(("agent".to_owned(), name.to_owned()));
        let agent = Agent::start(&options)?;
        let gpu = GpuExporter::start(&GpuExporterOptions {
            ready_file: agent.ready_file(),
            targets_file: targets.join(format!("{name}-gpu.json")),
            work_dir: folder.clone(),
        })?;
        Ok(Self { agent, gpu, folder })
    }

    /// Makes the Deployment `ranker` with this release on the node `name`, and waits for its 3 pods.
    pub async fn deploy(space: &Space, name: &str, tag: &str) -> Result<Deployment, StageError> {
        Self::deploy_annotated(space, name, tag, &[]).await
    }

    /// As [`Node::deploy`], with annotations of the pod template.
    pub async fn deploy_annotated(
        space: &Space,
        name: &str,
        tag: &str,
        annotations: &[(&str, &str)],
    ) -> Result<Deployment, StageError> {
        let annotations = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let options = DeploymentOptions {
            annotations: annotations.collect(),
            ..DeploymentOptions::release(tag)
        };
        let mut deployment = workload::ranker_deployment(&space.namespace, &options);
        if let Some(spec) = &mut deployment.spec.template.spec {
            spec.node_selector
                .get_or_insert_default()
                .insert("agent".to_owned(), name.to_owned());
        }
        space
            .api::<Deployment>()
            .create(&PostParams::default(), &deployment)
            .await?;
        rolled_out(space, "ranker").await
    }

    /// Sends this many requests per second to the Ready pods of the namespace until the load is dropped. Blocks.
    pub fn load(&self, space: &Space, rate: f64) -> Result<Load, StageError> {
        let mut options = LoadOptions::new(self.agent.ready_file(), &space.namespace, self.folder.clone());
        options.rate = rate;
        options.duration = Duration::from_secs(3_600);
        Ok(Load::start(&options)?)
    }

    /// Replaces what can be pulled from now on.
    pub fn set_images(&self, images: &ImageTable) -> Result<(), StageError> {
        Ok(self.agent.set_images(images)?)
    }

    /// The GPU exporter.
    pub fn gpu(&self) -> &GpuExporter {
        &self.gpu
    }
}
