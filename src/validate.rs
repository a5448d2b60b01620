//! From the spec that a user wrote to the policy that the core judges by: parsed once, every value checked.

use quality_api::{
    ComplianceObjective, Decimal, DriftObjective, Metrics, OnMissingMetrics, QualityPolicySpec, RollbackMode,
    UpliftScale, ValueError,
};
use quality_core::policy::{self, Gpu, Latency, Mode, Objectives, Performance, Policy, Throughput};
use quality_sources::presets::MetricSet;

/// A field that makes no sense, by its path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The value cannot be read.
    #[error("spec.{field}: {source}")]
    Value {
        /// Path of the field.
        field: &'static str,
        /// Why.
        source: ValueError,
    },
    /// The value can be read and is out of range.
    #[error("spec.{field}: {message}")]
    Range {
        /// Path of the field.
        field: &'static str,
        /// What would do.
        message: &'static str,
    },
}

trait At<T> {
    fn at(self, field: &'static str) -> Result<T, Invalid>;
}

impl<T> At<T> for Result<T, ValueError> {
    fn at(self, field: &'static str) -> Result<T, Invalid> {
        self.map_err(|source| Invalid::Value { field, source })
    }
}

fn within(value: f64, low: f64, high: f64, field: &'static str, message: &'static str) -> Result<f64, Invalid> {
    if (low..=high).contains(&value) {
        Ok(value)
    } else {
        Err(Invalid::Range { field, message })
    }
}

const DAY: f64 = 86_400.0;

/// The policy of a spec. The API server checks the same limits at admission; a stored object may be older.
pub fn policy(spec: &QualityPolicySpec) -> Result<Policy, Invalid> {
    let judgement = &spec.judgement;
    let interval = within(
        judgement.interval.seconds().at("judgement.interval")?,
        1.0,
        300.0,
        "judgement.interval",
        "must lie between 1s and 5m",
    )?;
    let period = within(
        judgement.per.seconds().at("judgement.per")?,
        300.0,
        DAY,
        "judgement.per",
        "must lie between 5m and 24h",
    )?;
    let escalate = judgement.escalate_after.seconds().at("judgement.escalateAfter")?;
    let escalate = within(
        escalate,
        10.0,
        DAY,
        "judgement.escalateAfter",
        "must lie between 10s and 24h",
    )?;
    let warm_up = if judgement
        .warm_up
        .as_str()
        .trim_end_matches(char::is_alphabetic)
        .bytes()
        .all(|b| b == b'0')
    {
        0.0
    } else {
        within(
            judgement.warm_up.seconds().at("judgement.warmUp")?,
            0.0,
            3_600.0,
            "judgement.warmUp",
            "must be at most 1h",
        )?
    };
    let checkpoints = &spec.checkpoints;
    let register_after = within(
        checkpoints.register_after.seconds().at("checkpoints.registerAfter")?,
        1.0,
        DAY,
        "checkpoints.registerAfter",
        "must lie between 1s and 24h",
    )?;
    let policy = Policy {
        interval: interval.round() as i64,
        period,
        false_rollback_rate: judgement
            .false_rollback_rate
            .share()
            .at("judgement.falseRollbackRate")?,
        escalate_after: escalate as i64,
        warm_up: warm_up as i64,
        latency: latency(spec)?,
        error_rate: error_rate(spec)?,
        errors_not_seen: String::new(),
        throughput: throughput(spec)?,
        gpu: gpu(spec)?,
        quality: quality(spec)?,
        roll_back_on_missing_metrics: judgement.on_missing_metrics == OnMissingMetrics::Rollback,
        mode: mode(spec.rollback.mode),
        cooldown: span(&spec.rollback.cooldown, "rollback.cooldown", 30.0 * DAY)?,
        allow_previous: spec.rollback.allow_previous,
        checkpoint_max_age: span(&checkpoints.max_age, "checkpoints.maxAge", 365.0 * DAY)?,
        max_load_time: span(&checkpoints.max_load_time, "checkpoints.maxLoadTime", DAY)?,
        tested_within: span(&checkpoints.tested_within, "checkpoints.testedWithin", 365.0 * DAY)?,
        require_test: checkpoints.require_test,
        register_after: checkpoints.auto_register.then_some(register_after as i64),
        keep: usize::try_from(checkpoints.keep)
            .ok()
            .filter(|keep| (2..=50).contains(keep))
            .ok_or(Invalid::Range {
                field: "checkpoints.keep",
                message: "must lie between 2 and 50",
            })?,
        rto: span(&spec.recovery.rto, "recovery.rto", 7.0 * DAY)?,
        rpo: span(&spec.recovery.rpo, "recovery.rpo", 7.0 * DAY)?,
        review: within(
            spec.report.review.seconds().at("report.review")?,
            60.0,
            30.0 * DAY,
            "report.review",
            "must lie between 1m and 30d",
        )? as i64,
    };
    let policy = measurable(policy, &spec.metrics);
    if policy.streaming_triggers() == 0 {
        return Err(Invalid::Range {
            field: "objectives",
            message: "at least one of latency, errorRate and throughput must be enabled, and its metric be named",
        });
    }
    Ok(policy)
}

fn mode(mode: RollbackMode) -> Mode {
    match mode {
        RollbackMode::Automatic => Mode::Automatic,
        RollbackMode::Prepare => Mode::Prepare,
        RollbackMode::Observe => Mode::Observe,
    }
}

/// What no metric is named for is not judged: no failures seen is not the same as none counted.
fn measurable(mut policy: Policy, metrics: &Metrics) -> Policy {
    let set = MetricSet::new(metrics.preset, metrics.custom.as_ref());
    let measured = set.measured();
    policy.errors_not_seen = set.errors_not_seen(metrics.preset);
    policy.error_rate = policy.error_rate.filter(|_| measured.errors);
    policy.latency = policy.latency.filter(|_| measured.latency);
    policy.throughput = policy.throughput.filter(|_| measured.requests);
    policy
}

fn span(span: &quality_api::Span, field: &'static str, most: f64) -> Result<i64, Invalid> {
    Ok(within(
        span.seconds().at(field)?,
        1.0,
        most,
        field,
        "must be at least 1s and not longer than makes sense",
    )? as i64)
}

fn latency(spec: &QualityPolicySpec) -> Result<Option<Latency>, Invalid> {
    let objective = &spec.objectives.latency;
    if !objective.enabled {
        return Ok(None);
    }
    let quantile = objective.quantile.value().at("objectives.latency.quantile")?;
    within(
        quantile,
        0.5,
        0.999,
        "objectives.latency.quantile",
        "must lie between 0.5 and 0.999",
    )?;
    let target = objective.target.seconds().at("objectives.latency.target")?;
    within(
        target,
        0.001,
        3_600.0,
        "objectives.latency.target",
        "must be positive and under an hour",
    )?;
    let tolerance = if objective.tolerance.as_str().starts_with("0m") || objective.tolerance.as_str() == "0s" {
        0.0
    } else {
        objective.tolerance.seconds().at("objectives.latency.tolerance")?
    };
    within(
        tolerance,
        0.0,
        target,
        "objectives.latency.tolerance",
        "must not be over the target",
    )?;
    let edge = objective
        .edge
        .as_ref()
        .map(|edge| edge.seconds().at("objectives.latency.edge"))
        .transpose()?;
    Ok(Some(Latency {
        quantile,
        target,
        tolerance,
        edge,
    }))
}

fn error_rate(spec: &QualityPolicySpec) -> Result<Option<f64>, Invalid> {
    let objective = &spec.objectives.error_rate;
    if !objective.enabled {
        return Ok(None);
    }
    let max = objective.max.share().at("objectives.errorRate.max")?;
    within(
        max,
        0.000_001,
        0.5,
        "objectives.errorRate.max",
        "must be over 0% and at most 50%",
    )
    .map(Some)
}

fn throughput(spec: &QualityPolicySpec) -> Result<Option<Throughput>, Invalid> {
    let objective = &spec.objectives.throughput;
    if !objective.enabled {
        return Ok(None);
    }
    let target = objective.target.per_second().at("objectives.throughput.target")?;
    let floor = objective.floor.per_second().at("objectives.throughput.floor")?;
    within(
        floor,
        0.000_1,
        target,
        "objectives.throughput.floor",
        "must not be over the target",
    )?;
    Ok(Some(Throughput {
        target,
        floor,
        assume_constant_demand: objective.assume_constant_demand,
    }))
}

/// What the model's answers must meet, where the policy says where their evidence is.
fn quality(spec: &QualityPolicySpec) -> Result<Option<Objectives>, Invalid> {
    let Some(evidence) = &spec.evidence else {
        return Ok(None);
    };
    if evidence.mlflow.is_some() == evidence.store.is_some() {
        return Err(Invalid::Range {
            field: "evidence",
            message: "must name either mlflow or store",
        });
    }
    let mut optional = Objectives::usually_optional();
    optional.extend(evidence.optional.iter().copied());
    let objectives = &spec.objectives;
    Ok(Some(Objectives {
        compliance: compliance(&objectives.compliance)?,
        drift: drift(&objectives.drift)?,
        performance: Performance {
            p95_ms: latency(spec)?.map(|latency| (latency.target * 1e3, latency.tolerance * 1e3)),
            error_rate: error_rate(spec)?,
            throughput: throughput(spec)?.map(|throughput| (throughput.target, throughput.floor)),
            gpu: gpu(spec)?.map(|gpu| (gpu.max_utilization, gpu.max_memory)),
        },
        optional,
    }))
}

fn compliance(objective: &ComplianceObjective) -> Result<Option<policy::ComplianceObjective>, Invalid> {
    if !objective.enabled {
        return Ok(None);
    }
    let decimal = |value: &Decimal, most, field, message| {
        within(value.value().at(field)?, f64::MIN_POSITIVE, most, field, message)
    };
    Ok(Some(policy::ComplianceObjective {
        min_uplift: objective.min_uplift.percent().at("objectives.compliance.minUplift")?,
        relative: objective.uplift_scale == UpliftScale::Relative,
        max_drop: decimal(
            &objective.max_drop,
            100.0,
            "objectives.compliance.maxDrop",
            "must be over 0 and at most 100 points",
        )?,
        max_conflict_auc: decimal(
            &objective.max_conflict_auc,
            1.0,
            "objectives.compliance.maxConflictAuc",
            "must be over 0 and at most 1",
        )?,
        max_ece: decimal(
            &objective.max_ece,
            1.0,
            "objectives.compliance.maxEce",
            "must be over 0 and at most 1",
        )?,
    }))
}

fn drift(objective: &DriftObjective) -> Result<Option<policy::DriftObjective>, Invalid> {
    if !objective.enabled {
        return Ok(None);
    }
    let days = objective.window.seconds().at("objectives.drift.window")? / DAY;
    let message = "must be a whole number of days, 1d to 90d";
    within(days, 1.0, 90.0, "objectives.drift.window", message)?;
    if days.fract() > 0.0 {
        return Err(Invalid::Range {
            field: "objectives.drift.window",
            message,
        });
    }
    Ok(Some(policy::DriftObjective {
        window_days: days as u32,
        min_correlation: within(
            objective
                .min_correlation
                .value()
                .at("objectives.drift.minCorrelation")?,
            0.0,
            1.0,
            "objectives.drift.minCorrelation",
            "must be at most 1",
        )?,
        max_modality_ratio: within(
            objective
                .max_modality_ratio
                .value()
                .at("objectives.drift.maxModalityRatio")?,
            1.0,
            1e6,
            "objectives.drift.maxModalityRatio",
            "must be at least 1",
        )?,
    }))
}

fn gpu(spec: &QualityPolicySpec) -> Result<Option<Gpu>, Invalid> {
    let objective = &spec.objectives.gpu;
    if !objective.enabled {
        return Ok(None);
    }
    Ok(Some(Gpu {
        max_utilization: objective.max_utilization.share().at("objectives.gpu.maxUtilization")?,
        max_memory: objective.max_memory.share().at("objectives.gpu.maxMemory")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(yaml: &str) -> QualityPolicySpec {
        serde_saphyr::from_str(&format!("targetRef: {{name: ranker}}\n{yaml}")).unwrap()
    }

    #[test]
    fn a_policy_that_names_only_its_target_has_the_required_defaults() {
        let policy = policy(&spec("")).unwrap();
        assert_eq!(
            (policy.interval, policy.escalate_after, policy.warm_up, policy.cooldown),
            (15, 180, 60, 1_800)
        );
        assert_eq!(
            policy.latency,
            Some(Latency {
                quantile: 0.95,
                target: 0.5,
                tolerance: 0.005,
                edge: None
            })
        );
        assert_eq!(policy.error_rate, Some(0.01));
        assert_eq!(
            policy.throughput,
            Some(Throughput {
                target: 100.0,
                floor: 80.0,
                assume_constant_demand: false
            })
        );
        assert_eq!((policy.rto, policy.rpo, policy.checkpoint_max_age), (600, 300, 86_400));
        assert_eq!(
            (policy.max_load_time, policy.tested_within, policy.require_test),
            (30, 604_800, false)
        );
        assert_eq!(policy.streaming_triggers(), 3);
        assert!((policy.looks_per_period() - 240.0).abs() < 1e-9);
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_the_path_of_its_field() {
        for (yaml, field) in [
            ("judgement: {interval: 0s}", "judgement.interval"),
            ("judgement: {interval: 10m}", "judgement.interval"),
            ("judgement: {per: 36500d}", "judgement.per"),
            ("judgement: {falseRollbackRate: 0%}", "judgement.falseRollbackRate"),
            ("judgement: {warmUp: 2h}", "judgement.warmUp"),
            ("objectives: {latency: {target: 0ms}}", "objectives.latency.target"),
            (
                "objectives: {latency: {quantile: '1.5'}}",
                "objectives.latency.quantile",
            ),
            ("objectives: {latency: {quantile: NaN}}", "objectives.latency.quantile"),
            ("objectives: {errorRate: {max: '-1%'}}", "objectives.errorRate.max"),
            (
                "objectives: {throughput: {target: 10/s, floor: 80/s}}",
                "objectives.throughput.floor",
            ),
            (
                "objectives: {latency: {enabled: false}, errorRate: {enabled: false}, throughput: {enabled: false}}",
                "objectives",
            ),
            ("checkpoints: {keep: 1}", "checkpoints.keep"),
            ("checkpoints: {maxLoadTime: 2d}", "checkpoints.maxLoadTime"),
            ("checkpoints: {testedWithin: 0s}", "checkpoints.testedWithin"),
            ("evidence: {}", "evidence"),
            (
                "evidence: {mlflow: {}}\nobjectives: {compliance: {maxDrop: '0'}}",
                "objectives.compliance.maxDrop",
            ),
            (
                "evidence: {store: {source: s3}}\nobjectives: {drift: {window: 36h}}",
                "objectives.drift.window",
            ),
            ("rollback: {cooldown: 1e9s}", "rollback.cooldown"),
        ] {
            let message = policy(&spec(yaml)).unwrap_err().to_string();
            assert!(message.starts_with(&format!("spec.{field}:")), "{yaml}: {message}");
        }
    }

    #[test]
    fn warm_up_and_tolerance_may_be_nothing() {
        let policy = policy(&spec(
            "judgement: {warmUp: 0s}\nobjectives: {latency: {tolerance: 0ms}}",
        ))
        .unwrap();
        assert_eq!(policy.warm_up, 0);
        assert!(policy.latency.unwrap().tolerance.abs() < 1e-12);
    }
}
