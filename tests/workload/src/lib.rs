//! The real workload that tests and the demo guard: nothing here is shipped.
//!
//! - [`server`]: `inference-server`, one process a pod: a small ranking model behind HTTP with the metrics of a client library.
//! - [`load`]: `load`, an open-loop client of the Ready pods.
//! - [`agent`]: `node-agent`, a kubelet stand-in that runs one real process per container.
//! - [`gpu`]: `gpu-exporter`, simulated GPUs under the metric names of the DCGM exporter.
//! - [`images`], [`deployment`]: the releases of the demo service and its Deployment.
//! - [`harness`]: all of it as child processes that end with their handle.
//!
//! Everything listens on and talks to 127.0.0.1 only.

pub mod agent;
pub mod deployment;
pub mod discovery;
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
