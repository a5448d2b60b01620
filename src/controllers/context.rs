//! What every reconcile shares: the client, the watch caches, the metrics sources and the analyses.

use std::{collections::HashMap, fmt::Debug, future::Future, sync::Arc, time::Duration};

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Event,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{DeserializeGuard, NamespaceResourceScope},
    runtime::reflector::Store,
};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    controllers::{
        evaluation::EvaluationLoader, mlflow_export::attempts::MlflowExports, notification::notifier,
        release_analysis::ReleaseAnalysis, single_flight::Shared, verification, write_errors::WriteErrors,
    },
    metrics::Meters,
};
use quality_api::{QualityIncident, QualityPolicy, QualityReport, RecoveryDrill, RollbackCheckpoint};
use quality_sources::prometheus::Source;

pub use crate::client::post;

/// No call to the API server takes longer. kube has no read timeout of its own, and a write that fires long
/// after it was decided on is worse than none.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// A policy as the watch delivers it: one that cannot be decoded stops only itself.
pub type PolicyObject = DeserializeGuard<QualityPolicy>;

/// The watch caches.
#[derive(Clone)]
pub struct Stores {
    /// All policies.
    pub policies: Store<PolicyObject>,
    /// All Deployments, without what is not looked at.
    pub deployments: Store<Deployment>,
    /// All ReplicaSets, without what is not looked at.
    pub replica_sets: Store<ReplicaSet>,
    /// All checkpoints.
    pub checkpoints: Store<DeserializeGuard<RollbackCheckpoint>>,
    /// All incidents.
    pub incidents: Store<DeserializeGuard<QualityIncident>>,
    /// All reports.
    pub reports: Store<DeserializeGuard<QualityReport>>,
    /// All drills.
    pub drills: Store<DeserializeGuard<RecoveryDrill>>,
}

/// What every reconcile shares.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The watch caches.
    pub stores: Stores,
    /// Metrics sources by name; a source that could not be set up says why.
    pub sources: HashMap<String, Result<Arc<Source>, String>>,
    /// The evaluation evidence of the releases.
    pub evidence: EvaluationLoader,
    /// What is known of the checkpoints' images and artifacts.
    pub verification: verification::ImageVerifier,
    /// Notifications on their way.
    pub notify: notifier::Notifier,
    /// Internal errors of the API server at rollbacks' writes.
    pub write_errors: WriteErrors,
    /// Rollbacks that are being logged to the runs of their releases.
    pub mlflow_exports: MlflowExports,
    /// Warnings of the cluster that are being read for postmortems, by namespace and selector.
    pub warnings: Shared<(String, &'static str), Option<Arc<Vec<Event>>>>,
    /// The operator's own metrics.
    pub meters: Arc<Meters>,
    judged: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<ReleaseAnalysis>>>>>,
}

/// Why a call to the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server refused, or could not be reached.
    #[error("{0}")]
    Api(#[from] kube::Error),
    /// It did not answer in time; whether a write was taken is not known.
    #[error("the API server did not answer within {}s", CALL_DEADLINE.as_secs())]
    Deadline,
}

impl CallError {
    /// Somebody else wrote first: look again.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The object is gone.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// The API server's words where it refuses the object itself: a quota, an admission policy, a right that is
    /// missing, a field. Asking again changes nothing.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Api(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => Some(&status.message),
            _ => None,
        }
    }

    /// As [`Self::refusal`], also where what is asked on the way, a webhook that fails closed, does not answer (500): asking
    /// again at once changes nothing, and a person must know.
    pub fn denial(&self) -> Option<&str> {
        match self {
            Self::Api(kube::Error::Api(status)) if status.code == 500 => Some(&status.message),
            error => error.refusal(),
        }
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }
}

/// Puts the deadline on one call.
pub async fn call<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, CallError> {
    match tokio::time::timeout(CALL_DEADLINE, request).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(CallError::Deadline),
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was taken.
    Taken,
    /// Somebody wrote before it, or the object is gone: what there is now is looked at again.
    Overtaken,
}

impl Context {
    /// Replaces the status of an object as it was read, fenced by its resourceVersion.
    pub async fn replace_status<K>(&self, object: &K) -> Result<Written, CallError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        match call(api.replace_status(&object.name_any(), &post(), object)).await {
            Ok(_) => {
                self.meters.wrote(&K::kind(&()));
                Ok(Written::Taken)
            }
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(Written::Overtaken),
            Err(error) => Err(error),
        }
    }

    /// A context without analyses.
    pub fn new(
        client: Client,
        stores: Stores,
        sources: HashMap<String, Result<Arc<Source>, String>>,
        evidence: EvaluationLoader,
        verification: verification::ImageVerifier,
        notify: notifier::Notifier,
        meters: Arc<Meters>,
    ) -> Self {
        Self {
            client,
            stores,
            sources,
            evidence,
            verification,
            notify,
            write_errors: WriteErrors::default(),
            mlflow_exports: MlflowExports::default(),
            warnings: Shared::default(),
            meters,
            judged: Mutex::default(),
        }
    }

    /// The analysis of the policy with this UID.
    pub fn judged(&self, uid: &str) -> Arc<tokio::sync::Mutex<Option<ReleaseAnalysis>>> {
        self.judged.lock().entry(uid.to_owned()).or_default().clone()
    }

    /// Forgets what belongs to policies that are gone.
    pub fn forget_all_but(&self, known: &dyn Fn(&str) -> bool) {
        self.judged.lock().retain(|uid, _| known(uid));
        self.evidence.forget_all_but(known);
        self.notify.forget_all_but(known);
        self.verification.forget_idle();
        self.meters.looked.forget_all_but(known);
    }
}
