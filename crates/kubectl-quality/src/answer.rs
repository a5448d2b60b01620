//! One question, one answer.

use std::{fmt::Debug, path::Path, time::Duration};

use kube::{Resource, ResourceExt, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Cluster, PluginError,
    arguments::{Arguments, Command, Listing, Output},
    colour, complete, print,
};
use quality_api::{
    QualityIncident, QualityPolicy, QualityReport, QualityReportSnapshot, RecoveryDrill, RollbackCheckpoint,
};
use quality_render::audit_files;
use quality_render::import_export;

/// Asks the cluster, or changes what was asked for; what is printed then.
pub async fn answer(arguments: Arguments) -> Result<String, PluginError> {
    // This one needs no cluster.
    if let Command::Completion { shell } = arguments.command {
        return Ok(complete::script(shell));
    }
    let cluster = Cluster::connect(arguments.connection).await?;
    let line = |said: String| format!("{said}\n");
    Ok(match arguments.command {
        Command::Report { policy, at, output } => {
            let text = match (policy, at) {
                (Some(policy), Some(at)) => snapshot(&cluster, &policy, &at, output).await?,
                (policy, _) => reports(&cluster, policy.as_deref(), output).await?,
            };
            painted(text, output == Output::Text)
        }
        Command::Incidents { policy, output } => {
            let mut incidents: Vec<QualityIncident> = cluster.list().await?;
            incidents.retain(|incident| {
                policy
                    .as_ref()
                    .is_none_or(|policy| incident.spec.policy.name == *policy)
            });
            let text = listed(&incidents, output, |incidents| print::incidents(incidents, cluster.all))?;
            painted(text, output == Listing::Text)
        }
        Command::Checkpoints { output } => {
            let checkpoints: Vec<RollbackCheckpoint> = cluster.list().await?;
            let text = listed(&checkpoints, output, |list| print::checkpoints(list, cluster.all))?;
            painted(text, output == Listing::Text)
        }
        Command::Explain { policy } => painted(print::explain(&cluster.get::<QualityPolicy>(&policy).await?), true),
        Command::Postmortem { incident } => postmortem(&cluster, &incident).await?,
        Command::Rollback {
            policy,
            to,
            reason,
            wait,
        } => line(cluster.rollback(&policy, to, reason, Duration::from_secs(wait)).await?),
        Command::Drill { policy, in_place } => line(cluster.drill(&policy, in_place).await?),
        Command::Approve { incident } => line(cluster.approve(&incident).await?),
        Command::Release { policy, image } => line(cluster.release(&policy, &image).await?),
        Command::Pause { policy } => line(cluster.pause(&policy, true).await?),
        Command::Resume { policy } => line(cluster.pause(&policy, false).await?),
        Command::Export { folder } => line(export(&cluster, &folder).await?),
        Command::Import { file, dry_run } => {
            let bytes = import_export::read(&file)?;
            let imported = import_export::import(cluster.client.clone(), &cluster.namespace, &bytes, dry_run).await?;
            imported.text(dry_run)
        }
        Command::Completion { shell } => complete::script(shell),
    })
}

fn printed(text: Result<String, String>) -> Result<String, PluginError> {
    text.map_err(PluginError::Print)
}

fn painted(text: String, is_for_people: bool) -> String {
    if is_for_people && colour::wanted() {
        colour::coloured(&text)
    } else {
        text
    }
}

async fn reports(cluster: &Cluster, name: Option<&str>, output: Output) -> Result<String, PluginError> {
    let reports: Vec<QualityReport> = match name {
        Some(name) => vec![cluster.get(name).await?],
        None => cluster.list().await?,
    };
    let joined = |print: fn(&QualityReport) -> String| reports.iter().map(print).collect::<Vec<_>>().join("\n");
    match output {
        Output::Html => match <[QualityReport; 1]>::try_from(reports) {
            Ok([report]) if name.is_some() => cluster.page(report).await,
            _ => Err(PluginError::Refused(
                "name one policy: a page shows one report".to_owned(),
            )),
        },
        Output::Text | Output::Markdown if reports.is_empty() => {
            Ok("No report: is there a policy in this namespace, and does the operator run?\n".to_owned())
        }
        Output::Text => Ok(joined(print::report)),
        Output::Markdown => Ok(joined(print::markdown)),
        Output::Json => printed(print::json(&reports, name.is_some())),
        Output::Yaml => printed(print::yaml(&reports, name.is_some())),
    }
}

/// A snapshot of a policy's report, or which there are.
async fn snapshot(cluster: &Cluster, policy: &str, at: &str, output: Output) -> Result<String, PluginError> {
    if at == "list" {
        let snapshots = cluster.snapshots(policy).await?;
        return match output {
            Output::Text | Output::Markdown => Ok(print::snapshots(&snapshots)),
            Output::Html => Err(PluginError::Refused(
                "a page shows one snapshot: name it in --at".to_owned(),
            )),
            Output::Json => printed(print::json(&snapshots, false)),
            Output::Yaml => printed(print::yaml(&snapshots, false)),
        };
    }
    let snapshot: QualityReportSnapshot = cluster.get(at).await?;
    if snapshot.spec.policy_ref.name != policy {
        return Err(PluginError::Refused(format!(
            "snapshot {at} is of policy {}: `--at list` shows those of {policy}",
            snapshot.spec.policy_ref.name
        )));
    }
    match output {
        Output::Text => Ok(print::snapshot(&snapshot)),
        Output::Markdown => Ok(print::markdown(&print::as_report(&snapshot))),
        Output::Html => cluster.page(print::as_report(&snapshot)).await,
        Output::Json => printed(print::json(&[snapshot], true)),
        Output::Yaml => printed(print::yaml(&[snapshot], true)),
    }
}

fn listed<K>(list: &[K], output: Listing, text: impl FnOnce(&[K]) -> String) -> Result<String, PluginError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + Debug,
{
    match output {
        Listing::Text => Ok(text(list)),
        Listing::Json => printed(print::json(list, false)),
        Listing::Yaml => printed(print::yaml(list, false)),
        Listing::Name => {
            let kind = K::kind(&()).to_lowercase();
            let line = |item: &K| format!("{kind}/{}", item.name_any());
            let lines: Vec<String> = list.iter().map(line).chain([String::new()]).collect();
            Ok(lines.join("\n"))
        }
    }
}

async fn postmortem(cluster: &Cluster, name: &str) -> Result<String, PluginError> {
    let incident: QualityIncident = cluster.get(name).await?;
    let text = incident.status.and_then(|status| status.postmortem);
    text.ok_or_else(|| PluginError::NoPostmortem(name.to_owned()))
}

async fn export(cluster: &Cluster, folder: &Path) -> Result<String, PluginError> {
    let incidents = cluster.list::<QualityIncident>().await?;
    let drills = cluster.list::<RecoveryDrill>().await?;
    let checkpoints = import_export::export(cluster.client.clone(), &cluster.namespace, None).await?;
    let failed = |path: &Path, error| PluginError::File(path.display().to_string(), error);
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for (name, text) in [
        ("rollback_log.json", audit_files::rollback_log(&incidents)),
        ("postmortem_report.md", audit_files::postmortem_report(&incidents)),
        ("recovery_test.json", audit_files::recovery_test(&drills)),
        ("weekly_validation.log", audit_files::weekly_validation(&drills)),
        ("checkpoint_registry.yaml", checkpoints),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(format!(
        "wrote {} incidents, {} drills and the checkpoints into {}",
        incidents.len(),
        drills.len(),
        folder.display()
    ))
}
