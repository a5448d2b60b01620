//! The judge: from looks to a verdict. A function of the policy and the looks alone.
//!
//! Each streaming trigger has an e-SR detector (`docs/STATISTICS.md`, "Sequential detection"): the threshold of
//! evidence is shared out of one false-rollback budget, so looking every few seconds costs nothing. A
//! verdict never rests on an unknown value.

mod baseline;
pub mod compliance;
mod latency;
mod sentence;
mod stream;
mod verdict;

use std::{collections::VecDeque, sync::Arc};

use self::{latency::LatencyJudge, stream::ShareJudge, stream::ThroughputJudge};
use crate::{
    counters::{Counts, Look, NoDataReason, Reading},
    incident::Trigger,
    policy::Policy,
    quality::EvaluationState,
};
use quality_stats::{StatsError, histogram::Histogram, sequential};

pub use baseline::{BLOCK_SECONDS, HISTORY_SECONDS, design_effects};
pub use sentence::Figures;
pub use verdict::{State, TriggerState, TriggerVerdict, Verdict};

/// The window of the figures that are shown when there is no breach, seconds.
const WINDOW_SECONDS: i64 = 300;
/// Without a usable look for this long, while pods run, a release is blind. Seconds.
const MAX_SECONDS_WITHOUT_METRICS: i64 = 180;
/// Below this many requests nothing is called healthy: the least n with a finite one-sided 95 % bound of P95.
pub const MIN_REQUESTS: f64 = 59.0;
/// At most this share of GPU samples may lie over the limit: a GPU that is busy for a moment is no alarm.
const GPU_TOLERATED_SHARE: f64 = 0.2;

/// How much wider than binomial (or Poisson) the counts of this service vary, by trigger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DesignEffects {
    /// Of the share of failed requests.
    pub error_rate: f64,
    /// Of the share of slow requests.
    pub latency: f64,
    /// Of the count of requests.
    pub throughput: f64,
    /// How many blocks of history they rest on.
    pub blocks: usize,
}

impl Default for DesignEffects {
    fn default() -> Self {
        let start = sequential::PRIOR_DESIGN_EFFECT;
        Self {
            error_rate: start,
            latency: start,
            throughput: start,
            blocks: 0,
        }
    }
}

/// The analysis of one release, look by look.
#[derive(Clone, Debug)]
pub struct Analysis {
    policy: Arc<Policy>,
    started: i64,
    first_ready: Option<i64>,
    errors: Option<ShareJudge>,
    latency: Option<LatencyJudge>,
    throughput: Option<ThroughputJudge>,
    gpu_utilization: Option<ShareJudge>,
    gpu_memory: Option<ShareJudge>,
    window: VecDeque<Look>,
    last_look: Option<i64>,
    last_usable: i64,
}

impl Analysis {
    /// A new analysis whose looks start at `started`, unix seconds.
    pub fn new(policy: Arc<Policy>, started: i64, effects: DesignEffects) -> Result<Self, StatsError> {
        let looks = policy.looks_per_period();
        let streaming = policy.streaming_triggers().max(1);
        let threshold = sequential::threshold(streaming, looks, policy.false_rollback_rate)?.ln();
        // GPU triggers start no rollback, so they take nothing from its budget.
        let alert_threshold = sequential::threshold(1, looks, policy.false_rollback_rate)?.ln();
        let share =
            |trigger, limit, effect, threshold| ShareJudge::new(trigger, limit, limit, effect, threshold, started);
        let errors = policy
            .error_rate
            .map(|max| share(Trigger::ErrorRate, max, effects.error_rate, threshold))
            .transpose()?;
        let gpu = |trigger, limit: fn(&crate::policy::Gpu) -> f64| {
            let judge = |gpu| ShareJudge::new(trigger, limit(gpu), GPU_TOLERATED_SHARE, 1.0, alert_threshold, started);
            policy.gpu.as_ref().map(judge).transpose()
        };
        Ok(Self {
            errors,
            latency: policy
                .latency
                .map(|latency| LatencyJudge::new(latency, effects.latency, threshold, started)),
            throughput: policy
                .throughput
                .map(|throughput| {
                    ThroughputJudge::new(throughput, policy.latency, effects.throughput, threshold, started)
                })
                .transpose()?,
            gpu_utilization: gpu(Trigger::GpuUtilization, |gpu| gpu.max_utilization)?,
            gpu_memory: gpu(Trigger::GpuMemory, |gpu| gpu.max_memory)?,
            started,
            first_ready: None,
            window: VecDeque::new(),
            last_look: None,
            last_usable: started,
            policy,
        })
    }

    /// When the release's first pod was seen Ready: warm-up counts from here. The first answer stays.
    pub fn first_ready(&mut self, at: i64) {
        self.first_ready.get_or_insert(at);
    }

    /// End of the newest look.
    pub fn last_look(&self) -> Option<i64> {
        self.last_look
    }

    /// When the looks started to count.
    pub fn started(&self) -> i64 {
        self.started
    }

