//! Whether a checkpoint is a rollback target that one can rely on: one finding a part, and their sum. Pure.
//!
//! Messages hold instants and no ages, so that a finding stays the same from look to look while nothing changes.

use jiff::Timestamp;

use crate::{format, policy::Policy};

/// How long the pods of a release took to come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadTime {
    /// From scheduled to Ready, seconds.
    pub seconds: i64,
    /// When the newest of the pods was created, unix seconds.
    pub created: i64,
}

/// A part of a checkpoint's readiness, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its digests were seen running and healthy.
    Verified,
    /// Its images are whole in their registries.
    ImageAvailable,
    /// Its artifacts are there and have their hashes.
    ArtifactsIntact,
    /// Its pods come up fast enough.
    LoadTime,
    /// It was certified not too long ago.
    Fresh,
    /// The rollback path to it was tested recently enough.
    PathTested,
}

impl Part {
    /// Its name, as the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verified => "Verified",
            Self::ImageAvailable => "ImageAvailable",
            Self::ArtifactsIntact => "ArtifactsIntact",
            Self::LoadTime => "LoadTime",
            Self::Fresh => "Fresh",
            Self::PathTested => "PathTested",
        }
    }
}

/// How a part stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckStatus {
    /// It holds.
    Holds,
    /// It does not: a definite problem.
    Fails,
    /// It cannot be told, which blocks nothing.
    Unknown,
}

/// What was found of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub standing: CheckStatus,
    /// A stable CamelCase word.
    pub reason: String,
    /// In words.
    pub message: String,
}

