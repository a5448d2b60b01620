//! The story that a notification tells to a person at night: what broke, how sure that is, what was done, what to do
//! next, and the questions that only a person can answer.

use jiff::Timestamp;

use super::Kind;
use crate::{
    format,
    incident::{IncidentState, Severity, Trigger},
};

/// No part of a message is longer, characters.
const MAX_CHARACTERS: usize = 900;
/// More questions than a person answers at night.
const MAX_QUESTIONS: usize = 5;

/// Where it happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageContext {
    /// What the operator's configuration calls this cluster; empty where it does not.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// The policy.
    pub policy: String,
    /// The guarded Deployment.
    pub deployment: String,
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matter {
    /// An incident, by its name.
    Incident(String),
    /// A drill, by its name.
    Drill(String),
    /// The policy's rollback path.
    RollbackPath,
}

/// How soon a person must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Now.
    Critical,
    /// Today.
    Warning,
}

impl Urgency {
    /// As Alertmanager's users spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// One notification, before it is written in the form that a receiver takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The same however often it is sent, and of nothing else.
    pub id: String,
    /// What is told.
    pub kind: Kind,
    /// Where.
    pub place: MessageContext,
    /// About what.
    pub matter: Matter,
    /// What gave the alarm, where it is an incident.
    pub trigger: Option<Trigger>,
    /// How soon a person must look; the same for all messages of one matter.
    pub urgency: Urgency,
    /// When the matter began, unix seconds.
    pub began: i64,
    /// When what is told happened, unix seconds.
    pub at: i64,
    /// One line.
    pub title: String,
    /// What a person must know, each with its heading.
    pub facts: Vec<(&'static str, String)>,
    /// What to do next: commands to copy.
    pub commands: Vec<String>,
    /// What only a person can answer.
    pub questions: Vec<String>,
    /// What the receiver was told of the matter before, and when: this message ends it. Empty where nothing ends.
    pub ends: Vec<(Kind, i64)>,
}

/// An incident, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentNews {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// What gave the alarm.
    pub trigger: Trigger,
    /// What it asks for.
    pub severity: Severity,
    /// Where it stands.
    pub state: IncidentState,
    /// The trigger in words: estimate, CI95, n, evidence and threshold.
    pub reason: String,
    /// Why it stands there.
    pub message: String,
    /// When the breach began, unix seconds.
    pub onset: i64,
    /// When the evidence reached its threshold, unix seconds.
    pub detected: i64,
    /// When the Deployment was changed, unix seconds.
    pub patched: Option<i64>,
    /// When it was said to last too long, unix seconds, and what was said.
    pub escalated: Option<(i64, String)>,
    /// When it ended, unix seconds.
    pub closed: Option<i64>,
    /// The image in breach, short.
    pub from: String,
    /// The image to roll back to, short.
    pub to: String,
    /// The first container of the Deployment.
    pub container: String,
    /// The checkpoint to roll back to.
    pub checkpoint: Option<String>,
    /// Breach onset to recovered.
    pub rto: Option<String>,
    /// Last certification of the checkpoint to breach onset.
    pub rpo: Option<String>,
    /// A postmortem was filed.
    pub postmortem: bool,
}

/// A drill that failed, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillNews {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Why it failed.
    pub message: String,
    /// When it ended, unix seconds.
    pub finished: i64,
    /// Fault begin to recovered, with its objective.
    pub rto: String,
    /// Last certification of the checkpoint to fault begin, with its objective.
    pub rpo: String,
    /// The later drill that ended the matter: its name, and when, unix seconds.
    pub later: Option<(String, i64)>,
}

/// A rollback path at risk, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollbackPath {
    /// The policy's UID.
    pub uid: String,
    /// Since when it was at risk when that was first told, unix seconds.
    pub began: i64,
    /// Why it is at risk, or what may be used now.
    pub message: String,
    /// Since when it may be used again, unix seconds.
    pub ended: Option<i64>,
}

/// An instant, for people and programs alike.
pub fn instant(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_CHARACTERS {
        return text.to_owned();
    }
    let kept: String = text.chars().take(MAX_CHARACTERS).collect();
    format!("{kept} …")
}

fn asked(questions: &[String]) -> Vec<String> {
    questions
        .iter()
        .take(MAX_QUESTIONS)
        .map(|question| cut(question))
        .collect()
}

/// `namespace/policy`, with its cluster where it has a name.
fn subject(place: &MessageContext) -> String {
    let name = format!("{}/{}", place.namespace, place.policy);
    if place.cluster.is_empty() {
        name
    } else {
        format!("{}: {name}", place.cluster)
    }
}

