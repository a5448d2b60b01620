//! Bad answers about an image that is whole.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderValue, Method, StatusCode, header},
};
use serde_json::json;
use stage::proxy::{Act, Asked, answer, endless};

use super::super::{Case, ELSEWHERE, Says};
use crate::plan::PLANTED;

static CHUNK: [u8; 65_536] = [b' '; 65_536];

/// The state of the last good look stands.
pub const KEPT: &[&str] = &["LastVerified"];

const fn kept(words: &'static str) -> Says {
    Says::Unknown(KEPT, words)
}

/// Answers about an image that is whole.
#[expect(clippy::too_many_lines, reason = "a list of cases")]
pub fn answers() -> Vec<Case> {
    let nonsense = kept("gave an answer that is not one of a registry");
    let mut cases = Vec::new();
    for (code, words) in [
        (400, "with status 400"),
        (401, "denies access"),
        (403, "denies access"),
        (429, "with status 429"),
        (500, "with status 500"),
        (502, "with status 502"),
        (503, "with status 503"),
        (504, "with status 504"),
        (204, "with status 204"),
    ] {
        cases.push(Case::new(format!("status {code}"), kept(words), move |_| {
            let body = json!({"errors": [{"code": "UNAVAILABLE", "message": PLANTED}]}).to_string();
            Act::Answer(answer(StatusCode::from_u16(code).unwrap_or_default(), body))
        }));
    }
    let manifests = |act: fn() -> Act| {
        move |asked: &Asked| {
            if asked.path.contains("/manifests/") {
                act()
            } else {
                Act::Forward
            }
        }
    };
    let blobs = |act: fn() -> Act| {
        move |asked: &Asked| {
            if asked.path.contains("/blobs/") {
                act()
            } else {
                Act::Forward
            }
        }
    };
    let text = |code: StatusCode, body: &'static str| Act::Answer(answer(code, body));
    cases.extend([
        Case::new("a page", nonsense, move |_| {
            text(StatusCode::OK, "<html>planted-7e1f</html>")
        }),
        Case::new("a page with 404", nonsense, move |_| {
            text(StatusCode::NOT_FOUND, "<html>planted-7e1f</html>")
        }),
        Case::new("an empty 404", nonsense, move |_| text(StatusCode::NOT_FOUND, "")),
        Case::new("404 with an empty list of errors", nonsense, move |_| {
            text(StatusCode::NOT_FOUND, "{\"errors\":[]}")
        }),
        Case::new("an empty body", nonsense, move |_| text(StatusCode::OK, "")),
        Case::new("null", nonsense, move |_| text(StatusCode::OK, "null")),
        Case::new(
            "a manifest redirected",
            kept("with status 307"),
            manifests(|| {
                let mut redirect = answer(StatusCode::TEMPORARY_REDIRECT, Body::empty());
                redirect
                    .headers_mut()
                    .insert(header::LOCATION, HeaderValue::from_static(ELSEWHERE));
                Act::Answer(redirect)
            }),
        ),
        Case::new("layers kept elsewhere", Says::Usable, |asked| {
            if !asked.path.contains("/blobs/") {
                return Act::Forward;
            }
            let mut redirect = answer(StatusCode::TEMPORARY_REDIRECT, Body::empty());
            redirect
                .headers_mut()
                .insert(header::LOCATION, HeaderValue::from_static(ELSEWHERE));
            Act::Answer(redirect)
        }),
        Case::new(
            "half of the manifest",
            nonsense,
            manifests(|| {
                Act::Change(|mut body| {
                    body.truncate(body.len() / 2);
                    body
                })
            }),
        ),
        Case::new(
            "a manifest with one byte more",
            nonsense,
            manifests(|| {
                Act::Change(|mut body| {
                    body.push(b' ');
                    body
                })
            }),
        ),
        Case::new(
            "another manifest than was asked for",
            nonsense,
            manifests(|| {
                Act::Answer(answer(
                    StatusCode::OK,
                    json!({"schemaVersion": 2, "annotations": {"x": PLANTED}}).to_string(),
                ))
            }),
        ),
        Case::new("another configuration than was asked for", nonsense, |asked| {
            if asked.path.contains("/blobs/") && asked.method == Method::GET {
                Act::Answer(answer(
                    StatusCode::OK,
                    json!({"os": "plan9", "architecture": PLANTED}).to_string(),
                ))
            } else {
                Act::Forward
            }
        }),
        Case::new("closed before any answer", kept("did not answer"), |_| Act::Reset),
        Case::new(
            "a manifest that breaks off",
            kept("its registry"),
            manifests(|| Act::Truncate),
        ),
        Case::new("stalled", kept("did not answer in time"), |_| Act::Swallow),
        Case::new("dripping", kept("did not answer in time"), |_| {
            Act::Answer(answer(StatusCode::OK, endless(b" ", Duration::from_millis(200))))
        }),
        Case::new(
            "a manifest without end",
            kept("longer than 4194304 bytes"),
            manifests(|| Act::Answer(answer(StatusCode::OK, endless(&CHUNK, Duration::ZERO)))),
        ),
        Case::new(
            "layers answered with 500",
            kept("with status 500"),
            blobs(|| Act::Answer(answer(StatusCode::INTERNAL_SERVER_ERROR, PLANTED))),
        ),
        Case::new("a login at another server", kept("asks for a login"), |_| {
            let mut refused = answer(StatusCode::UNAUTHORIZED, PLANTED);
            let challenge =
                HeaderValue::from_static("Bearer realm=\"http://127.0.0.1:9/elsewhere\",service=\"planted-7e1f\"");
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            Act::Answer(refused)
        }),
        Case::new("a login by a way that nobody knows", kept("denies access"), |_| {
            let mut refused = answer(StatusCode::UNAUTHORIZED, PLANTED);
            let challenge = HeaderValue::from_static("Negotiate planted-7e1f");
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            Act::Answer(refused)
        }),
        Case::new(
            "the registry's own word that there is no such manifest",
            Says::Unknown(&["ImageMissing"], "no such manifest"),
            manifests(|| {
                let body = json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": PLANTED}]}).to_string();
                Act::Answer(answer(StatusCode::NOT_FOUND, body))
            }),
        ),
        Case::new(
            "the registry's own word that there is no such layer",
            Says::Unknown(&["LayerMissing"], "lacks"),
            blobs(|| {
                let body = json!({"errors": [{"code": "BLOB_UNKNOWN", "message": PLANTED}]}).to_string();
                Act::Answer(answer(StatusCode::NOT_FOUND, body))
            }),
        ),
    ]);
    cases
}
