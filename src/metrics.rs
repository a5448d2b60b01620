//! The operator's own metrics.

mod policies;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

pub use policies::{PolicyFigures, Read};

use quality_core::{
    drill::{DrillMode, DrillResult},
    incident::{IncidentState, Trigger},
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

/// Labels of incidents that ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ClosedLabels {
    /// What gave the alarm.
    pub trigger: &'static str,
    /// How it ended.
    pub state: &'static str,
    /// Whether it lasted so long that it was escalated.
    pub escalated: &'static str,
}

/// Labels of drills that ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct DrillLabels {
    /// How it went.
    pub result: &'static str,
    /// Where it took place.
    pub mode: &'static str,
}

/// The end of each policy's newest look, by the policy's UID.
#[derive(Clone, Debug, Default)]
pub struct Looked(Arc<Mutex<HashMap<String, i64>>>);

impl Looked {
    /// That of one policy, unix seconds.
    pub fn of(&self, uid: &str) -> Option<i64> {
        self.0.lock().get(uid).copied()
    }

    fn set(&self, uid: &str, at: i64) {
        self.0.lock().insert(uid.to_owned(), at);
    }

    /// Forgets policies that are gone.
    pub fn forget_all_but(&self, known: &dyn Fn(&str) -> bool) {
        self.0.lock().retain(|uid, _| known(uid));
    }
}

/// The operator's own metrics.
pub struct Meters {
    registry: Registry,
    /// Queries that gave no usable answer.
    pub query_errors: Family<QueryLabels, Counter>,
    /// Looks taken.
    pub looks: Counter,
    /// How long after its instant a look was judged, seconds.
    pub look_lag: Histogram,
    /// Incidents opened, by trigger.
    pub incidents: Family<KindLabel, Counter>,
    /// Incidents that ended.
    pub closed: Family<ClosedLabels, Counter>,
    /// Deployments changed.
    pub rollbacks: Counter,
    /// How many rollbacks of healthy releases were expected at most over all looks so far, by the policies' own rates.
    pub false_rollbacks_allowed: Counter<f64, AtomicU64>,
    /// Drills that ended.
    pub drills: Family<DrillLabels, Counter>,
    /// Reconciles that failed, by what failed.
    pub reconcile_errors: Family<KindLabel, Counter>,
    /// Reconciles done.
    pub reconciles: Counter,
    /// End of the newest look of any policy, unix seconds.
    pub last_look: Gauge<f64, AtomicU64>,
    /// 1 while this replica leads, 0 while it stands by.
    pub leads: Gauge,
    /// Tasks of the runtime that are alive: a leak shows here.
    tasks: Gauge,
    /// Rollbacks that a person asked for, by what became of the request.
    pub requests: Family<KindLabel, Counter>,
    /// Writes to the API server, by what is written.
    pub writes: Family<KindLabel, Counter>,
    /// Connections to the operator's ports that it closed before their answer, by why.
    pub connections_closed: Family<KindLabel, Counter>,
    /// Notifications that a receiver took, by receiver and kind.
    pub notifications: Family<DeliveryLabels, Counter>,
    /// Attempts that a receiver did not take.
    pub notification_failures: Family<FailureLabels, Counter>,
    /// The end of each policy's newest look.
    pub looked: Looked,
    policies: policies::Policies,
}

impl Default for Meters {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("quality_officer");
        // From half a second to 4 minutes.
        let lags = (0..10).map(|power| 0.5 * f64::from(1_u32 << power));
        let meters = Self {
            query_errors: Family::default(),
            looks: Counter::default(),
            look_lag: Histogram::new(lags),
            incidents: Family::default(),
            closed: Family::default(),
            rollbacks: Counter::default(),
            false_rollbacks_allowed: Counter::default(),
            drills: Family::default(),
            reconcile_errors: Family::default(),
            reconciles: Counter::default(),
            last_look: Gauge::default(),
            leads: Gauge::default(),
            tasks: Gauge::default(),
            requests: Family::default(),
            writes: Family::default(),
            connections_closed: Family::default(),
            notifications: Family::default(),
            notification_failures: Family::default(),
            looked: Looked::default(),
            policies: policies::Policies::default(),
            registry: Registry::default(),
        };
        meters.begin();
        meters.register(&mut registry);
        Self { registry, ..meters }
    }
}

