//! The real workload that tests and the demo guard: nothing here is shipped.
//!
//! - [`server`]: `inference-server`, one process a pod: a small ranking model behind HTTP with the metrics of a client library.
//! - [`load`]: `load`, an open-loop client of the Ready pods.
//! - [`agent`]: `node-agent`, a kubelet stand-in that runs one real process per container.
//! - [`gpu`]: `gpu-exporter`, simulated GPUs under the metric names of the DCGM exporter.
//! - [`images`], [`deployment`]: the releases of the demo service and its Deployment.
//! - [`evaluation`]: what a pipeline would find out about a release's answers.
//! - [`harness`]: all of it as child processes that end with their handle.
//!
//! On a control plane of the package `bed`, with Prometheus:
//!
//! ```no_run
//! use workload::{Agent, AgentOptions, GpuExporter, GpuExporterOptions, Load, LoadOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (kubeconfig, targets, work) = ("admin.kubeconfig", "prometheus-targets", "work");
//! let agent = Agent::start(&AgentOptions::new(kubeconfig, targets, work))?;
//! let gpus = GpuExporter::start(&GpuExporterOptions {
//!     ready_file: agent.ready_file(),
//!     targets_file: "prometheus-targets/gpu-exporter.json".into(),
//!     work_dir: work.into(),
//! })?;
//! // Create `workload::ranker_deployment("shop", &DeploymentOptions::release("v1"))`, then:
//! let load = Load::start(&LoadOptions::new(agent.ready_file(), "shop", work))?;
//! let summary = load.finish()?;
//! # Ok(())
//! # }
//! ```
//!
//! A test that starts these needs the programs: `cargo build -p workload`, in the same target folder as the test or
//! named by `QO_WORKLOAD_BIN`.
//!
//! Everything listens on and talks to 127.0.0.1 only.

pub mod agent;
pub mod deployment;
pub mod discovery;
pub mod evaluation;
pub mod exposition;
pub mod gpu;
pub mod harness;
pub mod http;
pub mod images;
pub mod load;
pub mod model;
pub mod process;
pub mod server;

pub use deployment::{DeploymentOptions, ranker_deployment};
pub use harness::{Agent, AgentOptions, GpuExporter, GpuExporterOptions, Load, LoadOptions};
pub use images::{ImageEntry, ImageTable, REPOSITORY, image, images, pinned};
