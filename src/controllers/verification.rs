//! Looking checkpoints' images up in their registries and their artifacts in their stores, in the background and once
//! more right before a rollback: a slow registry delays no look at metrics.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::ResourceExt;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::{
    config::{Config, Verification},
    metrics::{Meters, QueryLabels},
};
use quality_api::{Artifact, RollbackCheckpoint, conditions};
use quality_core::{
    incident::ContainerImage,
    readiness::{CheckResult, Part},
};
use quality_sources::{
    object_storage,
    oci_registry::{ImageError, Reference, Registry},
    settings::ObjectStoreSettings,
};

/// How many checkpoints are looked at at the same time.
const LOOKERS: usize = 8;
/// How many artifacts are read and hashed at the same time: each takes a share of the network and of a processor.
const HASHERS: usize = 1;
/// One image must be looked up within this time.
const LOOK_DEADLINE: Duration = Duration::from_secs(60);
/// Right before a rollback, all of them within this.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(5);
/// Reading one artifact takes at most this.
const HASH_DEADLINE: Duration = Duration::from_secs(3_600);
/// A checkpoint that nobody asks about for this time is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// What is known of one checkpoint.
pub struct CheckpointChecks {
    /// Of its images.
    pub image: CheckResult,
    /// Of its artifacts.
    pub artifacts: CheckResult,
    /// When its artifacts' bytes last had their hashes, unix seconds.
    pub hashed_at: Option<i64>,
}

/// Looks at all checkpoints and keeps what it saw.
pub struct ImageVerifier {
    places: Arc<Places>,
    slots: Arc<Mutex<HashMap<String, Slot>>>,
    lookers: Arc<Semaphore>,
    schedule: Verification,
    meters: Arc<Meters>,
}

/// What the administrator configured.
struct Places {
    registries: HashMap<String, Result<Registry, String>>,
    stores: BTreeMap<String, ObjectStoreSettings>,
    hashers: Semaphore,
}

struct Slot {
    image: Round,
    artifacts: Round,
    hashes: Hashes,
    asked: Instant,
}

/// When something is looked at, and what was seen.
struct Round {
    look: CheckResult,
    /// When it was last found good, unix seconds.
    verified: Option<i64>,
    due: Instant,
    under_way: bool,
}

/// When all artifacts had their hashes, and how the store marked each then: empty when that is not known.
#[derive(Clone, Default)]
struct Hashes {
    at: Option<i64>,
    marks: Vec<String>,
}

impl ImageVerifier {
    /// For the administrator's registries and stores.
    pub fn new(config: &Config, meters: Arc<Meters>) -> Self {
        let registry = |(host, settings): (&String, _)| {
            let registry = Registry::new(host, settings).map_err(|problem| {
                tracing::error!(%host, %problem, "a registry is not usable");
                problem.to_string()
            });
            (host.clone(), registry)
        };
        Self {
            places: Arc::new(Places {
                registries: config.registries.iter().map(registry).collect(),
                stores: config.object_stores.clone(),
                hashers: Semaphore::new(HASHERS),
            }),
            slots: Arc::default(),
            lookers: Arc::new(Semaphore::new(LOOKERS)),
            schedule: config.verification,
            meters,
        }
    }

    /// What is known now of a checkpoint; starts to look when that is due.
    pub fn ask(&self, checkpoint: &RollbackCheckpoint) -> CheckpointChecks {
        let uid = checkpoint.uid().unwrap_or_default();
        let mut slots = self.slots.lock();
        let now = Instant::now();
        let slot = slots.entry(uid.clone()).or_insert_with(|| Slot::of(checkpoint, now));
        slot.asked = now;
        // The spec of a checkpoint never changes but for `revoked`, and a revoked one is not used.
        if !checkpoint.spec.revoked {
            if slot.image.begins(now) {
                self.look_at_images(uid.clone(), checkpoint.spec.images.clone());
            }
            if slot.artifacts.begins(now) {
                self.look_at_artifacts(uid, checkpoint.spec.artifacts.clone(), slot.hashes.clone());
            }
        }
        CheckpointChecks {
            image: slot.image.look.clone(),
            artifacts: slot.artifacts.look.clone(),
            hashed_at: slot.hashes.at,
        }
    }

    /// Looks the images of a checkpoint up now, and when they were last found good.
    pub async fn confirm(&self, uid: &str, images: &[ContainerImage]) -> (CheckResult, Option<i64>) {
        let looked = tokio::time::timeout(CONFIRM_DEADLINE, self.places.images(images)).await;
        let look = looked.unwrap_or_else(|_| unanswered(&images_in_words(images), &ImageError::TooSlow));
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get_mut(uid) else {
            return (look, None);
        };
        let verified = slot.image.verified;
        slot.image.take(look.clone(), self.schedule, Instant::now());
        (look, verified)
    }

    /// Forgets checkpoints that nobody asks about any more.
    pub fn forget_idle(&self) {
        let mut slots = self.slots.lock();
        slots.retain(|_, slot| slot.asked.elapsed() < FORGOTTEN_AFTER);
    }

