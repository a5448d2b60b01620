//! What is shipped: the chart with the real Helm on a real API server, the manifests, the rights, and the documents. Run by
//! `make test`, or `cargo run -p bed -- run -- cargo test --workspace --test ship`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod chart;
mod commands;
mod documents;
mod image;
mod install;
mod manifests;
mod newcomer;
mod rights;
mod schemas;
mod tools;
