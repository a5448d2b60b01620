//! MLflow tracking servers: one that a bed shares among the tests that run on it, and further ones.
//!
//! The server is MLflow's own application, run by uvicorn as `mlflow server` runs it, but directly: one process in
//! place of two, which the kernel ends with its parent, and half the time to start. What `mlflow server` passes on in
//! the environment is passed here; the names are of the version that [`environment`] pins.

mod environment;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::endpoints::Endpoints;
use crate::interrupt::Interrupt;
use crate::process::Process;
use crate::server::{self, Server};
pub use environment::{Environment, VERSION};

/// Nothing is sent home, and no jobs are run beside the server.
const QUIET: [(&str, &str); 3] = [
    ("MLFLOW_DISABLE_TELEMETRY", "true"),
    ("DO_NOT_TRACK", "true"),
    ("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false"),
];

/// Why there is no MLflow.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its Python environment could not be made.
    #[error(transparent)]
    Environment(#[from] environment::Error),
    /// It did not start.
    #[error(transparent)]
    Server(#[from] server::Error),
}

/// Where the artifacts of runs are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Artifacts {
    /// In the server's folder: clients go through the server (`mlflow-artifacts:/…`).
    #[default]
    Proxied,
    /// Elsewhere: clients go there themselves, and the server only to list them.
    Direct {
        /// The folder above all artifacts, such as `s3://bucket/runs`.
        root: String,
        /// What the server needs to get there, as [`crate::S3::environment`] gives it.
        environment: Vec<(&'static str, String)>,
    },
}

/// An MLflow tracking server. Dropping it stops it and removes its runs, unless it is the bed's shared one.
#[derive(Debug)]
pub struct Mlflow {
    url: String,
    environment: Environment,
    server: Option<Server>,
}

impl Mlflow {
    /// The bed's shared server (`bed run --mlflow`); one of its own in the bed's folder when the bed has none.
    pub fn shared(endpoints: &Endpoints) -> Result<Self, Error> {
        match &endpoints.mlflow {
            None => Self::start(&endpoints.work_folder, &Artifacts::Proxied),
            Some(url) => Ok(Self {
                url: url.clone(),
                environment: Environment::find(&Interrupt::default())?,
                server: None,
            }),
        }
    }

    /// Makes MLflow's environment if it is not there yet, and starts a server, ready when this returns. Its folder is
    /// made in `parent`: a bed's work folder or any temporary one. Blocks for seconds: call it from `spawn_blocking`
    /// in asynchronous code.
    pub fn start(parent: &Path, artifacts: &Artifacts) -> Result<Self, Error> {
        let environment = Environment::find(&Interrupt::default())?;
        let mut mlflow = Self::launch(environment, parent, artifacts)?;
        mlflow.wait_until_ready()?;
        Ok(mlflow)
    }

    /// Starts one and does not wait for it.
    pub(crate) fn launch(environment: Environment, parent: &Path, artifacts: &Artifacts) -> Result<Self, Error> {
        let server = Server::launch::<server::Error>("mlflow", parent, |folder, port| {
            let database = folder.join("mlflow.db");
            std::fs::copy(environment.database(), &database).map_err(server::Error::io("write", &database))?;
            let mut command = environment.command();
            command
                .args([
                    "-m",
                    "uvicorn",
                    "--host",
                    "127.0.0.1",
                    "--workers",
                    "1",
                    "--log-level",
                    "warning",
                ])
                // Also so that the process names its bed's folder.
                .arg("--app-dir")
                .arg(folder)
                .args(["--port", &port.to_string(), "mlflow.server.fastapi_app:app"])
                .current_dir(folder)
                .envs(QUIET)
                .envs(settings(folder, &database, artifacts));
            if let Artifacts::Direct { environment, .. } = artifacts {
                command.envs(environment.iter().cloned());
            }
            Ok(command)
        })?;
        Ok(Self {
            url: server.url(),
            environment,
            server: Some(server),
        })
    }

    /// Waits until it answers.
    pub(crate) fn wait_until_ready(&mut self) -> Result<(), Error> {
        match &mut self.server {
            None => Ok(()),
            Some(server) => Ok(server.wait_until_ready("/health")?),
        }
    }

    /// Where it listens: the tracking URI.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The Python program that has MLflow's client.
    pub fn python(&self) -> PathBuf {
        self.environment.python()
    }

    /// The environment for programs that use MLflow's client on this server. It sends nothing home.
    pub fn client_environment(&self) -> Vec<(&'static str, String)> {
        let quiet = QUIET.iter().map(|(name, value)| (*name, (*value).to_owned()));
        quiet.chain([("MLFLOW_TRACKING_URI", self.url.clone())]).collect()
    }

    /// The folder with all proxied artifacts, `<experiment>/<run>/artifacts/…`, for a test that damages one; none of
    /// the bed's shared server.
    pub fn artifacts(&self) -> Option<PathBuf> {
        self.server.as_ref().map(|server| server.folder().join("artifacts"))
    }

    /// The process id; none of the bed's shared server.
    pub fn id(&self) -> Option<u32> {
        self.server.as_ref().map(Server::id)
    }

    /// The process, for the bed to watch.
    pub(crate) fn process(&mut self) -> Option<&mut Process> {
        self.server.as_mut().map(Server::process)
    }
}

/// What `mlflow server` makes of `--backend-store-uri`, `--serve-artifacts` with `--artifacts-destination`, and
/// `--no-serve-artifacts` with `--default-artifact-root`.
fn settings(folder: &Path, database: &Path, artifacts: &Artifacts) -> Vec<(&'static str, OsString)> {
    let store = format!("sqlite:///{}", database.display());
    let mut settings = vec![
        ("_MLFLOW_SERVER_FILE_STORE", OsString::from(&store)),
        ("_MLFLOW_SERVER_REGISTRY_STORE", OsString::from(&store)),
    ];
    match artifacts {
        Artifacts::Proxied => settings.extend([
            ("_MLFLOW_SERVER_SERVE_ARTIFACTS", OsString::from("true")),
            ("_MLFLOW_SERVER_ARTIFACT_ROOT", OsString::from("mlflow-artifacts:/")),
            (
                "_MLFLOW_SERVER_ARTIFACT_DESTINATION",
                folder.join("artifacts").into_os_string(),
            ),
        ]),
        Artifacts::Direct { root, .. } => settings.push(("_MLFLOW_SERVER_ARTIFACT_ROOT", OsString::from(root))),
    }
    settings
}
