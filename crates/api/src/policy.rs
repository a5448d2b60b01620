//! `QualityPolicy`: what the user writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ComplianceObjective, Decimal, DriftObjective, DrillMode, Evidence, Gate, GateStatus, Metrics, Notify, Percent,
    QuarantinedImage, Rate, ReceiverStatus, ReleaseAnswer, ReportReview, RequestAnswer, RiskDelivery, Span,
    TriggerStatus,
};

/// Guards one Deployment of its namespace: where its metrics are, what its objectives are, and what happens when a release misses them.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "quality-officer.dev",
    version = "v1alpha1",
    kind = "QualityPolicy",
    plural = "qualitypolicies",
    shortname = "qp",
    category = "quality",
    namespaced,
    status = "QualityPolicyStatus",
    derive = "PartialEq",
    doc = "Guards one Deployment: where its metrics are, what its objectives are, and what happens when a release misses them.",
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.targetRef.name"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.rollback.mode"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Rollback", type_ = "string", json_path = ".status.rollback"),
    printcolumn(name = "Gate", type_ = "string", json_path = ".status.gate.state"),
    printcolumn(name = "Incident", type_ = "string", json_path = ".status.incident"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"SLOsMet\")].message",
        priority = 1
    ),
    printcolumn(
        name = "Revision",
        type_ = "string",
        json_path = ".status.release.revision",
        priority = 1
    ),
    printcolumn(
        name = "Next Drill",
        type_ = "string",
        json_path = ".status.drill.next",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct QualityPolicySpec {
    /// The Deployment to guard, in the policy's own namespace.
    #[x_kube(validation = Rule::new("self == oldSelf").message("targetRef is immutable: create a policy for the other Deployment"))]
    pub target_ref: LocalReference,
    /// A paused policy judges nothing and acts on nothing; on resume the analysis starts anew.
    #[serde(default)]
    pub paused: bool,
    /// Where the metrics of the Deployment's pods are.
    #[serde(default)]
    pub metrics: Metrics,
    /// Where the evaluation evidence of a release is. Without it compliance is not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// What the Deployment must meet.
    #[serde(default)]
    pub objectives: Objectives,
    /// How sure a verdict must be, and how often it is looked for.
    #[serde(default)]
    pub judgement: Judgement,
    /// What a breach leads to.
    #[serde(default)]
    pub rollback: Rollback,
    /// Which releases become rollback checkpoints.
    #[serde(default)]
    pub checkpoints: Checkpoints,
    /// Recovery objectives; drills on a schedule measure them.
    #[serde(default)]
    pub recovery: RecoveryObjectives,
    /// When a drill tests the rollback path. Without it no drill is scheduled; a drill created by hand still runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillSchedule>,
    /// Whether bad releases are kept out at admission.
    #[serde(default)]
    pub gate: Gate,
    /// How often the report is reviewed, and how many of its snapshots are kept.
    #[serde(default)]
    pub report: ReportReview,
    /// Who is told what happens. When not said: `ops-commander` and `infra-guardian`, where the operator's configuration has them; with an empty list nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["receiver"]))]
    pub notify: Option<Vec<Notify>>,
}

/// The name of an object in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalReference {
    /// The object's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// What the Deployment must meet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.latency.enabled || self.errorRate.enabled || self.throughput.enabled", "message": "objectives: at least one of latency, errorRate and throughput must be enabled"},
]))]
#[serde(rename_all = "camelCase", default)]
pub struct Objectives {
    /// A quantile of the request durations.
    pub latency: LatencyObjective,
    /// The share of requests that fail.
    pub error_rate: ErrorRateObjective,
    /// Requests that end per second, when there is demand.
    pub throughput: ThroughputObjective,
    /// GPU utilisation and memory: over the limit alerts and prepares a rollback, and starts none.
    pub gpu: GpuObjective,
    /// What the model's answers must meet; judged where the policy names evidence.
    pub compliance: ComplianceObjective,
    /// How steady compliance must be; judged where the policy names evidence.
    pub drift: DriftObjective,
}

