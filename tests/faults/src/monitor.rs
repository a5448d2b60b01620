//! The promises, checked at every write that an operator sent. Each check reads the record of what was asked and answered,
//! in order, and nothing else.

mod led;
mod stands;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use quality_api::{DRILL_ANNOTATION, ROLLBACK_ANNOTATION};
use serde_json::Value;
use stage::proxy::Call;

use crate::api::{Label, Target, verb};

pub use led::{leader, led, merged};

/// What is promised: the numbers of the list in the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// 1: no rollback on missing, NaN, stale, partial or failed data.
    SoundData,
    /// 2: only to a registered, verified, digest-pinned checkpoint, re-read just before the write.
    SafeTarget,
    /// 3: exactly one incident a breach.
    OneIncident,
    /// 4: intent is recorded before the PATCH.
    IntentFirst,
    /// 5: one rollback a breach, never twice within the cooldown.
    OneRollback,
    /// 6: a new template restarts analysis.
    FreshAnalysis,
    /// 7: only Deployments that a policy names; only images and one annotation.
    OnlyImages,
    /// 8: paused, deleted or conflicting policies act on nothing.
    InertPolicies,
    /// 9: no accepted write by a replica that does not lead.
    LeaderOnly,
    /// 10: same UID and resourceVersion as judged.
    Fenced,
    /// 11: a newer human change is never undone.
    NewerChange,
    /// 12: no action before caches are synced.
    Synced,
    /// 13: local references only.
    Local,
    /// 14: the author of a policy may patch its target.
    Author,
    /// 15: no Secret through the API.
    NoSecrets,
    /// 16: no answer's body is echoed into a status.
    NoEcho,
    /// 17: names are never spliced unescaped.
    Escaped,
    /// 18: each input is bounded.
    Bounded,
    /// 19: a bad object stops only its own policy.
    Contained,
    /// 20: an observed pause beats any later act.
    PauseWins,
    /// 21: the gate fails closed for guarded Deployments and never blocks others.
    Gate,
    /// 22: drills end in a restore.
    Restored,
    /// 23: observedGeneration and typed conditions.
    Conventions,
    /// 24: no hot loop.
    Quiet,
    /// The end is that of the fault-free run.
    SameEnd,
    /// It is reached within 30 s after the fault cleared.
    InTime,
}

impl Promise {
    /// As the documents number it; the end state and its time have letters.
    pub fn number(self) -> String {
        match self {
            Self::SameEnd => "E".to_owned(),
            Self::InTime => "T".to_owned(),
            numbered => (numbered as u8 + 1).to_string(),
        }
    }
}

/// A promise that was broken, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// How.
    pub what: String,
}

impl Broken {
    /// This promise, by this.
    pub fn new(promise: Promise, what: impl Into<String>) -> Self {
        Self {
            promise,
            what: what.into(),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "promise {} ({:?}): {}",
            self.promise.number(),
            self.promise,
            self.what
        )
    }
}

/// What the checks must know of the world.
pub struct Rules<'a> {
    /// The only namespace that may be written to.
    pub namespace: &'a str,
    /// The guarded Deployment.
    pub target: &'a str,
    /// No two rollbacks of one Deployment lie closer together.
    pub cooldown: Duration,
    /// Planted in what servers answer: it must be written nowhere.
    pub planted: &'a str,
}

/// The kinds whose caches must be filled before anything is written.
pub const CACHED: [&str; 7] = [
    "qualitypolicies",
    "deployments",
    "replicasets",
    "rollbackcheckpoints",
    "qualityincidents",
    "qualityreports",
    "recoverydrills",
];

/// What may be written, and how.
const WRITABLE: [(&str, &str, &[&str]); 12] = [
    // Patched where what is stored does not decode.
    ("qualitypolicies", "status", &["update", "patch"]),
    ("rollbackcheckpoints", "", &["create", "delete"]),
    ("rollbackcheckpoints", "status", &["update"]),
    ("qualityincidents", "", &["create", "delete"]),
    ("qualityincidents", "status", &["update"]),
    ("qualityreports", "", &["create"]),
    ("qualityreports", "status", &["update"]),
    ("qualityreportsnapshots", "", &["create", "delete"]),
    ("recoverydrills", "", &["create", "delete"]),
    ("recoverydrills", "status", &["update"]),
    ("events", "", &["create"]),
    ("deployments", "", &["create", "patch", "delete"]),
];

