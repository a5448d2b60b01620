//! The parts of the harness.

pub mod writes;
