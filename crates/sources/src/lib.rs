//! Where evidence comes from: metrics of pods, as counters for the core to difference; and files of runs, as
//! bundles for it to judge.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod answer;
pub mod formats;
pub mod http;
pub mod load;
pub mod mlflow;
pub mod object_storage;
pub mod oci_registry;
pub mod presets;
pub mod prometheus;
pub mod run;
pub mod settings;
pub mod table;
pub mod tls;
