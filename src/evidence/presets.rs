//! Which metrics there are, by preset, and the queries that read them.
//!
//! A query reads raw counters summed per pod, for every namespace at once: one query a source, preset and
//! metric serves all policies. History is read with the same expression, narrowed to one Deployment.

use std::fmt::Write;

use crate::{
    api::{CustomMetrics, MatchOperator, Matcher, Preset, Selector},
    core::sample::Metric,
};

/// The metrics of one preset, as selectors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetricSet {
    requests: Option<Series>,
    errors: Option<Series>,
    latency: Option<Series>,
    in_flight: Vec<Series>,
}

/// A metric name with its matchers, ready to be written into a query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Series {
    metric: String,
    matchers: Vec<(String, &'static str, String)>,
}

/// Narrows a query to the pods of one Deployment.
#[derive(Clone, Copy, Debug)]
pub struct Narrow<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name: its pods' names start with it.
    pub deployment: &'a str,
}

/// What one query asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ask {
    /// The counter, gauge or histogram itself.
    Value(Metric),
    /// When the pod was last scraped.
    SampledAt,
}

impl MetricSet {
    /// The metrics that a policy's `metrics` section names.
    pub fn new(preset: Preset, custom: Option<&CustomMetrics>) -> Self {
        match (preset, custom) {
            (Preset::Http, _) | (Preset::Custom, None) => Self {
                requests: Some(Series::plain("http_requests_total")),
                errors: Some(Series::plain("http_requests_total").matching("code", "=~", "5..")),
                latency: Some(Series::plain("http_request_duration_seconds")),
                in_flight: vec![Series::plain("http_requests_in_flight")],
            },
            (Preset::Custom, Some(custom)) => Self {
                requests: custom.requests.as_ref().map(Series::from),
                errors: custom.errors.as_ref().map(Series::from),
                latency: custom.latency.as_ref().map(Series::from),
                in_flight: custom.in_flight.iter().chain(&custom.queue).map(Series::from).collect(),
            },
        }
    }

    /// Every query of a look with its meaning; with `narrow`, for one Deployment only.
    pub fn queries(&self, narrow: Option<Narrow<'_>>) -> Vec<(Ask, String)> {
        let mut queries = Vec::with_capacity(8);
        let by_pod =
            |series: &Series, suffix: &str| format!("sum by (namespace, pod) ({})", series.selector(suffix, narrow));
        if let Some(requests) = &self.requests {
            queries.push((Ask::Value(Metric::Requests), by_pod(requests, "")));
        } else if let Some(latency) = &self.latency {
            // Every request that ended is in the histogram's count.
            queries.push((Ask::Value(Metric::Requests), by_pod(latency, "_count")));
        }
        if let Some(errors) = &self.errors {
            queries.push((Ask::Value(Metric::Errors), by_pod(errors, "")));
        }
        if let Some(latency) = &self.latency {
            let selector = latency.selector("_bucket", narrow);
            queries.push((
                Ask::Value(Metric::Latency),
                format!("sum by (namespace, pod, le) ({selector})"),
            ));
        }
        for series in &self.in_flight {
            queries.push((Ask::Value(Metric::InFlight), by_pod(series, "")));
        }
        let marker = match (&self.requests, &self.latency) {
            (Some(requests), _) => Some(requests.selector("", narrow)),
            (None, Some(latency)) => Some(latency.selector("_count", narrow)),
            (None, None) => None,
        };
        if let Some(selector) = marker {
            queries.push((
                Ask::SampledAt,
                format!("max by (namespace, pod) (timestamp({selector}))"),
            ));
        }
        queries
    }

    /// The queries for GPU metrics by the names of NVIDIA's DCGM exporter.
    pub fn gpu_queries(narrow: Option<Narrow<'_>>) -> Vec<(Ask, String)> {
        let series = |name| Series::plain(name).selector("", narrow);
        let (used, free) = (series("DCGM_FI_DEV_FB_USED"), series("DCGM_FI_DEV_FB_FREE"));
        vec![
            (
                Ask::Value(Metric::GpuUtilization),
                format!(
                    "max by (namespace, pod, gpu) ({}) / 100",
                    series("DCGM_FI_DEV_GPU_UTIL")
                ),
            ),
            (
                Ask::Value(Metric::GpuMemory),
                format!("max by (namespace, pod, gpu) ({used} / ({used} + {free}))"),
            ),
        ]
    }

    /// Whether failed requests are counted at all.
    pub fn counts_errors(&self) -> bool {
        self.errors.is_some()
    }
}

