//! The analysis of one policy's release, kept up to date look by look.
//!
//! Its state is a function of the history since the release's analysis began: after a restart the looks are
//! read again from the source's range API and give the same verdict.

use std::sync::Arc;

use crate::controllers::release::{made_for, pod_of_replica_set};
use quality_core::{
    counters::{CounterDeltas, Coverage, Look, NoDataReason},
    history::{self, History, Limits},
    incident::{ContainerImage, Trigger},
    judge::{self, Analysis, DesignEffects, Verdict},
    plan::Release,
    policy::Policy,
    quality::{EvaluationState, Quality},
    readiness::LoadTime,
};
use quality_sources::{
    presets::{DeploymentSelector, MetricSet},
    prometheus::{QueryError, Source},
    table::Table,
};
use quality_stats::{StatsError, comparison::Comparison};

/// So many releases are known to count their failures, the newest ones.
const MAX_COUNTING: usize = 8;

/// What does not change while one release is analysed.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Namespace of the Deployment.
    pub namespace: String,
    /// Name of the Deployment.
    pub deployment: String,
    /// The release.
    pub release: Release,
    /// When its ReplicaSet was created, unless its pods may be older than the release.
    pub born: Option<i64>,
    /// The policy that it is judged by.
    pub policy: Arc<Policy>,
    /// Where its metrics are.
    pub metrics: Arc<MetricSet>,
}

/// How many pods the release has and should have.
#[derive(Clone, Copy, Debug)]
pub struct Replicas {
    /// Ready now.
    pub ready: usize,
    /// Asked for.
    pub desired: usize,
}

/// The analysis of one release.
pub struct ReleaseAnalysis {
    /// What is analysed.
    pub subject: Subject,
    /// The design effects, fixed when the analysis started.
    pub effects: DesignEffects,
    /// When the looks started to count, unix seconds.
    pub started: i64,
    /// When the first pod was seen Ready, unix seconds.
    pub first_ready: Option<i64>,
    /// Every trigger has been healthy since, unix seconds.
    pub healthy_since: Option<i64>,
    /// The digests that the release's pods run, once known.
    pub running: Vec<ContainerImage>,
    /// How long its pods took to come up, measured once its rollout is complete.
    pub load: Option<LoadTime>,
    /// Whether that was measured.
    pub measured: bool,
    /// The looks of this release and of those before it, for the report.
    pub history: History,
    /// Images that showed that their failures are counted, by these metrics: a release that comes back is not doubted anew.
    pub counting: Vec<Vec<ContainerImage>>,
    /// Why the last look had no evidence, in words.
    pub problem: Option<String>,
    /// Why there is no look at all yet: the source did not tell the release's history.
    unanswered: Option<NoDataReason>,
    analysis: Analysis,
    differ: CounterDeltas,
    others: CounterDeltas,
    comparison: Option<Comparison>,
}

impl ReleaseAnalysis {
    /// An analysis that starts at `started`.
    pub fn new(
        subject: Subject,
        started: i64,
        first_ready: Option<i64>,
        effects: DesignEffects,
    ) -> Result<Self, StatsError> {
        let mut analysis = Analysis::new(subject.policy.clone(), started, effects)?;
        if let Some(at) = first_ready {
            analysis.first_ready(at);
        }
        let comparison = Comparison::new(effects.error_rate).ok();
        Ok(Self {
            subject,
            effects,
            started,
            first_ready,
            healthy_since: None,
            running: Vec::new(),
            load: None,
            measured: false,
            history: History::default(),
            counting: Vec::new(),
            problem: None,
            unanswered: None,
            analysis,
            differ: CounterDeltas::default(),
            others: CounterDeltas::default(),
            comparison,
        })
    }

    /// Brings the analysis up to the instant `until` of the grid of looks.
    ///
    /// One missing look is taken from the table that all policies share; more of them (after a restart, or
    /// when the source was slow) are read from its range API.
    pub async fn catch_up(&mut self, source: &Source, until: i64, replicas: Replicas) {
        if replicas.ready > 0 && self.first_ready.is_none() {
            self.first_ready = Some(until);
            self.analysis.first_ready(until);
        }
        let interval = self.subject.policy.interval;
        let earliest = until - (self.subject.policy.period as i64 / interval) * interval;
        let next = self
            .analysis
            .last_look()
            .map_or(self.started.max(earliest), |last| last + interval);
        if next > until {
            return;
        }
        if next < until {
            let metrics = self.subject.metrics.clone();
            match source.history(&metrics, self.narrow(), next, until, interval).await {
                Ok(tables) => {
                    self.problem = None;
                    for table in &tables {
                        self.take(table, replicas.desired);
                    }
                    return;
                }
                Err(error) if self.analysis.last_look().is_none() => {
                    // Without its history the analysis cannot start; the next reconcile tries again.
                    self.problem = Some(format!("source {}: {error}", source.name()));
                    self.unanswered = Some(error.unknown());
                    return;
                }
                // The counters are cumulative: the next look covers what the missing ones would have.
                Err(_) => {}
            }
        }
        let table = source.table(&self.subject.metrics, until).await;
        self.problem = table.problem().map(str::to_owned);
        self.take(&table, replicas.ready);
    }

