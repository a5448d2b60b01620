//! What the plugin prints: tables that fit a terminal, and the strict report. Functions of the objects alone.

mod explain;
mod lists;
mod objects;
mod report;
pub(super) mod table;

pub use explain::explain;
pub use lists::{checkpoints, incidents, snapshots};
pub use objects::{json, yaml};
pub use report::{as_report, markdown, report, snapshot};

#[cfg(test)]
#[path = "print/tests.rs"]
mod tests;
