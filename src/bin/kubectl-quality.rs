//! `kubectl quality`: the plugin for on-call.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use quality_officer::{
    api::{QualityIncident, QualityPolicy, QualityReport, RecoveryDrill},
    exports,
    plugin::{Cluster, print},
};

/// Asks what the quality officer found, why, and what it did.
///
/// Start with `kubectl quality report`; `explain POLICY` says how sure the verdict is and what it takes to act.
#[derive(Parser)]
#[command(name = "kubectl-quality", bin_name = "kubectl quality", version)]
struct Arguments {
    /// The namespace; that of the kubeconfig when it is not given.
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// All namespaces, for what lists.
    #[arg(short = 'A', long, global = true)]
    all_namespaces: bool,
    /// A context of the kubeconfig.
    #[arg(long, global = true)]
    context: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The report of a policy, or of every policy.
    Report {
        /// The policy.
        policy: Option<String>,
        /// How it is printed: `markdown` is the strict report; `html` is one page with charts, of one policy.
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

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Markdown,
    Html,
    Json,
    Yaml,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    quality_officer::client::install_crypto();
    match answer(Arguments::parse()).await {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("kubectl quality: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn answer(arguments: Arguments) -> Result<String, Box<dyn std::error::Error>> {
    let cluster = Cluster::connect(arguments.context, arguments.namespace, arguments.all_namespaces).await?;
    let line = |said: String| format!("{said}\n");
    Ok(match arguments.command {
        Command::Report { policy, output } => reports(&cluster, policy.as_deref(), output).await?,
        Command::Incidents => print::incidents(&cluster.list::<QualityIncident>().await?),
        Command::Postmortem { incident } => cluster.postmortem(&incident).await?,
        Command::Explain { policy } => print::explain(&cluster.get::<QualityPolicy>(&policy).await?),
        Command::Checkpoints => print::checkpoints(&cluster.checkpoints().await?),
        Command::Drill { policy, in_place } => line(cluster.drill(&policy, in_place).await?),
        Command::Approve { incident } => line(cluster.approve(&incident).await?),
        Command::Pause { policy } => line(cluster.pause(&policy, true).await?),
        Command::Resume { policy } => line(cluster.pause(&policy, false).await?),
        Command::Export { folder } => {
            let incidents = cluster.list::<QualityIncident>().await?;
            let drills = cluster.list::<RecoveryDrill>().await?;
            std::fs::create_dir_all(&folder)?;
            for (name, text) in [
                ("rollback_log.json", exports::rollback_log(&incidents)),
                ("postmortem_report.md", exports::postmortem_report(&incidents)),
                ("recovery_test.json", exports::recovery_test(&drills)),
                ("weekly_validation.log", exports::weekly_validation(&drills)),
            ] {
                std::fs::write(folder.join(name), text)?;
            }
            line(format!(
                "wrote {} incidents and {} drills into {}",
                incidents.len(),
                drills.len(),
                folder.display()
            ))
        }
    })
}

async fn reports(cluster: &Cluster, name: Option<&str>, output: Output) -> Result<String, Box<dyn std::error::Error>> {
    if matches!(output, Output::Html) {
        let name = name.ok_or("name one policy: a page shows one report")?;
        return Ok(cluster.page(name).await?);
    }
    let reports: Vec<QualityReport> = cluster.reports(name).await?;
    if reports.is_empty() {
        return Ok("No report: is there a policy in this namespace, and does the operator run?\n".to_owned());
    }
    let joined = |print: fn(&QualityReport) -> String| reports.iter().map(print).collect::<Vec<_>>().join("\n");
    Ok(match output {
        Output::Text | Output::Html => joined(print::report),
        Output::Markdown => joined(print::markdown),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&reports)?),
        Output::Yaml => serde_saphyr::to_string(&reports)?,
    })
}
