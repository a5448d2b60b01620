//! The bad answers of Prometheus, by theme. Each theme is a world of its own.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
};
use serde_json::json;
use stage::proxy::{Act, answer};

use super::{Case, ELSEWHERE, Says, connection, shapes, values};
use crate::plan::PLANTED;

/// All themes.
pub fn themes() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("statuses", statuses()),
        ("no answers", shapes::no_answers()),
        ("shapes", shapes::shapes()),
        ("samples and labels", shapes::samples_and_labels()),
        ("counters", values::counters()),
        ("times", values::times()),
        ("missing parts", values::missing()),
        ("histograms", values::histograms()),
        ("mixed up", values::mixed_up()),
        ("connections", connection::connections()),
        ("too much", connection::too_much()),
    ]
}

/// It says that the source gave no answer, and in which way.
pub const fn provider(words: &'static str) -> Says {
    Says::Unknown(&["ProviderError"], words)
}

fn statuses() -> Vec<Case> {
    let mut cases = Vec::new();
    let words = [
        (400, "with status 400"),
        (401, "with status 401"),
        (403, "with status 403"),
        (404, "with status 404"),
        (422, "with status 422"),
        (429, "with status 429"),
        (500, "with status 500"),
        (502, "with status 502"),
        (503, "with status 503"),
        (504, "with status 504"),
        (204, "with status 204"),
        (206, "with status 206"),
    ];
    for (code, words) in words {
        let case = Case::new(format!("status {code} with an error"), provider(words), move |_| {
            let body = json!({"status": "error", "errorType": "execution", "error": PLANTED, "data": {"result": []}});
            Act::Answer(answer(StatusCode::from_u16(code).unwrap_or_default(), body.to_string()))
        });
        cases.push(if [401, 500].contains(&code) { case.hides() } else { case });
    }
    for (code, words) in [
        (301, "with status 301"),
        (302, "with status 302"),
        (307, "with status 307"),
        (308, "with status 308"),
    ] {
        let case = Case::new(format!("a redirect, {code}"), provider(words), move |asked| {
            if asked.path.contains(ELSEWHERE) {
                return Act::Forward;
            }
            let mut redirect = answer(StatusCode::from_u16(code).unwrap_or_default(), Body::empty());
            // To the same server, which is on the loopback interface.
            let location = HeaderValue::from_static(ELSEWHERE);
            redirect.headers_mut().insert(header::LOCATION, location);
            Act::Answer(redirect)
        });
        cases.push(if code == 302 { case.hides() } else { case });
    }
    cases
}
