//! Half-open connections to the operator's ports: they are closed, and while they come, probes and readers are answered and
//! memory stays as it was.
//!
//! `HALF_OPEN_SECONDS=600` makes it ten minutes (docs/SECURITY.md); `--nocapture` shows the figures.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use stage::{Operator, OperatorOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    task::JoinSet,
};

use crate::scene::space;

/// Half-open connections that are wanted at a time, on both ports together.
const WANTED: usize = 10_000;
/// Descriptors that a test needs besides.
const SPARE: usize = 300;
/// Where they come from: not where the probes come from.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// They come within this time.
const ARRIVAL: Duration = Duration::from_secs(5);
/// The peer of a connection that was closed comes again after this time on average, between half of it and one and a half.
const RECONNECT_AFTER: Duration = Duration::from_secs(20);
/// What a port takes at a time, with some that are being closed.
const MAX_A_PORT: usize = 160;
/// What it closes a silent one after, with some room for a busy machine.
const CLOSED_AFTER: Duration = Duration::from_secs(15);
/// A page is made from what the API server answers.
const A_PAGE: Duration = Duration::from_secs(15);
/// Answers before the memory is taken.
const WARM_UP: usize = 40;
/// What other work of the operator may change meanwhile.
const OTHER_FILES: usize = 40;
const OTHER_MEMORY: u64 = 8 << 20;

/// How many half-open connections this process may hold, by its limit of open files.
fn affordable() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft = line.split_whitespace().nth(3).unwrap();
    let soft = soft.parse::<usize>().unwrap_or(usize::MAX);
    WANTED.min(soft.saturating_sub(SPARE))
}

/// Connects, sends at most the beginning of a request, and holds on until the other side closes; again and again. `share`
/// of all peers came before this one.
async fn half_open(address: SocketAddr, share: f64, begin: &'static str, closed: Arc<AtomicUsize>) {
    tokio::time::sleep(ARRIVAL.mul_f64(share)).await;
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((ELSEWHERE, 0).into()).unwrap();
        if let Ok(mut stream) = socket.connect(address).await {
            let _ = stream.write_all(begin.as_bytes()).await;
            let _ = stream.read(&mut [0; 16]).await;
            closed.fetch_add(1, Ordering::Relaxed);
        }
        // Not in the order in which they came.
        tokio::time::sleep(RECONNECT_AFTER.mul_f64(0.5 + (share * 997.0).fract())).await;
    }
}

/// How long the answer to a request takes, or what came instead.
fn asked(address: SocketAddr, path: &str) -> Result<Duration, String> {
    let begin = Instant::now();
    let said = |error: std::io::Error| format!("{path} after {:?}: {error}", begin.elapsed());
    let mut stream = TcpStream::connect_timeout(&address, A_PAGE).map_err(said)?;
    stream.set_read_timeout(Some(A_PAGE)).map_err(said)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: operator\r\n\r\n").map_err(said)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(said)?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(begin.elapsed())
    } else {
        Err(format!("{path} after {:?}: {answer:?}", begin.elapsed()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_leave_readiness_and_memory_as_they_were() {
    let seconds = std::env::var("HALF_OPEN_SECONDS").map_or(10, |text| text.parse().unwrap());
    let space = space("half-open").await;
    let pages: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = OperatorOptions {
        more: json!({"reportPage": {"listen": pages.to_string()}}),
        ..OperatorOptions::for_namespace("half-open", &space.endpoints.prometheus)
    };
    let operator = Operator::start(&space.endpoints, &space.folder(), options).unwrap();
    let own: SocketAddr = operator.address().parse().unwrap();
    // What answers need is there once some were given.
    for _ in 0..WARM_UP {
        for (address, path) in [(own, "/readyz"), (pages, "/reports")] {
            let took = tokio::task::spawn_blocking(move || asked(address, path)).await.unwrap();
            took.unwrap_or_else(|error| panic!("{error}\n{}", operator.log_tail()));
        }
    }
    let (files, memory) = (operator.files().unwrap(), operator.allocated().unwrap());

    let (count, closed) = (affordable(), Arc::new(AtomicUsize::new(0)));
    let mut peers = JoinSet::new();
    for index in 0..count {
        let address = if index % 2 == 0 { own } else { pages };
        let begin = if index % 4 < 2 {
            ""
        } else {
            "GET /readyz HTTP/1.1\r\nHo"
        };
        let share = index as f64 / count as f64;
        peers.spawn(half_open(address, share, begin, closed.clone()));
    }
    let (begin, mut slowest, mut most_memory, mut probes) = (Instant::now(), Duration::ZERO, 0, 0);
    while begin.elapsed() < Duration::from_secs(seconds) || probes < 20 {
        for (address, path) in [(own, "/readyz"), (pages, "/reports")] {
            let took = tokio::task::spawn_blocking(move || asked(address, path)).await.unwrap();
            let took = took.unwrap_or_else(|error| panic!("{error}\n{}", operator.log_tail()));
            if path == "/readyz" {
                slowest = slowest.max(took);
            }
        }
        assert!(slowest < Duration::from_secs(1), "a probe took {slowest:?}");
        probes += 1;
        most_memory = most_memory.max(operator.allocated().unwrap());
        let open = operator.files().unwrap();
        assert!(open <= files + 2 * MAX_A_PORT + OTHER_FILES, "{open} files are open");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let held = closed.load(Ordering::Relaxed);
    let by_limit = operator.counter("quality_officer_connections_closed_total");
    peers.abort_all();
    while peers.join_next().await.is_some() {}
    // These are closed by their time alone.
    let mut silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(own).unwrap()).collect();
    for stream in &mut silent {
        stream.set_read_timeout(Some(CLOSED_AFTER)).unwrap();
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0, "it is closed");
    }
    let after = space
        .poll(
            "the files are as before",
            CLOSED_AFTER,
            || async { Ok(operator.files().unwrap()) },
            |open| *open <= files + OTHER_FILES,
        )
        .await
        .unwrap();
    let memory_after = operator.allocated().unwrap();
    println!(
        "{count} half-open peers for {seconds} s, {held} connections closed ({by_limit} by the operator's count): {probes} probes, \
         the slowest {slowest:?}; allocated {} KiB before, at most {} KiB, {} KiB after; open files {files} before, {after} after",
        memory >> 10,
        most_memory >> 10,
        memory_after >> 10
    );
    assert!(held > 0 && by_limit > 0.0);
    assert!(
        most_memory <= memory + OTHER_MEMORY,
        "{memory} bytes before, {most_memory} at most"
    );
    assert!(
        memory_after <= memory + OTHER_MEMORY,
        "{memory} bytes before, {memory_after} after"
    );
}
