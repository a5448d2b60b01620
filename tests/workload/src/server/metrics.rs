//! The server's own metrics, through a client library as a real service has them.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use axum::http::StatusCode;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper edges that client libraries use unless told otherwise, seconds.
pub const DEFAULT_EDGES: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

const HANDLER: &str = "/rank";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    code: u16,
    handler: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandlerLabels {
    handler: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: Stage,
}

/// A stage of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Parse, tokenize, fetch features.
    Preprocess,
    /// The model.
    Inference,
    /// Sort and serialise.
    Postprocess,
}

impl EncodeLabelValue for Stage {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder) -> Result<(), fmt::Error> {
        let name = match self {
            Self::Preprocess => "preprocess",
            Self::Inference => "inference",
            Self::Postprocess => "postprocess",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

fn default_histogram() -> Histogram {
    Histogram::new(DEFAULT_EDGES)
}

/// Counters, histograms and gauges of one process. A status code has no series until it happens.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<HandlerLabels, Histogram, fn() -> Histogram>,
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
}

impl Metrics {
    /// Metrics of a process that started at `started`.
    #[must_use]
    pub fn new(started: SystemTime) -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let durations = Family::new_with_constructor(default_histogram as fn() -> Histogram);
        let stages = Family::new_with_constructor(default_histogram as fn() -> Histogram);
        let in_flight = Gauge::default();
        let start_time = Gauge::<f64, AtomicU64>::default();
        start_time.set(
            started
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |since| since.as_secs_f64()),
        );
        registry.register("http_requests", "Ended HTTP requests", Family::clone(&requests));
        registry.register(
            "http_request_duration_seconds",
            "Duration of ended HTTP requests",
            durations.clone(),
        );
        registry.register(
            "inference_stage_duration_seconds",
            "Duration of each pipeline stage",
            stages.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "HTTP requests being handled or queued",
            in_flight.clone(),
        );
        registry.register(
            "process_start_time_seconds",
            "Start of the process since the Unix epoch",
            start_time,
        );
        Self {
            registry,
            requests,
            durations,
            stages,
            in_flight,
        }
    }

    /// Records a stage that began at `started`; returns its end.
    pub fn stage(&self, stage: Stage, started: Instant) -> Instant {
        let ended = Instant::now();
        self.stages
            .get_or_create(&StageLabels { stage })
            .observe((ended - started).as_secs_f64());
        ended
    }

    /// The `OpenMetrics` exposition.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// One request from its start to its end; one that ends in a panic is a failure of the server.
#[derive(Debug)]
pub struct Observation {
    metrics: Arc<Metrics>,
    started: Instant,
    code: u16,
}

impl Observation {
    /// The request begins.
    #[must_use]
    pub fn start(metrics: Arc<Metrics>) -> Self {
        metrics.in_flight.inc();
        Self {
            metrics,
            started: Instant::now(),
            code: StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
        }
    }

    /// The request ends with this status.
    pub fn end(mut self, status: StatusCode) {
        self.code = status.as_u16();
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics
            .requests
            .get_or_create(&RequestLabels {
                code: self.code,
                handler: HANDLER,
            })
            .inc();
        self.metrics
            .durations
            .get_or_create(&HandlerLabels { handler: HANDLER })
            .observe(self.started.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::float_cmp, reason = "tests; counts are whole numbers")]
mod tests {
    use super::*;
    use crate::exposition::Exposition;

    #[test]
    fn a_code_has_no_series_until_it_happens_and_every_end_is_observed() {
        let metrics = Arc::new(Metrics::new(UNIX_EPOCH));
        let read = || Exposition::parse(&metrics.encode().unwrap()).unwrap();
        assert_eq!(read().named("http_requests_total").count(), 0);

        Observation::start(Arc::clone(&metrics)).end(StatusCode::OK);
        Observation::start(Arc::clone(&metrics)).end(StatusCode::INTERNAL_SERVER_ERROR);
        drop(Observation::start(Arc::clone(&metrics)));
        let open = Observation::start(Arc::clone(&metrics));
        let page = read();
        assert_eq!(
            page.sum("http_requests_total", &[("code", "200"), ("handler", "/rank")]),
            1.0
        );
        assert_eq!(page.sum("http_requests_total", &[("code", "500")]), 2.0);
        assert_eq!(page.sum("http_request_duration_seconds_count", &[]), 3.0);
        assert_eq!(page.sum("http_requests_in_flight", &[]), 1.0);
        open.end(StatusCode::OK);
        assert_eq!(read().sum("http_requests_in_flight", &[]), 0.0);
    }

    #[test]
    fn histograms_have_the_default_edges() {
        let metrics = Arc::new(Metrics::new(UNIX_EPOCH));
        metrics.stage(Stage::Inference, Instant::now());
        Observation::start(Arc::clone(&metrics)).end(StatusCode::OK);
        let page = Exposition::parse(&metrics.encode().unwrap()).unwrap();
        for name in ["http_request_duration_seconds", "inference_stage_duration_seconds"] {
            let edges: Vec<f64> = page.histogram(name, &[]).into_iter().map(|(edge, _)| edge).collect();
            assert_eq!(edges[..11], DEFAULT_EDGES);
            assert!(edges[11].is_infinite());
        }
    }
}
