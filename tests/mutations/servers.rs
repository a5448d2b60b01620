//! Answers of an MLflow server and of an OCI registry, over HTTP: their readers are asked as the operator asks them.

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use proptest::{prelude::*, sample::Index};
use quality_sources::{
    formats::sha256,
    load::EvidenceLocation,
    mlflow::Mlflow,
    oci_registry::{Reference, Registry},
    run::RunId,
    settings::{MlflowSource, RegistrySettings},
};
use serde_json::json;

use crate::{
    harness::{example, is_clear, is_time, runs_some},
    mutate::{Format, mutated, mutations},
};

/// A server whose answers a test gives, by path.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<HashMap<String, Vec<u8>>>>);

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let found = server.0.lock().unwrap().get(request.uri().path()).cloned();
    let missing = || (StatusCode::NOT_FOUND, br#"{"errors":[{"code":"UNKNOWN"}]}"#.to_vec());
    let (status, body) = found.map_or_else(missing, |body| (StatusCode::OK, body));
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
}

impl Server {
    async fn start() -> (Self, String) {
        quality_sources::tls::install_crypto();
        let server = Self::default();
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (server, url)
    }

    fn gives(&self, path: &str, body: impl Into<Vec<u8>>) {
        self.0.lock().unwrap().insert(path.to_owned(), body.into());
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

const RUN: &str = "5f2a9d0c1e7b4d6f8a3b2c1d0e9f8a7b";
const ROOT: &str = "/api/2.0/mlflow-artifacts/artifacts/0/run/artifacts";

#[test]
fn answers_of_mlflow_survive() {
    let runtime = runtime();
    let (server, url) = runtime.block_on(Server::start());
    let run = json!({"run": {
        "info": {"run_id": RUN, "status": "FINISHED", "end_time": 1_795_000_000_000_i64, "lifecycle_stage": "active",
            "artifact_uri": "mlflow-artifacts:/0/run/artifacts"},
        "data": {"tags": [{"key": "a", "value": "b"}]},
        "inputs": {"dataset_inputs": [
            {"tags": [{"key": "mlflow.data.context", "value": "evaluation"}], "dataset": {"name": "d", "digest": "9d1c6a42"}},
        ]},
    }});
    let files = json!({"root_uri": "mlflow-artifacts:/0/run/artifacts", "files": [
        {"path": "runtime_perf.log", "is_dir": false, "file_size": 1_142},
        {"path": "error_logs.json", "is_dir": false, "file_size": 307},
        {"path": "conflict_logs", "is_dir": true},
        {"path": "SHA256SUMS", "is_dir": false, "file_size": 300},
    ]});
    let log = example("evidence/runtime_perf.log");
    let hashes = format!(
        "{}  runtime_perf.log\n{} *./error_logs.json\n",
        sha256(&log),
        "0".repeat(64)
    );
    let good = [
        (
            "/api/2.0/mlflow/runs/get".to_owned(),
            run.to_string().into_bytes(),
            Format::Json,
        ),
        (
            "/api/2.0/mlflow/artifacts/list".to_owned(),
            files.to_string().into_bytes(),
            Format::Json,
        ),
        (format!("{ROOT}/SHA256SUMS"), hashes.into_bytes(), Format::Text),
        (format!("{ROOT}/runtime_perf.log"), log, Format::Text),
    ];
    server.gives(&format!("{ROOT}/error_logs.json"), example("evidence/error_logs.json"));
    let mlflow = Mlflow::new("default", &MlflowSource::at(&url), Arc::new(BTreeMap::new())).unwrap();
    let read = || {
        runtime.block_on(async {
            let id = RunId::parse(RUN).unwrap();
            let place = EvidenceLocation::Mlflow(&mlflow);
            let found = place.find(&id).await?;
            let completed = found.completed;
            assert_eq!(found.fingerprint().len(), 64);
            found.read().await.map(|bundle| (completed, bundle))
        })
    };
    for (path, body, _) in &good {
        server.gives(path, body.clone());
    }
    let (_, bundle) = read().unwrap();
    assert!(
        bundle.runtime.is_ok() && bundle.errors.is_err(),
        "the hashes count: {bundle:?}"
    );
    let case = (any::<Index>(), mutations());
    runs_some("answers of MLflow", &case, |(which, mutations)| {
        let (path, body, format) = &good[which.index(good.len())];
        server.gives(path, mutated(body, *format, &mutations));
        let result = read();
        server.gives(path, body.clone());
        match result {
            Ok((completed, bundle)) => {
                if let Some(at) = completed {
                    is_time("the end of the run", at);
                }
                let digest = bundle.dataset_digest.unwrap_or_default();
                assert!(
                    digest.chars().count() <= 128 && !digest.chars().any(char::is_control),
                    "{digest:?}"
                );
                true
            }
            Err(error) => {
                is_clear(&error.to_string());
                false
            }
        }
    });
}

#[test]
fn answers_of_a_registry_survive() {
    let runtime = runtime();
    let (server, url) = runtime.block_on(Server::start());
    let digest = |bytes: &[u8]| format!("sha256:{}", sha256(bytes));
    let manifest_path = |bytes: &[u8]| format!("/v2/team/ranker/manifests/{}", digest(bytes));
    let blob_path = |bytes: &[u8]| format!("/v2/team/ranker/blobs/{}", digest(bytes));
    let config = json!({"os": "linux", "architecture": "amd64", "rootfs": {}})
        .to_string()
        .into_bytes();
    let layer = b"a layer".to_vec();
    for blob in [&config, &layer] {
        server.gives(&blob_path(blob), blob.clone());
    }
    let described = |bytes: &[u8]| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(bytes), "size": bytes.len()});
    let manifest =
        json!({"schemaVersion": 2, "config": described(&config), "layers": [described(&layer), described(&layer)]});
    let manifest = manifest.to_string().into_bytes();
    server.gives(&manifest_path(&manifest), manifest.clone());
    let index = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": "m", "digest": digest(b"other"), "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        {"mediaType": "m", "digest": digest(&manifest), "platform": {"os": "linux", "architecture": "amd64"}},
    ]});
    let index = index.to_string().into_bytes();
    server.gives(&manifest_path(&index), index.clone());
    let settings = RegistrySettings {
        url: Some(url),
        ..RegistrySettings::default()
    };
    let registry = Registry::new("registry.example", &settings).unwrap();
    let check = |manifest: &[u8]| {
        let image = Reference::parse(&format!("registry.example/team/ranker@{}", digest(manifest))).unwrap();
        runtime.block_on(registry.check(&image))
    };
    assert_eq!((check(&manifest).unwrap(), check(&index).unwrap()), (2, 2));
    let case = (0_usize..3, mutations());
    runs_some("answers of a registry", &case, |(which, mutations)| {
        // What is changed is found by its own digest: a registry that stores nonsense under its right name.
        let root = match which {
            0 => mutated(&manifest, Format::Json, &mutations),
            1 => mutated(&index, Format::Json, &mutations),
            _ => {
                let config = mutated(&config, Format::Json, &mutations);
                server.gives(&blob_path(&config), config.clone());
                json!({"config": described(&config), "layers": []})
                    .to_string()
                    .into_bytes()
            }
        };
        server.gives(&manifest_path(&root), root.clone());
        match check(&root) {
            Ok(layers) => {
                assert!(layers <= 512, "{layers} layers");
                true
            }
            Err(error) => {
                is_clear(&error.to_string());
                false
            }
        }
    });
}
