//! One line a policy, made from the caches when somebody asks: what is gone from the cluster is gone from here.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, family::Family, gauge::Gauge},
};

/// One policy, as the caches show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFigures {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub policy: String,
    /// `HEALTHY`, `CAUTION`, `BREACH`, or `NOT JUDGED`.
    pub verdict: String,
    /// How many of the six SLOs pass, where a report says so.
    pub slos_passing: Option<i64>,
    /// Whether a checkpoint is a valid rollback target, and the last drill did not fail.
    pub rollback_ready: bool,
    /// End of its newest look, unix seconds.
    pub evaluated: Option<i64>,
    /// Its incidents on record, by state.
    pub incidents: Vec<(&'static str, i64)>,
}

/// Reads the caches.
pub type Read = Box<dyn Fn() -> Vec<PolicyFigures> + Send + Sync>;

/// Where the figures come from, once there are caches.
#[derive(Clone, Default)]
pub struct Policies(Arc<OnceLock<Read>>);

impl Policies {
    /// From now on the figures come from here.
    pub fn come_from(&self, read: Read) {
        // The caches are made once a process.
        let _ = self.0.set(read);
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Policies")
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PolicyLabels {
    namespace: String,
    policy: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VerdictLabels {
    namespace: String,
    policy: String,
    verdict: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    namespace: String,
    policy: String,
    state: &'static str,
}

impl Collector for Policies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let verdicts = Family::<VerdictLabels, Gauge>::default();
        let passing = Family::<PolicyLabels, Gauge>::default();
        let ready = Family::<PolicyLabels, Gauge>::default();
        let evaluated = Family::<PolicyLabels, Gauge>::default();
        let incidents = Family::<StateLabels, Gauge>::default();
        for figures in self.0.get().map(|read| read()).unwrap_or_default() {
            let labels = PolicyLabels {
                namespace: figures.namespace.clone(),
                policy: figures.policy.clone(),
            };
            for (state, count) in figures.incidents {
                let labels = StateLabels {
                    namespace: figures.namespace.clone(),
                    policy: figures.policy.clone(),
                    state,
                };
                incidents.get_or_create(&labels).set(count);
            }
            verdicts
                .get_or_create(&VerdictLabels {
                    namespace: figures.namespace,
                    policy: figures.policy,
                    verdict: figures.verdict,
                })
                .set(1);
            if let Some(count) = figures.slos_passing {
                passing.get_or_create(&labels).set(count);
            }
            if let Some(at) = figures.evaluated {
                evaluated.get_or_create(&labels).set(at);
            }
            ready.get_or_create(&labels).set(i64::from(figures.rollback_ready));
        }
        let mut write = |name: &str, help: &str, family: &dyn Encode| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            family.write(metric)
        };
        write(
            "policy_verdict",
            "The verdict of each policy: 1 for the one that holds",
            &verdicts,
        )?;
        write("policy_slos_passing", "How many of the six SLOs pass", &passing)?;
        write(
            "policy_rollback_ready",
            "Whether a rollback would work: a valid target, and the last drill did not fail",
            &ready,
        )?;
        write(
            "policy_evaluated_timestamp_seconds",
            "End of the newest look",
            &evaluated,
        )?;
        write("policy_incidents", "Incidents on record", &incidents)
    }
}

/// A family of any labels.
trait Encode {
    fn write(&self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> Result<(), fmt::Error>;
}

impl<M: EncodeMetric> Encode for M {
    fn write(&self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode(encoder)
    }
}
