//! Build: the shadow, the mark on a Deployment under drill, and what is put back. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{Resource, ResourceExt, core::ObjectMeta};
use serde::{Deserialize, Serialize};

use crate::{
    api::{CheckpointIntent, DRILL_LABEL, DrillIntent, ObjectIdentity, RecoveryDrill, RunningImage, SHADOW_ANNOTATION},
    controllers::build::{hash, label},
    core::drill::fault_image,
};

/// What is written on a Deployment together with the fault: enough to undo it when the drill's record is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// The drill's name.
    pub drill: String,
    /// Its UID.
    pub uid: String,
    /// When the fault began, unix seconds.
    pub at: i64,
    /// The images before, by container.
    pub images: BTreeMap<String, String>,
    /// The fault's.
    pub fault: BTreeMap<String, String>,
    /// The checkpoint's.
    pub checkpoint: BTreeMap<String, String>,
}

impl Mark {
    /// The mark of a drill whose fault begins now.
    pub fn new(drill: &RecoveryDrill, intent: &DrillIntent, at: i64) -> Self {
        let by_container = |images: &[RunningImage]| {
            images
                .iter()
                .map(|image| (image.container.clone(), image.image.clone()))
                .collect()
        };
        let checkpoint = intent.checkpoint.images.iter();
        Self {
            drill: drill.name_any(),
            uid: drill.uid().unwrap_or_default(),
            at,
            images: by_container(&intent.images),
            fault: by_container(&intent.fault_images),
            checkpoint: checkpoint
                .map(|image| (image.container.clone(), image.image.clone()))
                .collect(),
        }
    }

    /// The mark that an annotation holds.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// As an annotation.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The images to put back: of the containers that still have what the drill gave them, and that had another one
    /// before. What a person put there since stays.
    pub fn restoration(&self, now: &[(String, String)]) -> Vec<(String, String)> {
        self.images
            .iter()
            .filter(|(container, before)| {
                let current = now.iter().find(|(name, _)| name == *container);
                current.is_some_and(|(name, image)| {
                    let ours = [self.fault.get(name), self.checkpoint.get(name)];
                    image != *before && ours.contains(&Some(image))
                })
            })
            .map(|(container, before)| (container.clone(), before.clone()))
            .collect()
    }
}

/// The value of the rollback annotation that a drill's own rollback writes: no incident has such a name.
pub fn rollback_mark(drill: &str) -> String {
    format!("drill/{drill}")
}

/// The name of a drill's shadow: short enough for the names of its pods not to be cut.
pub fn shadow_name(target: &str, drill_uid: &str) -> String {
    let mut prefix = target.to_owned();
    prefix.truncate(35);
    format!(
        "{}-drill-{}",
        prefix.trim_end_matches(['-', '.']),
        &hash(&["shadow", drill_uid])[..5]
    )
}

/// The images of the fault: of the containers that the checkpoint brings back.
pub fn fault_images(drill_uid: &str, images: &[RunningImage], checkpoint: &CheckpointIntent) -> Vec<RunningImage> {
    let digest = hash(&["fault", drill_uid]);
    images
        .iter()
        .filter(|image| checkpoint.images.iter().any(|known| known.container == image.container))
        .map(|image| RunningImage {
            container: image.container.clone(),
            image: fault_image(&image.image, &digest),
            named: None,
        })
        .collect()
}

