//! Where no failures are a counted zero, and where nobody counts them.
//!
//! A selector that matches nothing is no zero: its metric or its label may not exist. Zero is known where the metric is
//! there with that label, whatever its value, or where the server creates its failure counter with the first failure.

use super::{Match, MetricSet, Scope, Series};
use quality_api::{Preset, WhenAbsent};
use quality_core::format;

/// A selector in a message is at most so long, characters.
const MAX_SELECTOR: usize = 300;

impl MetricSet {
    /// What a pod's failures are while it shows its requests and no series of failures.
    /// Where no failures are counted by design, none are missed.
    pub fn errors_when_absent(&self) -> WhenAbsent {
        if self.errors.is_empty() {
            return WhenAbsent::Zero;
        }
        self.errors_when_absent
    }

    /// The query whose answer has the pods on which no failures are none: every selector of failures would find them there.
    /// Nothing is asked where that is known from the server.
    pub(super) fn errors_seen(&self, scope: Scope<'_>) -> Option<String> {
        if self.errors.is_empty() || self.errors_when_absent == WhenAbsent::Zero {
            return None;
        }
        let seen = |errors: &Series| format!("count by (namespace, pod) ({})", self.countable(errors, scope));
        Some(self.errors.iter().map(seen).collect::<Vec<_>>().join(" and "))
    }

    /// The series that show that failures would be counted: those with the labels that tell failures, whatever their
    /// values. What narrows the requests narrows them too.
    fn countable(&self, errors: &Series, scope: Scope<'_>) -> String {
        let same = |requests: &&Series| requests.metric == errors.metric;
        let narrows = |matcher: &Match| {
            let mut requests = self.requests.iter().filter(same);
            requests.any(|requests| requests.matchers.contains(matcher))
        };
        let (narrowing, telling): (Vec<_>, Vec<_>) = errors.matchers.iter().cloned().partition(narrows);
        let selected = errors.selector("", scope);
        if telling.is_empty() {
            return selected;
        }
        let all_need_a_label = telling
            .iter()
            .all(|(_, operator, value)| needs_a_label(operator, value));
        let there = telling.into_iter().map(|(label, ..)| (label, "!=", String::new()));
        let labelled = Series {
            metric: errors.metric.clone(),
            matchers: narrowing.into_iter().chain(there).collect(),
        };
        let labelled = labelled.selector("", scope);
        if all_need_a_label {
            labelled
        } else {
            // Failures may have no such label.
            format!("{labelled} or {selected}")
        }
    }

    /// Why the error rate is not known when nothing shows that failures are counted, and what to do.
    pub fn errors_not_seen(&self, preset: Preset) -> String {
        let name = |errors: &Series| errors.selector("", Scope::All).trim_end_matches("{}").to_owned();
        let selectors = self.errors.iter().map(name).collect::<Vec<_>>().join(" + ");
        let advice = if preset == Preset::Custom {
            "correct metrics.custom.errors, or set metrics.custom.errorsWhenAbsent: Zero where the server creates that series with \
             its first failure"
        } else {
            "take the preset of this server, or name its counters with preset custom"
        };
        format!(
            "requests pass, and no series of the pods shows that {} would count their failures: the metric is not there, or \
             not with that label; {advice}",
            format::plain(&selectors, MAX_SELECTOR)
        )
    }
}

