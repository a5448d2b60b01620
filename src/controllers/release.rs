//! Which release a Deployment runs, and which pods are its own.

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::PodTemplateSpec,
};
use kube::ResourceExt;

use quality_core::plan::Release;

const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Kubernetes cuts the prefix of a generated name at this length before it adds five characters.
const GENERATED_PREFIX: usize = 58;
/// How many characters Kubernetes adds.
const GENERATED_SUFFIX: usize = 5;

/// Container names and images of a pod template.
pub fn images(template: &PodTemplateSpec) -> Vec<(String, String)> {
    let containers = template
        .spec
        .as_ref()
        .map(|spec| spec.containers.as_slice())
        .unwrap_or_default();
    containers
        .iter()
        .map(|container| (container.name.clone(), container.image.clone().unwrap_or_default()))
        .collect()
}

/// Container names and images that a Deployment asks for.
pub fn template_images(deployment: &Deployment) -> Vec<(String, String)> {
    images(&deployment.spec.template)
}

/// A short annotation of a pod template.
pub fn template_annotation(template: &PodTemplateSpec, name: &str) -> Option<String> {
    let metadata = template.metadata.as_ref()?;
    let value = metadata.annotations.as_ref()?.get(name)?;
    (1..=64).contains(&value.len()).then(|| value.clone())
}

/// The revision of a Deployment or ReplicaSet.
pub fn revision(object: &impl ResourceExt) -> Option<&str> {
    object.annotations().get(REVISION).map(String::as_str)
}

/// Whether a ReplicaSet served an earlier revision too: its pods may be older than the release.
pub fn is_reused(replica_set: &ReplicaSet) -> bool {
    replica_set.annotations().contains_key(REVISION_HISTORY)
}

/// The ReplicaSet that serves the Deployment's current template, once its controller has made it.
pub fn newest<'a>(
    deployment: &Deployment,
    owned: &'a [std::sync::Arc<ReplicaSet>],
) -> Option<&'a std::sync::Arc<ReplicaSet>> {
    let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
    if observed < deployment.metadata.generation {
        return None;
    }
    let current = revision(deployment)?;
    let wanted = template_images(deployment);
    owned.iter().find(|replica_set| {
        let template = replica_set.spec.template.as_ref();
        revision(replica_set.as_ref()) == Some(current) && template.is_some_and(|template| images(template) == wanted)
    })
}

/// The release that a ReplicaSet at its revision is.
pub fn release(deployment: &Deployment, replica_set: &ReplicaSet) -> Release {
    Release {
        deployment_uid: deployment.uid().unwrap_or_default(),
        replica_set: replica_set.name_any(),
        revision: revision(replica_set).unwrap_or_default().to_owned(),
    }
}

/// All replicas run the newest template and are available.
pub fn rollout_complete(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return false };
    let desired = deployment.spec.replicas.unwrap_or(1);
    status.observed_generation >= deployment.metadata.generation
        && status.updated_replicas.unwrap_or(0) == desired
        && status.replicas.unwrap_or(0) == desired
        && status.available_replicas.unwrap_or(0) == desired
}

/// Whether a pod was made by the ReplicaSet, by its generated name. Names reach further back than the API
/// server's list of pods: a pod that is gone still has its history.
pub fn pod_of_replica_set(replica_set: &str, pod: &str) -> bool {
    let mut prefix = format!("{replica_set}-");
    prefix.truncate(GENERATED_PREFIX);
    pod.strip_prefix(prefix.as_str()).is_some_and(is_generated)
}

/// Whether a pod was made by some ReplicaSet of the Deployment, by its generated name.
pub fn made_for(deployment: &str, pod: &str) -> bool {
    if deployment.len() + 12 > GENERATED_PREFIX {
        // The name was cut; all that is left to compare is the prefix.
        let end = pod.len().saturating_sub(GENERATED_SUFFIX);
        return pod.is_char_boundary(end) && deployment.starts_with(&pod[..end.min(deployment.len())]);
    }
    let rest = pod.strip_prefix(deployment).and_then(|rest| rest.strip_prefix('-'));
    rest.and_then(|rest| rest.rsplit_once('-'))
        .is_some_and(|(hash, suffix)| {
            !hash.is_empty()
                && hash.len() <= 10
                && hash.bytes().all(|b| b.is_ascii_alphanumeric())
                && is_generated(suffix)
        })
}

fn is_generated(suffix: &str) -> bool {
    suffix.len() == GENERATED_SUFFIX && suffix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_belongs_to_the_replica_set_whose_name_it_extends_by_five_characters() {
        assert!(pod_of_replica_set("ranker-6d4cf56db6", "ranker-6d4cf56db6-x7k2p"));
        assert!(!pod_of_replica_set("ranker-6d4cf56db6", "ranker-6d4cf56db6-x7k2"));
        assert!(!pod_of_replica_set("ranker-6d4cf56db6", "ranker-6d4cf56db7-x7k2p"));
        assert!(!pod_of_replica_set("ranker", "ranker-6d4cf56db6-x7k2p"));
        let long = format!("{}-6d4cf56db6", "a".repeat(60));
        assert!(pod_of_replica_set(&long, &format!("{}x7k2p", &long[..58])));
    }

    #[test]
    fn a_pod_of_a_deployment_with_a_longer_name_is_not_taken_for_its_own() {
        assert!(made_for("ranker", "ranker-6d4cf56db6-x7k2p"));
        assert!(!made_for("ranker", "ranker-canary-6d4cf56db6-x7k2p"));
        assert!(!made_for("ranker", "ranker-0"));
        assert!(!made_for("ranker", "other-6d4cf56db6-x7k2p"));
    }
}