/// A Deployment of one pod that is the target's but for its labels, so that no Service, disruption budget or
/// autoscaler selects it, and that goes when its drill does.
pub fn shadow(drill: &RecoveryDrill, intent: &DrillIntent, target: &Deployment) -> Deployment {
    let uid = drill.uid().unwrap_or_default();
    let labels = BTreeMap::from([(DRILL_LABEL.to_owned(), label(&drill.name_any()))]);
    let mut owner = drill.controller_owner_ref(&());
    if let Some(owner) = &mut owner {
        // Needs no right on finalizers, and holds no deletion up.
        owner.block_owner_deletion = None;
    }
    let mut template: PodTemplateSpec = target.spec.template.clone();
    template.metadata.get_or_insert_default().labels = Some(labels.clone());
    for container in template.spec.iter_mut().flat_map(|spec| &mut spec.containers) {
        if let Some(image) = intent.images.iter().find(|image| image.container == container.name) {
            container.image = Some(image.image.clone());
        }
    }
    let annotations = [
        (SHADOW_ANNOTATION, intent.target.name.clone()),
        (
            "kubernetes.io/description",
            format!(
                "Shadow of Deployment {} for recovery drill {}: it serves nothing and is deleted when the drill ends.",
                intent.target.name,
                drill.name_any()
            ),
        ),
    ];
    Deployment {
        metadata: ObjectMeta {
            name: Some(shadow_name(&intent.target.name, &uid)),
            namespace: drill.namespace(),
            labels: Some(labels.clone()),
            annotations: Some(
                annotations
                    .map(|(name, value)| (name.to_owned(), value))
                    .into_iter()
                    .collect(),
            ),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: DeploymentSpec {
            replicas: Some(1),
            selector: LabelSelector {
                match_labels: Some(labels),
                ..LabelSelector::default()
            },
            // One pod at a time: no more quota and no more GPUs than that.
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                rolling_update: None,
            }),
            template,
            min_ready_seconds: target.spec.min_ready_seconds,
            progress_deadline_seconds: target.spec.progress_deadline_seconds,
            ..DeploymentSpec::default()
        },
        status: None,
    }
}

/// Whether a Deployment was made by this drill.
pub fn is_shadow_of(deployment: &Deployment, drill: &RecoveryDrill) -> bool {
    let uid = drill.uid();
    let mut owners = deployment.owner_references().iter();
    uid.is_some() && owners.any(|owner| Some(&owner.uid) == uid.as_ref())
}