/// Whether a series without the label cannot match, as far as that is told from simple patterns such as `5..`.
fn needs_a_label(operator: &str, value: &str) -> bool {
    let is_simple = || value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    match operator {
        "=" => !value.is_empty(),
        "=~" => !value.is_empty() && is_simple(),
        "!=" => value.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quality_api::{CustomMetrics, Selector};

    fn seen(preset: Preset) -> Option<String> {
        MetricSet::new(preset, None).errors_seen(Scope::All)
    }

    fn custom(requests: &serde_json::Value, errors: &serde_json::Value) -> CustomMetrics {
        let selector = |value: &serde_json::Value| -> Selector { serde_json::from_value(value.clone()).unwrap() };
        CustomMetrics {
            requests: Some(selector(requests)),
            errors: Some(selector(errors)),
            ..CustomMetrics::default()
        }
    }

    fn seen_by(requests: &serde_json::Value, errors: &serde_json::Value) -> String {
        let set = MetricSet::new(Preset::Custom, Some(&custom(requests, errors)));
        set.errors_seen(Scope::All).unwrap()
    }

    #[test]
    fn each_preset_says_for_its_server_when_no_failures_are_none() {
        let expected = [
            (Preset::Http, Some(r#"http_requests_total{code!=""}"#)),
            (Preset::Vllm, Some(r#"http_requests_total{method="POST",status!=""}"#)),
            (
                Preset::Triton,
                Some(r#"nv_inference_request_failure{reason!="CANCELED"}"#),
            ),
            (Preset::Tgi, None),
            (Preset::Kserve, None),
            (
                Preset::Istio,
                Some(r#"istio_requests_total{reporter="destination",response_code!=""}"#),
            ),
        ];
        for (preset, selector) in expected {
            let query = selector.map(|selector| format!("count by (namespace, pod) ({selector})"));
            assert_eq!(seen(preset), query, "{preset:?}");
        }
        let tgi = MetricSet::new(Preset::Tgi, None);
        assert_eq!(tgi.errors_when_absent(), WhenAbsent::Zero);
        assert!(!MetricSet::new(Preset::Kserve, None).measured().errors);
    }

    #[test]
    fn what_narrows_the_requests_narrows_the_series_that_would_count_failures() {
        let at = serde_json::json!({"label": "handler", "value": "/rank"});
        let failed = serde_json::json!({"label": "code", "operator": "Matches", "value": "5.."});
        let requests = serde_json::json!({"metric": "requests_total", "matchers": [at]});
        let errors = |metric: &str| serde_json::json!({"metric": metric, "matchers": [at, failed]});
        assert_eq!(
            seen_by(&requests, &errors("requests_total")),
            r#"count by (namespace, pod) (requests_total{handler="/rank",code!=""})"#
        );
        assert_eq!(
            seen_by(&requests, &errors("failed_total")),
            r#"count by (namespace, pod) (failed_total{handler!="",code!=""})"#
        );
    }

    #[test]
    fn failures_that_need_no_label_are_seen_without_it_too() {
        let requests = serde_json::json!({"metric": "requests_total"});
        for (operator, value, written) in [
            ("NotEqual", "canceled", r#"reason!="canceled""#),
            ("NotMatches", "a|b", r#"reason!~"a|b""#),
            ("Matches", "oom|", r#"reason=~"oom|""#),
            ("Equal", "", r#"reason="""#),
        ] {
            let matcher = serde_json::json!({"label": "reason", "operator": operator, "value": value});
            let errors = serde_json::json!({"metric": "failed_total", "matchers": [matcher]});
            assert_eq!(
                seen_by(&requests, &errors),
                format!(r#"count by (namespace, pod) (failed_total{{reason!=""}} or failed_total{{{written}}})"#)
            );
        }
        let bare = serde_json::json!({"metric": "failed_total"});
        assert_eq!(seen_by(&requests, &bare), "count by (namespace, pod) (failed_total{})");
    }

    #[test]
    fn of_several_selectors_each_must_be_seen() {
        let mut set = MetricSet::new(Preset::Http, None);
        set.errors.push(Series::plain("aborted_total"));
        assert_eq!(
            set.errors_seen(Scope::All).unwrap(),
            "count by (namespace, pod) (http_requests_total{code!=\"\"}) and count by (namespace, pod) (aborted_total{})"
        );
    }

    #[test]
    fn a_custom_counter_that_comes_with_the_first_failure_is_zero_before_it_only_where_the_policy_says_so() {
        let requests = serde_json::json!({"metric": "requests_total"});
        let mut metrics = custom(&requests, &serde_json::json!({"metric": "failed_total"}));
        let set = |metrics: &CustomMetrics| MetricSet::new(Preset::Custom, Some(metrics));
        assert_eq!(set(&metrics).errors_when_absent(), WhenAbsent::Unknown);
        metrics.errors_when_absent = Some(WhenAbsent::Zero);
        assert_eq!(set(&metrics).errors_when_absent(), WhenAbsent::Zero);
        assert_eq!(set(&metrics).errors_seen(Scope::All), None);
    }

    #[test]
    fn the_reason_names_the_selector_and_what_to_do() {
        let http = MetricSet::new(Preset::Http, None).errors_not_seen(Preset::Http);
        assert!(
            http.contains(r#"http_requests_total{code=~"5.."}"#) && http.contains("preset custom"),
            "{http}"
        );
        let requests = serde_json::json!({"metric": "requests_total"});
        let metrics = custom(&requests, &serde_json::json!({"metric": "failed_total"}));
        let text = MetricSet::new(Preset::Custom, Some(&metrics)).errors_not_seen(Preset::Custom);
        assert!(text.contains(" failed_total would"), "{text}");
        assert!(text.contains("errorsWhenAbsent: Zero"), "{text}");
    }
}
