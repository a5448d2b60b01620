//! How the operator's ports take connections: one request each, within a time, and no more of them than can be afforded.
//!
//! Nothing that a peer does or leaves undone keeps a connection: its request is there in time or it goes, and so does one
//! that takes its answer too slowly. Where there are as many as there may be, a new one takes the place of another: of the peer
//! that has most of them the one that has waited longest without a request. So who opens thousands shuts out itself, and a
//! probe, which asks as soon as it is connected, gets through even where they come from as many peers.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    convert::Infallible,
    io::{self, ErrorKind},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::metrics::{KindLabel, Meters};

/// The longest head of a request, bytes: what a connection buffers at most.
const MAX_HEAD: usize = 16 << 10;
/// Connections that were closed and are not gone yet, at most.
const SLACK: usize = 32;
/// The pause after the machine had no descriptor for a connection.
const NO_DESCRIPTOR: Duration = Duration::from_millis(100);

/// What a port can afford.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub most: usize,
    /// From the connection to the end of its request's head.
    pub request: Duration,
    /// From the connection to the last byte of its answer.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            most: 128,
            request: Duration::from_secs(5),
            whole: Duration::from_secs(20),
        }
    }
}

/// Why a connection was closed before its answer. The names are stable.
#[derive(Clone, Copy, Debug)]
enum Closed {
    /// It made room for a newer one.
    Limit,
    /// It brought no request in time.
    NoRequest,
    /// It was not done in time.
    Slow,
}

impl Closed {
    /// Its name in the operator's metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Limit => "Limit",
            Self::NoRequest => "NoRequest",
            Self::Slow => "Slow",
        }
    }
}

/// Serves until `stop`; then what has a request is still answered, within its time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    meters: Arc<Meters>,
    stop: CancellationToken,
) {
    let mut connections = Connections {
        router,
        limits,
        meters,
        tasks: JoinSet::new(),
        open: VecDeque::new(),
        of_peer: HashMap::new(),
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.tasks.join_next_with_id() => connections.forget(&ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => connections.take(stream, peer.ip()).await,
                // It went before it was taken.
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    connections.make_room();
                    sleep(NO_DESCRIPTOR).await;
                }
            },
        }
    }
    drop(listener);
    connections.end().await;
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
    )
}

/// A connection that is open.
struct Open {
    task: AbortHandle,
    peer: IpAddr,
    /// Its request is there.
    asked: Arc<AtomicBool>,
}

/// The connections of a port.
struct Connections {
    router: Router,
    limits: Limits,
    meters: Arc<Meters>,
    tasks: JoinSet<()>,
    /// Oldest first.
    open: VecDeque<Open>,
    /// How many of them each peer has.
    of_peer: HashMap<IpAddr, usize>,
}

impl Connections {
    async fn take(&mut self, stream: TcpStream, peer: IpAddr) {
        if self.open.len() >= self.limits.most {
            self.make_room();
        }
        // What was closed is gone before many more are there.
        while self.tasks.len() >= self.limits.most + SLACK {
            match self.tasks.join_next_with_id().await {
                Some(ended) => self.forget(&ended),
                None => break,
            }
        }
        let asked = Arc::new(AtomicBool::new(false));
        let attended = attend(
            stream,
            self.router.clone(),
            asked.clone(),
            self.limits,
            self.meters.clone(),
        );
        let task = self.tasks.spawn(attended);
        self.open.push_back(Open { task, peer, asked });
        *self.of_peer.entry(peer).or_default() += 1;
    }

    /// Of the peers that have most, closes the oldest one without a request; where each has one, the oldest.
    fn make_room(&mut self) {
        let most = self.of_peer.values().max();
        let has_most = |open: &Open| self.of_peer.get(&open.peer) == most;
        let waits = |open: &Open| !open.asked.load(Ordering::Relaxed) && has_most(open);
        let oldest = self.open.iter().position(waits);
        let oldest = oldest.or_else(|| self.open.iter().position(has_most));
        if let Some(open) = oldest.and_then(|index| self.remove(index)) {
            open.task.abort();
            count(&self.meters, Closed::Limit);
        }
    }

    fn forget(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        if let Some(index) = self.open.iter().position(|open| open.task.id() == id) {
            self.remove(index);
        }
    }

    fn remove(&mut self, index: usize) -> Option<Open> {
        let open = self.open.remove(index)?;
        if let Entry::Occupied(mut count) = self.of_peer.entry(open.peer) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some(open)
    }

    async fn end(&mut self) {
        for open in self.open.iter().filter(|open| !open.asked.load(Ordering::Relaxed)) {
            open.task.abort();
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

/// One connection, from its first byte to the last one of its answer.
async fn attend(stream: TcpStream, router: Router, asked: Arc<AtomicBool>, limits: Limits, meters: Arc<Meters>) {
    let begin = Instant::now();
    let whole = timeout(limits.whole, async {
        // What sends nothing costs no buffers: they come with its first byte.
        match timeout(limits.request, stream.readable()).await {
            Ok(_) => {
                let left = limits.request.saturating_sub(begin.elapsed());
                Box::pin(converse(stream, router, asked, left)).await
            }
            Err(_) => Some(Closed::NoRequest),
        }
    });
    if let Some(why) = whole.await.unwrap_or(Some(Closed::Slow)) {
        count(&meters, why);
    }
}

/// The request, its head within this time, and its answer. None when it was answered or the peer went.
async fn converse(stream: TcpStream, router: Router, asked: Arc<AtomicBool>, head: Duration) -> Option<Closed> {
    let service = service_fn(move |request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        answer(router.clone(), request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        // The peers come every few seconds at most: to connect anew costs less than to keep what may never ask again.
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let error = connection.await.err()?;
    error.is_timeout().then_some(Closed::NoRequest)
}

async fn answer(mut router: Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    // A router is always ready.
    router.call(request).await
}

fn count(meters: &Meters, why: Closed) {
    let kind = why.name().to_owned();
    meters.connections_closed.get_or_create(&KindLabel { kind }).inc();
}

#[cfg(test)]
#[path = "connections/tests.rs"]
mod tests;
