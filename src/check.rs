//! `quality-officer check`: the same judgement as the operator's, once, with no cluster; for pipelines.
//!
//! What it needs beside a policy is a metrics source, the evidence of a run, or both. The rollback path (checkpoints,
//! incidents) is not judged here.

mod print;

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{config::Config, controllers::release::made_for, validate};
use quality_api::{Evidence, EvidenceFile, MlflowReference, QualityPolicy};
use quality_core::{
    counters::{CounterDeltas, Coverage},
    judge::{self, Analysis, DesignEffects, Verdict},
    policy::Policy,
    quality::{self, EvaluationState, evidence::Bundle},
    report::{Report, ReportInput, report},
    slo::Health,
};
use quality_render::flame_graph;
use quality_sources::{
    load::{self, EvidenceLocation},
    mlflow::Mlflow,
    object_storage,
    presets::{DeploymentSelector, MetricSet},
    prometheus::{QueryError, Source},
    run::{RunError, RunId},
    settings::{MetricsSource, MlflowSource},
};

/// What is to be judged.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The policy's file, `-` for standard input.
    pub file: PathBuf,
    /// A folder with evidence files, or the id of a run.
    pub evidence: Option<String>,
    /// The same of the release to compare with.
    pub baseline: Option<String>,
    /// URL of the MLflow tracking server that runs are in.
    pub mlflow: Option<String>,
    /// URL of a server with the Prometheus query API.
    pub prometheus: Option<String>,
    /// The operator's configuration, for sources by name.
    pub config: Option<PathBuf>,
    /// The Deployment's namespace, where the policy names none.
    pub namespace: Option<String>,
    /// The last instant that counts; now when it is not given.
    pub at: Option<Timestamp>,
}

