//! The parts of the harness.

pub mod answers;
pub mod clock;
pub mod writes;