/// What is told of an incident.
pub fn incident(
    place: MessageContext,
    incident: &IncidentNews,
    kind: Kind,
    questions: &[String],
    ends: &[(Kind, i64)],
) -> Message {
    let over = kind == Kind::Recovered;
    // Before the first `;` a reason has value, interval, n and limit.
    let short = incident.reason.split(';').next().unwrap_or_default();
    let words = match kind {
        Kind::Recovered => format!(
            "incident {} is {}: {}",
            incident.name,
            incident.state.name().to_lowercase(),
            incident.message
        ),
        Kind::RolledBack => format!("rolled back to {}: {short}", target(incident)),
        Kind::Sustained if incident.state == IncidentState::Ineffective => {
            format!("the rollback did not end the breach: {short}")
        }
        Kind::Sustained => incident
            .escalated
            .as_ref()
            .map_or_else(|| short.to_owned(), |(_, text)| text.clone()),
        Kind::AtRisk => format!("the API server refuses the rollback: {short}"),
        Kind::Breach | Kind::DrillFailed => short.to_owned(),
    };
    let mut facts = vec![
        (
            "Incident",
            format!(
                "{} ({}), trigger {}",
                incident.name,
                incident.state.name(),
                incident.trigger.name()
            ),
        ),
        (
            "Since",
            format!("{}; detected {}", instant(incident.onset), instant(incident.detected)),
        ),
        ("How sure", cut(&incident.reason)),
        ("Done", cut(&done(incident))),
    ];
    if let Some(rto) = incident.rto.as_ref().filter(|_| over) {
        let rpo = incident.rpo.as_deref().unwrap_or(format::UNKNOWN);
        facts.push(("Recovery", format!("RTO {rto}, RPO {rpo}")));
    }
    Message {
        id: format!("{}.{}", incident.uid, kind.name()),
        kind,
        matter: Matter::Incident(incident.name.clone()),
        trigger: Some(incident.trigger),
        urgency: match incident.severity {
            Severity::Rollback => Urgency::Critical,
            Severity::Alert => Urgency::Warning,
        },
        began: incident.onset,
        at: match kind {
            Kind::RolledBack => incident.patched.unwrap_or(incident.detected),
            Kind::Sustained => incident.escalated.as_ref().map_or(incident.detected, |(at, _)| *at),
            Kind::Recovered => incident.closed.unwrap_or(incident.detected),
            Kind::Breach | Kind::AtRisk | Kind::DrillFailed => incident.detected,
        },
        title: cut(&format!("{} {}: {words}", kind.name(), subject(&place))),
        facts,
        commands: next(&place, incident),
        questions: if over { Vec::new() } else { asked(questions) },
        ends: if over { ends.into() } else { Vec::new() },
        place,
    }
}

fn target(incident: &IncidentNews) -> String {
    match &incident.checkpoint {
        Some(name) => format!("checkpoint {name} ({})", incident.to),
        None => format::UNKNOWN.to_owned(),
    }
}

/// What was done so far.
fn done(incident: &IncidentNews) -> String {
    let message = &incident.message;
    match incident.state {
        IncidentState::Open => format!("nothing yet; the rollback would go to {}", target(incident)),
        IncidentState::Observed | IncidentState::NoSafeTarget | IncidentState::Halted | IncidentState::Refused => {
            format!("nothing was changed: {message}")
        }
        IncidentState::AwaitingApproval => {
            format!(
                "nothing was changed; a rollback to {} is prepared and waits for a person",
                target(incident)
            )
        }
        IncidentState::Verifying | IncidentState::Recovered | IncidentState::Ineffective => {
            format!("put back from {} to {}: {message}", incident.from, target(incident))
        }
        IncidentState::RollingBack | IncidentState::Superseded | IncidentState::Resolved => message.clone(),
    }
}