    /// Takes one look. A look that is not newer than the last one changes nothing.
    pub fn look(&mut self, look: Look) {
        if self.last_look.is_some_and(|last| look.at <= last) || look.at < self.started {
            return;
        }
        if self.last_look.is_none() {
            // After a restart the looks begin later than the release did: what came before is not blindness.
            self.last_usable = self.last_usable.max(look.at - self.policy.interval);
        }
        self.last_look = Some(look.at);
        let usable = look.errors.is_ok() || look.latency.is_ok();
        // A source that does not answer says nothing about the release, and neither does a release without
        // pods: it is not blind for that.
        // Where requests are seen and failures are not, the policy is wrong and not the release.
        let excused = |unknown: &NoDataReason| {
            matches!(
                unknown,
                NoDataReason::ProviderError
                    | NoDataReason::Partial
                    | NoDataReason::NoPods
                    | NoDataReason::ErrorsNotSeen
            )
        };
        let excused = look.errors.as_ref().is_err_and(excused) || look.latency.as_ref().is_err_and(excused);
        if usable || excused {
            self.last_usable = look.at;
        }
        let warm = self
            .first_ready
            .is_some_and(|ready| look.at - ready >= self.policy.warm_up);
        if let Some(judge) = &mut self.errors {
            judge.look(look.at, look.errors);
        }
        if let Some(judge) = &mut self.latency {
            judge.look(&look, warm);
        }
        if let Some(judge) = &mut self.throughput {
            judge.look(&look, warm);
        }
        for (judge, samples) in [
            (&mut self.gpu_utilization, &look.gpu_utilization),
            (&mut self.gpu_memory, &look.gpu_memory),
        ] {
            if let Some(judge) = judge {
                judge.look(look.at, over(samples, judge.limit()).map(one_vote));
            }
        }
        self.window.push_back(look);
        while self
            .window
            .front()
            .is_some_and(|first| first.at + WINDOW_SECONDS <= self.last_look.unwrap_or(first.at))
        {
            self.window.pop_front();
        }
    }

    /// What the looks so far and the evidence of the release's run say.
    pub fn verdict_with(&self, known: &EvaluationState) -> Verdict {
        let mut verdict = self.verdict();
        let objective = self
            .policy
            .quality
            .as_ref()
            .and_then(|quality| quality.compliance.as_ref());
        verdict
            .triggers
            .extend(objective.map(|objective| compliance::verdict(objective, known, self.started)));
        verdict
    }

    /// The latencies of the window that the figures are from.
    pub fn latencies(&self) -> Option<Histogram> {
        latency::merged(self.window.iter())
    }

    /// What the looks so far say.
    pub fn verdict(&self) -> Verdict {
        let looks = self.window.iter();
        let mut triggers = Vec::with_capacity(5);
        triggers.extend(
            self.errors
                .as_ref()
                .map(|judge| judge.verdict(looks.clone().map(|look| (look.at, look.errors)))),
        );
        for trigger in triggers.iter_mut().filter(|trigger| !trigger.counts_failures()) {
            trigger.note.clone_from(&self.policy.errors_not_seen);
        }
        triggers.extend(self.latency.as_ref().map(|judge| judge.verdict(&looks)));
        triggers.extend(self.throughput.as_ref().map(|judge| judge.verdict(looks.clone())));
        for (judge, pick) in [
            (
                &self.gpu_utilization,
                (|look| &look.gpu_utilization) as fn(&Look) -> &Reading<Vec<f64>>,
            ),
            (&self.gpu_memory, |look| &look.gpu_memory),
        ] {
            if let Some(judge) = judge {
                let limit = judge.limit();
                let votes = looks
                    .clone()
                    .map(|look| (look.at, over(pick(look), limit).map(one_vote)));
                let mut verdict = judge.verdict(votes);
                verdict.level = stream::mean_level(looks.clone().map(pick));
                triggers.push(verdict);
            }
        }
        let at = self.last_look.unwrap_or(self.started);
        // Before its first pod is Ready a release may take its time: a model loads for many minutes.
        let no_metrics_since = self
            .first_ready
            .map(|ready| ready.max(self.last_usable))
            .filter(|since| at - since >= MAX_SECONDS_WITHOUT_METRICS);
        Verdict {
            at,
            triggers,
            no_metrics_since,
        }
    }
}

/// GPU samples as a share question: how many, and how many over the limit.
fn over(samples: &Reading<Vec<f64>>, limit: f64) -> Reading<Counts> {
    let samples = samples.as_ref().map_err(|unknown| *unknown)?;
    let bad = samples.iter().filter(|sample| **sample > limit).count();
    Ok(Counts {
        n: samples.len() as f64,
        bad: bad as f64,
    })
}

/// A look's GPU samples as one: GPUs that are busy together are no independent witnesses, and many of them
/// for a moment are still only a moment.
fn one_vote(samples: Counts) -> Counts {
    if samples.n > 0.0 {
        Counts {
            n: 1.0,
            bad: samples.bad / samples.n,
        }
    } else {
        samples
    }
}

#[cfg(test)]
#[path = "judge/tests.rs"]
mod tests;
