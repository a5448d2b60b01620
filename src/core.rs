//! The pure core: no client, no I/O, no clock, no unseeded randomness.

pub mod stats;
