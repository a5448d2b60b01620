//! The connection to the API server, and the signals that end the process.

use kube::{Client, Config, api::PostParams};

use quality_api::FIELD_MANAGER;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither in-cluster nor a kubeconfig.
    #[error("no cluster: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// The client could not be made.
    #[error("no client for the cluster: {0}")]
    Client(#[from] kube::Error),
}

/// A client for the cluster of the environment.
pub async fn connect() -> Result<Client, ConnectError> {
    Ok(Client::try_from(config().await?)?)
}

/// How the cluster of the environment is reached.
pub async fn config() -> Result<Config, ConnectError> {
    let mut config = Config::infer().await?;
    // kube would repeat a failed call by itself, as late as the server asks for: a write must never fire
    // long after it was decided on.
    config.default_retry = false;
    Ok(config)
}

/// The parameters of every creation and replacement.
pub fn post() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// Waits for SIGTERM or SIGINT.
pub async fn stop_signal() {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(error) => {
            tracing::error!(%error, "cannot listen for SIGTERM");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
