//! What a running bed offers, as the file `bed.json` that the environment variable `QO_BED` names.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::{Deserialize, Serialize};

/// The environment variable with the path of `bed.json`.
pub const VARIABLE: &str = "QO_BED";
/// The environment variable with the URL of the shared MLflow server, if there is one.
pub const MLFLOW_VARIABLE: &str = "QO_MLFLOW";

/// Why there are no endpoints, or why kubectl failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No bed is there.
    #[error(
        "no test bed: {VARIABLE} is not set; run under `make test`, or `cargo run -p bed -- run -- COMMAND`, \
         or start one with `cargo run -p bed -- up` and set {VARIABLE} as it prints"
    )]
    NotSet,
    /// The file cannot be read: the bed has ended.
    #[error("{VARIABLE} names {}, which cannot be read: has that bed ended?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is of another version of the bed.
    #[error("{} is not what this version of the bed writes", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// kubectl could not be started.
    #[error("could not start {}", path.display())]
    Start {
        /// kubectl.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// kubectl failed.
    #[error("kubectl {arguments} failed ({status}): {message}")]
    Kubectl {
        /// Its arguments.
        arguments: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it wrote to stderr.
        message: String,
    },
}

/// What a running bed offers: URLs, paths and process ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// The bed's temporary folder, removed when it ends.
    pub work_folder: PathBuf,
    /// A folder with `kubectl` and the other programs, first on the PATH of the command that the bed runs.
    pub programs: PathBuf,
    /// A log file for each server, `<name>.log`.
    pub logs: PathBuf,
    /// An administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The API server's URL.
    pub api_server: String,
    /// The certificate authority of the API server (PEM); none with an existing cluster.
    pub certificate_authority: Option<PathBuf>,
    /// The API server's audit log, one JSON event a line (Metadata level); none with an existing cluster.
    pub audit_log: Option<PathBuf>,
    /// The fake node, whose pods become Ready without running anything, if there is one. Its pods must tolerate the
    /// taint `kwok.x-k8s.io/node=fake:NoSchedule`.
    pub kwok_node: Option<String>,
    /// The shared Prometheus's URL. It takes remote writes at `/api/v1/write`, up to 12 h old.
    pub prometheus: String,
    /// What runs pods writes `*.json` here, in Prometheus's `file_sd` format, for the shared Prometheus to scrape.
    pub prometheus_targets: PathBuf,
    /// The program, to start another one ([`crate::prometheus::Prometheus::start`]).
    pub prometheus_program: PathBuf,
    /// Where `promtool` lies once it was asked for (`bed build promtool`, [`crate::prometheus::promtool`]).
    pub promtool: PathBuf,
    /// The URL of the shared MLflow tracking server, if one was asked for ([`crate::Mlflow::shared`]).
    #[serde(default)]
    pub mlflow: Option<String>,
    /// The process id of each server, by name (`kube-apiserver`, `etcd`, …).
    pub processes: BTreeMap<String, u32>,
}

impl Endpoints {
    /// Those of the bed that this process runs under.
    pub fn from_env() -> Result<Self, Error> {
        let path = std::env::var_os(VARIABLE)
            .filter(|path| !path.is_empty())
            .ok_or(Error::NotSet)?;
        Self::read(Path::new(&path))
    }

    /// Those in a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_slice(&text).map_err(|source| Error::Parse {
            path: path.to_owned(),
            source,
        })
    }

    /// The file that holds them.
    pub fn file(&self) -> PathBuf {
        self.work_folder.join("bed.json")
    }

    /// The environment that a program needs to use the bed.
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let mut variables = vec![
            ("KUBECONFIG", self.kubeconfig.clone()),
            // kubectl caches discovery by address, and a later bed may have the same one.
            ("KUBECACHEDIR", self.work_folder.join("kubectl-cache")),
            (VARIABLE, self.file()),
        ];
        variables.extend(self.mlflow.iter().map(|url| (MLFLOW_VARIABLE, PathBuf::from(url))));
        variables
    }

    /// kubectl with these arguments, as the administrator, ready to be run.
    pub fn kubectl_command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(self.programs.join("kubectl"));
        command.args(arguments).envs(self.environment());
        command
    }

    /// Runs kubectl and returns what it wrote; an error when it fails.
    pub fn kubectl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Output, Error> {
        let mut command = self.kubectl_command(arguments);
        let path = PathBuf::from(command.get_program());
        let output = command.output().map_err(|source| Error::Start { path, source })?;
        if output.status.success() {
            return Ok(output);
        }
        let arguments: Vec<_> = command
            .get_args()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect();
        Err(Error::Kubectl {
            arguments: arguments.join(" "),
            status: output.status,
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

/// [`Endpoints::kubectl`] on the bed that this process runs under.
pub fn kubectl<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Output, Error> {
    Endpoints::from_env()?.kubectl(arguments)
}
