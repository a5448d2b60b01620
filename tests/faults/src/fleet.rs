//! Many guarded Deployments in one namespace, under one operator.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bed::Endpoints;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use quality_api::{QualityPolicy, RollbackCheckpoint, conditions};
use serde_json::{Value, json};
use stage::{Behaviour, OperatorOptions, Service, Space, StageError};

use crate::world::{self, Replica, good, policy};

/// How many requests to the API server a fleet has under way at a time.
const TOGETHER: usize = 8;

/// Many guarded Deployments.
pub struct Fleet {
    /// The namespace.
    pub space: Space,
    /// What the pods' metrics say.
    pub service: Arc<Service>,
    /// The operator.
    pub replica: Replica,
    /// The Deployments; each has a policy of its name.
    pub names: Vec<String>,
}

impl Fleet {
    /// So many Deployments of one pod each run the good release, are guarded by a policy with these changes, and are
    /// registered.
    pub async fn guarded(
        endpoints: &Endpoints,
        namespace: &str,
        size: usize,
        changes: &Value,
    ) -> Result<Self, StageError> {
        let space = world::space(endpoints, namespace).await?;
        let mut service = Service::start(space.endpoints.prometheus_targets.clone()).await?;
        service.behave(&good(), Behaviour::HEALTHY);
        service.follow(space.client.clone(), &space.namespace);
        let names: Vec<String> = (0..size).map(|number| format!("ranker-{number:03}")).collect();
        let options = OperatorOptions::for_namespace(namespace, &space.endpoints.prometheus);
        let replica = Replica::start(&space, "operator", options).await?;
        let fleet = Self {
            space,
            service: Arc::new(service),
            replica,
            names,
        };
        let deployments = fleet.space.api::<Deployment>();
        let policies = fleet.space.api::<QualityPolicy>();
        let (deployments, policies) = (&deployments, &policies);
        stream::iter(fleet.names.clone())
            .map(|name| async move {
                let made = read::<Deployment>(stage::script::deployment(&name, &good()))?;
                deployments.create(&PostParams::default(), &made).await?;
                let mut guarded = policy(changes);
                guarded["metadata"]["name"] = json!(name);
                guarded["spec"]["targetRef"]["name"] = json!(name);
                policies.create(&PostParams::default(), &read(guarded)?).await?;
                Ok::<_, StageError>(())
            })
            .buffer_unordered(TOGETHER)
            .try_collect::<Vec<()>>()
            .await?;
        fleet.registered().await?;
        Ok(fleet)
    }

    async fn registered(&self) -> Result<(), StageError> {
        let within = Duration::from_secs(240);
        let size = self.names.len();
        let ready = |checkpoint: &RollbackCheckpoint| {
            let status = checkpoint.status.as_ref();
            status.is_some_and(|status| conditions::is_true(&status.conditions, "Ready"))
        };
        let what = "every release is registered";
        self.space
            .wait_all(what, within, |all: &[RollbackCheckpoint]| {
                all.iter().filter(|checkpoint| ready(checkpoint)).count() >= size
            })
            .await?;
        self.healthy(within).await
    }

    /// Waits until every policy says that its objectives are met.
    pub async fn healthy(&self, within: Duration) -> Result<(), StageError> {
        let met = |policy: &QualityPolicy| {
            let status = policy.status.as_ref();
            status.is_some_and(|status| conditions::is_true(&status.conditions, "SLOsMet"))
        };
        let what = "every policy's objectives are met";
        let all_met = |all: &[QualityPolicy]| all.iter().all(met);
        self.space.wait_all(what, within, all_met).await.map(drop)
    }

    /// Ships an image everywhere, past gates that are about to open, each until it is taken.
    pub async fn ship(&self, image: &str) -> Result<(), StageError> {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "server", "image": image}]}}}});
        let (deployments, patch) = (&self.space.api::<Deployment>(), &patch);
        stream::iter(self.names.clone())
            .map(|name| async move {
                let begin = Instant::now();
                loop {
                    let sent = deployments
                        .patch(&name, &PatchParams::default(), &Patch::Strategic(patch))
                        .await;
                    match sent {
                        Ok(_) => return Ok::<_, StageError>(()),
                        Err(error) if begin.elapsed() > Duration::from_secs(60) => return Err(error.into()),
                        Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                    }
                }
            })
            .buffer_unordered(TOGETHER)
            .try_collect::<Vec<()>>()
            .await
            .map(drop)
    }

    /// The image of each Deployment.
    pub async fn images(&self) -> Result<BTreeMap<String, String>, StageError> {
        let all = self.space.all::<Deployment>().await?;
        let image = |deployment: &Deployment| {
            let spec = deployment.spec.template.spec.as_ref();
            let container = spec.and_then(|spec| spec.containers.first());
            container
                .and_then(|container| container.image.clone())
                .unwrap_or_default()
        };
        Ok(all
            .iter()
            .map(|deployment| (deployment.name_any(), image(deployment)))
            .collect())
    }
}

fn read<T: serde::de::DeserializeOwned>(object: Value) -> Result<T, StageError> {
    serde_json::from_value(object).map_err(|error| StageError::Unexpected(error.to_string()))
}
