//! The parts of the harness.

pub mod leader;
pub mod matrix;
pub mod partitions;
pub mod servers;
pub mod writes;
