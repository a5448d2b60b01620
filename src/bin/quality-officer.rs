//! The operator.
#![allow(clippy::print_stderr)]

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
use quality_officer::{config::Config, controllers, meters::Meters, server};
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
    let Command::Run(arguments) = Arguments::parse().command;
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
    match runtime.block_on(run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quality-officer: {error}");
            ExitCode::FAILURE
        }
    }
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
    quality_officer::client::install_crypto();
    let client = quality_officer::client::connect().await?;
    let stop = CancellationToken::new();
    let meters = Arc::new(Meters::default());
    let ready = Arc::new(AtomicBool::new(false));
    let listener = server::bind(arguments.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", arguments.listen))?;
    tracing::info!(address = %listener.local_addr()?, sources = config.metrics_sources.len(), "quality-officer {}", env!("CARGO_PKG_VERSION"));
    let shown = server::Shown {
        meters: meters.clone(),
        ready: ready.clone(),
    };
    let serving = tokio::spawn(server::serve(listener, shown, stop.clone()));
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
        stop.clone(),
        move || ready.store(true, Ordering::Relaxed),
    )
    .await;
    stop.cancel();
    serving.await??;
    Ok(())
}