/// Why nothing can be judged.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The policy is none.
    #[error("{path} is not a QualityPolicy: {message}")]
    Policy {
        /// The file.
        path: String,
        /// Where and why.
        message: String,
    },
    /// A value of the policy makes no sense.
    #[error("{path}: {source}")]
    Invalid {
        /// The file.
        path: String,
        /// The field and why.
        source: validate::Invalid,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// Neither metrics nor evidence.
    #[error("nothing to judge: give --evidence, --prometheus or both")]
    Nothing,
    /// A run by its id, and nobody said where runs are.
    #[error("{0} is no folder; to read it as an MLflow run, give --mlflow URL (or MLFLOW_TRACKING_URI)")]
    NoServer(String),
    /// The baseline alone.
    #[error("--baseline needs --evidence")]
    BaselineAlone,
    /// The text is neither a folder nor a run's id.
    #[error("{0} is neither a folder nor the id of a run")]
    NoRun(String),
    /// The evidence cannot be read.
    #[error("{0}")]
    Run(#[from] RunError),
    /// The metrics source gave no usable answer.
    #[error("{0}")]
    Metrics(#[from] QueryError),
    /// The judge could not be set up.
    #[error("{0}")]
    Judge(#[from] quality_stats::StatsError),
}

/// What was found.
pub struct Outcome {
    /// The policy's name.
    pub policy: String,
    /// The verdict, the rollback path left aside.
    pub health: Health,
    /// The report, as the operator would write it.
    pub report: Report,
    /// Where the profiled run's time went, as an SVG page.
    pub flame_graph: Option<String>,
}

/// Judges once.
pub async fn check(request: &Request) -> Result<Outcome, CheckError> {
    let (policy, rules) = policy(request)?;
    if request.evidence.is_none() && request.prometheus.is_none() {
        return Err(if request.baseline.is_some() {
            CheckError::BaselineAlone
        } else {
            CheckError::Nothing
        });
    }
    let config = match &request.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    let known = evidence(request, &config, &rules).await?;
    let now = request.at.unwrap_or_else(Timestamp::now).as_second();
    let rules = Arc::new(rules);
    let mut verdict = match &request.prometheus {
        Some(url) => metrics(url, request, &policy, &rules, now).await?,
        None => Verdict {
            at: now,
            triggers: Vec::new(),
            no_metrics_since: None,
        },
    };
    let objective = rules.quality.as_ref().and_then(|quality| quality.compliance.as_ref());
    let compliance = objective.map(|objective| judge::compliance::verdict(objective, &known, verdict.at));
    verdict.triggers.extend(compliance);
    let found = report(&ReportInput {
        policy: &rules,
        verdict: &verdict,
        problem: None,
        quality: &known,
        candidates: None,
        incidents: &[],
        drills: &[],
        metrics: request.prometheus.as_deref().unwrap_or_default(),
        now,
    });
    let stacks = known
        .quality()
        .map(|quality| quality.stacks.as_slice())
        .unwrap_or_default();
    Ok(Outcome {
        policy: policy.metadata.name.clone().unwrap_or_default(),
        health: found.health,
        flame_graph: flame_graph::svg(stacks, "Where the time of the profiled run went"),
        report: found,
    })
}

fn policy(request: &Request) -> Result<(QualityPolicy, Policy), CheckError> {
    let path = request.file.display().to_string();
    let read = |source| CheckError::Read {
        path: path.clone(),
        source,
    };
    let text = if request.file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(read)?;
        text
    } else {
        std::fs::read_to_string(&request.file).map_err(read)?
    };
    let mut policy: QualityPolicy = serde_saphyr::from_str(&text).map_err(|error| CheckError::Policy {
        path: path.clone(),
        message: error.to_string(),
    })?;
    if request.evidence.is_some() && policy.spec.evidence.is_none() {
        // Evidence that is given is judged, also by a policy that names none.
        policy.spec.evidence = Some(Evidence {
            mlflow: Some(MlflowReference {
                source: "default".to_owned(),
                log_back: false,
            }),
            store: None,
            optional: Vec::<EvidenceFile>::new(),
        });
    }
    if request.evidence.is_none() {
        policy.spec.evidence = None;
    }
    let rules = validate::policy(&policy.spec).map_err(|source| CheckError::Invalid { path, source })?;
    Ok((policy, rules))
}

async fn evidence(request: &Request, config: &Config, rules: &Policy) -> Result<EvaluationState, CheckError> {
    let (Some(objectives), Some(named)) = (&rules.quality, &request.evidence) else {
        return Ok(EvaluationState::Pending);
    };
    let server = server(request, config)?;
    let current = bundle(named, server.as_ref()).await?;
    let baseline = match &request.baseline {
        Some(named) => bundle(named, server.as_ref()).await?,
        None => Bundle::default(),
    };
    Ok(EvaluationState::Judged {
        quality: Arc::new(quality::judge(objectives, &current, &baseline)),
        completed: None,
    })
}

/// The tracking server: by its URL, or the one of the configuration named `default`.
fn server(request: &Request, config: &Config) -> Result<Option<Mlflow>, CheckError> {
    let named = config.mlflow_sources.get("default").cloned();
    let settings = match &request.mlflow {
        Some(url) => Some(MlflowSource {
            url: url.clone(),
            ..named.unwrap_or_else(|| MlflowSource::at(url))
        }),
        None => named,
    };
    let server = |settings| {
        Mlflow::new("default", &settings, Arc::new(config.object_stores.clone())).map_err(|error| RunError::Source {
            what: "MLflow".to_owned(),
            error,
        })
    };
    Ok(settings.map(server).transpose()?)
}

/// A folder's evidence, or a run's.
async fn bundle(named: &str, server: Option<&Mlflow>) -> Result<Bundle, CheckError> {
    if Path::new(named).is_dir() {
        let name = RunId::parse("folder").ok_or_else(|| CheckError::NoRun(named.to_owned()))?;
        return Ok(load::folder(&name, object_storage::local(Path::new(named))?).await?);
    }
    let id = RunId::parse(named).ok_or_else(|| CheckError::NoRun(named.to_owned()))?;
    let server = server.ok_or_else(|| CheckError::NoServer(named.to_owned()))?;
    let place = EvidenceLocation::Mlflow(server);
    Ok(place.find(&id).await?.read().await?)
}

/// The looks of the last period, at all pods of the Deployment: what runs now is taken for one release.
async fn metrics(
    url: &str,
    request: &Request,
    policy: &QualityPolicy,
    rules: &Arc<Policy>,
    now: i64,
) -> Result<Verdict, CheckError> {
    let source = Source::new("prometheus", &MetricsSource::at(url), Arc::new(|_, _| {}))?;
    let namespace = policy.metadata.namespace.clone().or_else(|| request.namespace.clone());
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let deployment = &policy.spec.target_ref.name;
    let metrics = MetricSet::new(policy.spec.metrics.preset, policy.spec.metrics.custom.as_ref());
    let narrow = DeploymentSelector {
        namespace: &namespace,
        deployment,
    };
    let interval = rules.interval;
    let until = now.div_euclid(interval) * interval;
    let start = until - (rules.period as i64 / interval) * interval;
    let blocks = source
        .history(
            &metrics,
            narrow,
            start - judge::HISTORY_SECONDS,
            start,
            judge::BLOCK_SECONDS,
        )
        .await?;
    let looks = looks(&blocks, &namespace, deployment, judge::BLOCK_SECONDS as f64);
    let effects = if looks.iter().any(|look| look.errors.is_ok() || look.latency.is_ok()) {
        judge::design_effects(rules, &looks, &[])
    } else {
        DesignEffects::default()
    };
    let tables = source.history(&metrics, narrow, start, until, interval).await?;
    let mut analysis = Analysis::new(rules.clone(), start, effects)?;
    // What runs is not held to be new: its warm-up lies before the window.
    analysis.first_ready(start - rules.warm_up);
    let stale_after = (2 * interval).clamp(10, 300) as f64;
    for look in self::looks(&tables, &namespace, deployment, stale_after) {
        analysis.look(look);
    }
    Ok(analysis.verdict())
}

fn looks(
    tables: &[quality_sources::table::Table],
    namespace: &str,
    deployment: &str,
    stale_after: f64,
) -> Vec<quality_core::counters::Look> {
    let belongs = |pod: &str| made_for(deployment, pod);
    let mut differ = CounterDeltas::default();
    let look = |table: &quality_sources::table::Table| {
        let snapshot = table.snapshot(namespace, &belongs);
        let fresh = |at: f64| snapshot.at as f64 - at <= stale_after;
        let sampled = snapshot.pods.values().filter(|pod| pod.sampled_at.is_some_and(fresh));
        let coverage = Coverage {
            belongs: &belongs,
            expected: sampled.count(),
            born: None,
            stale_after,
        };
        differ.look(&snapshot, coverage)
    };
    tables.iter().map(look).collect()
}
