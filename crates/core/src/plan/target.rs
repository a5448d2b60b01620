//! Which checkpoint to roll back to.

use crate::{incident::ContainerImage, plan::Observed, policy::Policy};

/// A checkpoint as a rollback target.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its images, pinned by digest.
    pub images: Vec<ContainerImage>,
    /// When it was last certified, unix seconds.
    pub certified: Option<i64>,
    /// The run whose evidence it stands on; none for one that was revoked.
    pub run: Option<RunOf>,
    /// Whether it may be used now, or why not.
    pub usable: Result<(), String>,
}

/// The run that a release's model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunOf {
    /// Its id.
    pub run_id: String,
    /// The digest of the data that it was evaluated on, where that is on record.
    pub dataset_digest: Option<String>,
}

/// Why there is nothing to roll back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTarget {
    /// No checkpoint was ever registered.
    None,
    /// There are some, and none may be used; the newest one's reason.
    NoneUsable(String),
    /// The running release is itself the newest checkpoint.
    RunningIsNewest(String),
    /// The checkpoint names a container that the Deployment does not have.
    ContainerMissing(String),
}

impl NoTarget {
    /// In words.
    pub fn message(&self) -> String {
        match self {
            Self::None => "no checkpoint is registered for this Deployment".to_owned(),
            Self::NoneUsable(reason) => format!("no checkpoint may be used: {reason}"),
            Self::RunningIsNewest(name) => {
                format!(
                    "the running release is itself the newest checkpoint ({name}): a rollback to an older one needs rollback.allowPrevious"
                )
            }
            Self::ContainerMissing(container) => {
                format!("the checkpoint names container {container}, which the Deployment does not have")
            }
        }
    }
}

/// The newest usable checkpoint that is not what runs now.
///
/// Newest is the one that was certified last. When the running release is itself that one, an older one is
/// used only if the policy allows it.
pub fn choose_target(policy: &Policy, observed: &Observed) -> Result<Candidate, NoTarget> {
    let mut sorted: Vec<&Candidate> = observed.candidates.iter().collect();
    sorted.sort_by(|a, b| b.certified.cmp(&a.certified).then_with(|| b.name.cmp(&a.name)));
    let Some(newest) = sorted.first() else {
        return Err(NoTarget::None);
    };
    let mut reason = None;
    for candidate in &sorted {
        // Also when it may not be used itself: from what was certified last there is no way but further back.
        if runs(observed, candidate) {
            if policy.allow_previous {
                continue;
            }
            return Err(NoTarget::RunningIsNewest(candidate.name.clone()));
        }
        if let Err(why) = &candidate.usable {
            reason.get_or_insert_with(|| format!("{}: {why}", candidate.name));
            continue;
        }
        if let Some(container) = missing_container(observed, candidate) {
            return Err(NoTarget::ContainerMissing(container));
        }
        return Ok((*candidate).clone());
    }
    Err(reason.map_or_else(|| NoTarget::RunningIsNewest(newest.name.clone()), NoTarget::NoneUsable))
}

/// A container that the candidate names and the Deployment does not have.
pub(super) fn missing_container(observed: &Observed, candidate: &Candidate) -> Option<String> {
    let has = |name: &str| observed.images.iter().any(|(container, _)| container == name);
    let missing = candidate.images.iter().find(|image| !has(&image.container));
    missing.map(|image| image.container.clone())
}

/// Whether the candidate's images are the ones that run.
pub fn runs(observed: &Observed, candidate: &Candidate) -> bool {
    are_running(observed, &candidate.images)
}

/// Whether these images are the ones that run: by the template, or by the digests of the pods when all that are known
/// agree. During a rollout the old release's pods run the checkpoint beside the new one.
fn are_running(observed: &Observed, images: &[ContainerImage]) -> bool {
    images.iter().all(|image| {
        let template = observed
            .images
            .iter()
            .any(|(container, known)| *container == image.container && *known == image.image);
        let mut pods = observed
            .running
            .iter()
            .filter(|known| known.container == image.container)
            .peekable();
        let by_digest =
            image.digest().is_some() && pods.peek().is_some() && pods.all(|known| known.digest() == image.digest());
        template || by_digest
    })
}

/// Images that were there once, with the run that was named for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What says so.
    pub by: Witness,
    /// The run; none where none was named, or none is known.
    pub run: Option<String>,
    /// The images.
    pub images: Vec<ContainerImage>,
    /// When they were first there, unix seconds.
    pub since: i64,
}

/// What says which images a run was named for, the one that is believed first before the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    /// An incident: its release was judged by this run.
    Incident,
    /// A template that the Deployment had, or a checkpoint.
    Template,
}

/// The run of the release that runs: the one that its template names, or that of the checkpoint that it is.
pub fn own_run(observed: &Observed) -> Option<RunOf> {
    let checkpoint = observed
        .candidates
        .iter()
        .filter(|candidate| candidate.run.is_some() && runs(observed, candidate))
        .max_by_key(|candidate| candidate.certified)
        .and_then(|candidate| candidate.run.clone());
    let named = observed
        .template_run
        .as_ref()
        .filter(|run| !is_left_over(observed, run));
    match (named, checkpoint) {
        (Some(named), Some(checkpoint)) if checkpoint.run_id == *named => Some(checkpoint),
        (Some(named), _) => Some(RunOf {
            run_id: named.clone(),
            dataset_digest: None,
        }),
        (None, checkpoint) => checkpoint,
    }
}

/// Whether the run that the template names is that of a release before. Who goes back by the images alone, as a rollback
/// does, leaves the template's annotation, and every later change of the template (a restart, a limit) carries it on.
///
/// So a run is of the images that it came with. Others that were there before it do not take it over when they come back;
/// new ones do, and so does what a person names anew: a run that came with the images that run.
fn is_left_over(observed: &Observed, run: &str) -> bool {
    let of_it = observed
        .sightings
        .iter()
        .filter(|sighting| sighting.run.as_deref() == Some(run));
    let Some(came) = of_it.min_by_key(|sighting| (sighting.by, sighting.since)) else {
        return false;
    };
    // A sidecar that was changed since says nothing about the model: one container that went back is enough.
    let runs = |image: &&ContainerImage| are_running(observed, std::slice::from_ref(*image));
    let gone: Vec<&ContainerImage> = came.images.iter().filter(|image| !runs(image)).collect();
    let went_back = |sighting: &Sighting| {
        let is_gone = |image: &&ContainerImage| gone.iter().any(|gone| gone.container == image.container);
        sighting.images.iter().filter(is_gone).any(|image| runs(&image))
    };
    let mut sightings = observed.sightings.iter();
    sightings.any(|sighting| sighting.since <= came.since && went_back(sighting))
}

/// The run to compare with: that of the checkpoint that was certified last among those that do not run now. How long
/// ago that was does not matter here: the release before last month's is what last month's was better than.
pub fn baseline(observed: &Observed) -> Option<RunOf> {
    let own = own_run(observed);
    observed
        .candidates
        .iter()
        .filter(|candidate| candidate.certified.is_some() && !runs(observed, candidate))
        .filter(|candidate| {
            let run = candidate.run.as_ref();
            run.is_some_and(|run| own.as_ref().is_none_or(|own| own.run_id != run.run_id))
        })
        .max_by(|a, b| a.certified.cmp(&b.certified).then_with(|| a.name.cmp(&b.name)))
        .and_then(|candidate| candidate.run.clone())
}
