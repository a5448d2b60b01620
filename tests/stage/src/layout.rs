//! How servers name their metrics, with their own labels and bucket edges: what the presets are tried on.
//!
//! Names and edges are those of vLLM 0.11 and its HTTP instrumentation, Triton 25.x, text-generation-inference 3.x, the
//! KServe SDK 0.21 and Istio's sidecar (Envoy's default edges). Each layout also shows what a preset must leave out:
//! calls that are not inference, failures that are the caller's, the sidecar's view of outgoing calls.

use std::fmt::Write as _;

use crate::script::Instead;

/// Fast requests take this long, seconds; slow ones [`SLOW_SECONDS`].
const FAST_SECONDS: f64 = 0.2;
const SLOW_SECONDS: f64 = 1.5;

/// Whose names the counters have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The usual client libraries.
    Http,
    /// vLLM's OpenAI server.
    Vllm,
    /// NVIDIA Triton with `histogram_latencies=true`.
    Triton,
    /// Hugging Face text-generation-inference.
    Tgi,
    /// A Python model server of KServe.
    Kserve,
    /// Istio's sidecar.
    Istio,
    /// A server that counts its failures apart, from the first one on, and no request by its code.
    Apart,
}

const CLIENT_LIBRARY: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const PYTHON_CLIENT: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
const VLLM: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];
const TRITON_MS: &[f64] = &[100.0, 500.0, 2_000.0, 5_000.0];
const ENVOY_MS: &[f64] = &[
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 1.8e6, 3.6e6,
];

/// An exposition, line by line.
pub struct Lines {
    text: String,
    instead: Option<Instead>,
}

impl Lines {
    /// An empty one.
    pub fn new(instead: Option<Instead>) -> Self {
        Self {
            text: String::new(),
            instead,
        }
    }

    /// One sample.
    pub fn add(&mut self, name: &str, value: f64) {
        let value = if self.instead == Some(Instead::NotANumber) {
            f64::NAN
        } else {
            value
        };
        let stamp = match self.instead {
            Some(Instead::Old) => format!(" {}", jiff::Timestamp::now().as_millisecond() - 60_000),
            _ => String::new(),
        };
        let _ = writeln!(self.text, "{name} {value}{stamp}");
    }

    /// A histogram of `fast` and `slow` requests; `per_second` is 1000 where its edges are milliseconds.
    fn histogram(&mut self, name: &str, labels: &str, edges: &[f64], per_second: f64, (fast, slow): (f64, f64)) {
        let comma = if labels.is_empty() { "" } else { "," };
        for edge in edges {
            let seconds = edge / per_second;
            let within = if seconds >= FAST_SECONDS { fast } else { 0.0 };
            let late = if seconds >= SLOW_SECONDS { slow } else { 0.0 };
            self.add(
                &format!("{name}_bucket{{{labels}{comma}le=\"{edge:?}\"}}"),
                within + late,
            );
        }
        self.add(&format!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}}"), fast + slow);
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        self.add(&format!("{name}_count{braces}"), fast + slow);
        let sum = (fast * FAST_SECONDS + slow * SLOW_SECONDS) * per_second;
        self.add(&format!("{name}_sum{braces}"), sum);
    }

    /// The whole.
    pub fn text(self) -> String {
        self.text
    }
}

