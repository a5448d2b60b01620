//! The pod templates that a release was seen healthy with, as `kubectl rollout undo` brings them back.
//!
//! A checkpoint's status names the ReplicaSets that it was certified in, with a hash of their templates: a user who may write
//! ReplicaSets must not choose what the closed gate lets in.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use serde_json::Value;

use crate::controllers::{
    context::{CallError, Context, call},
    gather::owned,
};
use quality_api::{CertifiedRelease, RegisteredTemplate, names::hash};

/// The label that the Deployment's controller puts into a ReplicaSet's template, and that an undo leaves out.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// A ReplicaSet with its template, as a checkpoint's status names it.
pub async fn certified(context: &Context, replica_set: &ReplicaSet) -> Result<Option<CertifiedRelease>, CallError> {
    let namespace = replica_set.namespace().unwrap_or_default();
    let uid = replica_set.uid().unwrap_or_default();
    let template = template(context, &namespace, &replica_set.name_any(), &uid).await?;
    Ok(template.map(|template| CertifiedRelease {
        replica_set: replica_set.name_any(),
        uid,
        template_hash: hash(&[&template.to_string()]),
    }))
}

/// The templates of these releases that are still what they were when they were certified and whose ReplicaSets the
/// Deployment still has. What is known is not read again; what cannot be read now is left out until it can.
pub async fn templates(
    context: &Context,
    deployment: &Deployment,
    releases: &[CertifiedRelease],
    known: &[&RegisteredTemplate],
) -> Vec<RegisteredTemplate> {
    let namespace = deployment.namespace().unwrap_or_default();
    let owned = owned(&context.stores, deployment);
    let mut found = Vec::new();
    for release in releases.iter().rev() {
        if let Some(known) = known.iter().find(|known| known.uid == release.uid) {
            found.push((*known).clone());
            continue;
        }
        if !owned
            .iter()
            .any(|replica_set| replica_set.uid().as_ref() == Some(&release.uid))
        {
            continue;
        }
        match template(context, &namespace, &release.replica_set, &release.uid).await {
            Ok(Some(template)) if hash(&[&template.to_string()]) == release.template_hash => {
                found.push(RegisteredTemplate {
                    replica_set: release.replica_set.clone(),
                    uid: release.uid.clone(),
                    template,
                });
            }
            Ok(_) => {}
            Err(error) => tracing::info!(replica_set = %release.replica_set, %error, "its template is not let in yet"),
        }
    }
    found
}

/// The pod template of a ReplicaSet, raw: a typed one would drop what this program's API does not know.
async fn template(context: &Context, namespace: &str, name: &str, uid: &str) -> Result<Option<Value>, CallError> {
    let resource = ApiResource::erase::<ReplicaSet>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
    let list = call(api.list(&ListParams::default().fields(&format!("metadata.name={name}")))).await?;
    let found = list.items.into_iter().find(|found| found.uid().as_deref() == Some(uid));
    Ok(found.and_then(|mut found| as_undone(found.data.pointer_mut("/spec/template")?.take())))
}

/// What an undo makes of a ReplicaSet's template.
fn as_undone(mut template: Value) -> Option<Value> {
    let labels = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut);
    if let Some(labels) = labels {
        labels.remove(TEMPLATE_HASH);
    }
    without_nulls(&mut template);
    template.is_object().then_some(template)
}

/// Older API servers write `creationTimestamp: null`, which admission does not see.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_undo_leaves_out_the_controllers_label_and_what_is_null() {
        let template = json!({
            "metadata": {"creationTimestamp": null, "labels": {"app": "ranker", "pod-template-hash": "6d4cf"}},
            "spec": {"containers": [{"name": "server", "args": ["--model", "a"], "x": null}]},
        });
        assert_eq!(
            as_undone(template),
            Some(json!({
                "metadata": {"labels": {"app": "ranker"}},
                "spec": {"containers": [{"name": "server", "args": ["--model", "a"]}]},
            }))
        );
        assert_eq!(as_undone(Value::Null), None);
    }
}
