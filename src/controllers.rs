//! From what the cluster and the metrics show to the one next step, for each policy:
//! `gather → validate → judge → plan → build → apply → update status`. Only gather, apply and the status
//! update touch the network.

mod apply;
mod build;
mod checkpoints;
mod context;
mod events;
mod gather;
mod judged;
mod reconcile;
mod release;
mod rollback;
mod run;
mod status;

pub use context::{Context, Stores};
pub use run::run;
