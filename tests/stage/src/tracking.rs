//! A pipeline that logs its runs to an MLflow tracking server, over the server's REST API.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::StageError;

/// A pipeline's view of a tracking server.
pub struct Tracking {
    url: String,
    client: Client,
}

/// A run that was begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Its id.
    pub run: String,
    /// Where its artifacts go.
    pub artifact_uri: String,
}

impl Tracking {
    /// The server at `url`.
    pub fn at(url: &str) -> Result<Self, StageError> {
        quality_sources::tls::install_crypto();
        let client = Client::builder().no_proxy().build();
        Ok(Self {
            url: url.to_owned(),
            client: client.map_err(|error| StageError::Unexpected(error.to_string()))?,
        })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Value, StageError> {
        let failed = |error: reqwest::Error| StageError::Unexpected(format!("MLflow, {path}: {error}"));
        let request = self.client.request(method, format!("{}{path}", self.url)).body(body);
        let answer = request.header("content-type", "application/json").send().await;
        let answer = answer.map_err(failed)?;
        let status = answer.status();
        let text = answer.text().await.map_err(failed)?;
        if status != StatusCode::OK {
            return Err(StageError::Unexpected(format!("MLflow, {path}: {status} {text}")));
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, StageError> {
        let path = format!("/api/2.0/mlflow/{path}");
        self.send(Method::POST, &path, body.to_string().into_bytes()).await
    }

    /// Begins a run.
    pub async fn begin(&self) -> Result<Begun, StageError> {
        let made = self
            .post("runs/create", json!({"experiment_id": "0", "start_time": 1_000}))
            .await?;
        let text = |name: &str| made["run"]["info"][name].as_str().unwrap_or_default().to_owned();
        Ok(Begun {
            run: text("run_id"),
            artifact_uri: text("artifact_uri"),
        })
    }

    /// Says which data a run is evaluated on.
    pub async fn dataset(&self, run: &str, digest: &str) -> Result<(), StageError> {
        let input = json!({
            "run_id": run,
            "datasets": [{
                "tags": [{"key": "mlflow.data.context", "value": "evaluation"}],
                // A name of its own: two clients that make the same dataset at once are refused.
                "dataset": {"name": format!("golden-{run}"), "digest": digest, "source_type": "local", "source": "{}"},
            }],
        });
        self.post("runs/log-inputs", input).await.map(drop)
    }

    /// Puts an artifact through the server's proxy.
    pub async fn put(&self, begun: &Begun, name: &str, bytes: Vec<u8>) -> Result<(), StageError> {
        let root = begun.artifact_uri.trim_start_matches("mlflow-artifacts:");
        let path = format!("/api/2.0/mlflow-artifacts/artifacts{root}/{name}");
        self.send(Method::PUT, &path, bytes).await.map(drop)
    }

    /// Ends a run: `FINISHED`, `FAILED`, `KILLED`.
    pub async fn end(&self, run: &str, status: &str) -> Result<(), StageError> {
        let ended = jiff::Timestamp::now().as_millisecond();
        self.post(
            "runs/update",
            json!({"run_id": run, "status": status, "end_time": ended}),
        )
        .await
        .map(drop)
    }

    /// Deletes a run.
    pub async fn delete(&self, run: &str) -> Result<(), StageError> {
        self.post("runs/delete", json!({"run_id": run})).await.map(drop)
    }

    /// An artifact's text, as a person would download it.
    pub async fn read(&self, run: &str, path: &str) -> Result<String, StageError> {
        let failed = |error: reqwest::Error| StageError::Unexpected(format!("MLflow, {path}: {error}"));
        let url = format!("{}/get-artifact?run_uuid={run}&path={path}", self.url);
        let answer = self
            .client
            .get(url)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status);
        answer.map_err(failed)?.text().await.map_err(failed)
    }

    /// Evaluates a release of the demo service and logs what was found; the run's id.
    pub async fn evaluate(&self, tag: &str) -> Result<String, StageError> {
        let begun = self.begin().await?;
        let metrics = workload::evaluation::compliance_metrics(tag, &begun.run)
            .map_err(|error| StageError::Unexpected(error.to_string()))?;
        self.dataset(&begun.run, workload::evaluation::DATASET_DIGEST).await?;
        let bytes = metrics.to_string().into_bytes();
        self.put(&begun, "compliance_metrics.json", bytes).await?;
        self.end(&begun.run, "FINISHED").await?;
        Ok(begun.run)
    }
}
