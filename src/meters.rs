//! The operator's own metrics.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Labels of failed queries.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct QueryLabels {
    /// Name of the metrics source.
    pub source: String,
    /// What went wrong.
    pub category: String,
}

/// Labels of notifications that were taken.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct DeliveryLabels {
    /// Name of the receiver.
    pub receiver: String,
    /// What was told.
    pub kind: String,
}

/// Labels of notifications that were not taken.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct FailureLabels {
    /// Name of the receiver.
    pub receiver: String,
    /// What was to be told; `Renewal` where alerts that stand were to be renewed.
    pub kind: String,
    /// What went wrong.
    pub category: String,
}

/// One label.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct KindLabel {
    /// What is counted.
    pub kind: String,
}

/// The operator's own metrics.
pub struct Meters {
    registry: Registry,
    /// Queries that gave no usable answer.
    pub query_errors: Family<QueryLabels, Counter>,
    /// Looks taken.
    pub looks: Counter,
    /// Incidents opened, by trigger.
    pub incidents: Family<KindLabel, Counter>,
    /// Deployments changed.
    pub rollbacks: Counter,
    /// Reconciles that failed, by what failed.
    pub reconcile_errors: Family<KindLabel, Counter>,
    /// Reconciles done.
    pub reconciles: Counter,
    /// End of the newest look of any policy, unix seconds.
    pub last_look: Gauge<f64, AtomicU64>,
    /// Writes to the API server, by what is written.
    pub writes: Family<KindLabel, Counter>,
    /// Notifications that a receiver took, by receiver and kind.
    pub notifications: Family<DeliveryLabels, Counter>,
    /// Attempts that a receiver did not take.
    pub notification_failures: Family<FailureLabels, Counter>,
}

impl Default for Meters {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("quality_officer");
        let meters = Self {
            query_errors: Family::default(),
            looks: Counter::default(),
            incidents: Family::default(),
            rollbacks: Counter::default(),
            reconcile_errors: Family::default(),
            reconciles: Counter::default(),
            last_look: Gauge::default(),
            writes: Family::default(),
            notifications: Family::default(),
            notification_failures: Family::default(),
            registry: Registry::default(),
        };
        registry.register(
            "query_errors",
            "Queries that gave no usable answer",
            meters.query_errors.clone(),
        );
        registry.register("looks", "Looks taken", meters.looks.clone());
        registry.register("incidents", "Incidents opened", meters.incidents.clone());
        registry.register("rollbacks", "Deployments changed", meters.rollbacks.clone());
        registry.register(
            "reconcile_errors",
            "Reconciles that failed",
            meters.reconcile_errors.clone(),
        );
        registry.register("reconciles", "Reconciles done", meters.reconciles.clone());
        registry.register(
            "last_look_timestamp_seconds",
            "End of the newest look of any policy",
            meters.last_look.clone(),
        );
        registry.register("writes", "Writes to the API server", meters.writes.clone());
        registry.register(
            "notifications",
            "Notifications that a receiver took",
            meters.notifications.clone(),
        );
        registry.register(
            "notification_failures",
            "Attempts to notify that a receiver did not take",
            meters.notification_failures.clone(),
        );
        Self { registry, ..meters }
    }
}

impl Meters {
    /// Counts a write of one kind of object.
    pub fn wrote(&self, kind: &str) {
        self.writes.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    /// All metrics in the text format.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
