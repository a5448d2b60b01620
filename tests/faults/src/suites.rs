//! The parts of the harness.

pub mod breaches;
pub mod soak;
pub mod writes;
