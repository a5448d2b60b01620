//! Lists: incidents and checkpoints.

use kube::ResourceExt;

use super::table::table;
use crate::{
    api::{QualityIncident, RollbackCheckpoint},
    core::{incident::digest, words::UNKNOWN},
};

/// Incidents, newest first.
pub fn incidents(incidents: &[QualityIncident]) -> String {
    let mut sorted: Vec<&QualityIncident> = incidents.iter().collect();
    sorted.sort_by_key(|incident| std::cmp::Reverse(incident.spec.onset.0));
    let rows: Vec<Vec<String>> = sorted
        .iter()
        .map(|incident| {
            let status = incident.status.clone().unwrap_or_default();
            vec![
                incident.name_any(),
                incident.spec.trigger.name().to_owned(),
                status.state.name().to_owned(),
                incident.spec.onset.0.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                status.rto.unwrap_or_else(|| UNKNOWN.to_owned()),
                status.rpo.unwrap_or_else(|| UNKNOWN.to_owned()),
                incident.spec.reason.clone(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "No incident.\n".to_owned();
    }
    table(
        &["INCIDENT", "TRIGGER", "STATE", "ONSET (UTC)", "RTO", "RPO", "REASON"],
        &rows,
    )
}

/// Checkpoints.
pub fn checkpoints(checkpoints: &[RollbackCheckpoint]) -> String {
    let rows: Vec<Vec<String>> = checkpoints
        .iter()
        .map(|checkpoint| {
            let status = checkpoint.status.clone().unwrap_or_default();
            let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
            let image = checkpoint.spec.images.first().and_then(|image| digest(&image.image));
            vec![
                checkpoint.name_any(),
                checkpoint.spec.target_ref.name.clone(),
                image.map_or_else(|| UNKNOWN.to_owned(), |digest| digest[..19].to_owned()),
                ready.map_or_else(|| UNKNOWN.to_owned(), |ready| ready.status.clone()),
                ready.map_or_else(|| UNKNOWN.to_owned(), |ready| ready.message.clone()),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "No checkpoint: a release is registered once it has been healthy for a while.\n".to_owned();
    }
    table(&["CHECKPOINT", "TARGET", "DIGEST", "READY", "WHY"], &rows)
}