/// One write, read.
struct Write<'a> {
    call: &'a Call,
    /// Its place in the record.
    at: usize,
    verb: &'static str,
    target: Target,
    body: Value,
}

impl Write<'_> {
    fn taken(&self) -> usize {
        self.call
            .delivered
            .iter()
            .filter(|status| (200..300).contains(*status))
            .count()
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.body.pointer("/metadata/annotations")?.get(key)?.as_str()
    }

    fn word(&self) -> String {
        Label::call(self.call).map_or_else(|| self.call.path.clone(), |label| label.to_string())
    }
}

/// The promises that one operator's record shows broken.
pub fn broken(calls: &[Call], rules: &Rules<'_>) -> Vec<Broken> {
    let mut broken = Vec::new();
    for call in calls {
        if call.path.contains("/secrets") {
            broken.push(Broken::new(
                Promise::NoSecrets,
                format!("{} {}", call.method, call.path),
            ));
        }
    }
    let writes: Vec<Write> = calls.iter().enumerate().filter_map(read).collect();
    for write in &writes {
        scope(write, rules, &mut broken);
        conventions(write, rules, &mut broken);
        if write.target.resource == "deployments" && write.annotation(ROLLBACK_ANNOTATION).is_some() {
            stands::on(write, calls, &mut broken);
        }
    }
    synced(calls, &mut broken);
    once(&writes, rules, &mut broken);
    broken
}

fn read((at, call): (usize, &Call)) -> Option<Write<'_>> {
    let target = Target::of(&call.path)?;
    let verb = verb(&call.method, &call.path);
    let is_write = !["get", "list", "watch"].contains(&verb) && target.resource != "leases";
    is_write.then(|| Write {
        call,
        at,
        verb,
        target,
        body: serde_json::from_slice(&call.body).unwrap_or(Value::Null),
    })
}

/// 7, 13: only what is ours and what a policy names, only in its namespace.
fn scope(write: &Write<'_>, rules: &Rules<'_>, broken: &mut Vec<Broken>) {
    let Target {
        namespace,
        resource,
        name,
        subresource,
    } = &write.target;
    if namespace != rules.namespace {
        broken.push(Broken::new(
            Promise::Local,
            format!("{} in namespace {namespace}", write.word()),
        ));
    }
    let allowed = WRITABLE
        .iter()
        .find(|(kind, part, _)| kind == resource && part == subresource);
    if !allowed.is_some_and(|(_, _, verbs)| verbs.contains(&write.verb)) {
        broken.push(Broken::new(Promise::OnlyImages, format!("{} is written", write.word())));
    }
    if resource != "deployments" || write.verb == "create" {
        return;
    }
    let is_shadow = name.starts_with(&format!("{}-drill-", rules.target));
    if !is_shadow && (name != rules.target || write.verb == "delete") {
        broken.push(Broken::new(
            Promise::OnlyImages,
            format!("{} of {name}, which no policy names", write.verb),
        ));
    }
    if write.verb == "patch" && write.annotation(ROLLBACK_ANNOTATION).is_some() {
        for path in leaves(&write.body) {
            if !ROLLBACK_FIELDS.contains(&path.as_str()) {
                broken.push(Broken::new(Promise::OnlyImages, format!("the rollback writes {path}")));
            }
        }
    } else if write.verb == "patch" && !leaves(&write.body).iter().any(|path| path.contains(DRILL_ANNOTATION)) {
        broken.push(Broken::new(
            Promise::OnlyImages,
            format!("{} is no rollback and no drill", write.word()),
        ));
    }
}

/// All that a rollback may write: with `[]` for the elements of a list.
const ROLLBACK_FIELDS: [&str; 5] = [
    "metadata.uid",
    "metadata.resourceVersion",
    "metadata.annotations.quality-officer.dev/rollback",
    "spec.template.spec.containers[].name",
    "spec.template.spec.containers[].image",
];

