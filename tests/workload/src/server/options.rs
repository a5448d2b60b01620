//! Flags of `inference-server`: a release is a set of them. Most can come from the container's environment too, where
//! the flag is not given.

use std::path::PathBuf;

use clap::Parser;

/// A small ranking model behind HTTP on 127.0.0.1.
#[derive(Debug, Clone, Parser)]
#[command(name = "inference-server", version, disable_version_flag = true)]
pub struct ServerOptions {
    /// Port on 127.0.0.1; 0 takes a free one and logs it.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Median wait for the feature store, milliseconds.
    #[arg(long, env = "RANKER_FEATURE_MEDIAN_MS", default_value_t = 180.0)]
    pub feature_median_ms: f64,
    /// Sigma of the lognormal wait.
    #[arg(long, env = "RANKER_FEATURE_SIGMA", default_value_t = 0.35)]
    pub feature_sigma: f64,
    /// File with a factor on every wait for the feature store, followed while running; without it the factor is 1.
    #[arg(long, env = "RANKER_FEATURE_STORE_SCALE_FILE")]
    pub feature_store_scale_file: Option<PathBuf>,
    /// Share of the input range that the release fails on.
    #[arg(long, env = "RANKER_ERROR_RATE", default_value_t = 0.0)]
    pub error_rate: f64,
    /// Status of such a failure.
    #[arg(long, env = "RANKER_BAD_STATUS", default_value_t = 500)]
    pub bad_status: u16,
    /// Width of the hidden layer.
    #[arg(long, env = "RANKER_HIDDEN_UNITS", default_value_t = 32)]
    pub hidden_units: usize,
    /// Bits that each weight is stored in: a release that was quantised is smaller and ranks worse. Without it, 32.
    #[arg(long, env = "RANKER_WEIGHT_BITS", value_parser = clap::value_parser!(u8).range(2..=16))]
    pub weight_bits: Option<u8>,
    /// Time until the weights are loaded and the pod is ready, milliseconds.
    #[arg(long, env = "RANKER_LOAD_MS", default_value_t = 300)]
    pub load_ms: u64,
    /// The weights never finish loading.
    #[arg(long)]
    pub never_ready: bool,
    /// Requests processed at once; the others wait in a queue. Without it there is no limit.
    #[arg(long, env = "RANKER_MAX_CONCURRENCY")]
    pub max_concurrency: Option<usize>,
    /// Time to keep answering after SIGTERM, milliseconds; 0 ends at once.
    #[arg(long, env = "RANKER_DRAIN_MS", default_value_t = 1000)]
    pub drain_ms: u64,
    /// Exit with an error after this many seconds.
    #[arg(long, env = "RANKER_EXIT_AFTER")]
    pub exit_after: Option<f64>,
    /// Exit with an error at start.
    #[arg(long)]
    pub crash: bool,
    /// Seed of the weights and of the feature store.
    #[arg(long, env = "RANKER_SEED", default_value_t = 1)]
    pub seed: u64,
}
