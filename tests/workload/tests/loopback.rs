//! A real server process under real load on 127.0.0.1: what the client saw is what `/metrics` says.
#![expect(clippy::unwrap_used, clippy::float_cmp, reason = "tests; counts are whole numbers")]

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use workload::{
    exposition::Exposition,
    http::Client,
    load::{Inputs, summary::Summary},
    process,
};

/// A server that ends with its handle.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        process::stop(&mut self.child, Duration::from_secs(3));
    }
}

impl Server {
    async fn start(args: &[&str]) -> Self {
        // Another process may take the port between the choice and the start, in which case the server ends.
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let mut server = Self {
                child: process::start(env!("CARGO_BIN_EXE_inference-server"), |command| {
                    command
                        .args(args)
                        .args(["--port", &port.to_string()])
                        .stderr(Stdio::null());
                })
                .unwrap(),
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            };
            if server.becomes_ready().await {
                return server;
            }
        }
        panic!("no server became ready");
    }

    async fn becomes_ready(&mut self) -> bool {
        let client = Client::new(Duration::from_secs(1));
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            if client
                .get(self.address, "/readyz")
                .await
                .is_ok_and(|answer| answer.status.is_success())
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    async fn metrics(&self) -> Exposition {
        let answer = Client::new(Duration::from_secs(5))
            .get(self.address, "/metrics")
            .await
            .unwrap();
        Exposition::parse(&answer.text()).unwrap()
    }

    /// Sends load in another process and reads its summary.
    async fn load(&self, args: &[&str]) -> Summary {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("summary.json");
        let mut child = process::start_async(env!("CARGO_BIN_EXE_load"), |command| {
            command
                .args([
                    "--target",
                    &self.address.to_string(),
                    "--summary",
                    file.to_str().unwrap(),
                ])
                .args(args);
            command.stdout(Stdio::null());
        })
        .unwrap();
        assert!(child.wait().await.unwrap().success());
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn the_servers_counts_are_those_of_the_client_and_latency_is_as_configured() {
    let server = Server::start(&["--feature-median-ms", "150", "--error-rate", "0.03", "--load-ms", "0"]).await;
    let summary = server
        .load(&["--rate", "150", "--arrivals", "constant", "--for", "4s", "--seed", "3"])
        .await;

    // The inputs decide which requests fail, and they are known beforehand.
    assert_eq!((summary.due, summary.sent), (599, 599));
    let failing = Inputs::new(3).take(599).filter(|input| input.signal >= 0.97).count() as u64;
    assert!(failing > 5, "{failing}");
    assert_eq!((summary.ok, summary.errors), (599 - failing, failing), "{summary:?}");
    assert_eq!(summary.outcomes["500"], failing);
    assert!(summary.first_bad_answer.is_some());

    let page = server.metrics().await;
    assert_eq!(
        page.sum("http_requests_total", &[("code", "200"), ("handler", "/rank")]),
        summary.ok as f64
    );
    assert_eq!(
        page.sum("http_requests_total", &[("code", "500"), ("handler", "/rank")]),
        failing as f64
    );
    assert_eq!(
        page.named("http_requests_total").count(),
        2,
        "no series for codes that did not happen"
    );
    assert_eq!(page.sum("http_request_duration_seconds_count", &[]), 599.0);
    assert_eq!(page.sum("http_requests_in_flight", &[]), 0.0);
    for stage in ["preprocess", "inference", "postprocess"] {
        let count = page.sum("inference_stage_duration_seconds_count", &[("stage", stage)]);
        assert_eq!(count, summary.ok as f64, "{stage}");
    }

    // P95 of the wait is 150 ms × e^(1.645 × 0.35) = 267 ms. The client's P50 and P95 are within the sampling error at
    // n = 580 below; what a busy machine adds above has no bound, so that nothing is asked of it.
    assert!(summary.latency.p50_ms >= 140.0, "{:?}", summary.latency);
    assert!(summary.latency.p95_ms >= 230.0, "{:?}", summary.latency);
    // The server saw no request end later than its client did.
    let buckets = page.histogram("http_request_duration_seconds", &[]);
    let within = |edge: f64| buckets.iter().find(|(known, _)| *known == edge).unwrap().1;
    let slowest = summary.latency.p95_ms / 1e3;
    let next = buckets
        .iter()
        .map(|(edge, _)| *edge)
        .find(|edge| *edge >= slowest)
        .unwrap();
    assert!(
        next.is_infinite() || within(next) >= 0.94 * 599.0,
        "{buckets:?} and {:?}",
        summary.latency
    );
    assert!(within(0.1) <= 0.3 * 599.0, "{buckets:?}");
}

#[tokio::test]
async fn a_capped_server_queues_and_completes_no_more_than_its_cap() {
    let args = [
        "--feature-median-ms",
        "100",
        "--feature-sigma",
        "0",
        "--max-concurrency",
        "2",
        "--load-ms",
        "0",
    ];
    let server = Server::start(&args).await;
    let load = server.load(&[
        "--rate",
        "60",
        "--arrivals",
        "constant",
        "--for",
        "2s",
        "--timeout",
        "1s",
    ]);
    let (summary, in_flight) = tokio::join!(load, async {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        server.metrics().await.sum("http_requests_in_flight", &[])
    });
    // Two at a time and 100 ms each are 20 requests a second, for 3 s with the last timeout.
    assert!(summary.ok <= 60, "{summary:?}");
    let timeouts = summary.outcomes["timeout"];
    assert!(timeouts > 20 && summary.ok + timeouts == 119, "{summary:?}");
    assert!(in_flight > 10.0, "{in_flight}");
    // Nobody waits for what is still queued, and it is done nevertheless.
    let page = server.metrics().await;
    assert!(page.sum("http_requests_in_flight", &[]) > 10.0);
    assert_eq!(page.named("http_requests_total").count(), 1, "only 200");
}

#[tokio::test]
async fn a_server_drains_after_sigterm() {
    let mut server = Server::start(&["--drain-ms", "300", "--load-ms", "0"]).await;
    process::terminate(server.child.id()).unwrap();
    let client = Client::new(Duration::from_secs(1));
    assert!(client.get(server.address, "/healthz").await.is_ok(), "it still answers");
    let deadline = Instant::now() + Duration::from_secs(10);
    let status = loop {
        if let Some(status) = server.child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_crashing_release_exits_with_an_error_and_says_why() {
    let mut child = process::start(env!("CARGO_BIN_EXE_inference-server"), |command| {
        command.arg("--crash").stderr(Stdio::piped());
    })
    .unwrap();
    let line = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .next()
        .unwrap()
        .unwrap();
    assert!(line.contains("crashes at start"), "{line}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[tokio::test]
async fn load_refuses_other_machines() {
    let mut child = process::start(env!("CARGO_BIN_EXE_load"), |command| {
        command
            .args(["--target", "192.0.2.1:80", "--for", "1s"])
            .stderr(Stdio::null());
    })
    .unwrap();
    assert!(!child.wait().unwrap().success());
}