/// The commands that a person needs next, most needed first.
fn next(place: &MessageContext, incident: &IncidentNews) -> Vec<String> {
    let (namespace, deployment, name) = (&place.namespace, &place.deployment, &incident.name);
    let approve = format!("kubectl annotate qualityincident {name} -n {namespace} quality-officer.dev/approve=true");
    let fix = format!(
        "kubectl set image deployment/{deployment} {}=IMAGE -n {namespace}",
        incident.container
    );
    let look = format!("kubectl describe qualityincident {name} -n {namespace}");
    let mut commands = match incident.state {
        IncidentState::AwaitingApproval | IncidentState::Halted => vec![approve, fix],
        IncidentState::NoSafeTarget => {
            vec![format!("kubectl get rollbackcheckpoints -n {namespace}"), fix]
        }
        // What refuses it must be mended first; it would refuse a person's change as well.
        IncidentState::Refused => {
            vec!["kubectl get validatingadmissionpolicies,validatingwebhookconfigurations".to_owned()]
        }
        IncidentState::Observed => vec![fix],
        IncidentState::Ineffective => vec![
            format!("kubectl describe deployment {deployment} -n {namespace}"),
            format!("kubectl get events -n {namespace} --sort-by=.lastTimestamp"),
            fix,
        ],
        IncidentState::RollingBack | IncidentState::Verifying => {
            vec![format!("kubectl rollout status deployment/{deployment} -n {namespace}")]
        }
        IncidentState::Recovered if incident.postmortem => {
            vec![format!(
                "kubectl get qualityincident {name} -n {namespace} -o jsonpath='{{.status.postmortem}}'"
            )]
        }
        IncidentState::Open | IncidentState::Recovered | IncidentState::Superseded | IncidentState::Resolved => {
            Vec::new()
        }
    };
    commands.push(look);
    commands
}

/// What is told of a drill that failed.
pub fn drill(
    place: MessageContext,
    drill: &DrillNews,
    kind: Kind,
    questions: &[String],
    ends: &[(Kind, i64)],
) -> Message {
    let over = kind == Kind::Recovered;
    let words = match &drill.later {
        Some((later, _)) if over => format!("drill {} failed, and {later} passed after it", drill.name),
        _ => format!("recovery drill {} failed: {}", drill.name, drill.message),
    };
    let namespace = &place.namespace;
    let mut commands = vec![format!("kubectl describe recoverydrill {} -n {namespace}", drill.name)];
    if !over {
        commands.push(format!("kubectl get rollbackcheckpoints -n {namespace}"));
        commands.push(format!("kubectl quality drill {} -n {namespace}", place.policy));
    }
    Message {
        id: format!("{}.{}", drill.uid, kind.name()),
        kind,
        matter: Matter::Drill(drill.name.clone()),
        trigger: None,
        urgency: Urgency::Warning,
        began: drill.finished,
        at: drill
            .later
            .as_ref()
            .filter(|_| over)
            .map_or(drill.finished, |(_, at)| *at),
        title: cut(&format!("{} {}: {words}", kind.name(), subject(&place))),
        facts: vec![
            ("Drill", format!("{}, ended {}", drill.name, instant(drill.finished))),
            ("Why", cut(&drill.message)),
            ("Measured", format!("RTO {}; RPO {}", drill.rto, drill.rpo)),
            (
                "Means",
                if over {
                    "the rollback path was tested and works again".to_owned()
                } else {
                    "rollback is at risk until a drill passes; releases go on being judged".to_owned()
                },
            ),
        ],
        commands,
        questions: if over { Vec::new() } else { asked(questions) },
        ends: if over { ends.into() } else { Vec::new() },
        place,
    }
}

/// What is told of a rollback path at risk.
pub fn rollback_path(
    place: MessageContext,
    way: &RollbackPath,
    kind: Kind,
    questions: &[String],
    ends: &[(Kind, i64)],
) -> Message {
    let over = kind == Kind::Recovered;
    let words = if over {
        format!("rollback is ready again: {}", way.message)
    } else {
        format!("rollback is at risk: {}", way.message)
    };
    let (namespace, policy) = (&place.namespace, &place.policy);
    let mut commands = vec![format!("kubectl get rollbackcheckpoints -n {namespace}")];
    if !over {
        commands.push(format!("kubectl describe qualitypolicy {policy} -n {namespace}"));
    }
    Message {
        id: format!("{}.{}.{}", way.uid, kind.name(), way.began),
        kind,
        matter: Matter::RollbackPath,
        trigger: None,
        urgency: Urgency::Warning,
        began: way.began,
        at: way.ended.filter(|_| over).unwrap_or(way.began),
        title: cut(&format!("{} {}: {words}", kind.name(), subject(&place))),
        facts: vec![
            ("Since", instant(way.began)),
            ("Why", cut(&way.message)),
            (
                "Means",
                if over {
                    "a breach is rolled back".to_owned()
                } else {
                    "a breach now would not be rolled back".to_owned()
                },
            ),
        ],
        commands,
        questions: if over { Vec::new() } else { asked(questions) },
        ends: if over { ends.into() } else { Vec::new() },
        place,
    }
}
