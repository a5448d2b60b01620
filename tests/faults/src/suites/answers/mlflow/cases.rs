//! The bad answers of MLflow.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
};
use serde_json::{Value, json};
use stage::proxy::{Act, Asked, answer, endless};

use super::super::{Case, ELSEWHERE, Says, query::edited};
use crate::plan::PLANTED;

static CHUNK: [u8; 65_536] = [b' '; 65_536];
const PROVIDER: &[&str] = &["ProviderError"];
const UNUSABLE: &[&str] = &["NoEvidence"];

const fn provider(words: &'static str) -> Says {
    Says::Unknown(PROVIDER, words)
}

/// What the server says of runs.
#[expect(clippy::too_many_lines, reason = "a list of cases")]
pub fn server() -> Vec<Case> {
    let page = || Act::Answer(answer(StatusCode::OK, format!("<html>{PLANTED}</html>")));
    let nonsense = provider("is not one of its API");
    let mut cases = Vec::new();
    for (code, words) in [
        (400, "status 400"),
        (401, "status 401"),
        (403, "status 403"),
        (429, "status 429"),
        (500, "status 500"),
        (503, "status 503"),
        (504, "status 504"),
    ] {
        let case = Case::new(format!("status {code}"), provider(words), move |_| {
            let body = json!({"error_code": "INTERNAL_ERROR", "message": PLANTED}).to_string();
            Act::Answer(answer(StatusCode::from_u16(code).unwrap_or_default(), body))
        });
        cases.push(if code == 500 { case.hides() } else { case });
    }
    let of_run = |change: fn(&mut Value)| {
        move |asked: &Asked| {
            if asked.path.contains("/runs/get") {
                Act::ChangeBy(Arc::new(move |bytes| edited(bytes, &change)))
            } else {
                Act::Forward
            }
        }
    };
    cases.extend([
        Case::new(
            "no such run",
            Says::Unknown(&["RunNotFound"], "there is no run"),
            |_| {
                let body = json!({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": PLANTED}).to_string();
                Act::Answer(answer(StatusCode::NOT_FOUND, body))
            },
        ),
        Case::new("a redirect", provider("status 302"), |_| {
            let mut redirect = answer(StatusCode::FOUND, Body::empty());
            redirect
                .headers_mut()
                .insert(header::LOCATION, HeaderValue::from_static(ELSEWHERE));
            Act::Answer(redirect)
        }),
        Case::new("a page", nonsense, move |_| page()).hides(),
        Case::new("an empty body", nonsense, |_| Act::Answer(answer(StatusCode::OK, ""))),
        Case::new("null", nonsense, |_| Act::Answer(answer(StatusCode::OK, "null"))),
        Case::new("half an answer", nonsense, |_| {
            Act::Change(|mut body| {
                body.truncate(body.len() / 2);
                body
            })
        }),
        Case::new("closed before any answer", provider("did not answer"), |_| Act::Reset),
        Case::new("stalled", provider("did not answer in time"), |_| Act::Swallow).hides(),
        Case::new("dripping", provider("did not answer in time"), |_| {
            Act::Answer(answer(StatusCode::OK, endless(b" ", Duration::from_millis(200))))
        }),
        Case::new("without end", provider("longer than 4194304 bytes"), |_| {
            Act::Answer(answer(StatusCode::OK, endless(&CHUNK, Duration::ZERO)))
        }),
        Case::new("nested 100,000 deep", nonsense, |_| {
            let deep = format!("{{\"run\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
            Act::Answer(answer(StatusCode::OK, deep))
        }),
        Case::new(
            "a status that nobody knows",
            nonsense,
            of_run(|run| run["run"]["info"]["status"] = json!(PLANTED)),
        ),
        Case::new(
            "a run that failed",
            Says::Unknown(&["RunFailed"], "it failed"),
            of_run(|run| run["run"]["info"]["status"] = json!("FAILED")),
        ),
        Case::new(
            "a run that runs",
            Says::Unknown(&["RunNotFinished"], "is still running"),
            of_run(|run| run["run"]["info"]["status"] = json!("RUNNING")),
        ),
        Case::new(
            "a run that was deleted",
            Says::Unknown(&["RunDeleted"], "was deleted"),
            of_run(|run| run["run"]["info"]["lifecycle_stage"] = json!("deleted")),
        ),
        Case::new(
            "artifacts where nobody may read",
            Says::Unknown(&["ArtifactsUnreachable"], "file://"),
            of_run(|run| run["run"]["info"]["artifact_uri"] = json!(format!("file:///etc/{PLANTED}"))),
        ),
        Case::new(
            "artifacts above their root",
            nonsense,
            of_run(|run| run["run"]["info"]["artifact_uri"] = json!(format!("mlflow-artifacts:/0/../../{PLANTED}"))),
        ),
        Case::new(
            "another digest of the data",
            Says::Unknown(UNUSABLE, "another dataset digest"),
            of_run(|run| run["run"]["inputs"]["dataset_inputs"][0]["dataset"]["digest"] = json!(PLANTED)),
        ),
    ]);
    cases
}

/// What is in the artifacts, and how they come.
#[expect(clippy::too_many_lines, reason = "a list of cases")]
pub fn artifacts() -> Vec<Case> {
    let file = |act: fn() -> Act| {
        move |asked: &Asked| {
            if asked.path.contains("/mlflow-artifacts/artifacts/") {
                act()
            } else {
                Act::Forward
            }
        }
    };
    let text = |text: &'static str| {
        move |asked: &Asked| {
            if asked.path.contains("/mlflow-artifacts/artifacts/") {
                Act::Answer(answer(StatusCode::OK, text))
            } else {
                Act::Forward
            }
        }
    };
    let unusable = |words: &'static str| Says::Unknown(UNUSABLE, words);
    let edit = |change: fn(&mut Value)| {
        move |asked: &Asked| {
            if asked.path.contains("/mlflow-artifacts/artifacts/") {
                Act::ChangeBy(Arc::new(move |bytes| edited(bytes, &change)))
            } else {
                Act::Forward
            }
        }
    };
    vec![
        Case::new(
            "the artifact answered with 503",
            provider("status 503"),
            file(|| Act::Answer(answer(StatusCode::SERVICE_UNAVAILABLE, PLANTED))),
        ),
        Case::new(
            "the artifact redirected",
            provider("status 302"),
            file(|| {
                let mut redirect = answer(StatusCode::FOUND, Body::empty());
                redirect
                    .headers_mut()
                    .insert(header::LOCATION, HeaderValue::from_static(ELSEWHERE));
                Act::Answer(redirect)
            }),
        ),
        Case::new(
            "a page for the artifact",
            unusable(""),
            text("<html>planted-7e1f</html>"),
        )
        .hides(),
        Case::new(
            "half of the artifact",
            unusable("ends too early"),
            file(|| {
                Act::Change(|mut body| {
                    body.truncate(body.len() / 2);
                    body
                })
            }),
        ),
        Case::new(
            "the artifact breaks off",
            provider("did not answer"),
            file(|| Act::Truncate),
        ),
        Case::new(
            "an artifact of a gigabyte",
            unusable("longer than 33554432 bytes"),
            file(|| Act::Answer(answer(StatusCode::OK, endless(&CHUNK, Duration::ZERO)))),
        ),
        Case::new(
            "an artifact nested 100,000 deep",
            unusable(""),
            file(|| {
                let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
                Act::Answer(answer(StatusCode::OK, deep))
            }),
        ),
        Case::new(
            "duplicate keys",
            unusable(""),
            text(
                "{\"run_id\":\"a\",\"run_id\":\"planted-7e1f\",\"dataset\":{\"version\":\"1\",\"digest\":\"abc\"},\"queries\":[]}",
            ),
        ),
        Case::new(
            "YAML with aliases",
            unusable(""),
            text("a: &a [planted-7e1f, planted-7e1f]\nb: &b [*a, *a]\nc: [*b, *b]\n"),
        ),
        Case::new("an empty artifact", unusable("ends too early"), text("")),
        Case::new("an unknown field", unusable(""), edit(|file| file[PLANTED] = json!(1))),
        Case::new(
            "another run's artifact",
            unusable("another run"),
            edit(|file| file["run_id"] = json!(PLANTED)),
        ),
        Case::new(
            "an artifact of other data",
            unusable("dataset digest"),
            edit(|file| {
                file["dataset"]["digest"] = json!(PLANTED);
            }),
        ),
        Case::new(
            "an artifact without queries",
            unusable("no rows"),
            edit(|file| file["queries"] = json!([])),
        ),
        Case::new(
            "words for outcomes",
            unusable(""),
            edit(|file| file["queries"][7]["correct_at_1"] = json!(PLANTED)),
        ),
        Case::new("the artifact is not listed", unusable(""), |asked| {
            if asked.path.contains("/artifacts/list") {
                Act::Answer(answer(
                    StatusCode::OK,
                    json!({"root_uri": PLANTED, "files": []}).to_string(),
                ))
            } else {
                Act::Forward
            }
        }),
        Case::new("a listing that never ends", Says::Usable, |asked| {
            if asked.path.contains("/artifacts/list") {
                Act::ChangeBy(Arc::new(|bytes| {
                    edited(bytes, &|list| list["next_page_token"] = json!("again"))
                }))
            } else {
                Act::Forward
            }
        }),
    ]
}
