//! Which metrics there are, by preset, and the queries that read them.
//!
//! A query reads raw counters summed per pod, for every guarded namespace at once: one query a source, preset and
//! metric serves all policies. History is read with the same expression, narrowed to one Deployment.

mod absence;

use std::fmt::Write;

use quality_api::{CustomMetrics, LatencyUnit, MatchOperator, Matcher, Preset, Selector, WhenAbsent};
use quality_core::counters::Metric;

/// The metrics of one preset, as selectors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetricSet {
    /// Their sum is all requests that ended.
    requests: Vec<Series>,
    /// Their sum is all requests that failed.
    errors: Vec<Series>,
    /// What a pod's failures are while no series counts them.
    errors_when_absent: WhenAbsent,
    latency: Option<Series>,
    latency_unit: LatencyUnit,
    /// Their sum is what is in work and waiting.
    in_flight: Vec<Series>,
}

/// What a set of metrics can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// How many requests end.
    pub requests: bool,
    /// How many of them fail.
    pub errors: bool,
    /// How long they take.
    pub latency: bool,
}

/// A metric name with its matchers, ready to be written into a query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Series {
    metric: String,
    matchers: Vec<Match>,
}

/// A label, an operator and a value.
type Match = (String, &'static str, String);

/// Narrows a query to the pods of one Deployment.
#[derive(Clone, Copy, Debug)]
pub struct DeploymentSelector<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name: its pods' names start with it.
    pub deployment: &'a str,
}

/// Whose pods a query reads.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// All that the source has.
    All,
    /// Those of these namespaces, as a regular expression (see [`named`]).
    Namespaces(&'a str),
    /// Those of one Deployment.
    Deployment(DeploymentSelector<'a>),
}

/// Longer lists of namespaces make queries that servers refuse, and save little.
const MAX_LIST: usize = 1_000;

/// A regular expression of these namespaces, in the order of their names; none for too many of them, or for none at all.
pub fn named<'a>(namespaces: impl Iterator<Item = &'a String>) -> Option<String> {
    let mut names: Vec<String> = namespaces.map(|name| escape_regex(name)).collect();
    names.sort_unstable();
    let list = names.join("|");
    (1..=MAX_LIST).contains(&list.len()).then_some(list)
}

/// What one query asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueryKind {
    /// The counter, gauge or histogram itself.
    Value(Metric),
    /// On which pods failures would be counted: there, no series of failures is no failures.
    ErrorsSeen,
    /// When the pod was last scraped.
    SampledAt,
}

impl QueryKind {
    /// Whether the answer has at most one series for each pod: one for each edge or GPU otherwise.
    pub fn tells_once(self) -> bool {
        match self {
            Self::Value(Metric::Latency | Metric::GpuUtilization | Metric::GpuMemory) => false,
            Self::Value(Metric::Requests | Metric::Errors | Metric::InFlight) | Self::ErrorsSeen | Self::SampledAt => {
                true
            }
        }
    }
}

impl MetricSet {
    /// The metrics that a policy's `metrics` section names.
    pub fn new(preset: Preset, custom: Option<&CustomMetrics>) -> Self {
        match (preset, custom) {
            (Preset::Http, _) | (Preset::Custom, None) => Self {
                requests: vec![Series::plain("http_requests_total")],
                errors: vec![Series::plain("http_requests_total").matching("code", "=~", "5..")],
                // Client libraries count each request with its code, from the first request on.
                errors_when_absent: WhenAbsent::Unknown,
                latency: Some(Series::plain("http_request_duration_seconds")),
                latency_unit: LatencyUnit::Seconds,
                in_flight: vec![Series::plain("http_requests_in_flight")],
            },
            (Preset::Vllm, _) => Self::vllm(),
            (Preset::Triton, _) => Self::triton(),
            (Preset::Tgi, _) => Self::tgi(),
            (Preset::Kserve, _) => Self::kserve(),
            (Preset::Istio, _) => Self::istio(),
            (Preset::Custom, Some(custom)) => Self {
                requests: custom.requests.iter().map(Series::from).collect(),
                errors: custom.errors.iter().map(Series::from).collect(),
                errors_when_absent: custom.errors_when_absent.unwrap_or_default(),
                latency: custom.latency.as_ref().map(Series::from),
                latency_unit: custom.latency_unit,
                in_flight: custom.in_flight.iter().chain(&custom.queue).map(Series::from).collect(),
            },
        }
    }

