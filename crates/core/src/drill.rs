//! A recovery drill: one rehearsal of a rollback, as a state machine. Pure, so that every case can be a row of a table.
//!
//! One step a call, as in [`crate::plan`]: the caller acts, observes again and asks again. Each step can be read
//! off the cluster, so that a crash between two of them loses nothing.

pub mod schedule;

use serde::{Deserialize, Serialize};

use crate::format;

/// Where a rehearsal takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum DrillMode {
    /// On a shadow of the Deployment that no Service selects.
    #[default]
    Shadow,
    /// On the Deployment itself: for staging namespaces.
    InPlace,
}

/// How far a drill has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum DrillState {
    /// It waits for its turn, or for the Deployment to be at rest.
    #[default]
    Pending,
    /// What it will do is recorded; the shadow comes up on the release that runs.
    Starting,
    /// The fault is about to begin: its images are recorded.
    Breaking,
    /// The fault began. The checkpoint to roll back to is recorded; nothing was rolled back yet.
    Broken,
    /// The checkpoint's images were put back; its pods come up.
    RollingBack,
    /// It is judged; what it made is removed, what it changed is restored.
    CleaningUp,
    /// Nothing more will happen, and nothing but this record is left.
    Finished,
}

impl DrillState {
    /// Its name, as the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Starting => "Starting",
            Self::Breaking => "Breaking",
            Self::Broken => "Broken",
            Self::RollingBack => "RollingBack",
            Self::CleaningUp => "CleaningUp",
            Self::Finished => "Finished",
        }
    }

    /// Whether something of the drill may be in the cluster.
    pub fn is_active(self) -> bool {
        !matches!(self, Self::Pending | Self::Finished)
    }
}

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum DrillResult {
    /// The rollback path works, within both objectives.
    Passed,
    /// It does not, or not in time.
    Failed,
    /// Nothing was learned about the rollback path: something came in between.
    Aborted,
}

impl DrillResult {
    /// Its name, as the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "Passed",
            Self::Failed => "Failed",
            Self::Aborted => "Aborted",
        }
    }
}

/// Result, reason and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub result: DrillResult,
    /// A stable CamelCase reason.
    pub reason: String,
    /// In words.
    pub message: String,
}

fn outcome(result: DrillResult, reason: &str, message: impl Into<String>) -> Outcome {
    Outcome {
        result,
        reason: reason.to_owned(),
        message: message.into(),
    }
}

/// What a drill is held against, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrillLimits {
    /// Recovery time objective.
    pub rto: i64,
    /// Recovery point objective.
    pub rpo: i64,
}

impl DrillLimits {
    /// A step that takes longer than the objective for all of them will not end well: the drill gives up a little
    /// later, so that a recovery just over the objective is still measured.
    fn patience(self) -> i64 {
        self.rto + MARGIN
    }
}

/// Beyond the recovery time objective a step is waited for this much longer, seconds.
const MARGIN: i64 = 60;
/// A drill waits at most this long for one thing that passes, seconds.
const MAX_WAIT: i64 = 15 * 60;
/// And at most this long for its turn and in all, seconds. Many policies of one namespace may share a schedule.
const MAX_QUEUE: i64 = 6 * 3_600;

/// What stands in the way of a drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no such policy, or not yet.
    PolicyNotFound(String),
    /// It is paused.
    PolicyPaused,
    /// Its spec makes no sense.
    PolicyInvalid(String),
    /// Other policies guard the same Deployment.
    Conflict(String),
    /// The namespace is not marked as one for staging.
    NotStaging(String),
    /// There is no Deployment to rehearse with.
    NoTarget(String),
    /// An incident of the policy is open.
    IncidentOpen(String),
    /// No checkpoint may be used.
    NoCheckpoint(String),
    /// Pods of the Deployment come and go.
    RolloutInProgress,
    /// Which digests the pods run is not known.
    DigestsUnknown,
    /// Another drill of the namespace comes first.
    AnotherDrill(String),
}

