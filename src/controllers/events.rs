//! Events on the policy and on the Deployment, so that `kubectl describe deployment` tells the story. Best
//! effort: an Event that is lost changes no decision.
//!
//! They are core Events with a last timestamp, which `kubectl describe` sorts by; the newer API has none, and
//! there the story comes in any order. An Event's name is a function of what it tells, so that telling it again
//! after a crash is telling it once.

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Event, EventSource, ObjectReference},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Api, Resource, core::ObjectMeta};

use crate::controllers::context::{Context, call, post};
use quality_api::{QualityPolicy, names};

/// The API server takes no longer messages.
const NOTE_BYTES: usize = 1_000;

/// What an Event says.
pub struct EventNote<'a> {
    /// Whether somebody should look.
    pub warning: bool,
    /// CamelCase.
    pub reason: &'a str,
    /// The sentence.
    pub note: String,
    /// What it is about: the name of an incident or checkpoint. One reason is told once about it.
    pub about: &'a str,
    /// Which part of the story it is: `kubectl describe` shows Events of one second by their names.
    pub chapter: u8,
}

/// Writes one Event on each of them.
pub async fn tell(context: &Context, policy: &QualityPolicy, deployment: Option<&Deployment>, told: &EventNote<'_>) {
    let mut references: Vec<ObjectReference> = vec![policy.object_ref(&())];
    references.extend(deployment.map(|deployment| deployment.object_ref(&())));
    write(context, references, told).await;
}

/// Writes one Event on a Deployment that no policy guards.
pub async fn tell_deployment(context: &Context, deployment: &Deployment, told: &EventNote<'_>) {
    write(context, vec![deployment.object_ref(&())], told).await;
}

async fn write(context: &Context, references: Vec<ObjectReference>, told: &EventNote<'_>) {
    for reference in references {
        let namespace = reference.namespace.clone().unwrap_or_default();
        let event = event(reference, told, Timestamp::now());
        let api: Api<Event> = Api::namespaced(context.client.clone(), &namespace);
        match call(api.create(&post(), &event)).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => tracing::debug!(%error, reason = told.reason, "an Event was not written"),
        }
    }
}

fn event(regarding: ObjectReference, told: &EventNote<'_>, now: Timestamp) -> Event {
    let uid = regarding.uid.clone().unwrap_or_default();
    let mut name = regarding.name.clone().unwrap_or_default();
    name.truncate(220);
    let reporter = "quality-officer";
    Event {
        metadata: ObjectMeta {
            name: Some(format!(
                "{name}.{}{}{}",
                part(&[&uid, told.about]),
                told.chapter,
                part(&[told.reason])
            )),
            namespace: regarding.namespace.clone(),
            ..ObjectMeta::default()
        },
        involved_object: regarding,
        reason: Some(told.reason.to_owned()),
        message: Some(cut(&told.note)),
        type_: Some(if told.warning { "Warning" } else { "Normal" }.to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource {
            component: Some(reporter.to_owned()),
            host: None,
        }),
        reporting_component: Some(reporter.to_owned()),
        ..Event::default()
    }
}

fn part(of: &[&str]) -> String {
    let mut hash = names::hash(of);
    hash.truncate(8);
    hash
}

fn cut(note: &str) -> String {
    note[..note.floor_char_boundary(NOTE_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<'a>(reason: &'a str, about: &'a str) -> EventNote<'a> {
        EventNote {
            warning: true,
            reason,
            note: "é".repeat(800),
            about,
            chapter: 0,
        }
    }

    #[test]
    fn the_same_thing_told_again_has_the_same_name_and_another_one_has_another() {
        let regarding = || ObjectReference {
            name: Some("ranker".into()),
            uid: Some("1".into()),
            ..ObjectReference::default()
        };
        let name = |reason, about| {
            event(regarding(), &told(reason, about), Timestamp::UNIX_EPOCH)
                .metadata
                .name
        };
        assert_eq!(name("RolledBack", "ranker-1"), name("RolledBack", "ranker-1"));
        assert_ne!(name("RolledBack", "ranker-1"), name("RolledBack", "ranker-2"));
        assert_ne!(name("RolledBack", "ranker-1"), name("Recovered", "ranker-1"));
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let event = event(
            ObjectReference::default(),
            &told("Escalated", "x"),
            Timestamp::UNIX_EPOCH,
        );
        assert!(
            event
                .message
                .is_some_and(|message| message.len() <= NOTE_BYTES && message.ends_with('é'))
        );
    }
}
