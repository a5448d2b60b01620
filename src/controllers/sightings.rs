//! What is on record of a Deployment's releases: which run was named for which images. Decides nothing.

use kube::ResourceExt;

use crate::controllers::{build, gather::Gathered, release};
use quality_api::{QualityIncident, RUN_ANNOTATION};
use quality_core::{
    incident::ContainerImage,
    plan::{Sighting, Witness},
};

/// By the ReplicaSets that are kept, the checkpoints and the incidents.
pub fn of(gathered: &Gathered) -> Vec<Sighting> {
    let replica_sets = gathered.owned.iter().filter_map(|replica_set| {
        let template = replica_set.spec.template.as_ref()?;
        Some(Sighting {
            by: Witness::Template,
            run: release::template_annotation(template, RUN_ANNOTATION),
            images: pairs(release::images(template)),
            since: created(replica_set.as_ref()),
        })
    });
    let checkpoints = gathered.checkpoints.iter().map(|checkpoint| Sighting {
        by: Witness::Template,
        run: build::run_of(checkpoint).map(|run| run.run_id),
        images: checkpoint.spec.images.clone(),
        since: created(checkpoint),
    });
    // Only a rollback leaves an annotation over other images than those that it came with.
    let rolled_back = gathered.incidents.iter().filter(|incident| {
        let status = incident.status.as_ref();
        status.is_some_and(|status| status.patched_at.is_some())
    });
    let incidents = rolled_back.flat_map(of_incident);
    replica_sets.chain(checkpoints).chain(incidents).collect()
}

/// The release in breach, and the checkpoint, which was there before.
fn of_incident(incident: &QualityIncident) -> Vec<Sighting> {
    let spec = &incident.spec;
    let since = created(incident);
    let mut sightings = vec![Sighting {
        by: Witness::Incident,
        run: spec.mlflow_run_id.clone(),
        images: pairs(
            spec.from_images
                .iter()
                .map(|image| (image.container.clone(), image.image.clone())),
        ),
        since,
    }];
    sightings.extend(spec.checkpoint.as_ref().map(|checkpoint| Sighting {
        by: Witness::Incident,
        run: None,
        images: checkpoint.images.clone(),
        since: checkpoint.certified_at.as_ref().map_or(i64::MIN, |at| at.0.as_second()),
    }));
    sightings
}

fn pairs(images: impl IntoIterator<Item = (String, String)>) -> Vec<ContainerImage> {
    images
        .into_iter()
        .map(|(container, image)| ContainerImage { container, image })
        .collect()
}

fn created(object: &impl ResourceExt) -> i64 {
    object.creation_timestamp().map_or(i64::MAX, |at| at.0.as_second())
}
