//! A client of the Prometheus query API: bounded in time, bytes and redirects, and never quiet about an
//! answer that is not whole.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::{
    answer::{self, Row},
    http::{self, Access, Http, HttpError, TimeoutPolicy},
    presets::{self, DeploymentSelector, MetricSet, Scope},
    settings::MetricsSource,
    table::Table,
};
use quality_core::counters::NoDataReason;

/// Why a query gave no usable answer. The words hold nothing that the source sent.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No usable answer.
    #[error("the metrics source {0}")]
    Http(#[from] HttpError),
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
    pub fn unknown(&self) -> NoDataReason {
        match self {
            Self::Partial => NoDataReason::Partial,
            _ => NoDataReason::ProviderError,
        }
    }

    /// A stable word for the operator's own metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Http(error) => error.category(),
            Self::Malformed => "malformed",
            Self::Refused => "refused",
            Self::Partial => "partial",
        }
    }
}

/// The namespaces whose pods somebody asks about.
pub type Namespaces = Arc<dyn Fn() -> HashSet<String> + Send + Sync>;

/// Counts failed queries by category.
pub type OnError = Arc<dyn Fn(&str, &'static str) + Send + Sync>;

/// One metrics source.
pub struct Source {
    name: String,
    settings: MetricsSource,
    http: Http,
    on_error: OnError,
    namespaces: Option<Namespaces>,
    tables: Mutex<HashMap<Arc<MetricSet>, Recent>>,
}

/// The newest tables of one set of metrics. Policies with another interval may ask for another instant.
type Recent = Vec<(i64, Arc<OnceCell<Arc<Table>>>)>;

/// Prometheus answers a range query with at most 11,000 points a series.
const MAX_POINTS: i64 = 10_000;

/// The instants `start`, `start + step`, … `end` in parts that one range query may ask for.
fn parts(start: i64, end: i64, step: i64) -> Vec<(i64, i64)> {
    let (step, mut from) = (step.max(1), start);
    let mut parts = Vec::new();
    while from <= end {
        let to = (from + (MAX_POINTS - 1) * step).min(end);
        parts.push((from, to));
        from = to + step;
    }
    parts
}

/// How many instants are kept for each set of metrics.
const KEPT_TABLES: usize = 4;

impl Source {
    /// A client by the administrator's settings.
    pub fn new(name: &str, settings: &MetricsSource, on_error: OnError) -> Result<Self, QueryError> {
        let client = http::client(TimeoutPolicy::Whole(settings.timeout()), settings.ca_file.as_ref())?;
        let access = Access {
            bearer_token_file: settings.bearer_token_file.clone(),
            basic_auth: settings.basic_auth.clone(),
            tenant: settings.tenant.clone(),
        };
        Ok(Self {
            name: name.to_owned(),
            settings: settings.clone(),
            http: Http::new(&settings.url, access, client)?,
            on_error,
            namespaces: None,
            tables: Mutex::default(),
        })
    }

    /// Asks for these namespaces' pods, and keeps only what answers say of them: those of all others may be many, and cost
    /// nothing then.
    #[must_use]
    pub fn only(self, namespaces: Namespaces) -> Self {
        Self {
            namespaces: Some(namespaces),
            ..self
        }
    }

    /// Its name in the operator's configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// See [`MetricsSource::settle`].
    pub fn settle(&self) -> Duration {
        self.settings.settle()
    }

    /// The counters of all pods at the instant `at`. The first caller sends the queries; everybody else
    /// gets the same answer.
    pub async fn table(&self, metrics: &Arc<MetricSet>, at: i64) -> Arc<Table> {
        let cell = {
            let mut tables = self.tables.lock();
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
        let unit = metrics.latency_unit();
        let wanted = self.namespaces.as_ref().map(|namespaces| Arc::new(namespaces()));
        let table = Arc::new(Mutex::new(Table::new(at, unit)));
        let list = wanted.as_ref().and_then(|wanted| presets::named(wanted.iter()));
        let scope = list.as_deref().map_or(Scope::All, Scope::Namespaces);
        let mut queries = metrics.queries(scope);
        queries.extend(MetricSet::gpu_queries(scope));
        let reads = queries.into_iter().enumerate().map(|(number, (ask, query))| {
            let (table, wanted) = (table.clone(), wanted.clone());
            async move {
                let into = table.clone();
                let parameters = [("query", query), ("time", at.to_string())];
                let result = self
                    .ask("query", &parameters, move |row| {
                        let is_wanted = wanted.as_ref().is_none_or(|wanted| wanted.contains(&row.namespace));
                        if let (true, Some((_, value))) = (is_wanted, row.samples.last()) {
                            into.lock().add(ask, number, row, *value);
                        }
                    })
                    .await;
                if let Err(error) = result {
                    (self.on_error)(&self.name, error.category());
                    let problem = format!("source {}: {error}", self.name);
                    table.lock().fail(ask, error.unknown(), &problem);
                }
            }
        });
        join_all(reads).await;
        let mut table = std::mem::replace(&mut *table.lock(), Table::new(at, unit));
        table.finish(metrics.errors_when_absent());
        table
    }

    /// The tables of one Deployment at `start`, `start + step`, … `end`, from the range API. Any failed
    /// query fails the whole: history with holes would be another history.
    pub async fn history(
        &self,
        metrics: &MetricSet,
        narrow: DeploymentSelector<'_>,
        start: i64,
        end: i64,
        step: i64,
    ) -> Result<Vec<Table>, QueryError> {
        let fresh: Vec<Table> = (0..=(end - start) / step.max(1))
            .map(|index| Table::new(start + index * step, metrics.latency_unit()))
            .collect();
        let tables = Arc::new(Mutex::new(fresh));
        let scope = Scope::Deployment(narrow);
        let mut queries = metrics.queries(scope);
        queries.extend(MetricSet::gpu_queries(scope));
        let parts = parts(start, end, step);
        let all = queries
            .iter()
            .enumerate()
            .flat_map(|(number, (ask, query))| parts.iter().map(move |part| (*ask, number, query.clone(), *part)));
        let reads = all.map(|(ask, number, query, (from, to))| {
            let into = tables.clone();
            let parameters = [
                ("query", query),
                ("start", from.to_string()),
                ("end", to.to_string()),
                ("step", step.to_string()),
            ];
            async move {
                self.ask("query_range", &parameters, move |row| {
                    let mut tables = into.lock();
                    for (at, value) in &row.samples {
                        let index = ((at - start as f64) / step as f64).round();
                        if let Some(table) = tables.get_mut(index as usize) {
                            table.add(ask, number, row, *value);
                        }
                    }
                })
                .await
            }
        });
        for result in join_all(reads).await {
            result.inspect_err(|error| (self.on_error)(&self.name, error.category()))?;
        }
        let mut tables = std::mem::take(&mut *tables.lock());
        for table in &mut tables {
            table.finish(metrics.errors_when_absent());
        }
        Ok(tables)
    }

    async fn ask(
        &self,
        endpoint: &str,
        parameters: &[(&str, String)],
        mut each: impl FnMut(&Row) + Send + 'static,
    ) -> Result<(), QueryError> {
        let response = self.http.get(["api", "v1", endpoint], parameters).await?;
        let limit = self.settings.max_answer_bytes;
        let body = http::body(response, limit)?;
        let said = tokio::task::spawn_blocking(move || answer::read(body, &mut each))
            .await
            .map_err(|_| QueryError::Malformed)?
            .map_err(|error| match error.io_error_kind() {
                Some(io::ErrorKind::InvalidData) | None => QueryError::Malformed,
                Some(kind) => QueryError::Http(http::while_reading(kind, limit)),
            })?;
        match said {
            answer::ResponseStatus { success: false, .. } => Err(QueryError::Refused),
            answer::ResponseStatus { warnings: true, .. } => Err(QueryError::Partial),
            answer::ResponseStatus {
                success: true,
                warnings: false,
            } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_history_is_asked_for_in_parts_that_leave_no_instant_out() {
        assert_eq!(parts(0, 3_600, 15), [(0, 3_600)]);
        assert_eq!(parts(100, 100, 15), [(100, 100)]);
        let parts = parts(7, 7 + 86_400, 1);
        assert_eq!(parts.len(), 9);
        let instants: Vec<i64> = parts.iter().flat_map(|(from, to)| *from..=*to).collect();
        assert_eq!(instants, (7..=7 + 86_400).collect::<Vec<_>>());
    }
}
