//! One bed: a control plane (or an existing cluster), a Prometheus, and the file that says where they are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::control_plane::{self, ControlPlane};
use crate::endpoints::Endpoints;
use crate::interrupt::Interrupt;
use crate::message::say;
use crate::mlflow::{self, Artifacts, Mlflow};
use crate::process;
use crate::programs::{self, Programs, Wanted};
use crate::prometheus::{self, Prometheus, PrometheusOptions};
use crate::work_folder::{self, WorkFolder};

/// Why there is no bed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its folder could not be made.
    #[error(transparent)]
    WorkFolder(#[from] work_folder::Error),
    /// A program is missing.
    #[error(transparent)]
    Programs(#[from] programs::Error),
    /// The control plane did not start.
    #[error(transparent)]
    ControlPlane(#[from] control_plane::Error),
    /// Prometheus did not start.
    #[error(transparent)]
    Prometheus(#[from] prometheus::Error),
    /// MLflow did not start.
    #[error(transparent)]
    Mlflow(#[from] mlflow::Error),
    /// The existing cluster cannot be used.
    #[error("the cluster of {} does not answer: {message}", kubeconfig.display())]
    ExistingCluster {
        /// How it was to be reached.
        kubeconfig: PathBuf,
        /// What kubectl said.
        message: String,
    },
}

/// How a bed is set up.
#[derive(Clone, Debug)]
pub struct BedOptions {
    /// Whether there is a fake node, whose pods become Ready without running anything.
    pub kwok: bool,
    /// How often the shared Prometheus scrapes.
    pub scrape_interval: Duration,
    /// Whether there is a shared MLflow tracking server.
    pub mlflow: bool,
    /// An existing cluster to use in place of a control plane of its own.
    pub kubeconfig: Option<PathBuf>,
    /// Leave the bed's folder, with its logs, when it ends.
    pub keep: bool,
}

impl Default for BedOptions {
    fn default() -> Self {
        Self {
            kwok: true,
            scrape_interval: Duration::from_secs(5),
            mlflow: false,
            kubeconfig: None,
            keep: false,
        }
    }
}

/// A running bed. Dropping it kills its servers and removes its folder.
#[derive(Debug)]
pub struct Bed {
    // Dropped in this order: the folder last.
    prometheus: Prometheus,
    mlflow: Option<Mlflow>,
    control_plane: Option<ControlPlane>,
    endpoints: Endpoints,
    work: WorkFolder,
}

impl Bed {
    /// Builds what is missing and starts everything; ready for pods when this returns.
    pub fn start(options: &BedOptions, interrupt: &Interrupt) -> Result<Self, Error> {
        let mut work = WorkFolder::create()?;
        if options.keep {
            work.keep()?;
        }
        let wanted = Wanted {
            control_plane: options.kubeconfig.is_none(),
            kwok: options.kwok,
        };
        let programs = programs::gather(&work, wanted, interrupt)?;
        let environment = options.mlflow.then(|| mlflow::Environment::find(interrupt));
        let environment = environment.transpose().map_err(mlflow::Error::from)?;
        let started = Instant::now();
        // The slowest to start comes first, and is waited for last.
        let mut mlflow = environment
            .map(|environment| Mlflow::launch(environment, work.path(), &Artifacts::Proxied))
            .transpose()?;
        let targets = work.folder("prometheus-targets")?;
        let logs = work.folder("logs")?;
        let prometheus = PrometheusOptions {
            scrape_interval: options.scrape_interval,
            targets: Some(targets.clone()),
            retention: "1d".to_owned(),
            ..PrometheusOptions::default()
        };
        let mut prometheus = Prometheus::launch(&programs.prometheus, work.path(), prometheus)?;
        let (control_plane, cluster) = match &options.kubeconfig {
            None => {
                let control_plane = ControlPlane::start(&work, &programs, interrupt)?;
                let cluster = Cluster::of(&control_plane);
                (Some(control_plane), cluster)
            }
            Some(kubeconfig) => (None, Cluster::existing(kubeconfig, &programs)?),
        };
        prometheus.wait_until_ready()?;
        if let Some(mlflow) = &mut mlflow {
            mlflow.wait_until_ready()?;
        }
        let mut processes = control_plane.as_ref().map(ControlPlane::ids).unwrap_or_default();
        processes.insert("prometheus".to_owned(), prometheus.id());
        if let Some(id) = mlflow.as_ref().and_then(Mlflow::id) {
            processes.insert("mlflow".to_owned(), id);
        }
        let endpoints = Endpoints {
            work_folder: work.path().to_owned(),
            programs: programs.folder,
            logs,
            kubeconfig: cluster.kubeconfig,
            api_server: cluster.api_server,
            certificate_authority: cluster.certificate_authority,
            audit_log: cluster.audit_log,
            kwok_node: control_plane
                .as_ref()
                .and_then(ControlPlane::kwok_node)
                .map(str::to_owned),
            prometheus: prometheus.url(),
            prometheus_targets: targets,
            prometheus_program: programs.prometheus,
            promtool: programs.promtool,
            mlflow: mlflow.as_ref().map(|mlflow| mlflow.url().to_owned()),
            processes,
        };
        work.write("bed.json", &format!("{:#}", serde_json::json!(endpoints)))?;
        let what = if control_plane.is_some() {
            "control plane"
        } else {
            "existing cluster"
        };
        say(format_args!("{what} ready in {:.1} s", started.elapsed().as_secs_f64()));
        Ok(Self {
            prometheus,
            mlflow,
            control_plane,
            endpoints,
            work,
        })
    }

    /// What it offers.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// An error for the first server that has ended by itself.
    pub fn check_alive(&mut self) -> Result<(), process::Error> {
        let servers = self
            .control_plane
            .as_mut()
            .map(ControlPlane::processes)
            .unwrap_or_default();
        servers
            .iter_mut()
            .chain([self.prometheus.process()])
            .chain(self.mlflow.as_mut().and_then(Mlflow::process))
            .try_for_each(process::Process::check_alive)
    }

    /// Stops every server in order and removes the folder.
    pub fn stop(self) -> Result<(), Error> {
        let Self {
            mut prometheus,
            mlflow,
            control_plane,
            work,
            ..
        } = self;
        prometheus.stop();
        drop(prometheus);
        drop(mlflow);
        if let Some(control_plane) = control_plane {
            control_plane.stop();
        }
        Ok(work.remove()?)
    }
}

/// How the cluster is reached, ours or one that was there.
struct Cluster {
    kubeconfig: PathBuf,
    api_server: String,
    certificate_authority: Option<PathBuf>,
    audit_log: Option<PathBuf>,
}

impl Cluster {
    fn of(control_plane: &ControlPlane) -> Self {
        Self {
            kubeconfig: control_plane.kubeconfig().to_owned(),
            api_server: control_plane.api_server().to_owned(),
            certificate_authority: Some(control_plane.certificate_authority().to_owned()),
            audit_log: Some(control_plane.audit_log().to_owned()),
        }
    }

    fn existing(kubeconfig: &Path, programs: &Programs) -> Result<Self, Error> {
        let failed = |message: String| Error::ExistingCluster {
            kubeconfig: kubeconfig.to_owned(),
            message,
        };
        let kubectl = |arguments: &[&str]| {
            let mut command = Command::new(programs.folder.join("kubectl"));
            command.arg("--kubeconfig").arg(kubeconfig).args(arguments);
            let output = command.output().map_err(|error| failed(error.to_string()))?;
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
        };
        kubectl(&["get", "--raw", "/readyz"])?;
        let server = "jsonpath={.clusters[0].cluster.server}";
        let api_server = kubectl(&["config", "view", "--minify", "--output", server])?;
        let kubeconfig = std::path::absolute(kubeconfig).map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            kubeconfig,
            api_server,
            certificate_authority: None,
            audit_log: None,
        })
    }
}