/// A quantile of the request durations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!self.target.endsWith('d') && duration(self.target) > duration('0s') && duration(self.target) <= duration('1h')", "message": "latency target must be positive and at most an hour"},
    {"rule": "!self.tolerance.endsWith('d') && (self.target.endsWith('d') || duration(self.tolerance) <= duration(self.target))", "message": "latency tolerance must not be over the target"},
    {"rule": "!has(self.edge) || !self.edge.matches('^0+[a-z]+$')", "message": "latency edge must be positive"},
    {"rule": "double(self.quantile) >= 0.5 && double(self.quantile) <= 0.999", "message": "latency quantile must lie between 0.5 and 0.999"},
]))]
#[serde(rename_all = "camelCase", default)]
pub struct LatencyObjective {
    /// Whether this objective is judged.
    pub enabled: bool,
    /// Which quantile: 0.95 is P95.
    pub quantile: Decimal,
    /// The quantile must be under this.
    pub target: Span,
    /// A release is in breach only when the quantile is over target + tolerance.
    pub tolerance: Span,
    /// The histogram edge to judge at, where the nearest one is not the right one: a duration that the histogram has as `le`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<Span>,
}

impl Default for LatencyObjective {
    fn default() -> Self {
        Self {
            enabled: true,
            quantile: "0.95".into(),
            target: "500ms".into(),
            tolerance: "5ms".into(),
            edge: None,
        }
    }
}

/// The share of requests that fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "double(self.max.replace('%', '')) > 0.0 && double(self.max.replace('%', '')) <= 50.0", "message": "errorRate max must be over 0% and at most 50%"},
]))]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorRateObjective {
    /// Whether this objective is judged.
    pub enabled: bool,
    /// At most this share of the requests may fail.
    pub max: Percent,
}

impl Default for ErrorRateObjective {
    fn default() -> Self {
        Self {
            enabled: true,
            max: "1%".into(),
        }
    }
}

/// Requests that end per second, when there is demand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "double(self.floor.replace('/s', '')) <= double(self.target.replace('/s', ''))", "message": "throughput floor must not be over its target"},
    {"rule": "double(self.floor.replace('/s', '')) > 0.0", "message": "throughput floor must be positive"},
]))]
#[serde(rename_all = "camelCase", default)]
pub struct ThroughputObjective {
    /// Whether this objective is judged.
    pub enabled: bool,
    /// The objective that the report shows.
    pub target: Rate,
    /// A release is in breach under this, while the requests in work and waiting show that there is demand for more.
    pub floor: Rate,
    /// Judge without a sign of demand: only for services whose callers never pause.
    pub assume_constant_demand: bool,
}

impl Default for ThroughputObjective {
    fn default() -> Self {
        Self {
            enabled: true,
            target: "100/s".into(),
            floor: "80/s".into(),
            assume_constant_demand: false,
        }
    }
}

/// GPU utilisation and memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "double(self.maxUtilization.replace('%', '')) > 0.0 && double(self.maxMemory.replace('%', '')) > 0.0", "message": "gpu maxUtilization and maxMemory must be over 0%"},
]))]
#[serde(rename_all = "camelCase", default)]
pub struct GpuObjective {
    /// Whether this objective is judged. Without GPU metrics it shows `—` and changes nothing.
    pub enabled: bool,
    /// Over this share of the GPU's time alerts.
    pub max_utilization: Percent,
    /// Over this share of the GPU's memory alerts.
    pub max_memory: Percent,
}

impl Default for GpuObjective {
    fn default() -> Self {
        Self {
            enabled: true,
            max_utilization: "90%".into(),
            max_memory: "85%".into(),
        }
    }
}

