//! Where evidence comes from: metrics of pods, as counters for the core to difference.

pub mod answer;
pub mod presets;
pub mod prometheus;
pub mod table;