fn leaves(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, path: &str, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                walk(value, &path, into);
            }),
            Value::Array(items) => items.iter().for_each(|item| walk(item, &format!("{path}[]"), into)),
            _ => {
                into.insert(path.to_owned());
            }
        }
    }
    let mut into = BTreeSet::new();
    walk(value, "", &mut into);
    into
}

/// 12: in this life every cache had its first list before the first write.
fn synced(calls: &[Call], broken: &mut Vec<Broken>) {
    let mut listed: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for (at, call) in calls.iter().enumerate() {
        let seen = listed.entry(call.life).or_default();
        if verb(&call.method, &call.path) == "list" && call.heard && call.delivered.last() == Some(&200) {
            seen.extend(Target::of(&call.path).map(|target| target.resource));
        } else if let Some(missing) = CACHED.iter().find(|kind| !seen.contains(**kind))
            && let Some(write) = read((at, call))
        {
            broken.push(Broken::new(
                Promise::Synced,
                format!("{} before {missing} were listed", write.word()),
            ));
        }
    }
}

/// 16, 23: what is written into a status.
fn conventions(write: &Write<'_>, rules: &Rules<'_>, broken: &mut Vec<Broken>) {
    if String::from_utf8_lossy(&write.call.body).contains(rules.planted) {
        broken.push(Broken::new(
            Promise::NoEcho,
            format!("{} repeats what a server answered", write.word()),
        ));
    }
    if write.target.subresource != "status" {
        return;
    }
    let conditions = write.body.pointer("/status/conditions").and_then(Value::as_array);
    let named = |word: &Value| {
        let word = word.as_str().unwrap_or_default();
        word.starts_with(|first: char| first.is_ascii_uppercase())
            && word.chars().all(|letter| letter.is_ascii_alphanumeric())
    };
    let mut types = BTreeSet::new();
    for condition in conditions.into_iter().flatten() {
        let status = condition["status"].as_str().unwrap_or_default();
        let typed =
            named(&condition["type"]) && named(&condition["reason"]) && ["True", "False", "Unknown"].contains(&status);
        let timed = condition["lastTransitionTime"]
            .as_str()
            .is_some_and(|at| at.parse::<jiff::Timestamp>().is_ok());
        if !(typed && timed && types.insert(condition["type"].to_string())) {
            broken.push(Broken::new(
                Promise::Conventions,
                format!("{}: the condition {condition}", write.word()),
            ));
        }
    }
    let generation = write.body.pointer("/metadata/generation").and_then(Value::as_i64);
    let observed = write.body.pointer("/status/observedGeneration").and_then(Value::as_i64);
    // The gate says where it stands before the first look has judged anything.
    let judged = write.target.resource == "qualitypolicies" && types.contains("\"SLOsMet\"");
    if judged && (observed.is_none() || observed > generation) {
        let what = format!("{}: observedGeneration {observed:?} of {generation:?}", write.word());
        broken.push(Broken::new(Promise::Conventions, what));
    }
}

fn body(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or(Value::Null)
}

/// 5: a mark is written once, and no two rollbacks of one Deployment lie within the cooldown.
fn once(writes: &[Write<'_>], rules: &Rules<'_>, broken: &mut Vec<Broken>) {
    let mut taken: BTreeMap<&str, Vec<&Write<'_>>> = BTreeMap::new();
    let mut marks: BTreeMap<&str, usize> = BTreeMap::new();
    for write in writes.iter().filter(|write| write.target.resource == "deployments") {
        let Some(mark) = write.annotation(ROLLBACK_ANNOTATION) else {
            continue;
        };
        *marks.entry(mark).or_default() += write.taken();
        if write.taken() > 0 && !mark.starts_with("drill/") {
            taken.entry(write.target.name.as_str()).or_default().push(write);
        }
    }
    for (mark, count) in marks.into_iter().filter(|(_, count)| *count > 1) {
        broken.push(Broken::new(
            Promise::OneRollback,
            format!("{count} rollbacks of {mark}"),
        ));
    }
    for (name, rollbacks) in taken {
        for pair in rollbacks.windows(2) {
            let between = pair[1].call.at.duration_since(pair[0].call.at);
            if between < rules.cooldown {
                broken.push(Broken::new(
                    Promise::OneRollback,
                    format!("{name} twice within {between:?}"),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests;
