use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex as StdMutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::StatusCode as Code,
    response::Response as Answer,
};

use super::*;

#[test]
fn a_reference_is_taken_apart_and_what_is_no_name_is_refused() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (image, host, repository) in [
        ("registry.example/ranker", "registry.example", "ranker"),
        (
            "registry.example:5000/team/ranker:v1",
            "registry.example:5000",
            "team/ranker",
        ),
        ("localhost/ranker", "localhost", "ranker"),
        ("127.0.0.1:5000/ranker:v1", "127.0.0.1:5000", "ranker"),
        ("ranker", "docker.io", "library/ranker"),
        ("ranker:v1", "docker.io", "library/ranker"),
        ("team/ranker", "docker.io", "team/ranker"),
        ("index.docker.io/team/ranker", "docker.io", "team/ranker"),
    ] {
        let found = Reference::parse(&format!("{image}@{digest}")).unwrap();
        assert_eq!(
            (found.host.as_str(), found.repository.as_str(), found.digest.as_str()),
            (host, repository, digest.as_str())
        );
    }
    for image in [
        "r.example/../x",
        "r.example//x",
        "r.example/a/./b",
        "r.example/Upper",
        "r.example/-x",
        "r.example/",
        "r\u{202e}.example/ranker",
        "r.example?x/ranker",
    ] {
        assert_eq!(Reference::parse(&format!("{image}@{digest}")), None, "{image}");
    }
    assert_eq!(Reference::parse("registry.example/ranker:v1"), None);
}

/// A registry whose answers a test gives: `METHOD path` to status, headers and body.
#[derive(Clone, Default)]
struct Scripted {
    answers: Arc<StdMutex<HashMap<String, Given>>>,
    asked: Arc<StdMutex<Vec<String>>>,
    /// Without this `Authorization` a request is answered with the challenge.
    guard: Arc<StdMutex<Option<(String, String)>>>,
}

type Given = (u16, Vec<u8>);

const MISSING: &[u8] = br#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#;

