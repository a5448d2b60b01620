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

use quality_api::{
    CheckpointIntent, DRILL_LABEL, DrillIntent, ObjectIdentity, RecoveryDrill, RunningImage, SHADOW_ANNOTATION,
    names::{hash, label},
};
use quality_core::drill::fault_image;

/// What is written on a Deployment together with the fault: whose it is and when it began. Anybody may write an
/// annotation, so nothing is put back on its word: what was there before is in the drill's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// The drill's name.
    pub drill: String,
    /// Its UID.
    pub uid: String,
    /// When the fault began, unix seconds.
    pub at: i64,
}

impl Mark {
    /// The mark of a drill whose fault begins now.
    pub fn new(drill: &RecoveryDrill, at: i64) -> Self {
        Self {
            drill: drill.name_any(),
            uid: drill.uid().unwrap_or_default(),
            at,
        }
    }

    /// The mark that an annotation holds.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether such a drill can exist at all: what else stands there is foreign text.
    pub fn is_possible(&self) -> bool {
        let is_name = |text: &str| {
            let mut bytes = text.bytes();
            (1..=253).contains(&text.len())
                && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        };
        is_name(&self.drill) && is_name(&self.uid)
    }

    /// As an annotation.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What of a drill's work is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Its fault and its rollback: the drill is under way.
    All,
    /// Its fault, which nothing else looks like: the drill has ended, and the checkpoint may be there by somebody's wish.
    Fault,
}

/// The images to put back after a drill in place, by its own record: of the containers that still have what the drill
/// gave them, and that had another image before. What a person put there since stays.
pub fn restoration(
    drill_uid: &str,
    intent: &DrillIntent,
    undo: Undo,
    now: &[(String, String)],
) -> Vec<(String, String)> {
    let faults = fault_images(drill_uid, &intent.images, &intent.checkpoint);
    let before = |container: &str| intent.images.iter().find(|image| image.container == container);
    now.iter()
        .filter_map(|(container, image)| {
            let before = before(container).filter(|before| before.image != *image)?;
            let is_fault = faults
                .iter()
                .any(|fault| fault.container == *container && fault.image == *image);
            let mut checkpoint = intent.checkpoint.images.iter();
            let is_checkpoint = checkpoint.any(|known| known.container == *container && known.image == *image);
            (is_fault || undo == Undo::All && is_checkpoint).then(|| (container.clone(), before.image.clone()))
        })
        .collect()
}

/// Whether some image is the fault of the drill with this UID.
pub fn wears_fault(drill_uid: &str, images: &[(String, String)]) -> bool {
    let digest = format!("@sha256:{}", fault_digest(drill_uid));
    images.iter().any(|(_, image)| image.ends_with(&digest))
}

fn fault_digest(drill_uid: &str) -> String {
    hash(&["fault", drill_uid])
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
    let digest = fault_digest(drill_uid);
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
    use quality_core::incident::ContainerImage;

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
        fn whatever_runs_only_what_a_drill_gave_is_taken_back(text in "\\PC{0,60}", now in "[a-c]{1,2}", container in "[s-u]") {
            proptest::prop_assert_eq!(Mark::read(&text).map(|mark| mark.drill.is_empty()), None);
            let now = [(container, now)];
            proptest::prop_assert_eq!(restoration("1-2-3", &intent(), Undo::All, &now), Vec::new());
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
    fn what_a_drill_changed_is_put_back_by_its_record_and_what_a_person_changed_since_stays() {
        let mark = Mark::new(&drill(), 7);
        assert_eq!(Mark::read(&mark.text()), Some(mark));
        let intent = intent();
        let fault = intent.fault_images[0].image.clone();
        let others = fault_images("another", &intent.images, &intent.checkpoint)[0]
            .image
            .clone();
        let proxy = ("proxy".to_owned(), "repo/proxy@sha256:p".to_owned());
        for (server, under_way, ended) in [
            (fault.as_str(), true, true),
            ("repo/ranker@sha256:good", true, false),
            ("repo/ranker@sha256:now", false, false),
            ("repo/ranker@sha256:newer", false, false),
            (others.as_str(), false, false),
        ] {
            let now = [("server".to_owned(), server.to_owned()), proxy.clone()];
            for (undo, restored) in [(Undo::All, under_way), (Undo::Fault, ended)] {
                let expected = if restored {
                    vec![("server".to_owned(), "repo/ranker@sha256:now".to_owned())]
                } else {
                    Vec::new()
                };
                assert_eq!(restoration("1-2-3", &intent, undo, &now), expected, "{server} {undo:?}");
            }
        }
        assert!(wears_fault("1-2-3", &[("server".to_owned(), fault)]));
        assert!(!wears_fault("1-2-3", &[("server".to_owned(), others)]));
    }
}
