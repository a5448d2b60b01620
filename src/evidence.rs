//! Where evidence comes from: metrics of pods, as counters for the core to difference; and files of runs, as
//! bundles for it to judge.

pub mod answer;
pub mod formats;
pub mod presets;
pub mod prometheus;
pub mod table;
