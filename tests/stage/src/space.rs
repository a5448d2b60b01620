//! A namespace to work in.

use std::{
    fmt::Debug,
    io::Write,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use bed::Endpoints;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Event};
use kube::{
    Api, Client, Resource,
    api::{ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::StageError;

/// A namespace, as its administrator.
#[derive(Clone)]
pub struct Space {
    /// The bed.
    pub endpoints: Endpoints,
    /// An administrator's client.
    pub client: Client,
    /// Its name.
    pub namespace: String,
    /// Between two looks at what is waited for.
    pub pause: Duration,
}

impl Space {
    /// Makes the namespace.
    pub async fn new(endpoints: &Endpoints, namespace: &str) -> Result<Self, StageError> {
        quality_sources::tls::install_crypto();
        let unusable = |error: &dyn std::fmt::Display| StageError::Unexpected(format!("the bed's kubeconfig: {error}"));
        let kubeconfig = Kubeconfig::read_from(&endpoints.kubeconfig).map_err(|error| unusable(&error))?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| unusable(&error))?;
        let client = Client::try_from(config)?;
        let space = Self {
            endpoints: endpoints.clone(),
            client,
            namespace: namespace.to_owned(),
            pause: Duration::from_millis(100),
        };
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        space.apply(&object.to_string())?;
        Ok(space)
    }

    /// A folder for files of this namespace.
    pub fn folder(&self) -> PathBuf {
        self.endpoints.work_folder.join("spaces").join(&self.namespace)
    }

    /// The objects of one kind.
    pub fn api<K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// `kubectl apply -f -` in this namespace; kubectl's words when it is refused.
    pub fn apply(&self, yaml: &str) -> Result<(), StageError> {
        self.kubectl_with_input(&["apply", "-f", "-"], yaml).map(drop)
    }

    /// `kubectl create -f -` in this namespace; the API server's words when it is refused.
    pub fn create(&self, yaml: &str) -> Result<(), StageError> {
        self.kubectl_with_input(&["create", "-f", "-"], yaml).map(drop)
    }

    /// kubectl in this namespace; its standard output.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, StageError> {
        self.kubectl_with_input(arguments, "")
    }

    fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String, StageError> {
        let mut command = self.endpoints.kubectl_command(["-n", &self.namespace]);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(StageError::io("start kubectl"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin
                .write_all(input.as_bytes())
                .map_err(StageError::io("write to kubectl"))?;
        }
        let output = child.wait_with_output().map_err(StageError::io("wait for kubectl"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(StageError::Unexpected(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
    }

    /// Gives a Deployment's container another image, as `kubectl set image` does.
    pub async fn set_image(&self, deployment: &str, container: &str, image: &str) -> Result<(), StageError> {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": container, "image": image}]}}}});
        self.api::<Deployment>()
            .patch(deployment, &PatchParams::default(), &Patch::Strategic(patch))
            .await?;
        Ok(())
    }

    /// `kubectl patch --type merge` of any kind.
    pub fn merge(&self, kind: &str, name: &str, patch: &serde_json::Value) -> Result<(), StageError> {
        self.kubectl(&["patch", kind, name, "--type", "merge", "-p", &patch.to_string()])
            .map(drop)
    }

    /// The image of a Deployment's first container.
    pub async fn image(&self, deployment: &str) -> Result<String, StageError> {
        let deployment = self.api::<Deployment>().get(deployment).await?;
        let container = deployment
            .spec
            .template
            .spec
            .and_then(|spec| spec.containers.into_iter().next());
        Ok(container.and_then(|container| container.image).unwrap_or_default())
    }

    /// The object, once `holds` is true of it.
    pub async fn wait<K>(
        &self,
        what: &str,
        name: &str,
        within: Duration,
        holds: impl Fn(&K) -> bool,
    ) -> Result<K, StageError>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let api = self.api::<K>();
        let found = self
            .poll(
                what,
                within,
                || async { Ok(api.get_opt(name).await?) },
                |object: &Option<K>| object.as_ref().is_some_and(&holds),
            )
            .await?;
        found.ok_or_else(|| StageError::Unexpected(format!("{what}: the object went away")))
    }

    /// All objects of a kind, once `holds` is true of them.
    pub async fn wait_all<K>(
        &self,
        what: &str,
        within: Duration,
        holds: impl Fn(&[K]) -> bool,
    ) -> Result<Vec<K>, StageError>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let api = self.api::<K>();
        let list = || async { Ok(api.list(&ListParams::default()).await?.items) };
        self.poll(what, within, list, |objects: &Vec<K>| holds(objects)).await
    }

    /// What `read` gives, once `holds` is true of it.
    pub async fn poll<T: Debug, F>(
        &self,
        what: &str,
        within: Duration,
        read: impl Fn() -> F,
        holds: impl Fn(&T) -> bool,
    ) -> Result<T, StageError>
    where
        F: Future<Output = Result<T, StageError>>,
    {
        let deadline = Instant::now() + within;
        loop {
            let value = read().await?;
            if holds(&value) {
                return Ok(value);
            }
            if Instant::now() > deadline {
                let seen = format!("{value:?}");
                let seen = seen.chars().take(4_000).collect();
                return Err(StageError::Late {
                    what: what.to_owned(),
                    seconds: within.as_secs(),
                    seen,
                });
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    /// All objects of a kind now.
    pub async fn all<K>(&self) -> Result<Vec<K>, StageError>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        Ok(self.api::<K>().list(&ListParams::default()).await?.items)
    }

    /// Reasons of the Events about an object, oldest first.
    pub async fn event_reasons(&self, kind: &str, name: &str) -> Result<Vec<String>, StageError> {
        let mut events: Vec<Event> = self.all::<Event>().await?;
        events.retain(|event| {
            event.involved_object.kind.as_deref() == Some(kind) && event.involved_object.name.as_deref() == Some(name)
        });
        // As `kubectl describe` shows them.
        events.sort_by_key(|event| {
            (
                event.last_timestamp.as_ref().map(|at| at.0),
                event.metadata.name.clone(),
            )
        });
        Ok(events.into_iter().filter_map(|event| event.reason).collect())
    }
}
