//! Events on the policy and on the Deployment, so that `kubectl describe deployment` tells the story. Best
//! effort: an Event that is lost changes no decision.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ObjectReference};
use kube::{
    Resource,
    runtime::events::{Event, EventType},
};

use crate::{
    api::QualityPolicy,
    controllers::context::{Context, call},
};

/// The API server takes no longer notes.
const NOTE_BYTES: usize = 1_000;

/// What an Event says.
pub struct Told<'a> {
    /// Whether somebody should look.
    pub warning: bool,
    /// CamelCase.
    pub reason: &'a str,
    /// The sentence.
    pub note: String,
    /// What was done, CamelCase.
    pub action: &'a str,
}

/// Writes one Event on each of them.
pub async fn tell(context: &Context, policy: &QualityPolicy, deployment: Option<&Deployment>, told: &Told<'_>) {
    let mut references: Vec<ObjectReference> = vec![policy.object_ref(&())];
    references.extend(deployment.map(|deployment| deployment.object_ref(&())));
    for reference in references {
        let event = Event {
            type_: if told.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: told.reason.to_owned(),
            note: Some(cut(&told.note)),
            // The recorder joins repeats by action and reason, not by note: the incident's name in the
            // action keeps two incidents apart.
            action: told.action.to_owned(),
            secondary: None,
        };
        if let Err(error) = call(context.recorder.publish(&event, &reference)).await {
            tracing::debug!(%error, reason = told.reason, "an Event was not written");
        }
    }
}

fn cut(note: &str) -> String {
    let mut end = note.len().min(NOTE_BYTES);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note[..end].to_owned()
}
