//! `kubectl quality`: what on-call asks, from the objects that the operator keeps. Reads and small, named changes; it
//! decides nothing.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod act;
mod answer;
pub mod arguments;
mod cluster;
mod colour;
mod complete;
mod gate;
mod html;
mod manual;
pub mod print;

pub use answer::answer;
pub use cluster::{Cluster, PluginError};
pub use complete::{COMPLETE, answer as completion};
pub use manual::manual;
