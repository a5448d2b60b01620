//! The reports as pages over HTTP, read only. Off unless the operator's configuration names an address: who reaches it
//! reads every report, so it has an address of its own that a `NetworkPolicy` or a proxy with a login can guard.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use kube::{
    Api, Client, Resource,
    api::ListParams,
    core::{DeserializeGuard, NamespaceResourceScope},
};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::Meters,
    server::connections::{self, Limits},
};
use quality_api::QualityReport;
use quality_render::html_report::{self, Entry, Records};

/// Pages that are made at the same time: each asks the API server for the records of a namespace.
const AT_ONCE: usize = 2;
/// A page takes at most this long, its turn included.
const DEADLINE: Duration = Duration::from_secs(10);
/// Reports that the list shows.
const MAX_ENTRIES: usize = 500;
/// Reports that are read at a time: they are the largest objects there are.
const ENTRIES_A_CALL: u32 = 25;
/// Records of a kind that a page is made from.
const MAX_RECORDS: u32 = 500;

/// What the pages are made from.
#[derive(Clone)]
struct Shown {
    client: Client,
    /// The only namespace that is shown; all of them where there is none.
    namespace: Option<String>,
    turns: Arc<Semaphore>,
}

/// Why there is no page. A reader is told no more than that: what the API server said is logged.
enum Refusal {
    NotFound,
    Unavailable,
}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        tracing::warn!(%error, "a report page");
        Self::Unavailable
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, words) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "there is no such report\n"),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the API server does not answer, or too many pages are asked for: try again\n",
            ),
        };
        (code, guarded("text/plain; charset=utf-8"), words).into_response()
    }
}

/// Serves until `stop`. With `namespace`, only its reports.
pub async fn serve(
    listener: tokio::net::TcpListener,
    client: Client,
    namespace: Option<String>,
    meters: Arc<Meters>,
    stop: CancellationToken,
) {
    let shown = Shown {
        client,
        namespace,
        turns: Arc::new(Semaphore::new(AT_ONCE)),
    };
    let router = Router::new()
        .route("/reports", get(index))
        .route("/reports/{namespace}/{name}", get(one))
        .fallback(|| async { Refusal::NotFound })
        .with_state(shown);
    connections::serve(listener, router, Limits::default(), meters, stop).await;
}

async fn index(State(shown): State<Shown>) -> Response {
    answer(&shown, entries(&shown)).await
}

async fn one(State(shown): State<Shown>, Path((namespace, name)): Path<(String, String)>) -> Response {
    answer(&shown, render(&shown, &namespace, &name)).await
}

/// Waits for a turn, then for the page.
async fn answer(shown: &Shown, page: impl Future<Output = Result<String, Refusal>>) -> Response {
    let made = tokio::time::timeout(DEADLINE, async {
        // The semaphore is never closed.
        let _turn = shown.turns.acquire().await;
        page.await
    });
    match made.await {
        Ok(Ok(page)) => (StatusCode::OK, guarded("text/html; charset=utf-8"), page).into_response(),
        Ok(Err(refusal)) => refusal.into_response(),
        Err(_) => Refusal::Unavailable.into_response(),
    }
}

async fn entries(shown: &Shown) -> Result<String, Refusal> {
    let api: Api<DeserializeGuard<QualityReport>> = match &shown.namespace {
        Some(namespace) => Api::namespaced(shown.client.clone(), namespace),
        None => Api::all(shown.client.clone()),
    };
    let mut entries: Vec<Entry> = Vec::new();
    let mut parameters = ListParams::default().limit(ENTRIES_A_CALL);
    loop {
        let listed = api.list(&parameters).await?;
        entries.extend(
            listed
                .items
                .iter()
                .filter_map(|report| report.0.as_ref().ok())
                .map(Entry::from),
        );
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(_) if entries.len() >= MAX_ENTRIES => return Ok(html_report::index(&entries, true)),
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(html_report::index(&entries, false)),
        }
    }
}

async fn render(shown: &Shown, namespace: &str, name: &str) -> Result<String, Refusal> {
    let is_shown = shown.namespace.as_ref().is_none_or(|only| only == namespace);
    if !is_shown || !is_name(namespace) || !is_name(name) {
        return Err(Refusal::NotFound);
    }
    let one = ListParams::default().fields(&format!("metadata.name={name}"));
    let report = list::<QualityReport>(shown, namespace, &one).await?.into_iter().next();
    let all = ListParams::default().limit(MAX_RECORDS);
    Ok(html_report::page(&Records {
        report: report.ok_or(Refusal::NotFound)?,
        incidents: list(shown, namespace, &all).await?,
        drills: list(shown, namespace, &all).await?,
        checkpoints: list(shown, namespace, &all).await?,
    }))
}

/// The objects of a namespace that decode.
async fn list<K>(shown: &Shown, namespace: &str, parameters: &ListParams) -> Result<Vec<K>, Refusal>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + 'static,
{
    let api: Api<DeserializeGuard<K>> = Api::namespaced(shown.client.clone(), namespace);
    let listed = api.list(parameters).await?;
    Ok(listed.items.into_iter().filter_map(|object| object.0.ok()).collect())
}

/// Whether the API server could have an object of this name.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(plain)
}

fn guarded(content: &'static str) -> [(HeaderName, String); 8] {
    let policy = format!("{}; frame-ancestors 'none'", html_report::content_security_policy());
    [
        (header::CONTENT_TYPE, content.to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::X_FRAME_OPTIONS, "DENY".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin".to_owned(),
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin".to_owned(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_name_is_asked_for() {
        for name in ["shop", "ranker-2", "a.b"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "../x", "a/b", "A", "a,metadata.namespace=b", "a%2f", "<script>"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
