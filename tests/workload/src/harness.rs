//! The programs as child processes that end with their handle.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use crate::{
    agent::node::NodeOptions,
    discovery::{self, DiscoveryError, ReadyPod},
    gpu::GpuLevels,
    images::ImageTable,
    load::{arrivals::ArrivalsKind, summary::Summary},
    process::{self, ProcessError},
};

/// Names the folder of the programs when they are not beside the running executable.
pub const PROGRAMS: &str = "QO_WORKLOAD_BIN";

const GRACE: Duration = Duration::from_secs(4);

/// Failures of starting a program and of reading what it left.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// The program has not been built.
    #[error("{program} is neither in ${PROGRAMS} nor above {searched}; build it with `cargo build -p workload`")]
    NoProgram {
        /// Its name.
        program: String,
        /// Where the search began.
        searched: PathBuf,
    },
    /// A process failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file failed.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// A folder, a log or a process handle failed.
    #[error("{path}: {source}")]
    Io {
        /// What failed.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The program ended with an error.
    #[error("{program} ended with {status}; see {log}")]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
    },
}

/// The path of one of this package's programs: in the folder that the environment names, or the nearest above the
/// running executable.
pub fn program(name: &str) -> Result<PathBuf, HarnessError> {
    let searched = env::current_exe().unwrap_or_default();
    let named = env::var_os(PROGRAMS).map(PathBuf::from);
    named
        .iter()
        .map(PathBuf::as_path)
        // A test runs in `target/debug/deps`, an example in `target/debug/examples`.
        .chain(searched.ancestors().skip(1).take(3))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| HarnessError::NoProgram {
            program: name.to_owned(),
            searched: searched.clone(),
        })
}

/// A program that is told to end when this is dropped.
#[derive(Debug)]
struct Running {
    program: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(name: &str, log: PathBuf, args: Vec<String>, kubeconfig: Option<&Path>) -> Result<Self, HarnessError> {
        let failed = |path: &Path, source| HarnessError::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = log.parent() {
            std::fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
        }
        let output = std::fs::File::create(&log).map_err(|source| failed(&log, source))?;
        let errors = output.try_clone().map_err(|source| failed(&log, source))?;
        let path = program(name)?.to_string_lossy().into_owned();
        let child = process::start(&path, |command| {
            command.args(args).stdin(Stdio::null()).stdout(output).stderr(errors);
            if let Some(kubeconfig) = kubeconfig {
                command.env("KUBECONFIG", kubeconfig);
            }
        })?;
        Ok(Self {
            program: name.to_owned(),
            child,
            log,
        })
    }

    fn wait(&mut self) -> Result<(), HarnessError> {
        let status = self.child.wait().map_err(|source| HarnessError::Io {
            path: self.log.clone(),
            source,
        })?;
        if status.success() {
            return Ok(());
        }
        Err(HarnessError::Failed {
            program: self.program.clone(),
            status: status.to_string(),
            log: self.log.clone(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        process::stop(&mut self.child, GRACE);
    }
}

/// How to start the node agent.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The cluster.
    pub kubeconfig: PathBuf,
    /// Folder that Prometheus reads `*.json` from.
    pub targets_dir: PathBuf,
    /// Folder for the list of Ready pods, the image table and logs.
    pub work_dir: PathBuf,
    /// Name and capacity.
    pub node: NodeOptions,
    /// What can be pulled.
    pub images: ImageTable,
}

impl AgentOptions {
    /// The node `agent-0` with the releases of [`crate::images()`].
    #[must_use]
    pub fn new(kubeconfig: impl Into<PathBuf>, targets_dir: impl Into<PathBuf>, work_dir: impl Into<PathBuf>) -> Self {
        Self {
            kubeconfig: kubeconfig.into(),
            targets_dir: targets_dir.into(),
            work_dir: work_dir.into(),
            node: NodeOptions::default(),
            images: crate::images(),
        }
    }
}

/// A running node agent; its processes end with it.
#[derive(Debug)]
pub struct Agent {
    running: Running,
    work_dir: PathBuf,
}

impl Agent {
    /// Starts it. The Node becomes Ready within a second or two.
    pub fn start(options: &AgentOptions) -> Result<Self, HarnessError> {
        let agent = |running| Self {
            running,
            work_dir: options.work_dir.clone(),
        };
        let images = options.work_dir.join("images.json");
        discovery::write_json(&images, &options.images)?;
        let node = &options.node;
        let mut args = flags(&[
            ("--node-name", &node.node_name),
            ("--cpu", &node.cpu),
            ("--memory", &node.memory),
            ("--pods", &node.pods),
            ("--gpus", &node.gpus),
            ("--images", &images.to_string_lossy()),
            ("--targets-dir", &options.targets_dir.to_string_lossy()),
            ("--ready-file", &ready_file(&options.work_dir).to_string_lossy()),
            ("--log-dir", &options.work_dir.join("logs").to_string_lossy()),
        ]);
        for (key, value) in &node.labels {
            args.extend(flags(&[("--node-label", &format!("{key}={value}"))]));
        }
        let log = options.work_dir.join("node-agent.log");
        Running::start("node-agent", log, args, Some(&options.kubeconfig)).map(agent)
    }

    /// Its process id, for tests of its sudden end.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.running.child.id()
    }

    /// The list of Ready pods that it keeps.
    #[must_use]
    pub fn ready_file(&self) -> PathBuf {
        ready_file(&self.work_dir)
    }

    /// The Ready pods now.
    pub fn ready_pods(&self) -> Result<Vec<ReadyPod>, HarnessError> {
        Ok(discovery::read_json(&self.ready_file())?)
    }

    /// Replaces what can be pulled from now on.
    pub fn set_images(&self, images: &ImageTable) -> Result<(), HarnessError> {
        Ok(discovery::write_json(&self.work_dir.join("images.json"), images)?)
    }
}

fn ready_file(work_dir: &Path) -> PathBuf {
    work_dir.join("ready.json")
}

/// How to start the GPU exporter.
#[derive(Debug, Clone)]
pub struct GpuExporterOptions {
    /// The agent's list of Ready pods.
    pub ready_file: PathBuf,
    /// `file_sd` file for Prometheus. It gives the target no labels of its own, so that the exporter's `namespace` and
    /// `pod` stay as they are, with `honor_labels` or without.
    pub targets_file: PathBuf,
    /// Folder for levels and log.
    pub work_dir: PathBuf,
}

/// A running GPU exporter.
#[derive(Debug)]
pub struct GpuExporter {
    _running: Running,
    levels: PathBuf,
}

impl GpuExporter {
    /// Starts it with the default level for every pod.
    pub fn start(options: &GpuExporterOptions) -> Result<Self, HarnessError> {
        let levels = options.work_dir.join("gpu-levels.json");
        discovery::write_json(&levels, &GpuLevels::new())?;
        let args = flags(&[
            ("--ready-file", &options.ready_file.to_string_lossy()),
            ("--targets-file", &options.targets_file.to_string_lossy()),
            ("--levels", &levels.to_string_lossy()),
        ]);
        let running = Running::start("gpu-exporter", options.work_dir.join("gpu-exporter.log"), args, None)?;
        Ok(Self {
            _running: running,
            levels,
        })
    }

