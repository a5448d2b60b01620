//! The parts of the harness.

pub mod breaches;
pub mod cooldown;
pub mod lists;
pub mod soak;
pub mod writes;