impl Obstacle {
    /// A stable CamelCase reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PolicyNotFound(_) => "PolicyNotFound",
            Self::PolicyPaused => "PolicyPaused",
            Self::PolicyInvalid(_) => "PolicyInvalid",
            Self::Conflict(_) => "PolicyConflict",
            Self::NotStaging(_) => "NotStaging",
            Self::NoTarget(_) => "TargetNotReady",
            Self::IncidentOpen(_) => "IncidentOpen",
            Self::NoCheckpoint(_) => "NoCheckpoint",
            Self::RolloutInProgress => "RolloutInProgress",
            Self::DigestsUnknown => "DigestsUnknown",
            Self::AnotherDrill(_) => "AnotherDrill",
        }
    }

    /// In words.
    pub fn message(&self) -> String {
        match self {
            Self::PolicyNotFound(name) => format!("there is no policy {name} in this namespace"),
            Self::PolicyPaused => "the policy is paused".to_owned(),
            Self::PolicyInvalid(message)
            | Self::Conflict(message)
            | Self::NotStaging(message)
            | Self::NoTarget(message) => message.clone(),
            Self::IncidentOpen(name) => format!("incident {name} is open"),
            Self::NoCheckpoint(why) => why.clone(),
            Self::RolloutInProgress => "a rollout of the Deployment is not complete".to_owned(),
            Self::DigestsUnknown => "the digests that the Deployment's pods run are not known".to_owned(),
            Self::AnotherDrill(name) => {
                format!("drill {name} comes first: one at a time in a namespace")
            }
        }
    }

    /// Whether it goes away by itself: a drill that has not begun waits for that. A person must mend the others.
    pub fn passes(&self) -> bool {
        match self {
            // A checkpoint is registered, or certified again after an outage, by itself.
            Self::PolicyNotFound(_)
            | Self::NoTarget(_)
            | Self::NoCheckpoint(_)
            | Self::IncidentOpen(_)
            | Self::RolloutInProgress
            | Self::DigestsUnknown
            | Self::AnotherDrill(_) => true,
            Self::PolicyPaused | Self::PolicyInvalid(_) | Self::Conflict(_) | Self::NotStaging(_) => false,
        }
    }

    /// Whether a drill that has begun is broken off by it. A rollout of the Deployment does not touch its shadow.
    fn stops(&self, state: DrillState) -> bool {
        match self {
            Self::PolicyNotFound(_)
            | Self::PolicyPaused
            | Self::PolicyInvalid(_)
            | Self::Conflict(_)
            | Self::NoTarget(_)
            | Self::IncidentOpen(_) => true,
            // Once its images are back, it does not matter any more what may be used.
            Self::NoCheckpoint(_) => state != DrillState::RollingBack,
            Self::NotStaging(_) | Self::RolloutInProgress | Self::DigestsUnknown | Self::AnotherDrill(_) => false,
        }
    }
}

/// What is on record of a drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drill {
    /// Where it takes place.
    pub mode: DrillMode,
    /// How far it has come.
    pub state: DrillState,
    /// When it was asked for, unix seconds.
    pub created: i64,
    /// When its state began, or what it waits for did; unix seconds.
    pub entered: i64,
    /// When the fault began, unix seconds.
    pub fault_at: Option<i64>,
    /// What it was judged to be, once it is.
    pub outcome: Option<Outcome>,
}

/// Which images the Deployment under drill asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSet {
    /// Those that it began with.
    Start,
    /// Those of the fault.
    Fault,
    /// The checkpoint's, put there by this drill's rollback.
    Checkpoint,
    /// Something else: a person changed it.
    Other,
}

/// The Deployment under drill, shadow or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its images.
    pub worn: ImageSet,
    /// It carries this drill's mark.
    pub marked: bool,
    /// Why no pods can be made, in the API server's words.
    pub refusal: Option<String>,
    /// Pods of its newest template were made, and where only one may be, it replaced the old one.
    pub in_effect: bool,
    /// Every replica runs the newest template and is available.
    pub complete: bool,
}

