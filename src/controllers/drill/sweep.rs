//! What is left of drills that nobody drives any more: a Deployment in place whose drill was deleted midway, and a
//! shadow that came to be after its drill had ended, by a request that was long under way.
//!
//! A deleted drill's shadow goes by its owner reference, also when the operator never runs again.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt};

use crate::{
    api::{DRILL_ANNOTATION, DRILL_LABEL},
    controllers::{
        context::{CallError, Context, call},
        drill::{
            DrillObject,
            build::Mark,
            record::state_of,
            undo::{delete_shadow, restore},
        },
    },
    core::drill::DrillState,
};

const OFTEN: Duration = Duration::from_secs(5);

/// Sweeps until it is dropped.
pub async fn sweep(context: Arc<Context>) {
    let mut often = tokio::time::interval(OFTEN);
    loop {
        often.tick().await;
        for deployment in left_over(&context) {
            if let Err(error) = clean(&context, &deployment).await {
                tracing::warn!(deployment = %deployment.name_any(), %error, "what a drill left is not cleaned up yet");
            }
        }
    }
}

/// Deployments that carry a drill's mark, or are a shadow, and whose drill is finished or not in the cache.
fn left_over(context: &Context) -> Vec<Arc<Deployment>> {
    let is_driven = |uid: &str| {
        let found = context
            .stores
            .drills
            .find(|drill| drill.0.as_ref().is_ok_and(|drill| drill.uid().as_deref() == Some(uid)));
        found.is_some_and(|drill| {
            let state = drill.0.as_ref().map(state_of);
            state.is_ok_and(|state| state != DrillState::Finished)
        })
    };
    context.stores.deployments.state_filter(|deployment| {
        let marked = deployment.annotations().get(DRILL_ANNOTATION);
        let is_left = |text: &String| Mark::read(text).is_none_or(|mark| !is_driven(&mark.uid));
        let shadow = deployment.labels().contains_key(DRILL_LABEL);
        if shadow {
            // One without an owner is none of ours.
            let mut owners = deployment.owner_references().iter();
            return owners.any(|owner| owner.kind == "RecoveryDrill" && !is_driven(&owner.uid));
        }
        marked.is_some_and(is_left)
    })
}

async fn clean(context: &Context, deployment: &Deployment) -> Result<(), CallError> {
    let owner = deployment
        .owner_references()
        .iter()
        .find(|owner| owner.kind == "RecoveryDrill");
    let mark = deployment.annotations().get(DRILL_ANNOTATION);
    let mark = mark.and_then(|text| Mark::read(text));
    let (name, uid) = match (owner, mark) {
        (Some(owner), _) => (owner.name.clone(), owner.uid.clone()),
        (None, Some(mark)) => (mark.drill, mark.uid),
        // A mark that cannot be read was written by somebody else.
        (None, None) => return Ok(()),
    };
    // The cache of drills may be behind that of Deployments.
    let api: Api<DrillObject> = Api::namespaced(context.client.clone(), &deployment.namespace().unwrap_or_default());
    let drill = call(api.get_opt(&name)).await?;
    let same = drill.and_then(|drill| drill.0.ok());
    let same = same.filter(|drill| drill.uid().as_deref() == Some(uid.as_str()));
    if same.is_some_and(|drill| state_of(&drill) != DrillState::Finished) {
        return Ok(());
    }
    if owner.is_some() {
        delete_shadow(context, deployment).await.map(drop)
    } else {
        restore(context, deployment).await.map(drop)
    }
}
