//! Where evidence comes from: metrics of pods, as counters for the core to difference; and files of runs, as
//! bundles for it to judge.

pub mod answer;
pub mod flame_graph;
pub mod formats;
pub mod http;
pub mod load;
pub mod mlflow;
pub mod object_storage;
pub mod oci_registry;
pub mod presets;
pub mod prometheus;
pub mod run;
pub mod table;
