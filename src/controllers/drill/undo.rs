//! The writes on a Deployment under drill beside the rollback: its fault, and undoing what a drill did. Each is fenced by
//! the UID of what was read, and but for a deletion by its resourceVersion.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;

use crate::controllers::{
    context::{CallError, Context, call},
    drill::build::{Mark, Undo, restoration},
    release,
    rollback::template_patch,
};
use quality_api::{DRILL_ANNOTATION, FIELD_MANAGER, RecoveryDrill};

/// Changes images and the mark of a Deployment, if nobody wrote since it was read.
pub async fn change(
    context: &Context,
    current: &Deployment,
    mark: Option<&Mark>,
    images: Vec<(String, String)>,
) -> Result<(), CallError> {
    let api: Api<Deployment> = Api::namespaced(context.client.clone(), &current.namespace().unwrap_or_default());
    let mut patch = json!({
        "metadata": {
            "uid": current.uid(),
            "resourceVersion": current.resource_version(),
            "annotations": {DRILL_ANNOTATION: mark.map(Mark::text)},
        },
    });
    if !images.is_empty() {
        patch["spec"] = template_patch(&release::template_images(current), &images);
    }
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    call(api.patch(&current.name_any(), &parameters, &Patch::Strategic(patch))).await?;
    context.meters.wrote("Deployment");
    Ok(())
}

/// Deletes a shadow; of another life of its name nothing.
pub async fn delete_shadow(context: &Context, shadow: &Deployment) -> Result<bool, CallError> {
    let api: Api<Deployment> = Api::namespaced(context.client.clone(), &shadow.namespace().unwrap_or_default());
    let parameters = DeleteParams::background().preconditions(Preconditions {
        uid: shadow.uid(),
        resource_version: None,
    });
    match call(api.delete(&shadow.name_any(), &parameters)).await {
        Ok(_) => context.meters.wrote("Deployment"),
        Err(error) if error.is_conflict() || error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    Ok(true)
}

/// Puts back the images that a drill in place found, by the drill's own record, and takes the mark away, on the
/// Deployment read anew; false where somebody wrote in between, and it is to be tried again.
pub async fn restore(
    context: &Context,
    deployment: &Deployment,
    drill: &RecoveryDrill,
    undo: Undo,
) -> Result<bool, CallError> {
    let api: Api<Deployment> = Api::namespaced(context.client.clone(), &deployment.namespace().unwrap_or_default());
    let Some(current) = call(api.get_opt(&deployment.name_any())).await? else {
        return Ok(true);
    };
    let intent = drill.status.as_ref().and_then(|status| status.intent.as_ref());
    let Some(intent) = intent.filter(|intent| current.uid().as_deref() == Some(intent.target.uid.as_str())) else {
        return Ok(true);
    };
    let uid = drill.uid().unwrap_or_default();
    let images = restoration(&uid, intent, undo, &release::template_images(&current));
    if images.is_empty() && !current.annotations().contains_key(DRILL_ANNOTATION) {
        return Ok(true);
    }
    match change(context, &current, None, images).await {
        Ok(()) => {
            tracing::warn!(deployment = %current.name_any(), "restored after a drill in place");
            Ok(true)
        }
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}
