//! The parts of the harness.

mod moments;
mod names;
pub mod neighbours;
pub mod policies;
pub mod stale;
pub mod streams;
pub mod writes;