    /// Changes the levels from the next scrape on.
    pub fn set_levels(&self, levels: &GpuLevels) -> Result<(), HarnessError> {
        Ok(discovery::write_json(&self.levels, levels)?)
    }
}

/// How to send load.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The agent's list of Ready pods.
    pub ready_file: PathBuf,
    /// Only pods of this namespace.
    pub namespace: String,
    /// Only pods with this `app` label.
    pub app: String,
    /// Requests per second.
    pub rate: f64,
    /// When they are due.
    pub arrivals: ArrivalsKind,
    /// How long, at most two hours.
    pub duration: Duration,
    /// Seed of inputs, arrivals and targets.
    pub seed: u64,
    /// Folder for the summary and the log, its own for each run.
    pub work_dir: PathBuf,
}

impl LoadOptions {
    /// 200 requests per second for 10 minutes to the Deployment `ranker`.
    #[must_use]
    pub fn new(ready_file: impl Into<PathBuf>, namespace: &str, work_dir: impl Into<PathBuf>) -> Self {
        Self {
            ready_file: ready_file.into(),
            namespace: namespace.to_owned(),
            app: "ranker".to_owned(),
            rate: 200.0,
            arrivals: ArrivalsKind::Poisson,
            duration: Duration::from_mins(10),
            seed: 1,
            work_dir: work_dir.into(),
        }
    }
}

/// A running load generator.
#[derive(Debug)]
pub struct Load {
    running: Running,
    summary: PathBuf,
}

impl Load {
    /// Starts it; it waits for Ready pods by itself.
    pub fn start(options: &LoadOptions) -> Result<Self, HarnessError> {
        let summary = options
            .work_dir
            .join(format!("load-{}-{}.json", options.namespace, options.app));
        let args = flags(&[
            ("--ready-file", &options.ready_file.to_string_lossy()),
            ("--namespace", &options.namespace),
            ("--app", &options.app),
            ("--rate", &options.rate.to_string()),
            ("--arrivals", &options.arrivals.to_string()),
            ("--for", &format!("{}ms", options.duration.as_millis())),
            ("--seed", &options.seed.to_string()),
            ("--summary", &summary.to_string_lossy()),
        ]);
        let running = Running::start("load", summary.with_extension("log"), args, None)?;
        Ok(Self { running, summary })
    }

    /// Waits until its time is over; blocks.
    pub fn wait(mut self) -> Result<Summary, HarnessError> {
        self.running.wait()?;
        self.read()
    }

    /// Ends it now and waits up to two seconds for the last answers; blocks.
    pub fn finish(mut self) -> Result<Summary, HarnessError> {
        process::terminate(self.running.child.id())?;
        self.running.wait()?;
        self.read()
    }

    fn read(&self) -> Result<Summary, HarnessError> {
        let failed = |source| HarnessError::Io {
            path: self.summary.clone(),
            source,
        };
        let content = std::fs::read(&self.summary).map_err(failed)?;
        serde_json::from_slice(&content).map_err(|source| {
            DiscoveryError::Json {
                path: self.summary.clone(),
                source,
            }
            .into()
        })
    }
}

fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs
        .iter()
        .flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()])
        .collect()
}
