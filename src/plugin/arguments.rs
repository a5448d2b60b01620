//! What can be asked, and how.

use clap::{Parser, Subcommand, ValueEnum};

/// Asks what the quality officer found, why, and what it did.
///
/// Start with `kubectl quality report`; `explain POLICY` says how sure the verdict is and what it takes to act.
#[derive(Parser)]
#[command(name = "kubectl-quality", bin_name = "kubectl quality", version)]
pub struct Arguments {
    /// The namespace; that of the kubeconfig when it is not given.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// All namespaces, for what lists.
    #[arg(short = 'A', long, global = true)]
    pub all_namespaces: bool,
    /// A context of the kubeconfig.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// What is asked.
    #[command(subcommand)]
    pub command: Command,
}

/// What is asked.
#[derive(Subcommand)]
pub enum Command {
    /// The report of a policy, or of every policy.
    Report {
        /// The policy.
        policy: Option<String>,
        /// How it is printed: `markdown` is the strict report.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Every incident, newest first.
    Incidents,
    /// The postmortem of a rollback, Markdown.
    Postmortem {
        /// The incident.
        incident: String,
    },
    /// Why a policy's verdict is what it is, how sure that is, and what it takes to act.
    Explain {
        /// The policy.
        policy: String,
    },
    /// The checkpoints that one can go back to, and why not where not.
    Checkpoints,
    /// Start a drill: a rehearsal of the rollback on a shadow of the Deployment.
    Drill {
        /// The policy.
        policy: String,
        /// On the Deployment itself: for staging namespaces.
        #[arg(long)]
        in_place: bool,
    },
    /// Let a prepared or halted rollback go ahead.
    Approve {
        /// The incident.
        incident: String,
    },
    /// Judge nothing and act on nothing until it is resumed.
    Pause {
        /// The policy.
        policy: String,
    },
    /// Judge again, from now on.
    Resume {
        /// The policy.
        policy: String,
    },
    /// Write `rollback_log.json`, `postmortem_report.md`, `recovery_test.json` and `weekly_validation.log` of the
    /// namespace into a folder.
    Export {
        /// The folder; it is made when it is not there.
        folder: std::path::PathBuf,
    },
}

/// How a report is printed.
#[derive(Clone, Copy, ValueEnum)]
pub enum Output {
    /// For a terminal.
    Text,
    /// The strict report.
    Markdown,
    /// The object.
    Json,
    /// The object.
    Yaml,
}