/// How sure a verdict must be, and how often it is looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.interval.matches('^[0-9]+s$|^[0-9]+m$') && duration(self.interval) >= duration('1s') && duration(self.interval) <= duration('5m')", "message": "judgement interval must lie between 1s and 5m"},
    {"rule": "!self.per.endsWith('d') && duration(self.per) >= duration('5m') && duration(self.per) <= duration('24h')", "message": "judgement per must lie between 5m and 24h"},
    {"rule": "!self.warmUp.endsWith('d') && duration(self.warmUp) <= duration('1h')", "message": "judgement warmUp must be at most 1h"},
    {"rule": "!self.escalateAfter.endsWith('d') && duration(self.escalateAfter) >= duration('10s') && duration(self.escalateAfter) <= duration('24h')", "message": "judgement escalateAfter must lie between 10s and 24h"},
    {"rule": "!self.falseRollbackRate.matches('^0+([.]0+)?%$')", "message": "judgement falseRollbackRate must be over 0%"},
]))]
#[serde(rename_all = "camelCase", default)]
pub struct Judgement {
    /// The time between two looks.
    pub interval: Span,
    /// At most this share of healthy releases is rolled back within `per`, all triggers together.
    pub false_rollback_rate: Percent,
    /// The period that `falseRollbackRate` is about.
    pub per: Span,
    /// A breach that lasts longer escalates, whatever the rollback mode.
    pub escalate_after: Span,
    /// Latency is not held against a release until its first pod has been Ready this long. `0s` switches it off.
    pub warm_up: Span,
    /// What happens when pods run and no usable metric of them arrives for 3 minutes, though the source answers.
    pub on_missing_metrics: OnMissingMetrics,
}

impl Default for Judgement {
    fn default() -> Self {
        Self {
            interval: "15s".into(),
            false_rollback_rate: "1%".into(),
            per: "1h".into(),
            escalate_after: "3m".into(),
            warm_up: "60s".into(),
            on_missing_metrics: OnMissingMetrics::Alert,
        }
    }
}

/// What happens when a release shows no metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnMissingMetrics {
    /// Say so, and prepare a rollback.
    Alert,
    /// Roll back as for a breach.
    Rollback,
}

/// What a breach leads to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.cooldown.endsWith('d') ? duration(self.cooldown.replace('d', 'h')) >= duration('1h') && duration(self.cooldown.replace('d', 'h')) <= duration('30h') : duration(self.cooldown) >= duration('1s') && duration(self.cooldown) <= duration('720h')", "message": "rollback cooldown must lie between 1s and 30d"},
]))]
#[serde(rename_all = "camelCase", default)]
pub struct Rollback {
    /// Who pulls the trigger.
    pub mode: RollbackMode,
    /// What is brought back.
    pub scope: RollbackScope,
    /// After a rollback no second one for this long: the operator halts for a person.
    pub cooldown: Span,
    /// Go back to an older checkpoint when the running release is itself the newest one.
    pub allow_previous: bool,
}

impl Default for Rollback {
    fn default() -> Self {
        Self {
            mode: RollbackMode::Automatic,
            scope: RollbackScope::Images,
            cooldown: "30m".into(),
            allow_previous: false,
        }
    }
}

/// Who pulls the trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RollbackMode {
    /// The operator rolls back by itself.
    Automatic,
    /// The operator prepares all but the change; a person approves it on the incident.
    Prepare,
    /// The operator only says what it would do.
    Observe,
}

/// What is brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RollbackScope {
    /// The images of the checkpoint's containers.
    Images,
}

