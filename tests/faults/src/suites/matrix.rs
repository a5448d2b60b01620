//! Each kind of call under each kind of failure: from the moment a bad release is shipped every such call fails, until ten
//! seconds after the first one did.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use bed::Endpoints;
use serde_json::json;
use stage::{
    StageError,
    proxy::{Act, Asked, Watches, answer},
};

use crate::{
    api::{Target, verb},
    plan::{Outcome, Plan},
    suites::writes::Oracle,
    world::{Setup, World, bad},
};

/// How long calls fail after the first one that did.
const LASTS: Duration = Duration::from_secs(10);
/// So long a server may ask to be left alone.
const RETRY_AFTER_SECONDS: u16 = 120;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of one object.
    Get,
    /// Of a collection.
    List,
    /// A stream of changes.
    Watch,
    /// Of anything but Events.
    Create,
    /// The rollback itself.
    Patch,
    /// An update of a status.
    Status,
    /// The creation of an Event.
    Event,
    /// Any call about the lease.
    Lease,
}

const KINDS: [Kind; 8] = [
    Kind::Get,
    Kind::List,
    Kind::Watch,
    Kind::Create,
    Kind::Patch,
    Kind::Status,
    Kind::Event,
    Kind::Lease,
];

impl Kind {
    fn is(self, asked: &Asked) -> bool {
        let Some(target) = Target::of(&asked.path) else {
            return false;
        };
        let verb = verb(&asked.method, &asked.path);
        if target.resource == "leases" {
            return self == Self::Lease;
        }
        match self {
            Self::Get => verb == "get",
            Self::List => verb == "list",
            Self::Watch => verb == "watch",
            Self::Create => verb == "create" && target.resource != "events",
            Self::Patch => verb == "patch",
            Self::Status => verb == "update",
            Self::Event => verb == "create" && target.resource == "events",
            Self::Lease => false,
        }
    }
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The API server refuses it.
    Refused(u16),
    /// 429 that names a time.
    RefusedFor,
    /// The connection is closed before any answer.
    Reset,
    /// No answer comes.
    Stalled,
    /// The answer ends in its middle.
    Truncated,
}

const FAILURES: [Failure; 13] = [
    Failure::Refused(401),
    Failure::Refused(403),
    Failure::Refused(404),
    Failure::Refused(409),
    Failure::Refused(422),
    Failure::Refused(429),
    Failure::RefusedFor,
    Failure::Refused(500),
    Failure::Refused(503),
    Failure::Refused(504),
    Failure::Reset,
    Failure::Stalled,
    Failure::Truncated,
];

impl Failure {
    fn act(self, kind: Kind) -> Act {
        match self {
            Self::Refused(code) => Act::Answer(refused(kind, code)),
            Self::RefusedFor => {
                let mut response = refused(kind, 429);
                let seconds = HeaderValue::from(RETRY_AFTER_SECONDS);
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
                Act::Answer(response)
            }
            Self::Reset => Act::Reset,
            Self::Stalled => Act::Swallow,
            // A stream has no middle: it ends within its first line.
            Self::Truncated if kind == Kind::Watch => Act::Answer(answer(StatusCode::OK, first_half())),
            Self::Truncated => Act::Truncate,
        }
    }
}

fn first_half() -> Body {
    let chunks = [
        Ok("{\"type\":\"MODIFIED\",\"obj"),
        Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    ];
    Body::from_stream(futures::stream::iter(chunks))
}

/// A refusal in the API server's words.
pub fn refused(kind: Kind, code: u16) -> Response {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 if matches!(kind, Kind::Create | Kind::Event) => "AlreadyExists",
        409 => "Conflict",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "on purpose",
        "code": code, "reason": reason,
    });
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = answer(code, status.to_string());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// One plan for each kind of call and each failure of it; of the short selection those of writes. After lists and watches that
/// failed, and after a lease that was lost, little is left of the 30 s on a busy machine.
pub fn plans(oracle: &Arc<Oracle>, short: bool) -> Vec<Plan> {
    let selected = [
        (Kind::Create, Failure::Refused(409)),
        (Kind::Patch, Failure::Refused(404)),
        (Kind::Status, Failure::Truncated),
    ];
    let cells = KINDS.iter().flat_map(|kind| FAILURES.map(|failure| (*kind, failure)));
    cells
        .filter(|cell| !short || selected.contains(cell))
        .map(|(kind, failure)| {
            let oracle = oracle.clone();
            let name = format!("{kind:?} × {failure:?}");
            Plan::new("matrix", name, move |endpoints, namespace| async move {
                survives(&endpoints, &namespace, &oracle, kind, failure).await
            })
        })
        .collect()
}

async fn survives(
    endpoints: &Endpoints,
    namespace: &str,
    oracle: &Oracle,
    kind: Kind,
    failure: Failure,
) -> Result<Outcome, StageError> {
    let setup = Setup {
        elected: kind == Kind::Lease,
        ..Setup::default()
    };
    let mut world = World::guarded(endpoints, namespace, setup).await?;
    let first = Arc::new(OnceLock::new());
    let mark = first.clone();
    let api = world.first().api.clone();
    let begin = Instant::now();
    api.rule(move |asked| {
        if !kind.is(asked) {
            return Act::Forward;
        }
        // The report is read when a release comes. What a rollback reads comes later, and is what counts.
        if kind == Kind::Get && asked.path.contains("/qualityreports/") {
            return if begin.elapsed() < LASTS / 2 {
                failure.act(kind)
            } else {
                Act::Forward
            };
        }
        mark.get_or_init(Instant::now);
        failure.act(kind)
    });
    match kind {
        // Collections are listed at the begin, and streams asked for again when they end.
        Kind::List => world.replicas[0].restart_unready()?,
        Kind::Watch => api.watches(Watches::Torn),
        _ => {}
    }
    world.ship(&bad()).await?;
    let reached = world.until(Duration::from_secs(90), |_| first.get().is_some()).await?;
    if let Some(first) = first.get() {
        world.pass(LASTS.saturating_sub(first.elapsed())).await?;
    }
    api.behave();
    let outcome = world.judged(Instant::now(), Some(&oracle.end)).await?;
    Ok(Outcome { reached, ..outcome })
}
