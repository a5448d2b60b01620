//! Every parser of data from outside, given documents that were good and then changed: it refuses a document with a
//! clear message, or what it takes from it lies in its documented range; never a panic, never time or memory without
//! bound. What is accepted goes on to the pure judges: nothing that is missing or no number becomes a breach.
//!
//! `MUTATIONS=full` gives each parser thousands; a number gives it so many.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod artifacts;
mod harness;
mod metrics;
mod mutate;
mod objects;
mod servers;
mod texts;