/// Which releases become rollback checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.registerAfter.endsWith('d') ? self.registerAfter.matches('^0*1d$') : duration(self.registerAfter) >= duration('1s') && duration(self.registerAfter) <= duration('24h')", "message": "checkpoints registerAfter must lie between 1s and 24h"},
    {"rule": "self.maxAge.endsWith('d') ? duration(self.maxAge.replace('d', 'h')) >= duration('1h') && duration(self.maxAge.replace('d', 'h')) <= duration('365h') : duration(self.maxAge) >= duration('1s') && duration(self.maxAge) <= duration('8760h')", "message": "checkpoints maxAge must lie between 1s and 365d"},
    {"rule": "self.maxLoadTime.endsWith('d') ? self.maxLoadTime.matches('^0*1d$') : duration(self.maxLoadTime) >= duration('1s') && duration(self.maxLoadTime) <= duration('24h')", "message": "checkpoints maxLoadTime must lie between 1s and 24h"},
    {"rule": "self.testedWithin.endsWith('d') ? duration(self.testedWithin.replace('d', 'h')) >= duration('1h') && duration(self.testedWithin.replace('d', 'h')) <= duration('365h') : duration(self.testedWithin) >= duration('1s') && duration(self.testedWithin) <= duration('8760h')", "message": "checkpoints testedWithin must lie between 1s and 365d"},
]))]
#[serde(rename_all = "camelCase", default)]
pub struct Checkpoints {
    /// Register a release as checkpoint once it has been healthy for `registerAfter`.
    pub auto_register: bool,
    /// How long every trigger that rolls back must have been healthy before a release is registered.
    pub register_after: Span,
    /// A checkpoint that was not certified for longer is not used.
    pub max_age: Span,
    /// A checkpoint whose pods take longer from scheduled to Ready is not `Ready`; a rollback still goes back to it.
    pub max_load_time: Span,
    /// How recently a drill or rollback must have restored this checkpoint for it to count as tested.
    pub tested_within: Span,
    /// Whether a checkpoint is used for a rollback only if a drill or rollback restored it within `testedWithin`.
    pub require_test: bool,
    /// How many automatically registered checkpoints are kept.
    #[schemars(range(min = 2, max = 50))]
    pub keep: i32,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self {
            auto_register: true,
            register_after: "5m".into(),
            max_age: "24h".into(),
            max_load_time: "30s".into(),
            tested_within: "7d".into(),
            require_test: false,
            keep: 5,
        }
    }
}

/// Recovery objectives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.rto.endsWith('d') ? duration(self.rto.replace('d', 'h')) >= duration('1h') && duration(self.rto.replace('d', 'h')) <= duration('7h') : duration(self.rto) >= duration('1s') && duration(self.rto) <= duration('168h')", "message": "recovery rto must lie between 1s and 7d"},
    {"rule": "self.rpo.endsWith('d') ? duration(self.rpo.replace('d', 'h')) >= duration('1h') && duration(self.rpo.replace('d', 'h')) <= duration('7h') : duration(self.rpo) >= duration('1s') && duration(self.rpo) <= duration('168h')", "message": "recovery rpo must lie between 1s and 7d"},
]))]
#[serde(rename_all = "camelCase", default)]
pub struct RecoveryObjectives {
    /// From breach onset to recovered, at most.
    pub rto: Span,
    /// From the checkpoint's last certification to breach onset, at most.
    pub rpo: Span,
}

impl Default for RecoveryObjectives {
    fn default() -> Self {
        Self {
            rto: "10m".into(),
            rpo: "5m".into(),
        }
    }
}

/// When and where drills test the rollback path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DrillSchedule {
    /// Cron: minute, hour, day of month, month, day of week. Sunday at three in the morning when not said.
    #[schemars(
        length(min = 9, max = 128),
        regex(
            pattern = r"^((\*|[0-5]?[0-9](-[0-5]?[0-9])?)(/[1-9][0-9]?)?)(,(\*|[0-5]?[0-9](-[0-5]?[0-9])?)(/[1-9][0-9]?)?)* ((\*|([01]?[0-9]|2[0-3])(-([01]?[0-9]|2[0-3]))?)(/[1-9][0-9]?)?)(,(\*|([01]?[0-9]|2[0-3])(-([01]?[0-9]|2[0-3]))?)(/[1-9][0-9]?)?)* ((\*|(0?[1-9]|[12][0-9]|3[01])(-(0?[1-9]|[12][0-9]|3[01]))?)(/[1-9][0-9]?)?)(,(\*|(0?[1-9]|[12][0-9]|3[01])(-(0?[1-9]|[12][0-9]|3[01]))?)(/[1-9][0-9]?)?)* ((\*|(0?[1-9]|1[0-2]|[A-Za-z]{3})(-(0?[1-9]|1[0-2]|[A-Za-z]{3}))?)(/[1-9][0-9]?)?)(,(\*|(0?[1-9]|1[0-2]|[A-Za-z]{3})(-(0?[1-9]|1[0-2]|[A-Za-z]{3}))?)(/[1-9][0-9]?)?)* ((\*|([0-7]|[A-Za-z]{3})(-([0-7]|[A-Za-z]{3}))?)(/[1-7])?)(,(\*|([0-7]|[A-Za-z]{3})(-([0-7]|[A-Za-z]{3}))?)(/[1-7])?)*$"
        )
    )]
    pub schedule: String,
    /// The time zone of the schedule, by its name in the IANA database.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"))]
    pub time_zone: String,
    /// Where the rehearsal takes place.
    pub mode: DrillMode,
    /// No drill is scheduled while this is set; what falls into that time is not caught up with.
    pub suspend: bool,
    /// How many finished drills of this policy are kept on record.
    #[schemars(range(min = 1, max = 100))]
    pub keep: i32,
}