    fn look_at_images(&self, uid: String, images: Vec<ContainerImage>) {
        let (slots, lookers, places) = (self.slots.clone(), self.lookers.clone(), self.places.clone());
        let (schedule, meters) = (self.schedule, self.meters.clone());
        let work = async move {
            // The semaphore is never closed.
            let _permit = lookers.acquire_owned().await;
            let look = places.images(&images).await;
            count(&meters, &look, "registry");
            let mut slots = slots.lock();
            // What was looked up right before a rollback meanwhile is newer.
            if let Some(slot) = slots.get_mut(&uid).filter(|slot| slot.image.under_way) {
                slot.image.take(look, schedule, Instant::now());
            }
        };
        tokio::spawn(work.in_current_span());
    }

    fn look_at_artifacts(&self, uid: String, artifacts: Vec<Artifact>, hashes: Hashes) {
        let (slots, lookers, places) = (self.slots.clone(), self.lookers.clone(), self.places.clone());
        let (schedule, meters) = (self.schedule, self.meters.clone());
        let work = async move {
            let (look, hashes) = places.artifacts(&artifacts, hashes, schedule, &lookers).await;
            count(&meters, &look, "artifacts");
            let mut slots = slots.lock();
            if let Some(slot) = slots.get_mut(&uid) {
                slot.hashes = hashes;
                slot.artifacts.take(look, schedule, Instant::now());
            }
        };
        tokio::spawn(work.in_current_span());
    }
}

fn count(meters: &Meters, look: &CheckResult, source: &str) {
    if matches!(look, CheckResult::Unanswered { .. }) {
        let labels = QueryLabels {
            source: source.to_owned(),
            category: "verification".to_owned(),
        };
        meters.query_errors.get_or_create(&labels).inc();
    }
}

impl Slot {
    /// What a checkpoint's status says of the looks before a restart.
    fn of(checkpoint: &RollbackCheckpoint, now: Instant) -> Self {
        let status = checkpoint.status.clone().unwrap_or_default();
        let seconds = |at: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| at.map(|at| at.0.as_second());
        // What was found broken is read again, whenever that was.
        let intact = conditions::is_true(&status.conditions, Part::ArtifactsIntact.name());
        Self {
            image: Round::new(seconds(status.image_verified_at), now),
            artifacts: Round::new(seconds(status.artifacts_verified_at), now),
            hashes: Hashes {
                at: seconds(status.artifacts_hashed_at).filter(|_| intact),
                marks: Vec::new(),
            },
            asked: now,
        }
    }
}

impl Round {
    fn new(verified: Option<i64>, now: Instant) -> Self {
        Self {
            look: CheckResult::Pending,
            verified,
            due: now,
            under_way: false,
        }
    }

    fn begins(&mut self, now: Instant) -> bool {
        let begins = !self.under_way && now >= self.due;
        self.under_way |= begins;
        begins
    }

    fn take(&mut self, look: CheckResult, schedule: Verification, now: Instant) {
        self.under_way = false;
        let pause = match &look {
            CheckResult::Verified { at, .. } => {
                self.verified = Some(*at);
                schedule.interval_seconds
            }
            CheckResult::Nothing | CheckResult::NotConfigured(_) => schedule.interval_seconds,
            // What is broken may be mended, and what did not answer may answer.
            CheckResult::Pending | CheckResult::Broken { .. } | CheckResult::Unanswered { .. } => {
                schedule.retry_seconds
            }
        };
        self.due = now + Duration::from_secs(pause);
        self.look = look;
    }
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

fn images_in_words(images: &[ContainerImage]) -> String {
    let names: Vec<&str> = images.iter().map(|image| image.image.as_str()).collect();
    format!("image {}", names.join(", "))
}

fn unanswered(what: &str, error: &ImageError) -> CheckResult {
    CheckResult::Unanswered {
        reason: error.reason(),
        message: format!("{what}: {error}"),
    }
}

fn broken(reason: &'static str, message: String) -> CheckResult {
    CheckResult::Broken { reason, message }
}

impl Places {
    async fn images(&self, images: &[ContainerImage]) -> CheckResult {
        let mut looks = Vec::new();
        for image in images {
            looks.push(self.image(&image.image).await);
        }
        CheckResult::all(looks)
    }

    async fn image(&self, image: &str) -> CheckResult {
        let what = format!("image {image}");
        let Some(reference) = Reference::parse(image) else {
            let error = ImageError::Reference;
            return broken(error.reason(), format!("{what}: {error}"));
        };
        let registry = match self.registries.get(&reference.host) {
            None => {
                return CheckResult::NotConfigured(format!(
                    "{what} was not looked for: the operator's configuration has no registry {}",
                    reference.host
                ));
            }
            Some(Err(problem)) => {
                return CheckResult::Unanswered {
                    reason: "RegistryNotUsable",
                    message: format!("{what}: its registry {problem}"),
                };
            }
            Some(Ok(registry)) => registry,
        };
        let looked = tokio::time::timeout(LOOK_DEADLINE, registry.check(&reference)).await;
        match looked.unwrap_or(Err(ImageError::TooSlow)) {
            Ok(layers) => CheckResult::Verified {
                at: now(),
                message: format!("{what}: manifest, configuration and {layers} layers are in its registry"),
            },
            Err(error) if error.is_transient() => unanswered(&what, &error),
            Err(error) => broken(error.reason(), format!("{what}: {error}")),
        }
    }

