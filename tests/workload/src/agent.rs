//! `node-agent`: a small kubelet stand-in that runs one real process per container of the pods on its node.
//!
//! Left out: volumes, init containers, liveness probes, resource limits, and a pod's own `command`. A pod's `args`
//! replace those of its image, as with a kubelet.

pub mod backoff;
pub mod container;
pub mod node;
pub mod pod;
pub mod ports;
pub mod status;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Parser;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{sync::watch, task::JoinSet};

use self::{
    node::NodeOptions,
    pod::{Desired, PodTask},
    ports::Ports,
};
use crate::{
    discovery::{Discovery, DiscoveryError},
    http, process,
};

/// Failures that end the agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// There is no usable kubeconfig.
    #[error("connecting to the cluster: {0}")]
    Connect(#[source] kube::Error),
    /// The node cannot be registered.
    #[error("registering the node: {0}")]
    Register(#[source] kube::Error),
    /// The discovery files cannot be written.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The programs cannot be found.
    #[error("finding the folder of this program: {0}")]
    Programs(#[source] std::io::Error),
    /// Signals cannot be received.
    #[error(transparent)]
    Process(#[from] process::ProcessError),
}

/// Runs the pods of one node as processes on 127.0.0.1; the cluster comes from `KUBECONFIG`.
#[derive(Debug, Clone, Parser)]
#[command(name = "node-agent")]
pub struct AgentArguments {
    /// The node's identity and capacity.
    #[command(flatten)]
    pub node: NodeOptions,
    /// JSON table of images; read again at each pull.
    #[arg(long)]
    pub images: PathBuf,
    /// Folder for one `file_sd` file per pod with a running container.
    #[arg(long)]
    pub targets_dir: PathBuf,
    /// File with the list of Ready pods; outside of what Prometheus reads.
    #[arg(long)]
    pub ready_file: PathBuf,
    /// Folder of the programs that images name; by default that of this program.
    #[arg(long)]
    pub bin_dir: Option<PathBuf>,
    /// Folder for one log file per container; without it their output is dropped.
    #[arg(long)]
    pub log_dir: Option<PathBuf>,
}

/// What every pod's task shares.
#[derive(Debug)]
pub struct Context {
    /// Image table.
    pub images: PathBuf,
    /// Folder of programs.
    pub programs: PathBuf,
    /// Folder of logs.
    pub logs: Option<PathBuf>,
    /// Discovery files.
    pub discovery: Mutex<Discovery>,
    /// Ports in use by this agent.
    pub ports: Arc<Ports>,
    /// Asks for readiness.
    pub prober: http::Client,
}

/// Runs until SIGTERM or Ctrl-C, then ends every process it has started.
pub async fn run(options: AgentArguments) -> Result<(), AgentError> {
    let programs = if let Some(folder) = options.bin_dir {
        folder
    } else {
        let program = std::env::current_exe().map_err(AgentError::Programs)?;
        program.parent().map(PathBuf::from).unwrap_or_default()
    };
    let context = Arc::new(Context {
        images: options.images,
        programs,
        logs: options.log_dir,
        discovery: Mutex::new(Discovery::new(
            options.targets_dir,
            options.ready_file,
            &options.node.node_name,
        )?),
        ports: Arc::default(),
        prober: http::Client::new(Duration::from_secs(1)),
    });
    let client = Client::try_default().await.map_err(AgentError::Connect)?;
    let shutdown = process::shutdown_signal();
    node::register(&client, &options.node)
        .await
        .map_err(AgentError::Register)?;
    tracing::info!(node = options.node.node_name, "registered");

    let heartbeat = tokio::spawn(node::heartbeat(client.clone(), options.node.clone()));
    let mut pods = Pods {
        context,
        client: client.clone(),
        tasks: HashMap::new(),
        running: JoinSet::new(),
    };
    tokio::select! {
        signal = shutdown => signal?,
        () = pods.follow(Api::all(client), &options.node.node_name) => {}
    }
    heartbeat.abort();
    pods.end().await;
    Ok(())
}

/// The tasks of all pods of the node, by pod UID.
struct Pods {
    context: Arc<Context>,
    client: Client,
    tasks: HashMap<String, watch::Sender<Desired>>,
    running: JoinSet<()>,
}

impl Pods {
    async fn follow(&mut self, api: Api<Pod>, node: &str) {
        let selection = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
        let mut events = watcher(api, selection).default_backoff().boxed();
        let mut listed = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(pod)) => {
                    listed.extend(pod.uid());
                    self.apply(pod);
                }
                Ok(watcher::Event::InitDone) => {
                    for (_, desired) in self.tasks.iter().filter(|(uid, _)| !listed.contains(uid)) {
                        desired.send_replace(Desired::Gone);
                    }
                }
                Ok(watcher::Event::Apply(pod)) => self.apply(pod),
                Ok(watcher::Event::Delete(pod)) => {
                    if let Some(desired) = pod.uid().and_then(|uid| self.tasks.get(&uid)) {
                        desired.send_replace(Desired::Gone);
                    }
                }
                Err(error) => tracing::warn!(%error, "watching pods"),
            }
            while self.running.try_join_next().is_some() {}
            self.tasks.retain(|_, desired| !desired.is_closed());
        }
    }

    fn apply(&mut self, pod: Pod) {
        let Some(uid) = pod.uid() else { return };
        let wanted = Desired::of(&pod);
        if let Some(desired) = self.tasks.get(&uid) {
            desired.send_if_modified(|known| {
                let changed = *known != wanted;
                *known = wanted;
                changed
            });
            return;
        }
        let (sender, desired) = watch::channel(wanted);
        self.tasks.insert(uid, sender);
        let task = PodTask::new(Arc::clone(&self.context), self.client.clone(), pod, desired);
        self.running.spawn(task.run());
    }

    async fn end(mut self) {
        for desired in self.tasks.values() {
            desired.send_replace(Desired::Gone);
        }
        let ended = async { while self.running.join_next().await.is_some() {} };
        // Processes that are still there end with their handles, when the runtime does.
        let _in_time = tokio::time::timeout(Duration::from_secs(3), ended).await;
    }
}