impl Default for DrillSchedule {
    fn default() -> Self {
        Self {
            schedule: "0 3 * * 0".to_owned(),
            time_zone: "UTC".to_owned(),
            mode: DrillMode::Shadow,
            suspend: false,
            keep: 10,
        }
    }
}

/// What the operator found, in fields that `kubectl` can show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QualityPolicyStatus {
    /// The generation of the spec that this status is about.
    pub observed_generation: Option<i64>,
    /// `Ready`, `Evaluated`, `SLOsMet`, `RollbackReady`, `DrillScheduled`, `GateOpen`, `Notified`.
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// `HEALTHY`, `CAUTION` or `BREACH`.
    pub verdict: String,
    /// `READY` or `AT RISK`.
    pub rollback: String,
    /// The open incident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// The release that is judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseStatus>,
    /// Each trigger's verdict with its evidence.
    #[schemars(length(max = 16))]
    pub triggers: Vec<TriggerStatus>,
    /// When these figures were written; they are renewed when a verdict moves, and every few minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Time>,
    /// When the next drill is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillDue>,
    /// Whether releases are let in, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateStatus>,
    /// The images that rollbacks took away and that nobody released since; the newest ones.
    #[schemars(length(max = 50))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<QuarantinedImage>,
    /// The last wish for a release from quarantine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_answer: Option<ReleaseAnswer>,
    /// What became of the last request to roll back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_request: Option<RequestAnswer>,
    /// The receivers that the policy names and the operator's configuration has.
    #[schemars(length(max = 8))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub receivers: Vec<ReceiverStatus>,
    /// Which receivers were notified that the rollback path is at risk, until they are notified that it is not.
    #[schemars(length(max = 16))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub told_at_risk: Vec<RiskDelivery>,
}

/// When the next drill is due. What is due before this instant was dealt with, so that a restarted operator goes on here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillDue {
    /// The schedule and its time zone, as they were when this was worked out.
    pub schedule: String,
    /// The first instant that nothing was done for yet; none when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Time>,
}

/// The release under judgement. A restarted operator takes its analysis up from here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// UID of the Deployment: one that was deleted and created again is another one.
    pub deployment_uid: String,
    /// The newest ReplicaSet.
    pub replica_set: String,
    /// Its `deployment.kubernetes.io/revision`: a ReplicaSet that comes back has a new one.
    pub revision: String,
    /// The looks that count start here.
    pub analysis_from: Time,
    /// When the release's first pod was seen Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ready: Option<Time>,
    /// The design effect of each streaming trigger, fixed when the analysis started.
    pub design_effects: DesignEffects,
}

/// How many times wider than binomial (or Poisson) this service's own counts vary, by trigger: decimals of at least 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DesignEffects {
    /// Of the share of failed requests.
    pub error_rate: String,
    /// Of the share of slow requests.
    pub latency: String,
    /// Of the count of requests.
    pub throughput: String,
    /// How many 5-minute blocks of history they were estimated from; 0 means that they are the cautious start value.
    pub blocks: i32,
}
