//! The operator.
#![allow(clippy::print_stderr, clippy::print_stdout)]

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::{Parser, Subcommand, ValueEnum};
use quality_core::lease::Terms;
use quality_officer::{
    config::{Config, ReportPage},
    controllers,
    leader::{self, Candidate, Leadership, Lost},
    metrics::Meters,
    server,
};
use quality_render::import_export;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Guards ML-inference Deployments: judges their SLOs and rolls a breaching release back to its checkpoint.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator against the cluster of the environment (in-cluster, or KUBECONFIG).
    Run(Run),
    /// Judge once, with no cluster: a run's evidence, a Deployment's metrics, or both.
    ///
    /// Exit code: 0 HEALTHY, 3 CAUTION, 4 BREACH; 1 when nothing could be judged, 2 when the call is wrong.
    Check(Check),
    /// Keep registered checkpoints in a file (`checkpoint_registry.yaml`), and bring them back.
    #[command(subcommand)]
    Checkpoints(Checkpoints),
}

#[derive(Subcommand)]
enum Checkpoints {
    /// Print the checkpoints of a namespace.
    Export {
        /// The namespace.
        #[arg(short, long)]
        namespace: String,
        /// Only those of this Deployment.
        #[arg(long)]
        target: Option<String>,
    },
    /// Create the checkpoints of a file: all of them, or none.
    Import {
        /// The namespace.
        #[arg(short, long)]
        namespace: String,
        /// The file; `-` for standard input.
        #[arg(short, long)]
        file: PathBuf,
        /// Check all of it, by the API server too, and write nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(clap::Args)]
struct Check {
    /// The policy, a YAML file; `-` for standard input.
    #[arg(short, long)]
    file: PathBuf,
    /// A folder with evidence files, or the id of an MLflow run.
    #[arg(long, value_name = "DIR|RUN")]
    evidence: Option<String>,
    /// The same of the release to compare with.
    #[arg(long, value_name = "DIR|RUN")]
    baseline: Option<String>,
    /// The MLflow tracking server that runs are in.
    #[arg(long, value_name = "URL", env = "MLFLOW_TRACKING_URI")]
    mlflow: Option<String>,
    /// A server with the Prometheus query API: the Deployment's metrics are judged too.
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// The operator's configuration file, for the MLflow source `default` with its credentials and for object stores.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The Deployment's namespace, where the policy names none.
    #[arg(short, long)]
    namespace: Option<String>,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// Write a flame graph of the profiled run into this SVG file.
    #[arg(long, value_name = "FILE")]
    flame_graph: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(clap::Args)]
struct Run {
    /// The operator's configuration file: metrics sources and other things that only an administrator sets.
    #[arg(
        long,
        env = "QUALITY_OFFICER_CONFIG",
        default_value = "/etc/quality-officer/config.yaml"
    )]
    config: PathBuf,
    /// Watch and act in this namespace only; in all of them when it is not given.
    #[arg(long)]
    namespace: Option<String>,
    /// Lead only while holding a Lease in the operator's own namespace: for more than one replica.
    #[arg(long)]
    leader_elect: bool,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// How the log is written.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// What is logged, in the syntax of tracing's EnvFilter.
    #[arg(long, env = "QUALITY_OFFICER_LOG", default_value = "info")]
    log: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("quality-officer: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match &command {
            Command::Run(arguments) => run(arguments).await.map(|()| ExitCode::SUCCESS),
            Command::Check(arguments) => check(arguments).await,
            Command::Checkpoints(arguments) => checkpoints(arguments).await.map(|()| ExitCode::SUCCESS),
        }
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quality-officer: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn check(arguments: &Check) -> Result<ExitCode, Box<dyn std::error::Error>> {
    quality_sources::tls::install_crypto();
    let outcome = quality_officer::check::check(&quality_officer::check::Request {
        file: arguments.file.clone(),
        evidence: arguments.evidence.clone(),
        baseline: arguments.baseline.clone(),
        mlflow: arguments.mlflow.clone(),
        prometheus: arguments.prometheus.clone(),
        config: arguments.config.clone(),
        namespace: arguments.namespace.clone(),
        at: None,
    })
    .await?;
    match arguments.output {
        Output::Text => print!("{}", outcome.text()),
        Output::Json => println!("{}", serde_json::to_string_pretty(&outcome.json())?),
    }
    if let Some(path) = &arguments.flame_graph {
        let svg = outcome
            .flame_graph
            .as_ref()
            .ok_or("the evidence has no usable profiler_trace.json to draw")?;
        std::fs::write(path, svg).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(ExitCode::from(outcome.exit_code()))
}

async fn checkpoints(arguments: &Checkpoints) -> Result<(), Box<dyn std::error::Error>> {
    quality_sources::tls::install_crypto();
    match arguments {
        Checkpoints::Export { namespace, target } => {
            let client = quality_officer::client::connect().await?;
            print!("{}", import_export::export(client, namespace, target.as_deref()).await?);
        }
        Checkpoints::Import {
            namespace,
            file,
            dry_run,
        } => {
            let bytes = import_export::read(file)?;
            let client = quality_officer::client::connect().await?;
            let imported = import_export::import(client, namespace, &bytes, *dry_run)
                .await
                .map_err(|error| format!("{}: {error}", file.display()))?;
            print!("{}", imported.text(*dry_run));
        }
    }
    Ok(())
}

async fn run(arguments: &Run) -> Result<(), Box<dyn std::error::Error>> {
    let filter = EnvFilter::try_new(&arguments.log).map_err(|error| format!("--log {:?}: {error}", arguments.log))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match arguments.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    let config = Config::read(&arguments.config)?;
    quality_sources::tls::install_crypto();
    let cluster = quality_officer::client::config().await?;
    let stop = CancellationToken::new();
    let (leadership, campaign) = stand(arguments, &cluster, &stop)?;
    let client = leader::fence(cluster, &leadership)?;
    let meters = Arc::new(Meters::default());
    let ready = Arc::new(AtomicBool::new(false));
    let listener =
        server::bind(arguments.listen).map_err(|error| format!("cannot listen on {}: {error}", arguments.listen))?;
    tracing::info!(address = %listener.local_addr()?, sources = config.metrics_sources.len(), "quality-officer {}", env!("CARGO_PKG_VERSION"));
    let shown = server::Shown {
        meters: meters.clone(),
        ready: ready.clone(),
    };
    let serving = tokio::spawn(server::serve(listener, shown, stop.clone()));
    let pages = match &config.report_page {
        Some(page) => Some(serve_reports(
            page,
            &client,
            arguments.namespace.clone(),
            &meters,
            &stop,
        )?),
        None => None,
    };
    let signalled = stop.clone();
    tokio::spawn(async move {
        quality_officer::client::stop_signal().await;
        tracing::info!("stopping");
        signalled.cancel();
    });
    controllers::run(
        client,
        arguments.namespace.as_deref(),
        &config,
        meters,
        &leadership,
        stop.clone(),
        move || ready.store(true, Ordering::Relaxed),
    )
    .await;
    stop.cancel();
    campaign.end().await?;
    serving.await?;
    if let Some(pages) = pages {
        pages.await?;
    }
    Ok(())
}

/// The part that this replica has in the election, if there is one.
struct Campaign {
    done: CancellationToken,
    task: Option<tokio::task::JoinHandle<Result<(), Lost>>>,
}

impl Campaign {
    /// Gives the lease back; what was lost is an error.
    async fn end(self) -> Result<(), Box<dyn std::error::Error>> {
        self.done.cancel();
        if let Some(task) = self.task {
            task.await??;
        }
        Ok(())
    }
}

/// Stands for election when it is asked for. The lease is given back after the last write; losing it stops the process.
fn stand(
    arguments: &Run,
    cluster: &kube::Config,
    stop: &CancellationToken,
) -> Result<(Leadership, Campaign), kube::Error> {
    let done = CancellationToken::new();
    if !arguments.leader_elect {
        return Ok((Leadership::alone(), Campaign { done, task: None }));
    }
    let terms = Terms::default();
    let leadership = Leadership::elected(terms);
    // Operators of one namespace each may live side by side.
    let lease = arguments.namespace.as_ref().map_or_else(
        || "quality-officer".to_owned(),
        |namespace| format!("quality-officer-{namespace}"),
    );
    let candidate = Candidate::new(kube::Client::try_from(cluster.clone())?, &lease, terms);
    let (held, ended, stop) = (leadership.clone(), done.clone(), stop.clone());
    let task = tokio::spawn(candidate.campaign(held, stop, ended));
    let campaign = Campaign { done, task: Some(task) };
    Ok((leadership, campaign))
}

/// Starts the report pages on their own address.
fn serve_reports(
    page: &ReportPage,
    client: &kube::Client,
    namespace: Option<String>,
    meters: &Arc<Meters>,
    stop: &CancellationToken,
) -> Result<tokio::task::JoinHandle<()>, String> {
    let listener = server::bind(page.listen)
        .map_err(|error| format!("cannot serve the report pages on {}: {error}", page.listen))?;
    tracing::info!(address = %page.listen, "report pages: /reports");
    let serving = server::reports::serve(listener, client.clone(), namespace, meters.clone(), stop.clone());
    Ok(tokio::spawn(serving))
}
