//! What people and pipelines read, made from the records: the report as a page, flame graphs, and the files of an audit.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod exports;
pub mod flame_graph;
pub mod page;
pub mod transfer;
