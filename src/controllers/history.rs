//! The history of a report: taken up from its status when an analysis starts, and kept by the analysis from then on.
//!
//! The watch cache holds reports without it: it is read once a start, and is the largest part of a status.

use kube::{Api, ResourceExt, api::ListParams, core::DeserializeGuard};

use crate::controllers::{
    context::{CallError, Context, call},
    gather::Gathered,
    release,
    release_analysis::ReleaseAnalysis,
};
use quality_api::{QualityPolicy, QualityReport};
use quality_core::{history::History, incident};

/// What the analysis of the release that runs goes on with: the history of the analysis before it, else the recorded one.
pub async fn taken_up(
    context: &Context,
    policy: &QualityPolicy,
    before: Option<ReleaseAnalysis>,
    now: i64,
) -> Result<History, CallError> {
    match before {
        Some(before) => Ok(before.history),
        None => Ok(recorded(context, policy).await?.recorded(now)),
    }
}

/// As the report's status has it. By a list of one: the operator needs no other right on reports.
async fn recorded(context: &Context, policy: &QualityPolicy) -> Result<History, CallError> {
    let api: Api<DeserializeGuard<QualityReport>> =
        Api::namespaced(context.client.clone(), &policy.namespace().unwrap_or_default());
    let one = ListParams::default().fields(&format!("metadata.name={}", policy.name_any()));
    let found = call(api.list(&one)).await?.items.into_iter().next();
    let status = found.and_then(|report| report.0.ok()?.status);
    Ok(status.map(|status| status.history).unwrap_or_default())
}

/// Remembers the release that an analysis is about.
pub fn release_began(history: &mut History, gathered: &Gathered, judged: &ReleaseAnalysis) {
    let image = release::template_images(&gathered.deployment).into_iter().next();
    let image = image.map(|(_, image)| incident::short(&image)).unwrap_or_default();
    let began = judged.subject.born.unwrap_or(judged.started);
    history.release(began, &judged.subject.release.revision, &image);
}
