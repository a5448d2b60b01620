//! A client of the Prometheus query API: bounded in time, bytes and redirects, and never quiet about an
//! answer that is not whole.

use std::{
    collections::HashMap,
    io::BufReader,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, future::join_all};
use reqwest::{Client, Url, header};
use tokio::sync::OnceCell;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::{
    config::MetricsSource,
    core::sample::Unknown,
    evidence::{
        answer::{self, Row},
        presets::{MetricSet, Narrow},
        table::Table,
    },
};

/// Why a query gave no usable answer. The words hold nothing that the source sent.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The client could not be made.
    #[error("the metrics source is not usable: {0}")]
    Setup(String),
    /// A credential could not be read.
    #[error("cannot read the metrics source's credential file: {0}")]
    Credential(std::io::Error),
    /// No connection, or it broke off.
    #[error("the metrics source did not answer")]
    Connection,
    /// It took too long.
    #[error("the metrics source did not answer in time")]
    Timeout,
    /// It answered with another status than 200.
    #[error("the metrics source answered with status {0}")]
    Status(u16),
    /// The answer is too long.
    #[error("the metrics source's answer is longer than {0} bytes")]
    TooLong(u64),
    /// The answer is not what the query API sends.
    #[error("the metrics source's answer is not one of the Prometheus query API")]
    Malformed,
    /// The answer says that the query failed.
    #[error("the metrics source said that the query failed")]
    Refused,
    /// The answer came with warnings.
    #[error("the metrics source said that its answer may be incomplete")]
    Partial,
}

impl QueryError {
    /// What a look without this answer is.
    pub fn unknown(&self) -> Unknown {
        match self {
            Self::Partial => Unknown::Partial,
            _ => Unknown::ProviderError,
        }
    }

    /// A stable word for the operator's own metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Setup(_) => "setup",
            Self::Credential(_) => "credential",
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Status(_) => "status",
            Self::TooLong(_) => "too_long",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
            Self::Partial => "partial",
        }
    }
}

