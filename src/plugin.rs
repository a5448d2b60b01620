//! `kubectl quality`: what on-call asks, from the objects that the operator keeps. Reads and small, named changes; it
//! decides nothing.

mod page;
pub mod print;

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::api::{
    APPROVE_ANNOTATION, DrillMode, LocalReference, QualityIncident, QualityPolicy, QualityReport, RecoveryDrill,
    RecoveryDrillSpec, RollbackCheckpoint,
};

/// Why a question has no answer. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// No usable kubeconfig.
    #[error("no cluster: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The client could not be made.
    #[error("no client for the cluster: {0}")]
    Client(kube::Error),
    /// The definitions are not installed.
    #[error("this cluster has no {0}: install the definitions with `kubectl apply --server-side -f crds/`")]
    NotInstalled(String),
    /// Rights are missing.
    #[error("you may not {verb} {what} in {namespace}: ask for that right")]
    Forbidden {
        /// The verb.
        verb: &'static str,
        /// The plural.
        what: String,
        /// `namespace …`, or all of them.
        namespace: String,
    },
    /// There is no such object.
    #[error("there is no {kind} {name} in namespace {namespace}")]
    NotFound {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
        /// The namespace.
        namespace: String,
    },
    /// An incident that does not wait for an approval.
    #[error("incident {0} is {1}: only one that is AwaitingApproval or Halted can be approved")]
    NotWaiting(String, &'static str),
    /// A rollback without a postmortem.
    #[error("incident {0} has no postmortem: it was not rolled back, or has not ended")]
    NoPostmortem(String),
    /// Anything else.
    #[error("the API server: {0}")]
    Api(kube::Error),
}

/// A cluster and the namespaces that are meant.
pub struct Cluster {
    client: Client,
    namespace: String,
    all: bool,
}

type Namespaced = NamespaceResourceScope;

impl Cluster {
    /// By the kubeconfig, a context of it, and a namespace or all of them.
    pub async fn connect(context: Option<String>, namespace: Option<String>, all: bool) -> Result<Self, PluginError> {
        let kubeconfig = Kubeconfig::read()?;
        let options = KubeConfigOptions {
            context,
            ..KubeConfigOptions::default()
        };
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(PluginError::Client)?;
        Ok(Self { client, namespace, all })
    }

    fn api<K: Resource<DynamicType = (), Scope = Namespaced>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn failed<K: Resource<DynamicType = ()>>(&self, verb: &'static str, name: &str, error: kube::Error) -> PluginError {
        let code = match &error {
            kube::Error::Api(status) => status.code,
            _ => 0,
        };
        match code {
            403 => PluginError::Forbidden {
                verb,
                what: K::plural(&()).into_owned(),
                namespace: if self.all && verb == "list" {
                    "all namespaces".to_owned()
                } else {
                    format!("namespace {}", self.namespace)
                },
            },
            404 if name.is_empty() || error.to_string().contains("page not found") => {
                PluginError::NotInstalled(K::plural(&()).into_owned())
            }
            404 => PluginError::NotFound {
                kind: K::kind(&()).into_owned(),
                name: name.to_owned(),
                namespace: self.namespace.clone(),
            },
            _ => PluginError::Api(error),
        }
    }

    /// All objects of a kind, by namespace and name.
    pub async fn list<K>(&self) -> Result<Vec<K>, PluginError>
    where
        K: Resource<DynamicType = (), Scope = Namespaced> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let api: Api<K> = if self.all {
            Api::all(self.client.clone())
        } else {
            self.api()
        };
        let list = api.list(&ListParams::default()).await;
        let mut items = list.map_err(|error| self.failed::<K>("list", "", error))?.items;
        items.sort_by_key(|item| (item.namespace(), item.name_any()));
        Ok(items)
    }

    /// One object.
    pub async fn get<K>(&self, name: &str) -> Result<K, PluginError>
    where
        K: Resource<DynamicType = (), Scope = Namespaced> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let found = self.api::<K>().get(name).await;
        found.map_err(|error| self.failed::<K>("get", name, error))
    }

    /// Lets a prepared or halted rollback go ahead.
    pub async fn approve(&self, name: &str) -> Result<String, PluginError> {
        use crate::api::IncidentState::{AwaitingApproval, Halted};
        let incident: QualityIncident = self.get(name).await?;
        let state = incident.status.as_ref().map(|status| status.state).unwrap_or_default();
        if !matches!(state, AwaitingApproval | Halted) {
            return Err(PluginError::NotWaiting(name.to_owned(), state.name()));
        }
        // Of this life of the incident and no other.
        let patch = json!({"metadata": {
            "uid": incident.metadata.uid, "annotations": {APPROVE_ANNOTATION: "true"},
        }});
        self.patch::<QualityIncident>(name, &patch).await?;
        let to = incident.spec.checkpoint.map(|checkpoint| checkpoint.name);
        Ok(format!(
            "approved: {name} goes back to checkpoint {}",
            to.unwrap_or_default()
        ))
    }

    /// Pauses or resumes a policy.
    pub async fn pause(&self, name: &str, paused: bool) -> Result<String, PluginError> {
        self.patch::<QualityPolicy>(name, &json!({"spec": {"paused": paused}}))
            .await?;
        Ok(if paused {
            format!("paused: {name} judges nothing and acts on nothing")
        } else {
            format!("resumed: the analysis of {name} starts anew")
        })
    }

    /// Starts a drill of a policy.
    pub async fn drill(&self, policy: &str, in_place: bool) -> Result<String, PluginError> {
        let _: QualityPolicy = self.get(policy).await?;
        let mut drill = RecoveryDrill::new(
            "",
            RecoveryDrillSpec {
                policy_ref: LocalReference {
                    name: policy.to_owned(),
                },
                mode: if in_place {
                    DrillMode::InPlace
                } else {
                    DrillMode::Shadow
                },
            },
        );
        drill.metadata.name = None;
        drill.metadata.generate_name = Some(format!("{policy}-"));
        let made = self.api::<RecoveryDrill>().create(&PostParams::default(), &drill).await;
        let made = made.map_err(|error| self.failed::<RecoveryDrill>("create", policy, error))?;
        Ok(format!(
            "started: kubectl get recoverydrill {} -n {} -w",
            made.name_any(),
            self.namespace
        ))
    }

    async fn patch<K>(&self, name: &str, patch: &serde_json::Value) -> Result<K, PluginError>
    where
        K: Resource<DynamicType = (), Scope = Namespaced> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let api = self.api::<K>();
        let done = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        done.map_err(|error| self.failed::<K>("patch", name, error))
    }

    /// The reports, or one of them.
    pub async fn reports(&self, name: Option<&str>) -> Result<Vec<QualityReport>, PluginError> {
        match name {
            Some(name) => Ok(vec![self.get(name).await?]),
            None => self.list().await,
        }
    }

    /// The checkpoints.
    pub async fn checkpoints(&self) -> Result<Vec<RollbackCheckpoint>, PluginError> {
        self.list().await
    }

    /// The postmortem of an incident.
    pub async fn postmortem(&self, name: &str) -> Result<String, PluginError> {
        let incident: QualityIncident = self.get(name).await?;
        let text = incident.status.and_then(|status| status.postmortem);
        text.ok_or_else(|| PluginError::NoPostmortem(name.to_owned()))
    }
}
