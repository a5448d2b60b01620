//! The validated policy: what the judge and the planner use in place of the raw spec.

mod objectives;

pub use objectives::{ComplianceObjective, DriftObjective, Objectives, Performance};

/// A policy whose every number was checked once. Times are seconds, shares lie in (0, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Seconds between two looks.
    pub interval: i64,
    /// The period that the false-rollback rate is about, seconds.
    pub period: f64,
    /// At most this share of healthy releases is rolled back within the period.
    pub false_rollback_rate: f64,
    /// A breach that lasts longer escalates, seconds.
    pub escalate_after: i64,
    /// Latency is not held against a release until its first pod has been Ready this long, seconds.
    pub warm_up: i64,
    /// What is judged about latency.
    pub latency: Option<Latency>,
    /// At most this share of requests may fail.
    pub error_rate: Option<f64>,
    /// Why the error rate is not known while nothing shows that failures are counted, and what to do, in words.
    pub errors_not_seen: String,
    /// What is judged about throughput.
    pub throughput: Option<Throughput>,
    /// GPU limits.
    pub gpu: Option<Gpu>,
    /// What the model's answers must meet; `None` where the policy names no evidence.
    pub quality: Option<Objectives>,
    /// A release without metrics is rolled back.
    pub roll_back_on_missing_metrics: bool,
    /// Who pulls the trigger.
    pub mode: Mode,
    /// Seconds after a rollback in which no second one happens.
    pub cooldown: i64,
    /// An older checkpoint may be used when the running release is the newest one.
    pub allow_previous: bool,
    /// A checkpoint that was not certified for longer is not used, seconds.
    pub checkpoint_max_age: i64,
    /// A checkpoint's pods should be Ready within this time, seconds.
    pub max_load_time: i64,
    /// A checkpoint should have been restored by a drill or rollback within this time, seconds.
    pub tested_within: i64,
    /// A checkpoint that was not restored within that time is not used.
    pub require_test: bool,
    /// Healthy for this long, a release is registered; `None` switches it off. Seconds.
    pub register_after: Option<i64>,
    /// How many registered checkpoints are kept.
    pub keep: usize,
    /// Recovery time objective, seconds.
    pub rto: i64,
    /// Recovery point objective, seconds.
    pub rpo: i64,
    /// Seconds between two reviews of the report.
    pub review: i64,
}

/// A latency quantile and its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Which quantile, in (0, 1).
    pub quantile: f64,
    /// The objective, seconds.
    pub target: f64,
    /// Breach is over target + tolerance, seconds.
    pub tolerance: f64,
    /// The histogram edge to judge at, when the policy names one; seconds.
    pub edge: Option<f64>,
}

impl Latency {
    /// Over this a release is in breach, seconds.
    pub fn limit(&self) -> f64 {
        self.target + self.tolerance
    }

    /// The share of requests that may be slower than the limit.
    pub fn tolerated(&self) -> f64 {
        1.0 - self.quantile
    }
}

/// A throughput floor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    /// The objective that the report shows, requests per second.
    pub target: f64,
    /// Breach is under this, requests per second.
    pub floor: f64,
    /// Demand is taken for granted.
    pub assume_constant_demand: bool,
}

/// GPU limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gpu {
    /// Share of the time.
    pub max_utilization: f64,
    /// Share of the memory.
    pub max_memory: f64,
}

/// Who pulls the trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The operator.
    Automatic,
    /// A person, who approves what the operator prepared.
    Prepare,
    /// Nobody.
    Observe,
}

impl Policy {
    /// How many streaming triggers share the false-rollback budget.
    pub fn streaming_triggers(&self) -> usize {
        usize::from(self.latency.is_some())
            + usize::from(self.error_rate.is_some())
            + usize::from(self.throughput.is_some())
    }

    /// How many looks there are in the period.
    pub fn looks_per_period(&self) -> f64 {
        (self.period / self.interval.max(1) as f64).max(1.0)
    }
}

/// The defaults of a policy that names its target alone, for tests to start from: no GPU and no evidence.
#[cfg(test)]
pub fn default_policy() -> Policy {
    Policy {
        interval: 15,
        period: 3_600.0,
        false_rollback_rate: 0.01,
        escalate_after: 180,
        warm_up: 60,
        latency: Some(Latency {
            quantile: 0.95,
            target: 0.5,
            tolerance: 0.005,
            edge: None,
        }),
        error_rate: Some(0.01),
        errors_not_seen: "failed_total counts nothing".to_owned(),
        throughput: Some(Throughput {
            target: 100.0,
            floor: 80.0,
            assume_constant_demand: false,
        }),
        gpu: None,
        quality: None,
        roll_back_on_missing_metrics: false,
        mode: Mode::Automatic,
        cooldown: 1_800,
        allow_previous: false,
        checkpoint_max_age: 86_400,
        max_load_time: 30,
        tested_within: 7 * 86_400,
        require_test: false,
        register_after: Some(300),
        keep: 5,
        rto: 600,
        rpo: 300,
        review: 86_400,
    }
}
