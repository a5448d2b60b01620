//! A message in the three forms that receivers take.

use serde_json::{Map, Value, json};

use super::{
    Kind,
    message::{Matter, Message, instant},
};

/// An alert that is not renewed ends after this time, so that one whose operator is gone does not stand for ever. Seconds.
const LIFETIME: i64 = 300;
/// An alert must stand at least this long before its end is told: Alertmanager tells nobody of one that ended while it
/// waited for others of its group, and takes no end in the future that is earlier than the one it knows. Seconds.
pub const MIN_FIRING_SECONDS: i64 = 60;

/// The API group, which names the types of events.
const EVENT_TYPES: &str = "dev.quality-officer";

/// A message as alerts for Alertmanager's API, at `now`, unix seconds. One that ends a matter ends each alert of it.
pub fn alerts(message: &Message, receiver: &str, now: i64) -> Vec<Value> {
    let alert = |kind: Kind, ends: i64| {
        json!({
            "labels": labels(message, receiver, kind),
            "annotations": annotations(message),
            "startsAt": instant(message.began.min(now)),
            "endsAt": instant(ends),
        })
    };
    if message.kind != Kind::Recovered {
        return vec![alert(message.kind, now + LIFETIME)];
    }
    if message.ends.is_empty() {
        // Over before anybody could be told: raised once, and left to end by itself.
        let kind = match message.matter {
            Matter::Incident(_) => Kind::Breach,
            Matter::Drill(_) => Kind::DrillFailed,
            Matter::RollbackPath => Kind::AtRisk,
        };
        return vec![alert(kind, now + LIFETIME)];
    }
    let ended = |(kind, _): &(Kind, i64)| alert(*kind, message.at.min(now));
    message.ends.iter().map(ended).collect()
}

/// What makes an alert the same alert.
fn labels(message: &Message, receiver: &str, kind: Kind) -> Map<String, Value> {
    let place = &message.place;
    let mut labels = Map::new();
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            labels.insert(name.to_owned(), json!(value));
        }
    };
    add("alertname", &format!("Quality{}", kind.name()));
    add("receiver", receiver);
    add("severity", message.urgency.name());
    add("cluster", &place.cluster);
    add("namespace", &place.namespace);
    add("policy", &place.policy);
    add("deployment", &place.deployment);
    add("trigger", message.trigger.map_or("", |trigger| trigger.name()));
    match &message.matter {
        Matter::Incident(name) => add("incident", name),
        Matter::Drill(name) => add("drill", name),
        Matter::RollbackPath => {}
    }
    labels
}

fn annotations(message: &Message) -> Map<String, Value> {
    let mut annotations = Map::new();
    annotations.insert("id".to_owned(), json!(message.id));
    annotations.insert("summary".to_owned(), json!(message.title));
    annotations.insert("description".to_owned(), json!(paragraphs(message)));
    annotations.insert("next".to_owned(), json!(message.commands.join("\n")));
    if !message.questions.is_empty() {
        annotations.insert("questions".to_owned(), json!(message.questions.join("\n")));
    }
    annotations
}

fn paragraphs(message: &Message) -> String {
    let lines: Vec<String> = message
        .facts
        .iter()
        .map(|(heading, text)| format!("{heading}: {text}"))
        .collect();
    lines.join("\n")
}

/// A message for an incoming webhook of Slack.
pub fn slack(message: &Message) -> Value {
    let mut lines = vec![format!("*{}*", escaped(&message.title))];
    lines.extend(
        message
            .facts
            .iter()
            .map(|(heading, text)| format!("*{heading}:* {}", escaped(text))),
    );
    lines.push("*Next:*".to_owned());
    lines.push(format!("```{}```", escaped(&message.commands.join("\n"))));
    if !message.questions.is_empty() {
        lines.push("*Questions:*".to_owned());
        lines.extend(
            message
                .questions
                .iter()
                .map(|question| format!("• {}", escaped(question))),
        );
    }
    json!({ "text": lines.join("\n") })
}

/// Three characters mean something to Slack; names and reasons must neither link nor mention.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A message as a `CloudEvent`, structured mode.
pub fn cloud_event(message: &Message) -> Value {
    let place = &message.place;
    let authority = if place.cluster.is_empty() {
        String::new()
    } else {
        format!("//{}", place.cluster)
    };
    let (subject, about) = match &message.matter {
        Matter::Incident(name) => (name, json!({"incident": name})),
        Matter::Drill(name) => (name, json!({"drill": name})),
        Matter::RollbackPath => (&place.policy, json!({})),
    };
    let facts: Map<String, Value> = message
        .facts
        .iter()
        .map(|(heading, text)| ((*heading).to_owned(), json!(text)))
        .collect();
    let mut data = json!({
        "kind": message.kind.name(),
        "namespace": place.namespace,
        "policy": place.policy,
        "deployment": place.deployment,
        "severity": message.urgency.name(),
        "began": instant(message.began),
        "title": message.title,
        "facts": facts,
        "commands": message.commands,
        "questions": message.questions,
    });
    if let (Value::Object(data), Value::Object(about)) = (&mut data, about) {
        data.extend(about);
        if !place.cluster.is_empty() {
            data.insert("cluster".to_owned(), json!(place.cluster));
        }
        if let Some(trigger) = message.trigger {
            data.insert("trigger".to_owned(), json!(trigger.name()));
        }
    }
    json!({
        "specversion": "1.0",
        "id": message.id,
        "source": format!(
            "{authority}/apis/quality-officer.dev/v1alpha1/namespaces/{}/qualitypolicies/{}",
            place.namespace, place.policy
        ),
        "type": format!("{EVENT_TYPES}.{}", message.kind.name().to_lowercase()),
        "subject": subject,
        "time": instant(message.at),
        "datacontenttype": "application/json",
        "data": data,
    })
}

#[cfg(test)]
#[path = "payload/tests.rs"]
mod tests;