impl Meters {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "query_errors",
            "Queries that gave no usable answer",
            self.query_errors.clone(),
        );
        registry.register("looks", "Looks taken", self.looks.clone());
        registry.register(
            "look_lag_seconds",
            "How long after its instant a look was judged",
            self.look_lag.clone(),
        );
        registry.register("incidents", "Incidents opened", self.incidents.clone());
        registry.register("incidents_closed", "Incidents that ended", self.closed.clone());
        registry.register("rollbacks", "Deployments changed", self.rollbacks.clone());
        registry.register(
            "false_rollbacks_allowed",
            "Rollbacks of healthy releases expected at most, by the policies' own rates",
            self.false_rollbacks_allowed.clone(),
        );
        registry.register("drills", "Drills that ended", self.drills.clone());
        registry.register(
            "reconcile_errors",
            "Reconciles that failed",
            self.reconcile_errors.clone(),
        );
        registry.register("reconciles", "Reconciles done", self.reconciles.clone());
        registry.register(
            "last_look_timestamp_seconds",
            "End of the newest look of any policy",
            self.last_look.clone(),
        );
        registry.register(
            "rollback_requests",
            "Rollbacks that a person asked for",
            self.requests.clone(),
        );
        registry.register(
            "leads",
            "1 while this replica leads, 0 while it stands by",
            self.leads.clone(),
        );
        registry.register(
            "notifications",
            "Notifications that a receiver took",
            self.notifications.clone(),
        );
        registry.register(
            "notification_failures",
            "Attempts to notify that a receiver did not take",
            self.notification_failures.clone(),
        );
        registry.register("writes", "Writes to the API server", self.writes.clone());
        registry.register(
            "connections_closed",
            "Connections to the operator's ports that it closed before their answer",
            self.connections_closed.clone(),
        );
        registry.register("tasks", "Tasks of the runtime that are alive", self.tasks.clone());
        registry.register_collector(Box::new(self.policies.clone()));
    }

    /// What has a closed set of labels is there from the start, so that its first increase is seen.
    fn begin(&self) {
        for trigger in Trigger::ALL {
            let kind = trigger.name().to_owned();
            drop(self.incidents.get_or_create(&KindLabel { kind }));
            for state in [
                IncidentState::Recovered,
                IncidentState::Superseded,
                IncidentState::Resolved,
            ] {
                for escalated in [false, true] {
                    drop(self.closed.get_or_create(&closed(trigger, state, escalated)));
                }
            }
        }
        for result in [DrillResult::Passed, DrillResult::Failed, DrillResult::Aborted] {
            for mode in [DrillMode::Shadow, DrillMode::InPlace] {
                drop(self.drills.get_or_create(&drill(result, mode)));
            }
        }
        for (family, kinds) in [
            (&self.reconcile_errors, &["api", "judge", "panic"][..]),
            (&self.requests, &["Accepted", "Refused"][..]),
            (&self.connections_closed, &["Limit", "NoRequest", "Slow"][..]),
        ] {
            for kind in kinds {
                let kind = (*kind).to_owned();
                drop(family.get_or_create(&KindLabel { kind }));
            }
        }
    }

    /// Counts a write of one kind of object.
    pub fn wrote(&self, kind: &str) {
        self.writes.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    /// A look of a policy was judged: its instant and the one before it, unix seconds, how long ago it was, and how many
    /// rollbacks of healthy releases a second the policy allows.
    pub fn look(&self, uid: &str, instant: i64, before: Option<i64>, lag: f64, allowed: f64) {
        self.looks.inc();
        self.look_lag.observe(lag.max(0.0));
        self.last_look.set(instant as f64);
        self.looked.set(uid, instant);
        let seconds = before.map_or(0, |before| (instant - before).max(0));
        self.false_rollbacks_allowed.inc_by(seconds as f64 * allowed);
    }

    /// An incident ended.
    pub fn ended(&self, trigger: Trigger, state: IncidentState, escalated: bool) {
        self.closed.get_or_create(&closed(trigger, state, escalated)).inc();
    }

    /// A drill ended.
    pub fn drilled(&self, result: DrillResult, mode: DrillMode) {
        self.drills.get_or_create(&drill(result, mode)).inc();
    }

    /// From now on each policy's figures are read from here.
    pub fn read_policies(&self, read: Read) {
        self.policies.come_from(read);
    }

    /// All metrics in the text format.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let alive = runtime.metrics().num_alive_tasks();
            self.tasks.set(i64::try_from(alive).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn closed(trigger: Trigger, state: IncidentState, escalated: bool) -> ClosedLabels {
    ClosedLabels {
        trigger: trigger.name(),
        state: state.name(),
        escalated: if escalated { "true" } else { "false" },
    }
}

fn drill(result: DrillResult, mode: DrillMode) -> DrillLabels {
    DrillLabels {
        result: result.name(),
        mode: match mode {
            DrillMode::Shadow => "Shadow",
            DrillMode::InPlace => "InPlace",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_belongs_to_the_operator_and_counts_begin_at_zero() {
        let meters = Meters::default();
        meters.read_policies(Box::new(|| {
            vec![PolicyFigures {
                namespace: "shop".into(),
                policy: "ranker".into(),
                verdict: "BREACH".into(),
                slos_passing: Some(5),
                rollback_ready: true,
                evaluated: Some(1_000),
                incidents: vec![("Verifying", 1)],
            }]
        }));
        meters.look("uid", 1_000, Some(985), 1.2, 0.01 / 3_600.0);
        let text = meters.text().unwrap();
        for line in [
            "quality_officer_policy_verdict{namespace=\"shop\",policy=\"ranker\",verdict=\"BREACH\"} 1",
            "quality_officer_policy_slos_passing{namespace=\"shop\",policy=\"ranker\"} 5",
            "quality_officer_policy_rollback_ready{namespace=\"shop\",policy=\"ranker\"} 1",
            "quality_officer_policy_evaluated_timestamp_seconds{namespace=\"shop\",policy=\"ranker\"} 1000",
            "quality_officer_policy_incidents{namespace=\"shop\",policy=\"ranker\",state=\"Verifying\"} 1",
            "quality_officer_look_lag_seconds_count 1",
            "quality_officer_drills_total{result=\"Failed\",mode=\"Shadow\"} 0",
            "quality_officer_incidents_closed_total{trigger=\"ErrorRate\",state=\"Recovered\",escalated=\"false\"} 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        let foreign = |line: &&str| !line.starts_with('#') && !line.starts_with("quality_officer_");
        assert_eq!(text.lines().find(foreign), None);
        assert!(
            text.contains("quality_officer_false_rollbacks_allowed_total 0.0000416"),
            "{text}"
        );
        assert_eq!(meters.looked.of("uid"), Some(1_000));
        meters.looked.forget_all_but(&|uid| uid == "other");
        assert_eq!(meters.looked.of("uid"), None);
    }
}
