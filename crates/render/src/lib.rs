//! What people and pipelines read, made from the records: the report as a page, flame graphs, the files of an audit, and
//! checkpoints as a file, to export and import.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod audit_files;
pub mod flame_graph;
pub mod html_report;
pub mod import_export;