impl Finding {
    fn new(standing: CheckStatus, reason: &str, message: impl Into<String>) -> Self {
        Self {
            standing,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// What looking images up in their registries, or artifacts in their stores, gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// Nobody has looked yet.
    Pending,
    /// There is nothing to look for.
    Nothing,
    /// The administrator named no place to look.
    NotConfigured(String),
    /// All is as it should be.
    Verified {
        /// When that was seen, unix seconds.
        at: i64,
        /// What was seen.
        message: String,
    },
    /// A definite problem.
    Broken {
        /// A stable CamelCase word.
        reason: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The registry or the store gave no usable answer: what was known before still is.
    Unanswered {
        /// A stable CamelCase word.
        reason: &'static str,
        /// What went wrong.
        message: String,
    },
}

impl CheckResult {
    /// The look at several things of one checkpoint, from the looks at each: a definite problem decides, then what
    /// could not be asked, then what nobody may ask. Of good looks the oldest counts, and each thing is told once.
    pub fn all(looks: Vec<Self>) -> Self {
        let good = looks.iter().filter_map(|look| match look {
            Self::Verified { at, message } => Some((*at, message.clone())),
            _ => None,
        });
        let (times, mut messages): (Vec<i64>, Vec<String>) = good.unzip();
        messages.dedup();
        let rank = |look: &Self| match look {
            Self::Broken { .. } => 0,
            Self::Unanswered { .. } => 1,
            Self::NotConfigured(_) => 2,
            Self::Pending => 3,
            Self::Verified { .. } => 4,
            Self::Nothing => 5,
        };
        match (looks.into_iter().min_by_key(rank), times.into_iter().min()) {
            (Some(Self::Verified { .. }), Some(at)) => Self::Verified {
                at,
                message: messages.join("; "),
            },
            (worst, _) => worst.unwrap_or(Self::Nothing),
        }
    }
}

/// The reason of a part that was verified before and cannot be looked at now.
const LAST_VERIFIED: &str = "LastVerified";

/// The finding after a look, from the one before it. `verified` is when the last good look was, unix seconds.
pub fn after(look: &CheckResult, known: Option<&Finding>, verified: Option<i64>) -> Finding {
    match look {
        CheckResult::Pending => known
            .cloned()
            .unwrap_or_else(|| Finding::new(CheckStatus::Unknown, "NotChecked", "it was not looked at yet")),
        CheckResult::Nothing => Finding::new(CheckStatus::Holds, "Nothing", "there is nothing to look for"),
        CheckResult::NotConfigured(message) => Finding::new(CheckStatus::Unknown, "NotConfigured", message),
        CheckResult::Verified { message, .. } => Finding::new(CheckStatus::Holds, "Verified", message),
        CheckResult::Broken { reason, message } => Finding::new(CheckStatus::Fails, reason, message),
        CheckResult::Unanswered { reason, message } => match known {
            // What goes wrong may be worded in another way at each try: what was said first stays.
            Some(known) if known.standing == CheckStatus::Holds && known.reason == LAST_VERIFIED => known.clone(),
            Some(known) if known.standing == CheckStatus::Holds => {
                let at = verified.map_or_else(|| "at an unknown time".to_owned(), |at| format!("at {}", instant(at)));
                Finding::new(
                    CheckStatus::Holds,
                    LAST_VERIFIED,
                    format!("{message}; last verified {at}"),
                )
            }
            Some(known) if known.standing == CheckStatus::Fails => known.clone(),
            Some(known) if known.reason == *reason => known.clone(),
            _ => Finding::new(
                CheckStatus::Unknown,
                reason,
                format!("{message}; it was never verified"),
            ),
        },
    }
}

/// An instant in words.
pub fn instant(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| format::UNKNOWN.to_owned(), |at| at.to_string())
}

/// Whether a rollback goes ahead after the look right before it: what to add to its record, or why it does not.
/// `verified` is when the last good look was, and `now` is now, unix seconds.
pub fn confirmed(look: &CheckResult, verified: Option<i64>, now: i64) -> Result<Option<String>, String> {
    match look {
        CheckResult::Broken { message, .. } => Err(message.clone()),
        CheckResult::Unanswered { message, .. } => Ok(Some(match verified {
            Some(at) => format!(
                "{message}: on the state that was last verified {} ago",
                format::span(now - at)
            ),
            None => format!("{message}: it was never verified there"),
        })),
        CheckResult::Pending | CheckResult::Nothing | CheckResult::NotConfigured(_) | CheckResult::Verified { .. } => {
            Ok(None)
        }
    }
}

/// What is known of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// A person took it back.
    pub revoked: bool,
    /// An image without a digest, with its container, in words.
    pub unpinned: Option<String>,
    /// That one of its images is kept out, in words.
    pub quarantined: Option<String>,
    /// When its digests were last seen running and healthy, unix seconds.
    pub certified: Option<i64>,
    /// Whether its images are in their registries.
    pub image: Finding,
    /// Whether its artifacts are in their stores.
    pub artifacts: Finding,
    /// How long its pods took to come up, seconds.
    pub load: Option<i64>,
    /// When the rollback path to it was last tested, unix seconds.
    pub tested: Option<i64>,
}

/// A checkpoint's readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Each part.
    pub parts: [(Part, Finding); 6],
    /// Their sum: it fails only for a definite problem.
    pub ready: Finding,
    /// Whether it is a valid rollback target. A slow load makes it no worse a target than a release in
    /// breach, so it is told and does not stand in the way.
    pub usable: Result<(), String>,
}

/// Judges what is known of a checkpoint at `now`, unix seconds.
pub fn judge(facts: &Facts, policy: &Policy, now: i64) -> Readiness {
    let parts = [
        (Part::Verified, verified(facts)),
        (Part::ImageAvailable, facts.image.clone()),
        (Part::ArtifactsIntact, facts.artifacts.clone()),
        (Part::LoadTime, load(facts, policy)),
        (Part::Fresh, fresh(facts, policy, now)),
        (Part::PathTested, path(facts, policy, now)),
    ];
    let blocks = |part: Part| match part {
        Part::Verified | Part::ImageAvailable | Part::ArtifactsIntact | Part::Fresh => true,
        Part::LoadTime => false,
        Part::PathTested => policy.require_test,
    };
    // An old test is told; only a policy that requires a test makes more of it than of none.
    let counts = |part: Part| part == Part::LoadTime || blocks(part);
    let failing = |asked: &dyn Fn(Part) -> bool| {
        parts
            .iter()
            .find(|(part, finding)| finding.standing == CheckStatus::Fails && asked(*part))
    };
    let barred = if facts.revoked {
        Some(Finding::new(CheckStatus::Fails, "Revoked", "it was revoked"))
    } else if let Some(image) = &facts.unpinned {
        Some(Finding::new(CheckStatus::Fails, "NotPinned", image))
    } else {
        let quarantined = facts.quarantined.as_ref();
        quarantined.map(|why| Finding::new(CheckStatus::Fails, "Quarantined", why))
    };
    let usable = match (&barred, failing(&blocks)) {
        (Some(finding), _) | (None, Some((_, finding))) => Err(finding.message.clone()),
        (None, None) => Ok(()),
    };
    let ready = match (barred, failing(&counts)) {
        (Some(finding), _) => finding,
        (None, Some((_, finding))) => finding.clone(),
        (None, None) => sum(&parts),
    };
    Readiness { parts, ready, usable }
}

