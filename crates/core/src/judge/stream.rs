//! Triggers on a share (errors, GPU samples) and on a rate (throughput).

use crate::{
    counters::{Counts, Look, NoDataReason, Reading},
    incident::Trigger,
    judge::{MIN_REQUESTS, State, TriggerVerdict},
    policy::{Latency, Throughput},
};
use quality_stats::{Estimate, StatsError, betting, poisson, proportion::wilson, sequential::Detector};

/// Judges whether the share of bad ones is over its limit.
#[derive(Clone, Debug)]
pub struct ShareJudge {
    trigger: Trigger,
    limit: f64,
    tolerated: f64,
    detector: Detector,
    design_effect: f64,
    log_threshold: f64,
    last: Reading<()>,
}

impl ShareJudge {
    /// `limit` is the limit that a reader knows; `tolerated` is the share of bad ones that it allows (the
    /// same number for errors).
    pub fn new(
        trigger: Trigger,
        limit: f64,
        tolerated: f64,
        design_effect: f64,
        log_threshold: f64,
        started: i64,
    ) -> Result<Self, StatsError> {
        let mut detector = Detector::share(tolerated, design_effect)?;
        detector.start(started);
        Ok(Self {
            trigger,
            limit,
            tolerated,
            detector,
            design_effect,
            log_threshold,
            last: Err(NoDataReason::NoData),
        })
    }

    /// The limit that a reader knows.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// Takes one look.
    pub fn look(&mut self, at: i64, counts: Reading<Counts>) {
        self.last = counts.and_then(|counts| {
            self.detector
                .look(at, counts.n, counts.bad)
                .map_err(|_| NoDataReason::BadValue)
        });
    }

    /// What the looks so far say, with figures from `looks`.
    pub fn verdict(&self, looks: impl Iterator<Item = (i64, Reading<Counts>)>) -> TriggerVerdict {
        let onset = self.detector.onset();
        let breach = self.detector.log_evidence() >= self.log_threshold;
        let total = sum(looks, onset.filter(|_| breach));
        let estimate = wilson(total.bad, total.n, self.design_effect).ok();
        TriggerVerdict {
            trigger: self.trigger,
            state: state(self.last, breach, estimate.as_ref(), |value| value <= self.tolerated),
            estimate,
            level: None,
            limit: self.tolerated,
            level_limit: (self.trigger != Trigger::ErrorRate).then_some(self.limit),
            log_evidence: self.detector.log_evidence(),
            log_threshold: self.log_threshold,
            onset,
            design_effect: self.design_effect,
            note: String::new(),
        }
    }
}

/// Healthy, Breach, Undetermined or Unknown from the last reading, the evidence and the estimate.
pub fn state(last: Reading<()>, breach: bool, estimate: Option<&Estimate>, keeps: impl Fn(f64) -> bool) -> State {
    match (last, estimate) {
        (Err(unknown), _) => State::Unknown(unknown),
        (Ok(()), _) if breach => State::Breach,
        (Ok(()), Some(estimate)) if keeps(estimate.value) => State::Healthy,
        (Ok(()), _) => State::Undetermined,
    }
}

/// The looks since `onset`, or all of them.
pub fn sum(looks: impl Iterator<Item = (i64, Reading<Counts>)>, onset: Option<i64>) -> Counts {
    looks
        .filter(|(at, _)| onset.is_none_or(|onset| *at > onset))
        .filter_map(|(_, counts)| counts.ok())
        .fold(Counts::default(), |sum, counts| Counts {
            n: sum.n + counts.n,
            bad: sum.bad + counts.bad,
        })
}

/// The mean level of GPU samples over the looks with the interval that holds at every look, share of 1.
///
/// The GPUs of one look do the same work: their mean is one observation.
pub fn mean_level<'a>(looks: impl Iterator<Item = &'a Reading<Vec<f64>>>) -> Option<Estimate> {
    let levels: Vec<f64> = looks
        .filter_map(|look| look.as_ref().ok())
        .filter(|samples| !samples.is_empty())
        .map(|samples| samples.iter().sum::<f64>() / samples.len() as f64)
        .collect();
    betting::mean(&levels).ok()
}

/// Judges whether requests end slower than the floor although there is demand for more.
#[derive(Clone, Debug)]
pub struct ThroughputJudge {
    throughput: Throughput,
    latency: Option<Latency>,
    detector: Detector,
    design_effect: f64,
    log_threshold: f64,
    last: Reading<()>,
    demand: Demand,
}

