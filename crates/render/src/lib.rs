//! What people and pipelines read, made from the records: the report as a page, flame graphs, and the files of an audit.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod audit_files;
pub mod checkpoint_registry;
pub mod flame_graph;
pub mod html_report;
