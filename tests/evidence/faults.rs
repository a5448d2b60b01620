//! A tracking server that misbehaves: what it says is never taken for evidence, and nothing hangs or breaks.

use std::time::{Duration, Instant};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
};

use stage::Tracking;

use crate::{
    proxy::{Act, Asked, Proxy, answer, endless},
    runs::{evaluated, judge, refused, shared},
};

/// What the server does, and what is said about it.
type Case = (&'static str, fn() -> Act, &'static str);

/// A chunk of an answer without end.
static CHUNK: [u8; 65_536] = [b' '; 65_536];

fn status(code: u16) -> Act {
    Act::Answer(answer(
        StatusCode::from_u16(code).unwrap(),
        "secret words of the server",
    ))
}

fn half(mut body: Vec<u8>) -> Vec<u8> {
    body.truncate(body.len() / 2);
    body
}

fn is_artifact(asked: &Asked) -> bool {
    asked.path.contains("/mlflow-artifacts/artifacts/")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_that_is_not_whole_and_sound_is_evidence_and_the_next_good_one_is() {
    let mlflow = shared().await;
    let tracking = Tracking::at(mlflow.url()).unwrap();
    let run = evaluated(&tracking, 70).await;
    let proxy = Proxy::of(mlflow.url()).await.unwrap();
    let cases: [Case; 12] = [
        ("401", || status(401), "answered with status 401"),
        ("403", || status(403), "answered with status 403"),
        ("429", || status(429), "answered with status 429"),
        ("500", || status(500), "answered with status 500"),
        ("503", || status(503), "answered with status 503"),
        ("504", || status(504), "answered with status 504"),
        (
            "a redirect",
            || {
                let mut elsewhere = answer(StatusCode::FOUND, Body::empty());
                let location = HeaderValue::from_static("http://127.0.0.1:9/");
                elsewhere.headers_mut().insert(header::LOCATION, location);
                Act::Answer(elsewhere)
            },
            "answered with status 302",
        ),
        (
            "a page",
            || Act::Answer(answer(StatusCode::OK, "<html>Sign in</html>")),
            "is not one of its API",
        ),
        ("half an answer", || Act::Change(half), "is not one of its API"),
        ("nothing", || Act::Swallow, "did not answer in time"),
        (
            "an answer that drips",
            || Act::Answer(answer(StatusCode::OK, endless(b" ", Duration::from_millis(100)))),
            "did not answer in time",
        ),
        (
            "an answer without end",
            || Act::Answer(answer(StatusCode::OK, endless(&CHUNK, Duration::ZERO))),
            "longer than 4194304 bytes",
        ),
    ];
    for (case, act, words) in cases {
        proxy.rule(move |_| act());
        let begin = Instant::now();
        let said = refused(&proxy.url(), &run).await;
        assert!(said.contains(words), "{case}: {said}");
        assert!(!said.contains("secret words"), "{case}: {said}");
        assert!(
            begin.elapsed() < Duration::from_secs(15),
            "{case}: {:?}",
            begin.elapsed()
        );
    }
    proxy.rule(|_| status(404));
    assert_eq!(refused(&proxy.url(), &run).await, format!("there is no run {run}"));
    proxy.behave();
    assert!(judge(&proxy.url(), &run, None).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_breaks_off_is_the_sources_fault_and_one_that_is_torn_is_the_files() {
    let mlflow = shared().await;
    let tracking = Tracking::at(mlflow.url()).unwrap();
    let run = evaluated(&tracking, 70).await;
    let proxy = Proxy::of(mlflow.url()).await.unwrap();
    proxy.rule(|asked| if is_artifact(asked) { status(503) } else { Act::Forward });
    let said = refused(&proxy.url(), &run).await;
    assert!(said.contains("answered with status 503"), "{said}");
    proxy.rule(|asked| {
        if !is_artifact(asked) {
            return Act::Forward;
        }
        // Promised more than there is.
        let mut torn = answer(
            StatusCode::OK,
            Body::from_stream(futures::stream::iter([
                Ok(axum::body::Bytes::from_static(b"{\"run_id\":")),
                Err(std::io::Error::other("the connection breaks")),
            ])),
        );
        torn.headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Act::Answer(torn)
    });
    let said = refused(&proxy.url(), &run).await;
    assert!(said.contains("did not answer"), "{said}");
    proxy.rule(|asked| {
        if is_artifact(asked) {
            Act::Change(half)
        } else {
            Act::Forward
        }
    });
    let outcome = judge(&proxy.url(), &run, None).await.unwrap();
    assert!(
        outcome
            .text()
            .contains("compliance_metrics.json cannot be used: it ends too early"),
        "{}",
        outcome.text()
    );
    proxy.rule(|asked| {
        if is_artifact(asked) {
            Act::Answer(answer(StatusCode::OK, endless(&CHUNK, Duration::ZERO)))
        } else {
            Act::Forward
        }
    });
    let outcome = judge(&proxy.url(), &run, None).await.unwrap();
    assert!(
        outcome.text().contains("it is longer than 33554432 bytes"),
        "{}",
        outcome.text()
    );
}