impl Layout {
    /// The counters of one pod.
    pub fn write(self, lines: &mut Lines, requests: f64, errors: f64, slow: f64, in_flight: f64) {
        // Whole counts, as a client library has them.
        let (requests, errors, slow) = (requests.floor(), errors.floor(), slow.floor());
        let times = (requests - slow, slow);
        match self {
            Self::Http => {
                lines.add("http_requests_total{code=\"200\"}", requests - errors);
                if errors > 0.0 {
                    lines.add("http_requests_total{code=\"500\"}", errors);
                }
                lines.histogram("http_request_duration_seconds", "", CLIENT_LIBRARY, 1.0, times);
                lines.add("http_requests_in_flight", in_flight);
            }
            Self::Vllm => {
                let handler = "handler=\"/v1/chat/completions\",method=\"POST\"";
                lines.add(
                    &format!("http_requests_total{{{handler},status=\"2xx\"}}"),
                    requests - errors,
                );
                if errors > 0.0 {
                    lines.add(&format!("http_requests_total{{{handler},status=\"5xx\"}}"), errors);
                }
                // A client that lists models and fails: no inference.
                let listing = "handler=\"/v1/models\",method=\"GET\",status=\"5xx\"";
                lines.add(&format!("http_requests_total{{{listing}}}"), requests);
                let engine = "engine=\"0\",model_name=\"ranker\"";
                lines.histogram("vllm:e2e_request_latency_seconds", engine, VLLM, 1.0, times);
                lines.add(&format!("vllm:num_requests_running{{{engine}}}"), in_flight / 2.0);
                lines.add(&format!("vllm:num_requests_waiting{{{engine}}}"), in_flight / 2.0);
            }
            Self::Triton => {
                let model = "model=\"ranker\",version=\"1\"";
                lines.add(&format!("nv_inference_request_success{{{model}}}"), requests - errors);
                for (reason, count) in [
                    ("BACKEND", errors),
                    ("CANCELED", requests),
                    ("OTHER", 0.0),
                    ("REJECTED", 0.0),
                ] {
                    lines.add(
                        &format!("nv_inference_request_failure{{{model},reason=\"{reason}\"}}"),
                        count,
                    );
                }
                let name = "nv_inference_first_response_histogram_ms";
                lines.histogram(name, model, TRITON_MS, 1e3, times);
                lines.add(&format!("nv_inference_pending_request_count{{{model}}}"), in_flight);
            }
            Self::Tgi => {
                lines.add("tgi_request_count", requests * 2.0);
                lines.add("tgi_request_success", requests - errors);
                lines.add("tgi_request_failure{err=\"validation\"}", requests);
                if errors > 0.0 {
                    lines.add("tgi_request_failure{err=\"generation\"}", errors);
                }
                let edges: Vec<f64> = (1..=35).map(|power| 0.000_1 * 1.5_f64.powi(power)).collect();
                lines.histogram("tgi_request_duration", "", &edges, 1.0, times);
                lines.add("tgi_batch_current_size", in_flight / 2.0);
                lines.add("tgi_queue_size", in_flight / 2.0);
            }
            Self::Kserve => {
                let model = "model_name=\"ranker\"";
                lines.histogram("request_preprocess_seconds", model, PYTHON_CLIENT, 1.0, (requests, 0.0));
                lines.histogram("request_predict_seconds", model, PYTHON_CLIENT, 1.0, times);
            }
            Self::Apart => {
                lines.add("requests_total", requests);
                if errors > 0.0 {
                    lines.add("failed_total", errors);
                }
                lines.histogram("request_seconds", "", CLIENT_LIBRARY, 1.0, times);
            }
            Self::Istio => {
                let to = "reporter=\"destination\",destination_workload=\"ranker\",request_protocol=\"http\"";
                let ok = format!("{to},response_code=\"200\"");
                lines.add(&format!("istio_requests_total{{{ok}}}"), requests - errors);
                let failed = format!("{to},response_code=\"503\"");
                if errors > 0.0 {
                    lines.add(&format!("istio_requests_total{{{failed}}}"), errors);
                }
                // What the server itself calls fails, slowly: not its own failures.
                let from = "reporter=\"source\",destination_workload=\"features\",response_code=\"503\"";
                lines.add(&format!("istio_requests_total{{{from}}}"), requests);
                let name = "istio_request_duration_milliseconds";
                lines.histogram(name, &ok, ENVOY_MS, 1e3, times);
                lines.histogram(name, from, ENVOY_MS, 1e3, (0.0, requests));
            }
        }
    }
}