    /// The OpenAI server of `vLLM`: the engine times requests, the HTTP layer counts them and their status. An engine counts a
    /// request as a success whatever ended it, so failures are the HTTP layer's. That counts every request with its status
    /// (prometheus-fastapi-instrumentator): the label is there from the first request on.
    fn vllm() -> Self {
        let posted = || Series::plain("http_requests_total").matching("method", "=", "POST");
        Self {
            requests: vec![posted()],
            errors: vec![posted().matching("status", "=~", "5..")],
            errors_when_absent: WhenAbsent::Unknown,
            latency: Some(Series::plain("vllm:e2e_request_latency_seconds")),
            latency_unit: LatencyUnit::Seconds,
            in_flight: vec![
                Series::plain("vllm:num_requests_running"),
                Series::plain("vllm:num_requests_waiting"),
            ],
        }
    }

    /// NVIDIA Triton. It counts successes and failures apart, and shows both from a model's load on, at 0. It has no histogram of whole requests: the one of the first
    /// response is that of the request where a model answers once, and exists with `--metrics-config histogram_latencies=true`.
    fn triton() -> Self {
        Self {
            requests: vec![
                Series::plain("nv_inference_request_success"),
                Series::plain("nv_inference_request_failure").matching("reason", "!=", "CANCELED"),
            ],
            errors: vec![Series::plain("nv_inference_request_failure").matching("reason", "!=", "CANCELED")],
            errors_when_absent: WhenAbsent::Unknown,
            latency: Some(Series::plain("nv_inference_first_response_histogram_ms")),
            latency_unit: LatencyUnit::Milliseconds,
            in_flight: vec![Series::plain("nv_inference_pending_request_count")],
        }
    }

    /// Hugging Face text-generation-inference. What its validation refuses is the caller's fault and counts as no failure. Its
    /// counters come with their first count (the `metrics` crate): a server without failures shows none.
    fn tgi() -> Self {
        let failed = || Series::plain("tgi_request_failure").matching("err", "!=", "validation");
        Self {
            requests: vec![Series::plain("tgi_request_success"), failed()],
            errors: vec![failed()],
            errors_when_absent: WhenAbsent::Zero,
            latency: Some(Series::plain("tgi_request_duration")),
            latency_unit: LatencyUnit::Seconds,
            in_flight: vec![Series::plain("tgi_batch_current_size"), Series::plain("tgi_queue_size")],
        }
    }

    /// KServe's own model servers (the Python SDK): they time the steps of a request and count no failures.
    fn kserve() -> Self {
        Self {
            requests: Vec::new(),
            errors: Vec::new(),
            // There is no counter to be absent.
            errors_when_absent: WhenAbsent::Unknown,
            latency: Some(Series::plain("request_predict_seconds")),
            latency_unit: LatencyUnit::Seconds,
            in_flight: Vec::new(),
        }
    }

    /// Istio's sidecar beside the server: what it says as the destination. It counts nothing in work, and every
    /// request with its response code (the standard metrics of its telemetry), from the first request on.
    fn istio() -> Self {
        let received = |name| Series::plain(name).matching("reporter", "=", "destination");
        Self {
            requests: vec![received("istio_requests_total")],
            errors: vec![received("istio_requests_total").matching("response_code", "=~", "5..")],
            errors_when_absent: WhenAbsent::Unknown,
            latency: Some(received("istio_request_duration_milliseconds")),
            latency_unit: LatencyUnit::Milliseconds,
            in_flight: Vec::new(),
        }
    }