async fn answer(State(scripted): State<Scripted>, request: Request) -> Answer {
    let key = format!("{} {}", request.method(), request.uri().path());
    let authorization = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let authorization = authorization.unwrap_or_default().to_owned();
    scripted.asked.lock().unwrap().push(format!("{key} {authorization}"));
    let mut response = Answer::new(Body::empty());
    if let Some((wanted, challenge)) = &*scripted.guard.lock().unwrap()
        && request.uri().path().starts_with("/v2/")
        && authorization != *wanted
    {
        *response.status_mut() = Code::UNAUTHORIZED;
        response
            .headers_mut()
            .insert("www-authenticate", challenge.parse().unwrap());
        return response;
    }
    let (status, body) = scripted
        .answers
        .lock()
        .unwrap()
        .get(&key)
        .cloned()
        .unwrap_or((404, MISSING.to_vec()));
    *response.status_mut() = Code::from_u16(status).unwrap();
    if (300..400).contains(&status) {
        response
            .headers_mut()
            .insert("location", "http://elsewhere.example/".parse().unwrap());
    }
    *response.body_mut() = Body::from(body);
    response
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

impl Scripted {
    async fn start() -> (Self, String) {
        crate::tls::install_crypto();
        let scripted = Self::default();
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(scripted.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (scripted, url)
    }

    fn gives(&self, request: &str, status: u16, body: impl Into<Vec<u8>>) {
        self.answers
            .lock()
            .unwrap()
            .insert(request.to_owned(), (status, body.into()));
    }

    fn manifest(&self, manifest: &serde_json::Value) -> String {
        let bytes = manifest.to_string().into_bytes();
        let digest = digest(&bytes);
        self.gives(&format!("GET /v2/ranker/manifests/{digest}"), 200, bytes);
        digest
    }

    /// A whole image with two layers; its digest and its configuration's.
    fn image(&self, architecture: &str) -> (String, String) {
        let config = serde_json::json!({"os": "linux", "architecture": architecture, "rootfs": {}}).to_string();
        let config_digest = digest(config.as_bytes());
        self.gives(&format!("GET /v2/ranker/blobs/{config_digest}"), 200, config);
        self.gives(&format!("HEAD /v2/ranker/blobs/{config_digest}"), 200, "");
        let layers = [layer('1'), layer('2')];
        for digest in &layers {
            self.gives(&format!("HEAD /v2/ranker/blobs/{digest}"), 200, "");
        }
        let described = |digest: &String| serde_json::json!({"mediaType": "layer", "digest": digest, "size": 1});
        let manifest = serde_json::json!({
            "schemaVersion": 2, "config": described(&config_digest), "layers": layers.each_ref().map(described),
        });
        (self.manifest(&manifest), config_digest)
    }
}

fn layer(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

async fn look(url: &str, settings: RegistrySettings, digest: &str) -> Result<usize, ImageError> {
    let settings = RegistrySettings {
        url: Some(url.to_owned()),
        timeout_milliseconds: Some(500),
        ..settings
    };
    let registry = Registry::new("registry.example", &settings).unwrap();
    let image = Reference::parse(&format!("registry.example/ranker@{digest}")).unwrap();
    registry.check(&image).await
}

async fn plain(url: &str, digest: &str) -> Result<usize, ImageError> {
    look(url, RegistrySettings::default(), digest).await
}

#[tokio::test]
async fn an_image_is_whole_when_manifest_configuration_and_layers_are_there() {
    let (registry, url) = Scripted::start().await;
    let (image, config) = registry.image("amd64");
    assert_eq!(plain(&url, &image).await.unwrap(), 2);
    let arm = RegistrySettings {
        platform: Some("linux/arm64".into()),
        ..RegistrySettings::default()
    };
    let error = look(&url, arm, &image).await.unwrap_err();
    assert_eq!((error.reason(), error.is_transient()), ("PlatformMissing", false));
    registry.gives(&format!("GET /v2/ranker/blobs/{config}"), 404, MISSING);
    let error = plain(&url, &image).await.unwrap_err();
    assert_eq!(error.to_string(), "its registry lacks its configuration");
    registry.gives(&format!("GET /v2/ranker/blobs/{config}"), 307, "");
    assert_eq!(
        plain(&url, &image).await.unwrap(),
        2,
        "kept elsewhere, which is not followed"
    );
    registry.gives(&format!("HEAD /v2/ranker/blobs/{}", layer('2')), 404, "");
    let error = plain(&url, &image).await.unwrap_err();
    assert_eq!((error.reason(), error.is_transient()), ("LayerMissing", false));
    assert_eq!(error.to_string(), "its registry lacks layer 2 of 2");
    let gone = format!("sha256:{}", "9".repeat(64));
    let error = plain(&url, &gone).await.unwrap_err();
    assert_eq!((error.reason(), error.is_transient()), ("ImageMissing", false));
}

#[tokio::test]
async fn an_index_must_hold_the_platform_and_its_manifest() {
    let (registry, url) = Scripted::start().await;
    let (image, _) = registry.image("amd64");
    let entry = |digest: &str, architecture: &str| serde_json::json!({"digest": digest, "size": 1, "platform": {"os": "linux", "architecture": architecture}});
    let index = |entries: Vec<serde_json::Value>| serde_json::json!({"schemaVersion": 2, "manifests": entries});
    let both = registry.manifest(&index(vec![entry(&layer('7'), "arm64"), entry(&image, "amd64")]));
    assert_eq!(plain(&url, &both).await.unwrap(), 2);
    let other = registry.manifest(&index(vec![entry(&layer('7'), "arm64")]));
    let error = plain(&url, &other).await.unwrap_err();
    assert_eq!(error.to_string(), "it is not for the platform linux/amd64");
    let hollow = registry.manifest(&index(vec![entry(&layer('7'), "amd64")]));
    let error = plain(&url, &hollow).await.unwrap_err();
    assert_eq!((error.reason(), error.is_transient()), ("LayerMissing", false));
    let nested = registry.manifest(&index(vec![entry(&both, "amd64")]));
    assert_eq!(plain(&url, &nested).await.unwrap_err().reason(), "NotAnImage");
    let strange = registry.manifest(&index(vec![entry("../../x", "amd64")]));
    assert_eq!(plain(&url, &strange).await.unwrap_err().reason(), "PlatformMissing");
}

#[tokio::test]
async fn what_is_no_registrys_answer_says_nothing_about_the_image() {
    let (registry, url) = Scripted::start().await;
    let (image, _) = registry.image("amd64");
    let path = format!("GET /v2/ranker/manifests/{image}");
    let long = vec![b'x'; usize::try_from(MAX_MANIFEST).unwrap() + 1];
    for (status, body) in [
        (200, b"<html>welcome</html>".to_vec()),
        (200, b"{}".to_vec()),
        (200, long),
        (404, b"<html>not here</html>".to_vec()),
        (404, Vec::new()),
        (302, Vec::new()),
        (429, Vec::new()),
        (500, Vec::new()),
        (503, b"{\"errors\":[{\"code\":\"X\"}]}".to_vec()),
        (403, Vec::new()),
        (401, Vec::new()),
    ] {
        registry.gives(&path, status, body);
        let error = plain(&url, &image).await.unwrap_err();
        assert!(error.is_transient(), "{status}: {error}");
        assert!(!error.to_string().contains("html"), "{error}");
    }
    let nobody = plain("http://127.0.0.1:1", &image).await.unwrap_err();
    assert_eq!((nobody.reason(), nobody.is_transient()), ("RegistryUnreachable", true));
}

#[tokio::test]
async fn a_token_is_fetched_once_a_look_with_the_password_and_only_from_the_named_server() {
    let (registry, url) = Scripted::start().await;
    let (tokens, tokens_url) = Scripted::start().await;
    let (image, _) = registry.image("amd64");
    let challenge = format!("Bearer realm=\"{tokens_url}/auth/token\",service=\"r&r\",scope=\"whatever\"");
    *registry.guard.lock().unwrap() = Some(("Bearer t-1".into(), challenge));
    tokens.gives("GET /auth/token", 200, r#"{"token":"t-1","expires_in":300}"#);
    let folder = tempfile::tempdir().unwrap();
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, "secret\n").unwrap();
    let named = RegistrySettings {
        token_server: Some(tokens_url.clone()),
        basic_auth: Some(BasicAuth {
            username: "bed".into(),
            password_file,
        }),
        ..RegistrySettings::default()
    };
    assert_eq!(look(&url, named.clone(), &image).await.unwrap(), 2);
    assert_eq!(
        *tokens.asked.lock().unwrap(),
        ["GET /auth/token Basic YmVkOnNlY3JldA=="]
    );
    let asked = registry.asked.lock().unwrap().clone();
    assert!(
        asked.iter().all(|asked| !asked.contains("Basic")),
        "no password to the registry: {asked:?}"
    );
    // Nobody named the other server: no request goes there, and no password.
    let unnamed = RegistrySettings {
        token_server: None,
        ..named.clone()
    };
    let error = look(&url, unnamed, &image).await.unwrap_err();
    assert_eq!((error.reason(), error.is_transient()), ("RegistryDenied", true));
    assert_eq!(tokens.asked.lock().unwrap().len(), 1);
    for bad in [r#"{"token":"a b"}"#, r#"{"token":""}"#, "{}", "<html>"] {
        tokens.gives("GET /auth/token", 200, bad);
        let error = look(&url, named.clone(), &image).await.unwrap_err();
        assert!(error.is_transient(), "{bad}: {error}");
    }
    *registry.guard.lock().unwrap() = Some(("Basic YmVkOnNlY3JldA==".into(), "Basic realm=\"bed\"".into()));
    assert_eq!(look(&url, named, &image).await.unwrap(), 2);
    assert_eq!(plain(&url, &image).await.unwrap_err().reason(), "RegistryDenied");
}
