//! On real sockets, with times that a test can wait for.

use std::{net::Ipv4Addr, time::Instant};

use axum::routing::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    task::JoinHandle,
};

use super::*;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);
/// What a test waits for comes within this time, or not at all.
const TIMEOUT: Duration = Duration::from_secs(20);

struct Port {
    address: std::net::SocketAddr,
    meters: Arc<Meters>,
    /// Lets `/late` answer.
    late: Arc<Notify>,
    /// `/late` was asked for.
    asked: Arc<Notify>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Port {
    async fn with(limits: Limits) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (meters, stop) = (Arc::new(Meters::default()), CancellationToken::new());
        let (late, asked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (answers, arrived) = (late.clone(), asked.clone());
        let waits = move || async move {
            arrived.notify_one();
            answers.notified().await;
            "late"
        };
        let router = Router::new()
            .route("/readyz", get(|| async { "ok" }))
            .route("/long", get(|| async { vec![b'x'; 64 << 20] }))
            .route("/late", get(waits));
        let serving = tokio::spawn(serve(listener, router, limits, meters.clone(), stop.clone()));
        Self {
            address,
            meters,
            late,
            asked,
            stop,
            serving,
        }
    }

    /// A connection that sends this and then nothing.
    async fn sends(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Silent ones of another peer.
    async fn silent_from_elsewhere(&self, count: usize) -> Vec<TcpStream> {
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
            streams.push(socket.connect(self.address).await.unwrap());
        }
        streams
    }

    /// Half-open ones: every other one sends the beginning of a request.
    async fn half_open(&self, count: usize) -> Vec<TcpStream> {
        let mut streams = Vec::with_capacity(count);
        for index in 0..count {
            let begin = if index % 2 == 0 {
                ""
            } else {
                "GET /readyz HTTP/1.1\r\nHo"
            };
            streams.push(self.sends(begin).await);
        }
        streams
    }

    async fn asks(&self, path: &str) -> TcpStream {
        self.sends(&format!("GET {path} HTTP/1.1\r\nHost: operator\r\n\r\n"))
            .await
    }

    /// How long a probe takes.
    async fn probe(&self) -> Duration {
        let begin = Instant::now();
        let answer = all(self.asks("/readyz").await).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        begin.elapsed()
    }

    fn closed(&self, why: Closed) -> usize {
        let kind = why.name().to_owned();
        let counted = self.meters.connections_closed.get_or_create(&KindLabel { kind }).get();
        usize::try_from(counted).unwrap()
    }
}

/// All that still comes, until the other side closes.
async fn all(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let read = timeout(TIMEOUT, stream.read_to_end(&mut text)).await;
    // A reset is an end, too.
    let _ = read.expect("the other side closes");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_are_closed_after_their_time() {
    let limits = Limits {
        most: 2_000,
        request: Duration::from_millis(300),
        whole: LONG,
    };
    let port = Port::with(limits).await;
    for stream in port.half_open(1_000).await {
        assert_eq!(all(stream).await, "");
    }
    assert_eq!((port.closed(Closed::NoRequest), port.closed(Closed::Limit)), (1_000, 0));
    port.probe().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_limit_the_oldest_half_open_one_goes_and_probes_are_answered() {
    let limits = Limits {
        most: 64,
        request: LONG,
        whole: LONG,
    };
    let port = Port::with(limits).await;
    let mut streams = Vec::new();
    for round in 0..20 {
        streams.extend(port.half_open(100).await);
        let took = port.probe().await;
        assert!(took < Duration::from_secs(1), "round {round}: {took:?}");
    }
    // The newest are there still, and answered once they ask.
    let newest = streams.split_off(streams.len() - 60);
    let old = streams.len() - 4;
    for stream in streams.drain(..old) {
        assert_eq!(all(stream).await, "");
    }
    for (index, mut stream) in newest.into_iter().enumerate() {
        let rest = if index % 2 == 0 {
            "GET /readyz HTTP/1.1\r\nHo"
        } else {
            ""
        };
        let rest = format!("{rest}st: operator\r\n\r\n");
        stream.write_all(rest.as_bytes()).await.unwrap();
        assert!(all(stream).await.starts_with("HTTP/1.1 200"), "{index}");
    }
    assert_eq!(port.closed(Closed::NoRequest), 0);
    assert!(port.closed(Closed::Limit) >= old, "{}", port.closed(Closed::Limit));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_opens_thousands_shuts_out_itself_alone() {
    let limits = Limits {
        most: 8,
        request: LONG,
        whole: LONG,
    };
    let port = Port::with(limits).await;
    // It takes its time between its connection and its request.
    let mut slow = port.sends("GET /readyz HTTP/1.1\r\n").await;
    let mut streams = port.silent_from_elsewhere(500).await;
    streams.truncate(490);
    for stream in streams {
        assert_eq!(all(stream).await, "");
    }
    slow.write_all(b"Host: operator\r\n\r\n").await.unwrap();
    assert!(all(slow).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_a_request_stays_while_something_waits_for_one() {
    let limits = Limits {
        most: 8,
        request: LONG,
        whole: LONG,
    };
    let port = Port::with(limits).await;
    let answered = port.asks("/late").await;
    port.asked.notified().await;
    let flood = port.half_open(100).await;
    port.probe().await;
    port.late.notify_one();
    assert!(all(answered).await.ends_with("late"));
    drop(flood);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_have_requests_the_oldest_makes_room() {
    let limits = Limits {
        most: 4,
        request: LONG,
        whole: LONG,
    };
    let port = Port::with(limits).await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(port.asks("/late").await);
        port.asked.notified().await;
    }
    port.probe().await;
    assert_eq!(all(waiting.remove(0)).await, "");
    port.late.notify_waiters();
    for stream in waiting {
        assert!(all(stream).await.ends_with("late"));
    }
    assert_eq!(port.closed(Closed::Limit), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_and_a_body_that_never_comes_end_with_their_time() {
    let limits = Limits {
        most: 64,
        request: LONG,
        whole: Duration::from_millis(500),
    };
    let port = Port::with(limits).await;
    let reader = port.asks("/long").await;
    let mut ends = port.asks("/readyz").await;
    let body = port
        .sends("POST /readyz HTTP/1.1\r\nHost: operator\r\nContent-Length: 1000000\r\n\r\nx")
        .await;
    let mut answer = String::new();
    ends.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.contains("connection: close"),
        "one request a connection: {answer}"
    );
    assert!(all(body).await.starts_with("HTTP/1.1 405"));
    let slow = async {
        while port.closed(Closed::Slow) == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TIMEOUT, slow).await.unwrap();
    assert!(all(reader).await.len() < 64 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_answers_and_not_for_what_asked_nothing() {
    let limits = Limits {
        most: 64,
        request: LONG,
        whole: LONG,
    };
    let port = Port::with(limits).await;
    let idle = port.half_open(10).await;
    let answered = port.asks("/late").await;
    port.asked.notified().await;
    port.stop.cancel();
    for stream in idle {
        assert_eq!(all(stream).await, "");
    }
    assert!(!port.serving.is_finished());
    port.late.notify_one();
    assert!(all(answered).await.ends_with("late"));
    timeout(TIMEOUT, port.serving).await.unwrap().unwrap();
}
