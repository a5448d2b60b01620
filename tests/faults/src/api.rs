//! What a call to the API server is about.

use std::fmt;

use axum::http::Method;
use serde_json::Value;
use stage::proxy::{Asked, Call};

/// The object or collection that a path names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Of what is namespaced.
    pub namespace: String,
    /// `deployments`, `qualityincidents`, …
    pub resource: String,
    /// Of one object.
    pub name: String,
    /// `status`, `scale`; empty for the object itself.
    pub subresource: String,
}

impl Target {
    /// `/apis/GROUP/VERSION/namespaces/NS/RESOURCE/NAME/SUBRESOURCE` and its shorter forms.
    pub fn of(path: &str) -> Option<Self> {
        let bare = path.split('?').next()?;
        let mut parts = bare.trim_start_matches('/').split('/');
        match parts.next()? {
            "api" => parts.next()?,
            "apis" => parts.nth(1)?,
            _ => return None,
        };
        let mut parts = parts.peekable();
        let namespace = if parts.peek() == Some(&"namespaces") {
            parts.next();
            parts.next()?
        } else {
            ""
        };
        let mut next = || parts.next().unwrap_or_default().to_owned();
        let (resource, name, subresource) = (next(), next(), next());
        (!resource.is_empty()).then(|| Self {
            namespace: namespace.to_owned(),
            resource,
            name,
            subresource,
        })
    }
}

/// The verb as rights and audit logs name it.
pub fn verb(method: &Method, path: &str) -> &'static str {
    let one = Target::of(path).is_some_and(|target| !target.name.is_empty());
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ if path.contains("watch=true") || path.contains("watch=1") => "watch",
        _ if one => "get",
        _ => "list",
    }
}

/// A write as a plan names it: what is written where, and which step it is. Two runs of one scenario have the same labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Label {
    /// Of a request that changes something; none for leases, which have plans of their own.
    pub fn of(method: &Method, path: &str, body: &[u8]) -> Option<Self> {
        let verb = verb(method, path);
        let target = Target::of(path)?;
        if ["get", "list", "watch"].contains(&verb) || target.resource == "leases" {
            return None;
        }
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let word = |pointer: &str| {
            body.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let has = |kind: &str| {
            let conditions = body.pointer("/status/conditions").and_then(Value::as_array);
            let mut found = conditions
                .into_iter()
                .flatten()
                .filter(|condition| condition["type"] == kind);
            found
                .next()
                .and_then(|condition| condition["reason"].as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let step = match (target.resource.as_str(), target.subresource.as_str()) {
            ("qualityincidents", "status") => {
                let told = body.pointer("/status/conditions").and_then(Value::as_array);
                let escalated = told
                    .into_iter()
                    .flatten()
                    .any(|condition| condition["type"] == "Escalated");
                format!("{}{}", word("/status/state"), if escalated { "+Escalated" } else { "" })
            }
            ("recoverydrills", "status") => word("/status/state"),
            ("qualitypolicies", "status") => format!("{} {}", has("SLOsMet"), word("/status/gate/state")),
            ("qualityreports", "status") => word("/status/verdict"),
            ("rollbackcheckpoints", "status") => has("Ready"),
            ("qualityreportsnapshots", _) => word("/spec/of"),
            ("events", _) => format!("{} on {}", word("/reason"), word("/involvedObject/kind")),
            ("deployments", _) if verb == "patch" => {
                let annotations = body.pointer("/metadata/annotations").and_then(Value::as_object);
                let keys = annotations.into_iter().flatten().map(|(key, value)| {
                    let key = key.rsplit('/').next().unwrap_or_default();
                    format!("{key}{}", if value.is_null() { "-" } else { "" })
                });
                keys.collect::<Vec<_>>().join("+")
            }
            _ => String::new(),
        };
        let what = if target.subresource.is_empty() {
            target.resource
        } else {
            format!("{}/{}", target.resource, target.subresource)
        };
        Some(Self(format!("{verb} {what} {step}").trim_end().to_owned()))
    }

    /// Of a request on its way.
    pub fn asked(asked: &Asked) -> Option<Self> {
        Self::of(&asked.method, &asked.path, &asked.body)
    }

    /// Of a request that came.
    pub fn call(call: &Call) -> Option<Self> {
        Self::of(&call.method, &call.path, &call.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_object() {
        let target =
            Target::of("/apis/quality-officer.dev/v1alpha1/namespaces/shop/qualitypolicies/ranker/status?x=1").unwrap();
        let expected = ["shop", "qualitypolicies", "ranker", "status"];
        assert_eq!(
            [target.namespace, target.resource, target.name, target.subresource],
            expected
        );
        let events = Target::of("/api/v1/namespaces/shop/events").unwrap();
        assert_eq!((events.resource.as_str(), events.name.as_str()), ("events", ""));
        assert_eq!(
            Target::of("/apis/apps/v1/deployments?limit=5").unwrap().resource,
            "deployments"
        );
        assert_eq!(Target::of("/readyz"), None);
    }

    #[test]
    fn verbs_are_those_of_rights() {
        let path = "/apis/apps/v1/namespaces/shop/deployments";
        assert_eq!(verb(&Method::GET, path), "list");
        assert_eq!(verb(&Method::GET, &format!("{path}?watch=true&x=1")), "watch");
        assert_eq!(verb(&Method::GET, &format!("{path}/ranker")), "get");
        assert_eq!(verb(&Method::PATCH, &format!("{path}/ranker")), "patch");
    }

    #[test]
    fn a_label_says_which_step_a_write_is() {
        let path = "/apis/quality-officer.dev/v1alpha1/namespaces/shop/qualityincidents/x/status";
        let body = br#"{"status": {"state": "Verifying"}}"#;
        let label = Label::of(&Method::PUT, path, body).unwrap();
        assert_eq!(label.to_string(), "update qualityincidents/status Verifying");
        assert_eq!(Label::of(&Method::GET, path, b""), None);
        let lease = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/x";
        assert_eq!(Label::of(&Method::PUT, lease, b"{}"), None);
    }
}
