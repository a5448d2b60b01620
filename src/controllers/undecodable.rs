//! A stored policy that does not decode: it stops only itself, and says so.

use jiff::Timestamp;
use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    runtime::controller::Action,
};
use serde_json::json;

use crate::controllers::{
    context::{Context, PolicyObject, call},
    error::ReconcileError,
};
use quality_api::{FIELD_MANAGER, QualityPolicy};

const REASON: &str = "Undecodable";

/// Writes the condition, once: what is stored is read without its types first. It cannot be sent back whole, so its
/// status is patched.
pub async fn undecodable(
    object: &PolicyObject,
    context: &Context,
    error: &str,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    let (name, namespace) = (
        object.meta().name.clone().unwrap_or_default(),
        object.meta().namespace.clone().unwrap_or_default(),
    );
    let kind = ApiResource::erase::<QualityPolicy>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &kind);
    let Some(stored) = call(api.get_opt(&name)).await? else {
        return Ok(Action::await_change());
    };
    let message = format!("the stored policy does not decode: {error}");
    let conditions = stored.data["status"]["conditions"].as_array();
    let is_told = conditions.into_iter().flatten().any(|condition| {
        condition["type"] == "Ready" && condition["reason"] == REASON && condition["message"] == message
    });
    if !is_told {
        tracing::warn!(%error, "a policy does not decode");
        let generation = stored.metadata.generation;
        let condition = json!({
            "type": "Ready", "status": "False", "reason": REASON, "observedGeneration": generation,
            "message": message, "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        let patch = json!({"status": {"observedGeneration": generation, "conditions": [condition]}});
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        call(api.patch_status(&name, &parameters, &Patch::Merge(patch))).await?;
    }
    Ok(Action::await_change())
}