impl Series {
    fn plain(metric: &str) -> Self {
        Self {
            metric: metric.to_owned(),
            matchers: Vec::new(),
        }
    }

    fn matching(mut self, label: &str, operator: &'static str, value: &str) -> Self {
        self.matchers.push((label.to_owned(), operator, value.to_owned()));
        self
    }

    /// `metric{label="value",…}` with every value escaped.
    fn selector(&self, suffix: &str, narrow: Option<Narrow<'_>>) -> String {
        let mut text = format!("{}{suffix}{{", self.metric);
        for (label, operator, value) in &self.matchers {
            push_matcher(&mut text, label, operator, value);
        }
        if let Some(narrow) = narrow {
            push_matcher(&mut text, "namespace", "=", narrow.namespace);
            push_matcher(
                &mut text,
                "pod",
                "=~",
                &format!("{}-.+", escape_regex(narrow.deployment)),
            );
        }
        text.push('}');
        text
    }
}

impl From<&Selector> for Series {
    fn from(selector: &Selector) -> Self {
        let matcher = |matcher: &Matcher| (matcher.label.clone(), operator(matcher.operator), matcher.value.clone());
        Self {
            metric: selector.metric.clone(),
            matchers: selector.matchers.iter().map(matcher).collect(),
        }
    }
}

fn operator(operator: MatchOperator) -> &'static str {
    match operator {
        MatchOperator::Equal => "=",
        MatchOperator::NotEqual => "!=",
        MatchOperator::Matches => "=~",
        MatchOperator::NotMatches => "!~",
    }
}

fn push_matcher(text: &mut String, label: &str, operator: &str, value: &str) {
    if !text.ends_with('{') {
        text.push(',');
    }
    let _ = write!(text, "{label}{operator}\"{}\"", escape(value));
}

/// A label value inside a double-quoted PromQL string.
fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text
}

fn escape_regex(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    for character in name.chars() {
        if !character.is_ascii_alphanumeric() && character != '-' {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_http_preset_reads_counters_per_pod_of_every_namespace_at_once() {
        let queries = MetricSet::new(Preset::Http, None).queries(None);
        let text: Vec<&str> = queries.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            text,
            [
                "sum by (namespace, pod) (http_requests_total{})",
                "sum by (namespace, pod) (http_requests_total{code=~\"5..\"})",
                "sum by (namespace, pod, le) (http_request_duration_seconds_bucket{})",
                "sum by (namespace, pod) (http_requests_in_flight{})",
                "max by (namespace, pod) (timestamp(http_requests_total{}))",
            ]
        );
    }

    #[test]
    fn a_label_value_cannot_leave_its_string() {
        let custom = CustomMetrics {
            latency: None,
            requests: Some(Selector {
                metric: "requests_total".into(),
                matchers: vec![Matcher {
                    label: "path".into(),
                    operator: MatchOperator::Equal,
                    value: "\"} or vector(1) #\\\n".into(),
                }],
            }),
            errors: None,
            in_flight: None,
            queue: None,
        };
        let queries = MetricSet::new(Preset::Custom, Some(&custom)).queries(None);
        assert_eq!(
            queries[0].1,
            r#"sum by (namespace, pod) (requests_total{path="\"} or vector(1) #\\\n"})"#
        );
    }

    #[test]
    fn history_is_narrowed_to_one_deployment_with_its_name_escaped() {
        let narrow = Narrow {
            namespace: "shop",
            deployment: "ranker.v2",
        };
        let queries = MetricSet::new(Preset::Http, None).queries(Some(narrow));
        assert_eq!(
            queries[0].1,
            r#"sum by (namespace, pod) (http_requests_total{namespace="shop",pod=~"ranker\\.v2-.+"})"#
        );
    }

    #[test]
    fn without_a_request_counter_the_count_of_the_histogram_serves() {
        let latency = Selector {
            metric: "latency_seconds".into(),
            matchers: Vec::new(),
        };
        let custom = CustomMetrics {
            latency: Some(latency),
            requests: None,
            errors: None,
            in_flight: None,
            queue: None,
        };
        let queries = MetricSet::new(Preset::Custom, Some(&custom)).queries(None);
        assert_eq!(queries[0].1, "sum by (namespace, pod) (latency_seconds_count{})");
        assert_eq!(
            queries.last().unwrap().1,
            "max by (namespace, pod) (timestamp(latency_seconds_count{}))"
        );
    }
}