/// Whether there was demand for more than the floor at the last look.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Demand {
    Shown,
    NotShown,
    Unknowable,
}

impl ThroughputJudge {
    /// `latency` says how long a request may take: with the floor it gives the demand that counts.
    pub fn new(
        throughput: Throughput,
        latency: Option<Latency>,
        design_effect: f64,
        log_threshold: f64,
        started: i64,
    ) -> Result<Self, StatsError> {
        let mut detector = Detector::floor(throughput.floor, design_effect)?;
        detector.start(started);
        let last = Err(NoDataReason::NoData);
        Ok(Self {
            throughput,
            latency,
            detector,
            design_effect,
            log_threshold,
            last,
            demand: if throughput.assume_constant_demand {
                Demand::Shown
            } else {
                Demand::NotShown
            },
        })
    }

    /// Demand for at least the floor, by Little's law: were the requests in work and waiting (L) served
    /// within the latency target (W), at least L/W of them would end each second. So L ≥ floor · W and a
    /// throughput under the floor cannot both hold while the service keeps its latency.
    /// Source: J. D. C. Little, "A proof for the queuing formula L = λW", Operations Research 9 (1961).
    fn demand(&self, look: &Look) -> Demand {
        if self.throughput.assume_constant_demand {
            return Demand::Shown;
        }
        match (look.in_flight, self.latency) {
            (Ok(in_flight), Some(latency)) if in_flight >= self.throughput.floor * look.share * latency.target => {
                Demand::Shown
            }
            (Ok(_), Some(_)) => Demand::NotShown,
            _ => Demand::Unknowable,
        }
    }

    /// Takes one look. Looks without demand at both ends, and those of a release that warms up, say nothing about the floor.
    pub fn look(&mut self, look: &Look, warm: bool) {
        // In-flight requests are read at an instant: a burst at one end is no demand during the whole look.
        let before = self.demand;
        self.demand = self.demand(look);
        self.last = look.completed.and_then(|completed| {
            if before != Demand::Shown || self.demand != Demand::Shown || !warm || look.share <= 0.0 {
                return Ok(());
            }
            // While two releases run, this one is held against its share of the floor: the same likelihood
            // ratio as the whole floor over as much less time.
            self.detector
                .look_rate(look.at, completed.seconds * look.share, completed.count)
                .map_err(|_| NoDataReason::BadValue)
        });
    }

    /// What the looks so far say.
    pub fn verdict<'a>(&self, looks: impl Iterator<Item = &'a Look>) -> TriggerVerdict {
        let onset = self.detector.onset();
        let breach = self.detector.log_evidence() >= self.log_threshold;
        let since = onset.filter(|_| breach);
        let (mut count, mut seconds) = (0.0, 0.0);
        for look in looks.filter(|look| since.is_none_or(|onset| look.at > onset)) {
            if let Ok(completed) = look.completed {
                count += completed.count;
                seconds += completed.seconds * look.share;
            }
        }
        let estimate = poisson::rate(count, seconds, self.design_effect).ok();
        let enough = self.demand != Demand::Shown;
        let floor = self.throughput.floor;
        let note = match self.demand {
            Demand::Shown => String::new(),
            Demand::NotShown => {
                "no demand for more: too few requests in work to hold this against the release".to_owned()
            }
            Demand::Unknowable => {
                "no sign of demand: name an in-flight metric and a latency target, or set assumeConstantDemand"
                    .to_owned()
            }
        };
        let mut state = state(self.last, breach, estimate.as_ref(), |rate| rate >= floor || enough);
        if state == State::Healthy
            && self.demand == Demand::Unknowable
            && estimate.as_ref().is_some_and(|e| e.value < floor)
        {
            state = State::Undetermined;
        }
        if estimate
            .as_ref()
            .is_some_and(|estimate| (estimate.n as f64) < MIN_REQUESTS)
            && state == State::Healthy
        {
            state = State::Undetermined;
        }
        TriggerVerdict {
            trigger: Trigger::Throughput,
            state,
            estimate,
            level: None,
            limit: floor,
            level_limit: None,
            log_evidence: self.detector.log_evidence(),
            log_threshold: self.log_threshold,
            onset,
            design_effect: self.design_effect,
            note,
        }
    }
}
