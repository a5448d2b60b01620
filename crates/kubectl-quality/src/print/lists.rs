//! Lists: incidents, checkpoints, and the snapshots of a report.

use kube::ResourceExt;

use super::table::{Table, or_dash};
use quality_api::{QualityIncident, QualityReportSnapshot, RollbackCheckpoint};
use quality_core::{
    format::UNKNOWN,
    incident::{ContainerImage, short},
};

/// Incidents, newest first.
pub fn incidents(incidents: &[QualityIncident], all_namespaces: bool) -> String {
    let mut sorted: Vec<&QualityIncident> = incidents.iter().collect();
    sorted.sort_by_key(|incident| std::cmp::Reverse(incident.spec.onset.0));
    let mut table = Table::new(&["INCIDENT", "TRIGGER", "STATE", "ONSET (UTC)", "RTO", "RPO", "REASON"]);
    for incident in sorted {
        let status = incident.status.clone().unwrap_or_default();
        table.row(
            incident.namespace().filter(|_| all_namespaces),
            vec![
                incident.name_any(),
                incident.spec.trigger.name().to_owned(),
                status.state.name().to_owned(),
                incident.spec.onset.0.strftime("%m-%d %H:%M:%S").to_string(),
                status.rto.unwrap_or_else(|| UNKNOWN.to_owned()),
                status.rpo.unwrap_or_else(|| UNKNOWN.to_owned()),
                incident.spec.reason.clone(),
            ],
        );
    }
    table.text("No incident.\n")
}

/// Checkpoints.
pub fn checkpoints(checkpoints: &[RollbackCheckpoint], all_namespaces: bool) -> String {
    let mut table = Table::new(&["CHECKPOINT", "TARGET", "DIGEST", "READY", "WHY"]);
    for checkpoint in checkpoints {
        let status = checkpoint.status.clone().unwrap_or_default();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        table.row(
            checkpoint.namespace().filter(|_| all_namespaces),
            vec![
                checkpoint.name_any(),
                checkpoint.spec.target_ref.name.clone(),
                digests(&checkpoint.spec.images),
                ready.map_or_else(|| UNKNOWN.to_owned(), |ready| ready.status.clone()),
                ready.map_or_else(|| UNKNOWN.to_owned(), |ready| ready.message.clone()),
            ],
        );
    }
    table.text("No checkpoint: a release is registered once it has been healthy for a while.\n")
}

/// The digest of the one container, or each container's by its name.
fn digests(images: &[ContainerImage]) -> String {
    match images {
        [] => UNKNOWN.to_owned(),
        [only] => short(&only.image),
        several => {
            let named: Vec<String> = several
                .iter()
                .map(|image| format!("{} {}", image.container, short(&image.image)))
                .collect();
            named.join(", ")
        }
    }
}

/// The snapshots of one policy's report, in the order given.
pub fn snapshots(snapshots: &[QualityReportSnapshot]) -> String {
    let mut table = Table::new(&[
        "SNAPSHOT", "OF", "AT (UTC)", "VERDICT", "SLOS", "ROLLBACK", "P95", "ERRORS",
    ]);
    for snapshot in snapshots {
        let report = &snapshot.spec.report;
        table.row(
            None,
            vec![
                snapshot.name_any(),
                snapshot.spec.of.name().to_owned(),
                snapshot.spec.at.0.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                or_dash(&report.verdict),
                or_dash(&report.slos),
                or_dash(&report.rollback),
                or_dash(&report.p95),
                or_dash(&report.errors),
            ],
        );
    }
    table.text("No snapshot: one is taken at each review and at the end of each incident.\n")
}
