//! One question, one answer.

use super::{
    Cluster, PluginError,
    arguments::{Arguments, Command, Output},
    print,
};
use crate::{
    api::{QualityIncident, QualityPolicy, QualityReport, RecoveryDrill, RollbackCheckpoint},
    exports,
};

/// Asks the cluster, or changes what was asked for; what is printed then.
pub async fn answer(arguments: Arguments) -> Result<String, Box<dyn std::error::Error>> {
    let cluster = Cluster::connect(arguments.context, arguments.namespace, arguments.all_namespaces).await?;
    let line = |said: String| format!("{said}\n");
    Ok(match arguments.command {
        Command::Report { policy, output } => reports(&cluster, policy.as_deref(), output).await?,
        Command::Incidents => print::incidents(&cluster.list::<QualityIncident>().await?),
        Command::Postmortem { incident } => postmortem(&cluster, &incident).await?,
        Command::Explain { policy } => print::explain(&cluster.get::<QualityPolicy>(&policy).await?),
        Command::Checkpoints => print::checkpoints(&cluster.list::<RollbackCheckpoint>().await?),
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
    let reports: Vec<QualityReport> = match name {
        Some(name) => vec![cluster.get(name).await?],
        None => cluster.list().await?,
    };
    if reports.is_empty() {
        return Ok("No report: is there a policy in this namespace, and does the operator run?\n".to_owned());
    }
    let joined = |print: fn(&QualityReport) -> String| reports.iter().map(print).collect::<Vec<_>>().join("\n");
    Ok(match output {
        Output::Text => joined(print::report),
        Output::Markdown => joined(print::markdown),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&reports)?),
        Output::Yaml => serde_saphyr::to_string(&reports)?,
    })
}

async fn postmortem(cluster: &Cluster, name: &str) -> Result<String, PluginError> {
    let incident: QualityIncident = cluster.get(name).await?;
    let text = incident.status.and_then(|status| status.postmortem);
    text.ok_or_else(|| PluginError::NoPostmortem(name.to_owned()))
}