/// Counts failed queries by category.
pub type OnError = Arc<dyn Fn(&str, &'static str) + Send + Sync>;

/// One metrics source.
pub struct Source {
    name: String,
    settings: MetricsSource,
    base: Url,
    client: Client,
    on_error: OnError,
    tables: Mutex<HashMap<Arc<MetricSet>, Recent>>,
}

/// The newest tables of one set of metrics. Policies with another interval may ask for another instant.
type Recent = Vec<(i64, Arc<OnceCell<Arc<Table>>>)>;

/// How many instants are kept for each set of metrics.
const KEPT_TABLES: usize = 4;

impl Source {
    /// A client by the administrator's settings.
    pub fn new(name: &str, settings: &MetricsSource, on_error: OnError) -> Result<Self, QueryError> {
        let setup = |error: &dyn std::fmt::Display| QueryError::Setup(error.to_string());
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(settings.timeout())
            .connect_timeout(settings.timeout().min(Duration::from_secs(3)))
            .pool_max_idle_per_host(8)
            .no_proxy()
            .user_agent(concat!("quality-officer/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &settings.ca_file {
            let pem = std::fs::read(path).map_err(QueryError::Credential)?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| setup(&error))?;
            builder = builder.tls_certs_only(roots);
        }
        let base = Url::parse(&format!("{}/", settings.url.trim_end_matches('/'))).map_err(|error| setup(&error))?;
        Ok(Self {
            name: name.to_owned(),
            settings: settings.clone(),
            base,
            client: builder.build().map_err(|error| setup(&error))?,
            on_error,
            tables: Mutex::default(),
        })
    }

    /// Its name in the operator's configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// See [`MetricsSource::settle`].
    pub fn settle(&self) -> Duration {
        self.settings.settle()
    }

    /// The counters of all pods at the instant `at`. Whoever asks first sends the queries; everybody else
    /// gets the same answer.
    pub async fn table(&self, metrics: &Arc<MetricSet>, at: i64) -> Arc<Table> {
        let cell = {
            let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            let recent = tables.entry(metrics.clone()).or_default();
            let known = recent
                .iter()
                .find(|(known, _)| *known == at)
                .map(|(_, cell)| cell.clone());
            known.unwrap_or_else(|| {
                if recent.len() >= KEPT_TABLES {
                    recent.remove(0);
                }
                let cell = Arc::new(OnceCell::new());
                recent.push((at, cell.clone()));
                cell
            })
        };
        cell.get_or_init(|| async { Arc::new(self.read_table(metrics, at).await) })
            .await
            .clone()
    }

    async fn read_table(&self, metrics: &MetricSet, at: i64) -> Table {
        let table = Arc::new(Mutex::new(Table::new(at)));
        let mut queries = metrics.queries(None);
        queries.extend(MetricSet::gpu_queries(None));
        let reads = queries.into_iter().map(|(ask, query)| {
            let table = table.clone();
            async move {
                let into = table.clone();
                let parameters = [("query", query), ("time", at.to_string())];
                let result = self
                    .ask("api/v1/query", &parameters, move |row| {
                        if let Some((_, value)) = row.samples.last() {
                            into.lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .add(ask, row, *value);
                        }
                    })
                    .await;
                if let Err(error) = result {
                    (self.on_error)(&self.name, error.category());
                    let problem = format!("source {}: {error}", self.name);
                    table
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .fail(ask, error.unknown(), &problem);
                }
            }
        });
        join_all(reads).await;
        let mut table = std::mem::replace(
            &mut *table.lock().unwrap_or_else(PoisonError::into_inner),
            Table::new(at),
        );
        table.finish();
        table
    }

    /// The tables of one Deployment at `start`, `start + step`, … `end`, from the range API. Any failed
    /// query fails the whole: history with holes would be another history.
    pub async fn history(
        &self,
        metrics: &MetricSet,
        narrow: Narrow<'_>,
        start: i64,
        end: i64,
        step: i64,
    ) -> Result<Vec<Table>, QueryError> {
        let fresh: Vec<Table> = (0..=(end - start) / step.max(1))
            .map(|index| Table::new(start + index * step))
            .collect();
        let tables = Arc::new(Mutex::new(fresh));
        let mut queries = metrics.queries(Some(narrow));
        queries.extend(MetricSet::gpu_queries(Some(narrow)));
        let reads = queries.into_iter().map(|(ask, query)| {
            let into = tables.clone();
            let parameters = [
                ("query", query),
                ("start", start.to_string()),
                ("end", end.to_string()),
                ("step", step.to_string()),
            ];
            async move {
                self.ask("api/v1/query_range", &parameters, move |row| {
                    let mut tables = into.lock().unwrap_or_else(PoisonError::into_inner);
                    for (at, value) in &row.samples {
                        let index = ((at - start as f64) / step as f64).round();
                        if let Some(table) = tables.get_mut(index as usize) {
                            table.add(ask, row, *value);
                        }
                    }
                })
                .await
            }
        });
        for result in join_all(reads).await {
            result.inspect_err(|error| (self.on_error)(&self.name, error.category()))?;
        }
        let mut tables = std::mem::take(&mut *tables.lock().unwrap_or_else(PoisonError::into_inner));
        tables.iter_mut().for_each(Table::finish);
        Ok(tables)
    }

    async fn ask(
        &self,
        path: &str,
        parameters: &[(&str, String)],
        mut each: impl FnMut(&Row) + Send + 'static,
    ) -> Result<(), QueryError> {
        let mut url = self
            .base
            .join(path)
            .map_err(|error| QueryError::Setup(error.to_string()))?;
        url.query_pairs_mut().extend_pairs(parameters);
        let mut request = self.client.get(url).header(header::ACCEPT, "application/json");
        if let Some(tenant) = &self.settings.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        if let Some(path) = &self.settings.bearer_token_file {
            let token = tokio::fs::read_to_string(path).await.map_err(QueryError::Credential)?;
            request = request.bearer_auth(token.trim());
        }
        if let Some(basic) = &self.settings.basic_auth {
            let password = tokio::fs::read_to_string(&basic.password_file)
                .await
                .map_err(QueryError::Credential)?;
            request = request.basic_auth(&basic.username, Some(password.trim_end_matches(['\r', '\n'])));
        }
        let response = request.send().await.map_err(|error| connection(&error))?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(QueryError::Status(response.status().as_u16()));
        }
        let limit = self.settings.max_answer_bytes;
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(QueryError::TooLong(limit));
        }
        let mut left = limit;
        let body = response.bytes_stream().map_err(|error| {
            std::io::Error::new(
                if error.is_timeout() {
                    std::io::ErrorKind::TimedOut
                } else {
                    std::io::ErrorKind::Other
                },
                error,
            )
        });
        let bounded = body.map(move |chunk| {
            let chunk = chunk?;
            left = left
                .checked_sub(chunk.len() as u64)
                .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::FileTooLarge))?;
            Ok::<_, std::io::Error>(chunk)
        });
        let reader = SyncIoBridge::new(StreamReader::new(Box::pin(bounded)));
        let said =
            tokio::task::spawn_blocking(move || answer::read(BufReader::with_capacity(64 << 10, reader), &mut each))
                .await
                .map_err(|_| QueryError::Malformed)?
                .map_err(|error| match error.io_error_kind() {
                    Some(std::io::ErrorKind::FileTooLarge) => QueryError::TooLong(limit),
                    Some(std::io::ErrorKind::TimedOut) => QueryError::Timeout,
                    Some(_) => QueryError::Connection,
                    None => QueryError::Malformed,
                })?;
        match said {
            answer::Said { success: false, .. } => Err(QueryError::Refused),
            answer::Said { warnings: true, .. } => Err(QueryError::Partial),
            answer::Said {
                success: true,
                warnings: false,
            } => Ok(()),
        }
    }
}

fn connection(error: &reqwest::Error) -> QueryError {
    if error.is_timeout() {
        QueryError::Timeout
    } else {
        QueryError::Connection
    }
}
