//! A real Kubernetes control plane on this machine, for tests and the demonstration.
//!
//! ```text
//! cargo run -p bed -- run -- cargo test      # start, run the command on it, stop
//! cargo run -p bed -- up                     # start, print where everything is, stay until Ctrl-C
//! cargo run -p bed -- build                  # only build what it needs
//! ```
//!
//! A bed is etcd, kube-apiserver, kube-controller-manager, kube-scheduler, one fake node (KWOK) and one Prometheus: the
//! real programs, built from source with Go on first use and cached for the user ([`part`], [`go_build`]). It listens
//! on free ports of 127.0.0.1 only, keeps everything in one temporary folder, and leaves nothing behind. Two beds can
//! run side by side.
//!
//! Tests read where things are with [`Endpoints::from_env`], and may start servers of their own: a [`Prometheus`], an
//! [`S3`] server, an OCI [`Registry`], an [`Mlflow`] tracking server, an [`Alertmanager`]. All but the first need no bed,
//! only a folder.
//!
//! Who has parts of it already need not build them:
//! - `KUBEBUILDER_ASSETS` names a folder with etcd, kube-apiserver and kubectl;
//! - `--kubeconfig PATH` uses an existing cluster; only Prometheus is started then. `KUBECONFIG` alone is never used,
//!   so that no test runs on a cluster by accident.
//!
//! Linux only: the kernel ends the servers when this program is killed (`setpriv` of util-linux).
//!
//! Modules, lowest first: [`message`], [`interrupt`], [`part`], [`process`], [`port`], [`certificates`], [`rest`],
//! [`work_folder`], [`cache`], [`server`]; then [`go_build`], [`go_module`], [`programs`], [`endpoints`],
//! [`prometheus`], [`s3`], [`registry`], [`mlflow`], [`alertmanager`], [`control_plane`]; then [`bed`] and [`run`].

pub mod alertmanager;
pub mod bed;
pub mod cache;
pub mod certificates;
pub mod control_plane;
pub mod endpoints;
pub mod go_build;
pub mod go_module;
pub mod interrupt;
pub mod message;
pub mod mlflow;
pub mod part;
pub mod port;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod registry;
pub mod rest;
pub mod run;
pub mod s3;
pub mod server;
pub mod work_folder;

pub use alertmanager::Alertmanager;
pub use bed::{Bed, BedOptions};
pub use endpoints::{Endpoints, kubectl};
pub use mlflow::Mlflow;
pub use prometheus::{Prometheus, PrometheusOptions};
pub use registry::Registry;
pub use s3::S3;