/// Nothing stands in the way; what was not shown is named.
fn sum(parts: &[(Part, Finding)]) -> Finding {
    let open: Vec<String> = parts
        .iter()
        .filter(|(_, finding)| finding.standing != CheckStatus::Holds)
        .map(|(part, finding)| format!("{} ({})", part.name(), finding.reason))
        .collect();
    let message = if open.is_empty() {
        "a valid rollback target".to_owned()
    } else {
        format!("a valid rollback target; not shown: {}", open.join(", "))
    };
    Finding::new(CheckStatus::Holds, "Verified", message)
}

fn verified(facts: &Facts) -> Finding {
    match facts.certified {
        Some(_) => Finding::new(
            CheckStatus::Holds,
            "SeenHealthy",
            "its digests were seen running with every trigger that rolls back healthy",
        ),
        None => Finding::new(
            CheckStatus::Fails,
            "NotVerified",
            "it is not verified: its digests were not seen running and healthy yet",
        ),
    }
}

fn load(facts: &Facts, policy: &Policy) -> Finding {
    let limit = format::span(policy.max_load_time);
    match facts.load {
        None => Finding::new(
            CheckStatus::Unknown,
            "NotMeasured",
            "how long its pods take to be Ready was not measured yet",
        ),
        Some(seconds) if seconds > policy.max_load_time => Finding::new(
            CheckStatus::Fails,
            "LoadTooSlow",
            format!(
                "its pods took {} to be Ready, longer than {limit}: a rollback takes as long",
                format::span(seconds)
            ),
        ),
        Some(seconds) => Finding::new(
            CheckStatus::Holds,
            "LoadedInTime",
            format!("its pods took {} to be Ready, at most {limit}", format::span(seconds)),
        ),
    }
}

fn fresh(facts: &Facts, policy: &Policy, now: i64) -> Finding {
    let limit = format::span(policy.checkpoint_max_age);
    match facts.certified {
        None => Finding::new(CheckStatus::Unknown, "NotCertified", "it was not certified yet"),
        Some(at) if now - at > policy.checkpoint_max_age => Finding::new(
            CheckStatus::Fails,
            "Stale",
            format!("it was last certified at {}, longer ago than {limit}", instant(at)),
        ),
        Some(_) => Finding::new(
            CheckStatus::Holds,
            "Certified",
            format!("it was certified within {limit}"),
        ),
    }
}

fn path(facts: &Facts, policy: &Policy, now: i64) -> Finding {
    let limit = format::span(policy.tested_within);
    match facts.tested {
        Some(at) if now - at > policy.tested_within => Finding::new(
            CheckStatus::Fails,
            "TestOutdated",
            format!(
                "the rollback path to it was last tested at {}, longer ago than {limit}",
                instant(at)
            ),
        ),
        Some(at) => Finding::new(
            CheckStatus::Holds,
            "Tested",
            format!("rollback path tested at {}, within {limit}", instant(at)),
        ),
        None => Finding::new(
            if policy.require_test {
                CheckStatus::Fails
            } else {
                CheckStatus::Unknown
            },
            "NotTested",
            "the rollback path to it was never tested by a drill or a rollback",
        ),
    }
}

#[cfg(test)]
#[path = "readiness/tests.rs"]
mod tests;