    /// The unit of the latency histogram's edges.
    pub fn latency_unit(&self) -> LatencyUnit {
        self.latency_unit
    }

    /// What can be judged with them.
    pub fn measured(&self) -> Measured {
        let requests = !self.requests.is_empty() || self.latency.is_some();
        Measured {
            requests,
            // A share needs both.
            errors: requests && !self.errors.is_empty(),
            latency: self.latency.is_some(),
        }
    }

    /// Every query of a look with its meaning.
    pub fn queries(&self, scope: Scope<'_>) -> Vec<(QueryKind, String)> {
        let mut queries = Vec::with_capacity(8);
        let by_pod =
            |series: &Series, suffix: &str| format!("sum by (namespace, pod) ({})", series.selector(suffix, scope));
        for requests in &self.requests {
            queries.push((QueryKind::Value(Metric::Requests), by_pod(requests, "")));
        }
        if let (true, Some(latency)) = (self.requests.is_empty(), &self.latency) {
            // Every request that ended is in the histogram's count.
            queries.push((QueryKind::Value(Metric::Requests), by_pod(latency, "_count")));
        }
        for errors in &self.errors {
            queries.push((QueryKind::Value(Metric::Errors), by_pod(errors, "")));
        }
        queries.extend(self.errors_seen(scope).map(|query| (QueryKind::ErrorsSeen, query)));
        if let Some(latency) = &self.latency {
            let selector = latency.selector("_bucket", scope);
            queries.push((
                QueryKind::Value(Metric::Latency),
                format!("sum by (namespace, pod, le) ({selector})"),
            ));
        }
        for series in &self.in_flight {
            queries.push((QueryKind::Value(Metric::InFlight), by_pod(series, "")));
        }
        let sampled = |selector: String| format!("max by (namespace, pod) (timestamp({selector}))");
        let mut markers: Vec<String> = self
            .requests
            .iter()
            .map(|requests| sampled(requests.selector("", scope)))
            .collect();
        if let (true, Some(latency)) = (markers.is_empty(), &self.latency) {
            markers.push(sampled(latency.selector("_count", scope)));
        }
        // A pod whose requests all failed has the second series and not the first; all series of a pod are scraped at once.
        if !markers.is_empty() {
            queries.push((QueryKind::SampledAt, markers.join(" or ")));
        }
        queries
    }