/// A Deployment's name and life.
pub fn identity(deployment: &Deployment) -> ObjectIdentity {
    ObjectIdentity {
        name: deployment.name_any(),
        uid: deployment.uid().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::incident::ContainerImage;

    fn drill() -> RecoveryDrill {
        let object = json!({
            "apiVersion": "quality-officer.dev/v1alpha1", "kind": "RecoveryDrill",
            "metadata": {"name": "weekly", "namespace": "shop", "uid": "1-2-3"},
            "spec": {"policyRef": {"name": "ranker"}},
        });
        serde_json::from_value(object).unwrap()
    }

    fn running(container: &str, image: &str) -> RunningImage {
        RunningImage {
            container: container.into(),
            image: image.into(),
            named: None,
        }
    }

    fn intent() -> DrillIntent {
        let checkpoint = CheckpointIntent {
            name: "ranker-1".into(),
            uid: "c".into(),
            images: vec![ContainerImage {
                container: "server".into(),
                image: "repo/ranker@sha256:good".into(),
            }],
            certified_at: None,
        };
        let images = vec![
            running("server", "repo/ranker@sha256:now"),
            running("proxy", "repo/proxy@sha256:p"),
        ];
        DrillIntent {
            target: ObjectIdentity {
                name: "ranker".into(),
                uid: "d".into(),
            },
            fault_images: fault_images("1-2-3", &images, &checkpoint),
            images,
            checkpoint,
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_mark_says_only_what_a_drill_gave_is_taken_back(
            text in "\\PC{0,60}", before in "[a-c]{1,2}", fault in "[a-c]{1,2}", now in "[a-c]{1,2}", container in "[s-u]",
        ) {
            proptest::prop_assert_eq!(Mark::read(&text).map(|mark| mark.drill.is_empty()), None);
            let by = |image: &str| BTreeMap::from([("s".to_owned(), image.to_owned())]);
            let mark = Mark { images: by(&before), fault: by(&fault), ..Mark::new(&drill(), &intent(), 0) };
            let again = Mark::read(&mark.text()).unwrap();
            let restored = again.restoration(&[(container.clone(), now.clone())]);
            let is_its = container == "s" && now == fault && now != before;
            proptest::prop_assert_eq!(!restored.is_empty(), is_its);
        }
    }

    fn target() -> Deployment {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "ranker", "namespace": "shop", "uid": "d", "labels": {"app": "ranker"}},
            "spec": {
                "replicas": 3, "selector": {"matchLabels": {"app": "ranker"}},
                "template": {
                    "metadata": {"labels": {"app": "ranker", "tier": "web"}, "annotations": {"mesh": "on"}},
                    "spec": {"containers": [
                        {"name": "server", "image": "repo/ranker:v7", "resources": {"limits": {"nvidia.com/gpu": "1"}}},
                        {"name": "proxy", "image": "repo/proxy:v1"},
                    ]},
                },
            },
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_shadow_is_its_target_but_for_labels_that_anything_could_select() {
        let shadow = shadow(&drill(), &intent(), &target());
        let labels = shadow.spec.template.metadata.clone().unwrap().labels.unwrap();
        assert_eq!(labels, BTreeMap::from([(DRILL_LABEL.to_owned(), "weekly".to_owned())]));
        assert_eq!(shadow.metadata.labels, Some(labels.clone()));
        assert_eq!(shadow.spec.selector.match_labels, Some(labels));
        assert_eq!(shadow.spec.replicas, Some(1));
        let pod = shadow.spec.template.spec.clone().unwrap();
        assert_eq!(pod.containers[0].image.as_deref(), Some("repo/ranker@sha256:now"));
        assert_eq!(pod.containers[1].image.as_deref(), Some("repo/proxy@sha256:p"));
        assert_eq!(
            pod.containers[0].resources,
            target().spec.template.spec.unwrap().containers[0].resources,
            "resources are stated as the target states them"
        );
        assert!(is_shadow_of(&shadow, &drill()));
        assert_eq!(shadow.owner_references()[0].block_owner_deletion, None);
    }

    #[test]
    fn the_fault_hits_only_what_the_checkpoint_brings_back() {
        let images = intent().fault_images;
        assert_eq!(images.len(), 1);
        assert!(images[0].container == "server" && images[0].image.starts_with("repo/ranker@sha256:"));
        assert_ne!(
            images[0].image,
            fault_images("other", &intent().images, &intent().checkpoint)[0].image
        );
    }

    #[test]
    fn a_name_of_a_shadow_is_short_and_its_own() {
        let long = "a".repeat(253);
        assert!(shadow_name(&long, "1").len() <= 47);
        assert_ne!(shadow_name("ranker", "1"), shadow_name("ranker", "2"));
        assert!(!crate::controllers::release::made_for(
            "ranker",
            &format!("{}-6d4cf56db6-x7k2p", shadow_name("ranker", "1"))
        ));
    }

    #[test]
    fn what_a_drill_changed_is_put_back_and_what_a_person_changed_since_stays() {
        let mark = Mark::new(&drill(), &intent(), 7);
        assert_eq!(Mark::read(&mark.text()), Some(mark.clone()));
        let fault = mark.fault["server"].clone();
        let proxy = ("proxy".to_owned(), "repo/proxy@sha256:p".to_owned());
        for (server, restored) in [
            (fault.as_str(), true),
            ("repo/ranker@sha256:good", true),
            ("repo/ranker@sha256:now", false),
            ("repo/ranker@sha256:newer", false),
        ] {
            let now = [("server".to_owned(), server.to_owned()), proxy.clone()];
            let expected = if restored {
                vec![("server".to_owned(), "repo/ranker@sha256:now".to_owned())]
            } else {
                Vec::new()
            };
            assert_eq!(mark.restoration(&now), expected, "{server}");
        }
    }
}