/// What the cluster shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillObservation {
    /// Now, unix seconds.
    pub now: i64,
    /// The policy's objectives.
    pub limits: DrillLimits,
    /// What stands in the way, what lasts longest first.
    pub obstacles: Vec<Obstacle>,
    /// The Deployment under drill, when there is one.
    pub subject: Option<Subject>,
}

/// The one next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrillStep {
    /// Nothing to do; of a drill that has not begun with what it waits for.
    Wait(Option<Obstacle>),
    /// Record what will be done: `Starting` on a shadow, `Breaking` in place.
    Begin,
    /// Make the shadow.
    Make,
    /// The release runs: the fault is next.
    Break,
    /// Begin the fault.
    Fault,
    /// Record when the fault began and which release it made, which is the intent of the rollback.
    MarkBroken,
    /// Go back to the checkpoint.
    RollBack,
    /// Record that the checkpoint's images are back.
    MarkRolledBack,
    /// Record the times and judge them.
    Recovered,
    /// Break off and clean up.
    CleanUp(Outcome),
    /// Delete the shadow; put the Deployment's own images back.
    Remove,
    /// Nothing is left: close the record.
    Finish(Outcome),
}

/// The next step of a drill.
pub fn next(drill: &Drill, seen: &DrillObservation) -> DrillStep {
    match drill.state {
        DrillState::Pending => pending(drill, seen),
        DrillState::Finished => DrillStep::Wait(None),
        DrillState::CleaningUp => cleaning_up(drill, seen),
        DrillState::Starting | DrillState::Breaking | DrillState::Broken | DrillState::RollingBack => {
            let stop = seen.obstacles.iter().find(|obstacle| obstacle.stops(drill.state));
            match stop {
                Some(obstacle) => DrillStep::CleanUp(aborted(obstacle)),
                None => under_way(drill, seen),
            }
        }
    }
}

fn aborted(obstacle: &Obstacle) -> Outcome {
    outcome(DrillResult::Aborted, obstacle.reason(), obstacle.message())
}

fn pending(drill: &Drill, seen: &DrillObservation) -> DrillStep {
    let Some(obstacle) = seen.obstacles.first() else {
        return DrillStep::Begin;
    };
    if !obstacle.passes() {
        return DrillStep::Finish(aborted(obstacle));
    }
    let in_line = matches!(obstacle, Obstacle::AnotherDrill(_));
    let waited = seen.now - drill.created;
    if waited > MAX_QUEUE || !in_line && seen.now - drill.entered > MAX_WAIT {
        let message = format!(
            "not begun {} after it was asked for: {}",
            format::span(waited),
            obstacle.message()
        );
        return DrillStep::Finish(outcome(DrillResult::Aborted, obstacle.reason(), message));
    }
    DrillStep::Wait(Some(obstacle.clone()))
}

fn under_way(drill: &Drill, seen: &DrillObservation) -> DrillStep {
    use DrillState as S;
    let Some(subject) = &seen.subject else {
        return match (drill.state, drill.mode) {
            (S::Starting, DrillMode::Shadow) => DrillStep::Make,
            _ => DrillStep::CleanUp(outcome(
                DrillResult::Aborted,
                "SubjectGone",
                "the Deployment under drill was deleted",
            )),
        };
    };
    if subject.worn == ImageSet::Other {
        return DrillStep::CleanUp(outcome(
            DrillResult::Aborted,
            "Changed",
            "somebody changed the images of the Deployment under drill",
        ));
    }
    let late = |since: i64| seen.now - since > seen.limits.patience();
    let since_fault = drill.fault_at.unwrap_or(drill.entered);
    match (drill.state, subject.worn) {
        (S::Starting, ImageSet::Start) if subject.complete => DrillStep::Break,
        (S::Starting, _) => match &subject.refusal {
            // Nothing is learned about the rollback path: production's own rollback asks for no more pods.
            Some(words) => DrillStep::CleanUp(outcome(DrillResult::Aborted, "PodsRefused", words)),
            None if late(drill.entered) => DrillStep::CleanUp(outcome(
                DrillResult::Failed,
                "NeverReady",
                format!(
                    "no pod of the release that runs became Ready on the shadow within {}",
                    format::span(seen.limits.patience())
                ),
            )),
            None => DrillStep::Wait(None),
        },
        (S::Breaking, ImageSet::Start) => DrillStep::Fault,
        (S::Breaking, ImageSet::Fault) if subject.in_effect => DrillStep::MarkBroken,
        (S::Breaking, _) if late(drill.entered) => DrillStep::CleanUp(outcome(
            DrillResult::Aborted,
            "NoFault",
            with(
                "the fault took no effect: no pod of it was made",
                subject.refusal.as_ref(),
            ),
        )),
        (S::Broken, ImageSet::Checkpoint) => DrillStep::MarkRolledBack,
        (S::RollingBack, ImageSet::Checkpoint) if subject.complete => DrillStep::Recovered,
        (S::Broken | S::RollingBack, _) if late(since_fault) => DrillStep::CleanUp(outcome(
            DrillResult::Failed,
            "NotRecovered",
            with(
                &format!(
                    "not recovered {} after the fault began",
                    format::span(seen.now - since_fault)
                ),
                subject.refusal.as_ref(),
            ),
        )),
        (S::Broken, ImageSet::Fault) => DrillStep::RollBack,
        // What was written a moment ago does not show yet.
        _ => DrillStep::Wait(None),
    }
}

