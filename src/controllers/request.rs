//! A person's request to roll back, as the planner sees it, and its answer. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use quality_api::{QualityIncident, QualityPolicy, REQUEST_ANNOTATION, RequestAnswer};
use quality_core::plan::{PendingRequest, Request, RequestOutcome, identity};

/// The policy's request, unless it was answered.
pub fn pending(policy: &QualityPolicy, incidents: &[QualityIncident]) -> Option<PendingRequest> {
    let value = policy.annotations().get(REQUEST_ANNOTATION)?;
    let id = identity(value);
    let answered = policy
        .status
        .as_ref()
        .and_then(|status| status.rollback_request.as_ref());
    if answered.is_some_and(|answered| answered.id == id) {
        return None;
    }
    let incident = incidents
        .iter()
        .find(|incident| incident.spec.request.as_deref() == Some(id.as_str()));
    Some(PendingRequest {
        incident: incident.map(ResourceExt::name_any),
        request: Request::parse(value),
        id,
    })
}

/// An answer for the policy's status.
pub fn given(answer: &RequestOutcome, now: Timestamp) -> RequestAnswer {
    RequestAnswer {
        id: answer.id.clone(),
        accepted: answer.outcome.is_ok(),
        message: match &answer.outcome {
            Ok(incident) => format!("incident {incident} carries it out"),
            Err(why) => format!("nothing was changed: {why}"),
        },
        incident: answer.outcome.as_ref().ok().cloned(),
        at: Time(now),
    }
}
