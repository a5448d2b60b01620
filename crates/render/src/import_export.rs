//! `quality-officer checkpoints export|import`: checkpoints as `checkpoint_registry.yaml`, written and read by a person
//! with that person's own rights.

use std::{io::Read, path::Path};

use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams, Preconditions},
    core::ObjectMeta,
};

use quality_api::{Artifact, DatasetReference, LocalReference, Provenance, RollbackCheckpoint, RollbackCheckpointSpec};
use quality_core::incident::ContainerImage;
use quality_sources::formats::checkpoint_registry::{
    self, CheckpointRegistry, MAX_BYTES, MAX_CHECKPOINTS, ObservedState, Registered, RegisteredArtifact,
    RegisteredDataset, RegisteredImage, RegisteredProvenance, RegistryError,
};

/// The field manager of imported checkpoints.
const MANAGER: &str = "quality-officer-import";

/// Why nothing was exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no registry.
    #[error("{0}")]
    Registry(#[from] RegistryError),
    /// Checkpoints cannot be listed.
    #[error("checkpoints cannot be listed: {0}")]
    List(#[source] kube::Error),
    /// There are more than a file may hold.
    #[error("there are more than {MAX_CHECKPOINTS} checkpoints: name a --target")]
    TooMany,
    /// The file cannot be written as YAML.
    #[error("the checkpoints cannot be written as YAML: {0}")]
    Yaml(String),
    /// The API server refuses a checkpoint; nothing was written.
    #[error("nothing was imported: checkpoint {name} is refused: {problem}")]
    Refused {
        /// Its name.
        name: String,
        /// The API server's words.
        problem: String,
    },
    /// There is one of the same name that is another one; nothing was written.
    #[error("nothing was imported: there is another checkpoint {0} already, and checkpoints do not change")]
    Different(String),
    /// A write failed although all were checked; those before it were taken back.
    #[error("nothing was imported: checkpoint {name} could not be written: {problem}{left}")]
    Write {
        /// Its name.
        name: String,
        /// Why.
        problem: String,
        /// What could not be taken back, in words; empty when all was.
        left: String,
    },
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// The names of those that were (or, dry, would be) created.
    pub created: Vec<String>,
    /// The names of those that were there already, as they are in the file.
    pub unchanged: Vec<String>,
}

impl Imported {
    /// A line a checkpoint, as kubectl words it.
    pub fn text(&self, dry_run: bool) -> String {
        let done = if dry_run { "would be created" } else { "created" };
        let created = self
            .created
            .iter()
            .map(|name| format!("rollbackcheckpoint/{name} {done}\n"));
        let unchanged = self
            .unchanged
            .iter()
            .map(|name| format!("rollbackcheckpoint/{name} unchanged\n"));
        created.chain(unchanged).collect()
    }
}

/// A registry's bytes, `-` for standard input: at most as many as an import may have, and one more that shows that there
/// are more.
pub fn read(path: &Path) -> Result<Vec<u8>, TransferError> {
    let limit = MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let done = if path.as_os_str() == "-" {
        std::io::stdin().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    done.map(|_| bytes).map_err(|source| TransferError::Read {
        path: path.display().to_string(),
        source,
    })
}

/// The checkpoints of a namespace, of one Deployment or of all, as YAML.
pub async fn export(client: Client, namespace: &str, target: Option<&str>) -> Result<String, TransferError> {
    let api: Api<RollbackCheckpoint> = Api::namespaced(client, namespace);
    let mut all = api
        .list(&ListParams::default())
        .await
        .map_err(TransferError::List)?
        .items;
    all.retain(|checkpoint| target.is_none_or(|target| checkpoint.spec.target_ref.name == target));
    all.sort_by_key(ResourceExt::name_any);
    written(&all)
}

/// Checkpoints as YAML, in the order given.
pub fn written(checkpoints: &[RollbackCheckpoint]) -> Result<String, TransferError> {
    if checkpoints.len() > MAX_CHECKPOINTS {
        return Err(TransferError::TooMany);
    }
    let registry = CheckpointRegistry {
        version: 1,
        checkpoints: checkpoints.iter().map(registered).collect(),
    };
    serde_saphyr::to_string(&registry).map_err(|error| TransferError::Yaml(error.to_string()))
}

/// Creates the checkpoints of a file. All of it is checked, by the format and then by the API server, before the first
/// is written; when a write fails all the same, those before it are taken back.
pub async fn import(client: Client, namespace: &str, file: &[u8], dry_run: bool) -> Result<Imported, TransferError> {
    let registry = checkpoint_registry::parse(file)?;
    let api: Api<RollbackCheckpoint> = Api::namespaced(client, namespace);
    let mut outcome = Imported::default();
    let mut new = Vec::new();
    for checkpoint in registry.checkpoints.iter().map(object) {
        let name = checkpoint.name_any();
        let known = api.get_opt(&name).await.map_err(TransferError::List)?;
        match known {
            Some(known) if known.spec == checkpoint.spec => outcome.unchanged.push(name),
            Some(_) => return Err(TransferError::Different(name)),
            None => {
                let refused = |error: kube::Error| TransferError::Refused {
                    name: name.clone(),
                    problem: error.to_string(),
                };
                api.create(&parameters(true), &checkpoint).await.map_err(refused)?;
                new.push(checkpoint);
            }
        }
    }
    let mut written: Vec<RollbackCheckpoint> = Vec::new();
    for checkpoint in new {
        let name = checkpoint.name_any();
        if !dry_run {
            match api.create(&parameters(false), &checkpoint).await {
                Ok(created) => written.push(created),
                Err(error) => {
                    return Err(TransferError::Write {
                        name,
                        problem: error.to_string(),
                        left: take_back(&api, &written).await,
                    });
                }
            }
        }
        outcome.created.push(name);
    }
    Ok(outcome)
}

/// Deletes what was just created; what could not be deleted, in words.
async fn take_back(api: &Api<RollbackCheckpoint>, written: &[RollbackCheckpoint]) -> String {
    let mut left = Vec::new();
    for checkpoint in written {
        let preconditions = Preconditions {
            uid: checkpoint.uid(),
            resource_version: None,
        };
        let parameters = DeleteParams::default().preconditions(preconditions);
        if api.delete(&checkpoint.name_any(), &parameters).await.is_err() {
            left.push(checkpoint.name_any());
        }
    }
    if left.is_empty() {
        String::new()
    } else {
        format!("; these were written and could not be taken back: {}", left.join(", "))
    }
}

fn parameters(dry_run: bool) -> PostParams {
    PostParams {
        dry_run,
        field_manager: Some(MANAGER.to_owned()),
    }
}

fn registered(checkpoint: &RollbackCheckpoint) -> Registered {
    let spec = &checkpoint.spec;
    Registered {
        name: checkpoint.name_any(),
        target: spec.target_ref.name.clone(),
        images: spec
            .images
            .iter()
            .map(|image| RegisteredImage {
                container: image.container.clone(),
                image: image.image.clone(),
            })
            .collect(),
        artifacts: spec
            .artifacts
            .iter()
            .map(|artifact| RegisteredArtifact {
                uri: artifact.uri.clone(),
                sha256: artifact.sha256.clone(),
                size: artifact.size,
            })
            .collect(),
        provenance: spec.provenance.as_ref().map(|provenance| RegisteredProvenance {
            mlflow_run_id: provenance.mlflow_run_id.clone(),
            dataset: provenance.dataset.as_ref().map(|dataset| RegisteredDataset {
                version: dataset.version.clone(),
                digest: dataset.digest.clone(),
            }),
            git_commit: provenance.git_commit.clone(),
        }),
        revoked: spec.revoked,
        observed: observed(checkpoint),
    }
}

fn observed(checkpoint: &RollbackCheckpoint) -> Option<ObservedState> {
    let status = checkpoint.status.as_ref()?;
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let text =
        |at: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| at.as_ref().map(|at| at.0.to_string());
    Some(ObservedState {
        ready: ready.map(|ready| ready.status.clone()),
        reason: ready.map(|ready| ready.reason.clone()),
        certified_at: text(&status.certified_at),
        image_verified_at: text(&status.image_verified_at),
        artifacts_verified_at: text(&status.artifacts_verified_at),
        load_seconds: status.load_seconds,
        tested_at: text(&status.tested_at),
    })
}

fn object(registered: &Registered) -> RollbackCheckpoint {
    RollbackCheckpoint {
        metadata: ObjectMeta {
            name: Some(registered.name.clone()),
            ..ObjectMeta::default()
        },
        spec: RollbackCheckpointSpec {
            target_ref: LocalReference {
                name: registered.target.clone(),
            },
            images: registered
                .images
                .iter()
                .map(|image| ContainerImage {
                    container: image.container.clone(),
                    image: image.image.clone(),
                })
                .collect(),
            artifacts: registered
                .artifacts
                .iter()
                .map(|artifact| Artifact {
                    uri: artifact.uri.clone(),
                    sha256: artifact.sha256.clone(),
                    size: artifact.size,
                })
                .collect(),
            provenance: registered.provenance.as_ref().map(|provenance| Provenance {
                mlflow_run_id: provenance.mlflow_run_id.clone(),
                dataset: provenance.dataset.as_ref().map(|dataset| DatasetReference {
                    version: dataset.version.clone(),
                    digest: dataset.digest.clone(),
                }),
                git_commit: provenance.git_commit.clone(),
            }),
            revoked: registered.revoked,
        },
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_as_it_was_but_for_what_was_observed() {
        let path = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .join("examples/checkpoint_registry.yaml");
        let registry = checkpoint_registry::parse(&std::fs::read(path).unwrap()).unwrap();
        for checkpoint in registry.checkpoints {
            let back = registered(&object(&checkpoint));
            assert_eq!(
                back,
                Registered {
                    observed: None,
                    ..checkpoint
                }
            );
        }
    }
}