    /// Looks at all artifacts, and reads those that are due; the hashes as they are known then.
    async fn artifacts(
        &self,
        artifacts: &[Artifact],
        known: Hashes,
        schedule: Verification,
        lookers: &Semaphore,
    ) -> (CheckResult, Hashes) {
        let began = now();
        let rehash = i64::try_from(schedule.rehash_seconds).unwrap_or(i64::MAX);
        let all_due = known.at.is_none_or(|at| began - at >= rehash);
        let (mut looks, mut marks, mut hashed) = (Vec::new(), Vec::new(), false);
        for (index, artifact) in artifacts.iter().enumerate() {
            let found = {
                // The semaphore is never closed.
                let _permit = lookers.acquire().await;
                self.stat(artifact).await
            };
            let look = match found {
                Err(look) => look,
                Ok((place, mark)) => {
                    // A mark that is not known yet (after a restart) is taken for the one that was hashed.
                    let changed = known.marks.get(index).is_some_and(|before| *before != mark);
                    marks.push(mark);
                    if all_due || changed {
                        hashed = true;
                        self.hash(artifact, &place).await
                    } else {
                        intact()
                    }
                }
            };
            looks.push(look);
        }
        let look = CheckResult::all(looks);
        let hashes = match &look {
            CheckResult::Verified { .. } => Hashes {
                at: if hashed { Some(began) } else { known.at },
                marks,
            },
            // Read anew as soon as it is there again.
            CheckResult::Broken { .. } => Hashes::default(),
            CheckResult::Pending
            | CheckResult::Nothing
            | CheckResult::NotConfigured(_)
            | CheckResult::Unanswered { .. } => known,
        };
        (look, hashes)
    }

    /// The artifact is there with its size: where it is read, and what the store marks it with.
    async fn stat(&self, artifact: &Artifact) -> Result<((object_storage::Folder, String), String), CheckResult> {
        let what = format!("artifact {}", artifact.uri);
        let Some((name, settings, rest)) = object_storage::covering(&self.stores, &artifact.uri) else {
            return Err(CheckResult::NotConfigured(format!(
                "{what} was not looked for: no object store of the operator's configuration covers it"
            )));
        };
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        let strange = parts.iter().any(|part| matches!(*part, "." | ".."));
        let (Some((file, folders)), false) = (parts.split_last(), strange) else {
            return Err(broken("ReferenceInvalid", format!("{what}: its URI names no file")));
        };
        let failed = |error: &dyn std::fmt::Display| CheckResult::Unanswered {
            reason: "StoreUnreachable",
            message: format!("{what}: {error}"),
        };
        let folder = object_storage::open(name, settings).map_err(|error| failed(&error))?;
        let folder = folder.descend(&folders.join("/"));
        let found = tokio::time::timeout(LOOK_DEADLINE, folder.stat(file)).await;
        let found = found.map_err(|_| failed(&format!("object store {name} took longer than it may")))?;
        let entry = found
            .map_err(|error| failed(&error))?
            .ok_or_else(|| broken("ArtifactMissing", format!("{what}: its store has no such file")))?;
        if i64::try_from(entry.size).ok() != Some(artifact.size) {
            let sizes = format!("it has {} bytes and should have {}", entry.size, artifact.size);
            return Err(broken("SizeMismatch", format!("{what}: {sizes}")));
        }
        Ok(((folder, (*file).to_owned()), entry.mark))
    }

    /// Reads an artifact's bytes.
    async fn hash(&self, artifact: &Artifact, (folder, file): &(object_storage::Folder, String)) -> CheckResult {
        let what = format!("artifact {}", artifact.uri);
        let failed = |message: String| CheckResult::Unanswered {
            reason: "StoreUnreachable",
            message,
        };
        // The semaphore is never closed.
        let _permit = self.hashers.acquire().await;
        let limit = u64::try_from(artifact.size).unwrap_or(0);
        match tokio::time::timeout(HASH_DEADLINE, folder.hash(file, limit)).await {
            Err(_) => failed(format!("{what}: reading it took longer than it may")),
            Ok(Err(error)) => failed(format!("{what}: {error}")),
            Ok(Ok(None)) => broken("ArtifactMissing", format!("{what}: its store has no such file")),
            Ok(Ok(Some((sha256, length)))) if sha256 == artifact.sha256 && length == limit => intact(),
            Ok(Ok(Some(_))) => broken(
                "HashMismatch",
                format!("{what}: its bytes do not have the sha256 that they should have"),
            ),
        }
    }
}

fn intact() -> CheckResult {
    CheckResult::Verified {
        at: now(),
        message: "every artifact is in its store with its size, and had its sha256 when it was last read".to_owned(),
    }
}
