//! The connection to a cluster, and why a question has no answer.

use std::{error::Error, time::Duration};

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;

use super::arguments::Connection;
use quality_api::{POLICY_LABEL, QualityReportSnapshot, names::label};
use quality_render::import_export::TransferError;

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
    /// An image that is not in quarantine.
    #[error("image {0} is not in quarantine; in quarantine: {1}")]
    NotQuarantined(String, String),
    /// The beginning of several digests.
    #[error("image {0} could mean several: {1}; name more of the digest")]
    Ambiguous(String, String),
    /// A rollback without a postmortem.
    #[error("incident {0} has no postmortem: it was not rolled back, or has not ended")]
    NoPostmortem(String),
    /// The operator, or this plugin, does not do what was asked.
    #[error("{0}")]
    Refused(String),
    /// The operator did not answer.
    #[error("{0}")]
    Unanswered(String),
    /// A file of ours could not be read or written.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// Checkpoints could not be written or read.
    #[error("{0}")]
    Transfer(#[from] TransferError),
    /// An object cannot be printed.
    #[error("cannot be printed: {0}")]
    Print(String),
    /// Who asks is nobody.
    #[error("the API server at {0} does not know who you are: log in, or name another --context")]
    Unauthorized(String),
    /// Nobody answers.
    #[error("the API server at {0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// Anything else.
    #[error("the API server: {0}")]
    Api(String),
}

/// A cluster and the namespaces that are meant.
pub struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) all: bool,
    server: String,
}

type Namespaced = NamespaceResourceScope;

impl Cluster {
    /// By the kubeconfig, a context of it, and a namespace or all of them.
    pub async fn connect(connection: Connection) -> Result<Self, PluginError> {
        let kubeconfig = match &connection.kubeconfig {
            Some(path) => Kubeconfig::read_from(path)?,
            None => Kubeconfig::read()?,
        };
        let options = KubeConfigOptions {
            context: connection.context,
            ..KubeConfigOptions::default()
        };
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        // A person sees at once that the API server does not answer.
        config.connect_timeout = Some(Duration::from_secs(10));
        config.default_retry = false;
        let server = config.cluster_url.to_string();
        let namespace = connection.namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(PluginError::Client)?;
        Ok(Self {
            client,
            namespace,
            all: connection.all_namespaces,
            server,
        })
    }

    pub(super) fn api<K: Resource<DynamicType = (), Scope = Namespaced>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// What a failed call means to a person.
    pub(super) fn failed<K: Resource<DynamicType = ()>>(
        &self,
        verb: &'static str,
        name: &str,
        error: kube::Error,
    ) -> PluginError {
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
            401 => PluginError::Unauthorized(self.server.clone()),
            0 => PluginError::Unreachable(self.server.clone(), cause(&error)),
            _ => PluginError::Api(match error {
                kube::Error::Api(status) => status.message.clone(),
                error => error.to_string(),
            }),
        }
    }

    /// The snapshots of a policy's report, newest first.
    pub async fn snapshots(&self, policy: &str) -> Result<Vec<QualityReportSnapshot>, PluginError> {
        let of_policy = ListParams::default().labels(&format!("{POLICY_LABEL}={}", label(policy)));
        let list = self.api::<QualityReportSnapshot>().list(&of_policy).await;
        let mut items = list
            .map_err(|error| self.failed::<QualityReportSnapshot>("list", "", error))?
            .items;
        items.sort_by_key(|snapshot| std::cmp::Reverse((snapshot.spec.at.0, snapshot.name_any())));
        Ok(items)
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

    /// Changes one object by a merge patch.
    pub(super) async fn patch<K>(&self, name: &str, patch: &serde_json::Value) -> Result<K, PluginError>
    where
        K: Resource<DynamicType = (), Scope = Namespaced> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let api = self.api::<K>();
        let done = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        done.map_err(|error| self.failed::<K>("patch", name, error))
    }
}

/// The innermost cause of a failed connection: the others only say that there was one.
fn cause(error: &kube::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