fn with(message: &str, refusal: Option<&String>) -> String {
    refusal.map_or_else(|| message.to_owned(), |words| format!("{message}: {words}"))
}

fn cleaning_up(drill: &Drill, seen: &DrillObservation) -> DrillStep {
    let lost = || {
        outcome(
            DrillResult::Aborted,
            "Lost",
            "the record of this drill has no result: it was edited",
        )
    };
    let ended = drill.outcome.clone().unwrap_or_else(lost);
    match (&seen.subject, drill.mode) {
        (None, _) => DrillStep::Finish(ended),
        (Some(_), DrillMode::Shadow) => DrillStep::Remove,
        (Some(subject), DrillMode::InPlace) if subject.marked => DrillStep::Remove,
        (Some(subject), DrillMode::InPlace) if subject.complete => DrillStep::Finish(ended),
        (Some(_), DrillMode::InPlace) if seen.now - drill.entered > seen.limits.patience() => {
            DrillStep::Finish(outcome(
                DrillResult::Failed,
                "NotRestored",
                format!(
                    "the Deployment's own images were put back and its rollout is not complete after {}; before that: {}",
                    format::span(seen.limits.patience()),
                    ended.message
                ),
            ))
        }
        (Some(_), DrillMode::InPlace) => DrillStep::Wait(None),
    }
}

/// The result of a drill that recovered: both objectives must be kept. Seconds; an RPO that is not known is not kept.
pub fn judge(rto: i64, rpo: Option<i64>, limits: DrillLimits) -> Outcome {
    let (limit_rto, limit_rpo) = (format::span(limits.rto), format::span(limits.rpo));
    let told_rto = format::span(rto);
    let told_rpo = rpo.map_or_else(|| format::UNKNOWN.to_owned(), format::span);
    if rto > limits.rto {
        return outcome(
            DrillResult::Failed,
            "RtoExceeded",
            format!("recovered {told_rto} after the fault began, over the objective of {limit_rto}"),
        );
    }
    if rpo.is_none_or(|rpo| rpo > limits.rpo) {
        return outcome(
            DrillResult::Failed,
            "RpoExceeded",
            format!(
                "the checkpoint was certified {told_rpo} before the fault began, over the objective of {limit_rpo}"
            ),
        );
    }
    outcome(
        DrillResult::Passed,
        "Recovered",
        format!("RTO {told_rto} (objective {limit_rto}), RPO {told_rpo} (objective {limit_rpo})"),
    )
}

/// An image of the same repository that no registry has.
pub fn fault_image(image: &str, digest: &str) -> String {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let repository = name[slash..].find(':').map_or(name, |colon| &name[..slash + colon]);
    format!("{repository}@sha256:{digest}")
}

#[cfg(test)]
#[path = "drill/tests.rs"]
mod tests;