    /// Takes down that the images that run show that their failures are counted, or takes it from what they showed before.
    pub fn know_counting(&mut self) {
        if self.running.is_empty() {
            return;
        }
        match (self.differ.errors_seen(), self.counting.contains(&self.running)) {
            (true, false) => {
                let surplus = (self.counting.len() + 1).saturating_sub(MAX_COUNTING);
                self.counting.drain(..surplus);
                self.counting.push(self.running.clone());
            }
            (false, true) => self.differ.assume_errors_seen(),
            (true, true) | (false, false) => {}
        }
    }

    /// What this analysis knows of counted failures, for one of another release of the same Deployment by the same metrics.
    pub fn counting_for(&self, subject: &Subject) -> Vec<Vec<ContainerImage>> {
        let same = self.subject.metrics == subject.metrics
            && self.subject.release.deployment_uid == subject.release.deployment_uid;
        if same { self.counting.clone() } else { Vec::new() }
    }

    fn narrow(&self) -> DeploymentSelector<'_> {
        DeploymentSelector {
            namespace: &self.subject.namespace,
            deployment: &self.subject.deployment,
        }
    }

    fn take(&mut self, table: &Table, expected: usize) {
        let deployment = self.subject.deployment.clone();
        let replica_set = self.subject.release.replica_set.clone();
        let snapshot = table.snapshot(&self.subject.namespace, &|pod| made_for(&deployment, pod));
        // A sample older than two looks says nothing about this one; scrapes are at most a minute apart.
        let stale_after = (2 * self.subject.policy.interval).clamp(10, 300) as f64;
        let own = |pod: &str| pod_of_replica_set(&replica_set, pod);
        let coverage = Coverage {
            belongs: &own,
            expected,
            born: self.subject.born,
            stale_after,
        };
        let look = self.differ.look(&snapshot, coverage);
        let other = |pod: &str| !pod_of_replica_set(&replica_set, pod);
        let beside = self.others.look(
            &snapshot,
            Coverage {
                belongs: &other,
                expected: 0,
                born: None,
                stale_after,
            },
        );
        if let (Ok(new), Ok(old), Some(comparison)) = (look.errors, beside.errors, &mut self.comparison) {
            // A count that the comparison refuses was refused by the judge too: nothing is lost here.
            let _ = comparison.look(old.n, old.bad, new.n, new.bad);
        }
        self.analysis.look(look.clone());
        let verdict = self.analysis.verdict();
        let quantile = self.subject.policy.latency.map(|latency| latency.quantile);
        self.history.look(&look, &verdict, quantile);
        if verdict.all_healthy() {
            self.healthy_since.get_or_insert(verdict.at);
        } else if verdict
            .streaming()
            .any(|trigger| !matches!(trigger.state, judge::State::Healthy | judge::State::Unknown(_)))
        {
            self.healthy_since = None;
        }
    }

    /// What the looks so far and the evidence say. Without any look, every trigger on metrics is unknown for the reason
    /// that there is none.
    pub fn verdict(&self, evidence: &EvaluationState) -> Verdict {
        let mut verdict = self.analysis.verdict_with(evidence);
        if let (None, Some(why)) = (self.analysis.last_look(), self.unanswered) {
            for trigger in verdict.triggers.iter_mut().filter(|t| t.trigger != Trigger::Compliance) {
                trigger.state = judge::State::Unknown(why);
            }
        }
        match self.subject.born {
            Some(born) => verdict.born(born),
            None => verdict,
        }
    }

    /// The history as the report shows it, with the latencies of the newest window and what the evidence shows.
    pub fn charted(&self, limits: &Limits, quality: Option<&Quality>) -> History {
        let mut history = self.history.clone();
        let latencies = self.analysis.latencies();
        history.histogram = latencies.as_ref().map(history::buckets).unwrap_or_default();
        history.limits = limits.clone();
        history.evidence(quality);
        history
    }

    /// End of the newest look.
    pub fn last_look(&self) -> Option<i64> {
        self.analysis.last_look()
    }

    /// ln of the evidence that this release fails more often than the ones beside it, if some ran beside it.
    pub fn worse_than_beside(&self) -> Option<f64> {
        self.comparison
            .as_ref()
            .map(Comparison::log_evidence)
            .filter(|evidence| evidence.is_finite() && *evidence != 0.0)
    }
}

/// The design effects of a Deployment's last hours before `until`. `excluded` holds its incidents.
pub async fn design_effects(
    source: &Source,
    subject: &Subject,
    until: i64,
    excluded: &[(i64, i64)],
) -> Result<DesignEffects, QueryError> {
    let narrow = DeploymentSelector {
        namespace: &subject.namespace,
        deployment: &subject.deployment,
    };
    let start = until - judge::HISTORY_SECONDS;
    let tables = source
        .history(&subject.metrics, narrow, start, until, judge::BLOCK_SECONDS)
        .await?;
    let deployment = subject.deployment.clone();
    let all = |pod: &str| made_for(&deployment, pod);
    let mut differ = CounterDeltas::default();
    let looks: Vec<Look> = tables
        .iter()
        .map(|table| {
            let snapshot = table.snapshot(&subject.namespace, &all);
            let stale_after = judge::BLOCK_SECONDS as f64;
            differ.look(
                &snapshot,
                Coverage {
                    belongs: &all,
                    expected: 0,
                    born: None,
                    stale_after,
                },
            )
        })
        .collect();
    Ok(judge::design_effects(&subject.policy, &looks, excluded))
}
