//! The report as a page: what the operator keeps for it, what it serves, what the plugin prints.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use quality_api::{IncidentState, QualityReport};
use quality_core::history::{Field, Point};
use serde_json::json;
use stage::{Behaviour, OperatorOptions};

use crate::scene::{Scene, bad, image, quick, space};

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The whole answer, headers and all.
fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: reports\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn printed(scene: &Scene) -> String {
    let output = Command::new(workload::harness::program("kubectl-quality").unwrap())
        .args(["report", "ranker", "-o", "html", "-n", &scene.space.namespace])
        .env("KUBECONFIG", &scene.space.endpoints.kubeconfig)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn points(report: &QualityReport) -> Vec<Point> {
    report
        .status
        .as_ref()
        .map(|status| status.history.points.clone())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_a_page_and_its_history_outlives_the_operator() {
    let space = space("page").await;
    let address = free_address();
    let options = OperatorOptions {
        more: json!({"reportPage": {"listen": address.to_string()}}),
        ..OperatorOptions::for_namespace("page", &space.endpoints.prometheus)
    };
    let targets = space.endpoints.prometheus_targets.clone();
    let mut scene = Scene::set(space, targets, options).await.guard(&quick()).await;
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Recovered).await;
    let name = incident.metadata.name.clone().unwrap();
    let before = scene
        .report("the history shows the breach", |report| {
            let history = report.status.as_ref().map(|status| &status.history);
            history.is_some_and(|history| !history.histogram.is_empty())
                && points(report)
                    .iter()
                    .any(|point| point.get(Field::Errors).is_some_and(|errors| errors > 1.0))
        })
        .await;
    let status = before.status.clone().unwrap();
    assert!(status.history.releases.len() >= 2, "{:?}", status.history.releases);
    assert_eq!(status.history.limits.latency, "505");

    let page = ask(address, "GET", "/reports/page/ranker");
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("content-type: text/html"),
        "{head}"
    );
    for header in [
        "content-security-policy: default-src 'none'; style-src 'sha256-",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "x-frame-options: DENY",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
    ] {
        assert!(head.contains(header), "{header}: {head}");
    }
    assert!(
        body.contains(&format!("kubectl quality postmortem {name} -n page"))
            && body.contains("breach of error rate began")
    );
    assert!(ask(address, "GET", "/reports").contains("href=\"/reports/page/ranker\""));
    for path in [
        "/reports/page/nobody",
        "/reports/kube-system/ranker",
        "/reports/page/..%2fx",
        "/",
        "/metrics",
    ] {
        assert!(ask(address, "GET", path).starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(ask(address, "POST", "/reports").starts_with("HTTP/1.1 405"));
    // The same records give the same bytes to any user; a report that was written in between is asked for again.
    let same = (0..5).any(|_| ask(address, "GET", "/reports/page/ranker").ends_with(&printed(&scene)));
    assert!(same, "the plugin's page is the operator's");

    scene.operator.restart().unwrap();
    // A second breach within the cooldown is what makes the report move at once.
    scene.service.behave(&image('c'), Behaviour::FAILING);
    scene.gate("RollbackReady").await;
    scene.ship(&image('c')).await;
    let second = scene.second_incident(IncidentState::Halted).await;
    let after = scene
        .report("the second incident is on the report", |report| {
            report
                .status
                .as_ref()
                .is_some_and(|status| Some(&status.incident) == second.metadata.name.as_ref())
        })
        .await;
    assert_eq!(
        points(&after).first(),
        points(&before).first(),
        "looks of before the restart are still there"
    );
    assert!(points(&after).len() > points(&before).len());
    let times: Vec<i64> = points(&after).iter().map(Point::at).collect();
    assert!(times.is_sorted(), "{times:?}");
}
