//! From what the cluster and the metrics show to the one next step, for each policy:
//! `gather → validate → judge → plan → build → apply → update status`. Only gather, apply and the status
//! update touch the network.

mod apply;
mod backoff;
pub(crate) mod build;
mod checkpoints;
mod context;
mod drill;
mod error;
mod evaluation;
mod events;
mod gate;
mod gather;
mod history;
mod mlflow_export;
mod notification;
mod policy_metrics;
mod postmortem;
mod readiness;
mod reconcile;
mod registered_templates;
pub(crate) mod release;
mod release_analysis;
mod reporting;
mod request;
mod rollback;
mod run;
mod sightings;
mod single_flight;
mod snapshot;
mod status;
mod truncate;
mod undecodable;
mod verification;
mod write_errors;

pub use context::{Context, Stores};
pub use run::run;