    /// The queries for GPU metrics by the names of NVIDIA's DCGM exporter.
    pub fn gpu_queries(scope: Scope<'_>) -> Vec<(QueryKind, String)> {
        let series = |name| Series::plain(name).selector("", scope);
        let (used, free) = (series("DCGM_FI_DEV_FB_USED"), series("DCGM_FI_DEV_FB_FREE"));
        vec![
            (
                QueryKind::Value(Metric::GpuUtilization),
                format!(
                    "max by (namespace, pod, gpu) ({}) / 100",
                    series("DCGM_FI_DEV_GPU_UTIL")
                ),
            ),
            (
                QueryKind::Value(Metric::GpuMemory),
                format!("max by (namespace, pod, gpu) ({used} / ({used} + {free}))"),
            ),
        ]
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
    fn selector(&self, suffix: &str, scope: Scope<'_>) -> String {
        let mut text = format!("{}{suffix}{{", self.metric);
        for (label, operator, value) in &self.matchers {
            push_matcher(&mut text, label, operator, value);
        }
        match scope {
            Scope::All => {}
            Scope::Namespaces(list) => push_matcher(&mut text, "namespace", "=~", list),
            Scope::Deployment(narrow) => {
                push_matcher(&mut text, "namespace", "=", narrow.namespace);
                push_matcher(
                    &mut text,
                    "pod",
                    "=~",
                    &format!("{}-.+", escape_regex(narrow.deployment)),
                );
            }
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
    fn the_http_preset_reads_counters_per_pod() {
        let queries = MetricSet::new(Preset::Http, None).queries(Scope::All);
        let text: Vec<&str> = queries.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            text,
            [
                "sum by (namespace, pod) (http_requests_total{})",
                "sum by (namespace, pod) (http_requests_total{code=~\"5..\"})",
                "count by (namespace, pod) (http_requests_total{code!=\"\"})",
                "sum by (namespace, pod, le) (http_request_duration_seconds_bucket{})",
                "sum by (namespace, pod) (http_requests_in_flight{})",
                "max by (namespace, pod) (timestamp(http_requests_total{}))",
            ]
        );
    }

    #[test]
    fn only_guarded_namespaces_are_asked_about_as_long_as_they_can_be_named() {
        let names = |names: &[&str]| named(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().iter());
        let list = names(&["team-b", "shop"]).unwrap();
        let queries = MetricSet::new(Preset::Http, None).queries(Scope::Namespaces(&list));
        assert_eq!(
            [&queries[0].1, &queries[1].1],
            [
                "sum by (namespace, pod) (http_requests_total{namespace=~\"shop|team-b\"})",
                "sum by (namespace, pod) (http_requests_total{code=~\"5..\",namespace=~\"shop|team-b\"})",
            ]
        );
        assert_eq!(names(&[]), None);
        assert_eq!(names(&["x".repeat(63).as_str(); 16]), None);
    }

    #[test]
    fn a_label_value_cannot_leave_its_string() {
        let custom = CustomMetrics {
            requests: Some(Selector {
                metric: "requests_total".into(),
                matchers: vec![Matcher {
                    label: "path".into(),
                    operator: MatchOperator::Equal,
                    value: "\"} or vector(1) #\\\n".into(),
                }],
            }),
            ..CustomMetrics::default()
        };
        let queries = MetricSet::new(Preset::Custom, Some(&custom)).queries(Scope::All);
        assert_eq!(
            queries[0].1,
            r#"sum by (namespace, pod) (requests_total{path="\"} or vector(1) #\\\n"})"#
        );
    }

    #[test]
    fn history_is_narrowed_to_one_deployment_with_its_name_escaped() {
        let narrow = DeploymentSelector {
            namespace: "shop",
            deployment: "ranker.v2",
        };
        let queries = MetricSet::new(Preset::Http, None).queries(Scope::Deployment(narrow));
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
            ..CustomMetrics::default()
        };
        let queries = MetricSet::new(Preset::Custom, Some(&custom)).queries(Scope::All);
        assert_eq!(queries[0].1, "sum by (namespace, pod) (latency_seconds_count{})");
        assert_eq!(
            queries.last().unwrap().1,
            "max by (namespace, pod) (timestamp(latency_seconds_count{}))"
        );
    }

    #[test]
    fn a_server_that_counts_successes_and_failures_apart_has_their_sum_as_its_requests() {
        let queries = MetricSet::new(Preset::Tgi, None).queries(Scope::All);
        let of = |ask| {
            let of_it = queries.iter().filter(|(asked, _)| *asked == ask);
            of_it.map(|(_, text)| text.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(
            of(QueryKind::Value(Metric::Requests)),
            [
                "sum by (namespace, pod) (tgi_request_success{})",
                "sum by (namespace, pod) (tgi_request_failure{err!=\"validation\"})",
            ]
        );
        assert_eq!(
            of(QueryKind::SampledAt),
            ["max by (namespace, pod) (timestamp(tgi_request_success{})) or \
              max by (namespace, pod) (timestamp(tgi_request_failure{err!=\"validation\"}))"]
        );
    }

    #[test]
    fn a_preset_measures_what_its_server_shows() {
        let measured = |preset| MetricSet::new(preset, None).measured();
        for preset in [Preset::Http, Preset::Vllm, Preset::Triton, Preset::Tgi, Preset::Istio] {
            let all = Measured {
                requests: true,
                errors: true,
                latency: true,
            };
            assert_eq!(measured(preset), all, "{preset:?}");
        }
        assert!(!measured(Preset::Kserve).errors);
    }
}
