//! What the judge says, with everything that a reader needs to weigh it.

use crate::{counters::NoDataReason, incident::Trigger, judge::MIN_REQUESTS};
use quality_stats::Estimate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a trigger stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The estimate keeps the limit.
    Healthy,
    /// The evidence against the release reached its threshold.
    Breach,
    /// The estimate misses the limit and the evidence is not enough, or the data cannot tell.
    Undetermined,
    /// The last look had no usable value.
    Unknown(NoDataReason),
}

impl State {
    /// As the API has it.
    pub fn kind(self) -> TriggerState {
        match self {
            Self::Healthy => TriggerState::Healthy,
            Self::Breach => TriggerState::Breach,
            Self::Undetermined => TriggerState::Undetermined,
            Self::Unknown(_) => TriggerState::Unknown,
        }
    }
}

/// Where a trigger stands, without why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TriggerState {
    /// The estimate keeps the limit.
    Healthy,
    /// The evidence against the release reached its threshold.
    Breach,
    /// The estimate misses the limit and the evidence is not enough, or the data cannot tell.
    Undetermined,
    /// The last look had no usable value.
    #[default]
    Unknown,
}

impl TriggerState {
    /// Its name, as the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Breach => "Breach",
            Self::Undetermined => "Undetermined",
            Self::Unknown => "Unknown",
        }
    }
}

/// One trigger's verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerVerdict {
    /// Which trigger.
    pub trigger: Trigger,
    /// Where it stands.
    pub state: State,
    /// The share (of failed, of slow requests, of GPU samples over the limit) or the rate that is judged.
    pub estimate: Option<Estimate>,
    /// The quantity that the limit is about, where it is another one: the latency quantile in seconds.
    pub level: Option<Estimate>,
    /// The limit of the estimate: a share, or requests per second.
    pub limit: f64,
    /// The limit of the level.
    pub level_limit: Option<f64>,
    /// ln of the evidence against the release.
    pub log_evidence: f64,
    /// ln of the evidence at which the operator acts.
    pub log_threshold: f64,
    /// When the evidence that counts began to grow, unix seconds.
    pub onset: Option<i64>,
    /// The design effect that tempers the evidence.
    pub design_effect: f64,
    /// What else a reader needs to know.
    pub note: String,
}

impl TriggerVerdict {
    /// Whether the evidence reached its threshold, with a usable last look.
    pub fn in_breach(&self) -> bool {
        self.state == State::Breach
    }

    /// Whether the evidence is at its threshold, whatever the last look was: an unknown look ends no breach.
    pub fn evidence_stands(&self) -> bool {
        self.in_breach() || self.log_evidence >= self.log_threshold
    }

    /// How many requests or samples the estimate is from.
    pub fn n(&self) -> u64 {
        self.estimate.as_ref().map_or(0, |estimate| estimate.n)
    }

    /// Something shows that failures are counted, where it is they that are judged.
    pub fn counts_failures(&self) -> bool {
        self.state != State::Unknown(NoDataReason::ErrorsNotSeen)
    }

    /// Healthy on enough requests.
    pub fn is_shown_healthy(&self) -> bool {
        self.state == State::Healthy && self.n() as f64 >= MIN_REQUESTS
    }
}

/// What the looks so far say of one release.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// End of the newest look, unix seconds.
    pub at: i64,
    /// Each judged trigger.
    pub triggers: Vec<TriggerVerdict>,
    /// No usable look since, unix seconds, though the source answers.
    pub no_metrics_since: Option<i64>,
}

impl Verdict {
    /// The same, of a release that exists since `born`: looks lie on a grid, and a release is judged from the one before its
    /// first request on, but no breach of it began before it was there.
    #[must_use]
    pub fn born(mut self, born: i64) -> Self {
        for trigger in &mut self.triggers {
            trigger.onset = trigger.onset.map(|onset| onset.max(born));
        }
        self
    }

    /// One trigger's verdict.
    pub fn trigger(&self, trigger: Trigger) -> Option<&TriggerVerdict> {
        self.triggers.iter().find(|verdict| verdict.trigger == trigger)
    }

    /// The triggers that start rollbacks.
    pub fn streaming(&self) -> impl Iterator<Item = &TriggerVerdict> {
        self.triggers.iter().filter(|verdict| {
            matches!(
                verdict.trigger,
                Trigger::ErrorRate | Trigger::Latency | Trigger::Throughput
            )
        })
    }

    /// The trigger on the model's compliance, where it is judged.
    pub fn compliance(&self) -> Option<&TriggerVerdict> {
        self.trigger(Trigger::Compliance)
    }

    /// Every trigger that starts rollbacks.
    pub fn decisive(&self) -> impl Iterator<Item = &TriggerVerdict> {
        self.streaming().chain(self.compliance())
    }

    /// The release may become a checkpoint: it is healthy, and where its compliance is judged and there is something
    /// to compare with, that was compared. A release whose evaluation is not known is no rollback target.
    pub fn may_be_registered(&self) -> bool {
        self.all_healthy()
            && self.compliance().is_none_or(|trigger| {
                matches!(trigger.state, State::Healthy | State::Unknown(NoDataReason::NoBaseline))
            })
    }

    /// Whether a breach of compliance can be told to be over or not.
    pub fn compliance_is_known(&self) -> bool {
        self.compliance()
            .is_none_or(|trigger| trigger.state != State::Unknown(NoDataReason::NoEvidence))
    }

    /// Whether a breach of the error rate can be told to be over or not.
    pub fn errors_are_counted(&self) -> bool {
        self.triggers.iter().all(TriggerVerdict::counts_failures)
    }

    /// The triggers that alert.
    pub fn alerting(&self) -> impl Iterator<Item = &TriggerVerdict> {
        self.triggers.iter().filter(|verdict| verdict.trigger.only_alerts())
    }

    /// Every streaming trigger is healthy on enough requests, and compliance is not in breach and not about to be. What is
    /// not known of a model's compliance ends neither a recovery nor a certification, and what alerts only has no say here.
    pub fn all_healthy(&self) -> bool {
        self.streaming().next().is_some()
            && self.streaming().all(TriggerVerdict::is_shown_healthy)
            && !self
                .compliance()
                .is_some_and(|trigger| matches!(trigger.state, State::Breach | State::Undetermined))
    }

    /// What an incident of this trigger ends with: some trigger's last look was usable and no trigger's evidence stands, also
    /// of those whose last look was not usable. What alerts only counts for an incident of its own.
    pub fn no_breach(&self, of: Trigger) -> bool {
        let counts = |verdict: &&TriggerVerdict| of.only_alerts() || !verdict.trigger.only_alerts();
        let counted = || self.triggers.iter().filter(counts);
        counted().any(|verdict| !matches!(verdict.state, State::Unknown(_)))
            && !counted().any(TriggerVerdict::evidence_stands)
            && self.no_metrics_since.is_none()
    }
}
