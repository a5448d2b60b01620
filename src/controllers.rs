//! From what the cluster and the metrics show to the one next step, for each policy:
//! `gather → validate → judge → plan → build → apply → update status`. Only gather, apply and the status
//! update touch the network.

mod apply;
mod bounds;
pub(crate) mod build;
mod checkpoints;
mod context;
mod drill;
mod error;
mod events;
mod evidence;
mod figures;
mod gate;
mod gather;
mod history;
mod judged;
mod log_back;
mod notify;
mod postmortem;
mod readiness;
mod reconcile;
mod registered;
pub(crate) mod release;
mod reporting;
mod request;
mod rewatch;
mod rollback;
mod run;
mod shared;
mod sightings;
mod snapshot;
mod status;
mod undecodable;
mod verification;

pub use context::{Context, Stores};
pub use run::run;
