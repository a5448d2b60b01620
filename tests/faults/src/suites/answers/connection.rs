//! Connections that break, stall and never end; answers that are too much.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderValue, StatusCode, header};
use serde_json::json;
use stage::proxy::{Act, Asked, answer, endless};

use super::{
    Case, Says,
    prometheus::provider,
    query::{Ask, ask, changed, instant, series},
};
use crate::plan::PLANTED;

static CHUNK: [u8; 65_536] = [b' '; 65_536];

fn when(asks: bool, act: Act) -> Act {
    if asks { act } else { Act::Forward }
}

fn down() -> Act {
    Act::Answer(answer(StatusCode::INTERNAL_SERVER_ERROR, PLANTED))
}

fn odd_look(asked: &Asked) -> bool {
    instant(&asked.path).is_some_and(|at| at.div_euclid(2) % 2 == 1)
}

/// An answer whose header names another encoding than its body has.
fn encoded(encoding: &'static str, body: Vec<u8>) -> Act {
    let mut response = answer(StatusCode::OK, body);
    response
        .headers_mut()
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    Act::Answer(response)
}

/// Which fault meets connections.
pub fn connections() -> Vec<Case> {
    let silent = provider("did not answer");
    let late = provider("did not answer in time");
    vec![
        Case::new("reset", silent, |_| Act::Reset),
        Case::new("closed in the middle", provider("the metrics source"), |_| {
            Act::Truncate
        }),
        Case::new("stalled", late, |_| Act::Swallow).hides(),
        Case::new("stalled for the errors alone", late, |asked| {
            when(ask(asked) == Ask::Errors, Act::Swallow)
        }),
        Case::new("dripping", late, |_| {
            Act::Answer(answer(StatusCode::OK, endless(b" ", Duration::from_millis(200))))
        }),
        Case::new("one of two queries fails: the errors", silent_or_status(), |asked| {
            when(ask(asked) == Ask::Errors, down())
        })
        .hides(),
        Case::new("one of two queries fails: the requests", silent_or_status(), |asked| {
            when(ask(asked) == Ask::Requests, down())
        }),
        Case::new("one of two queries fails: the latencies", silent_or_status(), |asked| {
            when(ask(asked) == Ask::Latency, Act::Reset)
        }),
        Case::new(
            "one of two queries fails: the times of the samples",
            silent_or_status(),
            |asked| when(ask(asked) == Ask::SampledAt, down()),
        ),
        Case::new("failing every other look", silent_or_status(), |asked| {
            when(odd_look(asked), down())
        }),
        Case::new(
            "empty every other look",
            Says::Unknown(&["NoData", "Stale"], "is not known"),
            |asked| when(odd_look(asked), changed(|answer| series(answer).clear())),
        ),
        Case::new("history fails and the present does not", Says::Usable, |asked| {
            when(asked.path.contains("query_range"), down())
        }),
    ]
}

const fn silent_or_status() -> Says {
    provider("is not known: source default: the metrics source")
}

/// Answers to questions about one instant with a text after the first of these words; an answer without series has no comma
/// to end on, and stays.
fn spliced(after: &'static str, text: String) -> impl Fn(&Asked) -> Act + Send + Sync {
    let text: Arc<str> = text.into();
    move |asked| {
        if asked.path.contains("query_range") || ask(asked) == Ask::Gpu {
            return Act::Forward;
        }
        let text = text.clone();
        Act::ChangeBy(Arc::new(move |body| {
            let Ok(answer) = String::from_utf8(body) else {
                return Vec::new();
            };
            match answer.split_once(after) {
                Some((before, rest)) if !rest.starts_with(']') => [before, after, &text, rest].concat().into_bytes(),
                _ => answer.into_bytes(),
            }
        }))
    }
}

/// What is too long, too large, too many.
pub fn too_much() -> Vec<Case> {
    // Where the machine is slow, the deadline comes before the limit.
    let long = provider("the metrics source");
    // Made once: the proxy has as little to do with them as can be.
    let rows = |namespace: fn(usize) -> String| {
        let row = |number| {
            format!(
                "{{\"metric\":{{\"namespace\":\"{}\",\"pod\":\"p-{number}\",\"le\":\"1\"}},\"value\":[1.7e9,\"1\"]}},",
                namespace(number)
            )
        };
        spliced("\"result\":[", (0..100_000).map(row).collect())
    };
    let warnings = format!(
        "\"warnings\":[{}\"{PLANTED}\"],",
        format!("\"{PLANTED}\",").repeat(100_000)
    );
    let samples = format!(
        "{{\"metric\":{{\"namespace\":\"x\",\"pod\":\"p\"}},\"values\":[{}[2,\"1\"]]}},",
        "[1,\"1\"],".repeat(1_000_000)
    );
    vec![
        Case::new("an answer without end", long, |_| {
            Act::Answer(answer(StatusCode::OK, endless(&CHUNK, Duration::ZERO)))
        })
        .hides(),
        Case::new(
            "200 MB that are announced",
            provider("longer than 16777216 bytes"),
            |_| {
                let mut response = answer(StatusCode::OK, endless(&CHUNK, Duration::ZERO));
                let length = HeaderValue::from_static("200000000");
                response.headers_mut().insert(header::CONTENT_LENGTH, length);
                Act::Answer(response)
            },
        ),
        Case::new(
            "a string of 15 MB",
            provider("is not one of the Prometheus query API"),
            |_| {
                let body = format!("{{\"status\":\"{}\"}}", PLANTED.repeat(1_200_000));
                Act::Answer(answer(StatusCode::OK, body))
            },
        ),
        Case::new(
            "a label of 15 MB",
            provider("is not one of the Prometheus query API"),
            |asked| {
                when(
                    ask(asked) == Ask::Requests,
                    changed(|answer| {
                        let labels = json!({"namespace": PLANTED.repeat(1_200_000), "pod": "p"});
                        series(answer).push(json!({"metric": labels, "value": [1.7e9, "1"]}));
                    }),
                )
            },
        ),
        Case::new(
            "a compressed bomb",
            provider("is not one of the Prometheus query API"),
            |_| encoded("gzip", vec![0x1f; 1_000_000]),
        ),
        Case::new(
            "plain words called compressed",
            provider("is not one of the Prometheus query API"),
            |_| encoded("br", format!("<html>{PLANTED}</html>").into_bytes()),
        ),
        Case::new(
            "a list of 100,000 warnings",
            Says::Unknown(&["Partial"], "may be incomplete"),
            spliced("{", warnings),
        ),
        Case::new(
            "a series of a million samples",
            provider("is not one of the Prometheus query API"),
            spliced("\"result\":[", samples),
        ),
        Case::new(
            "100,000 series of pods that nobody guards",
            Says::Usable,
            rows(|_| format!("others-{PLANTED}")),
        ),
        Case::new(
            "100,000 series, each of a namespace of its own",
            Says::Usable,
            rows(|number| format!("other-{number}")),
        ),
    ]
}
