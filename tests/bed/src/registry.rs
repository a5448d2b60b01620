//! OCI registries for tests that look images up: each has its own folder and port, and allows deletes.
//!
//! Images are pushed over the registry's own API. Their layers are any bytes: a registry does not look into them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::go_build;
use crate::interrupt::Interrupt;
use crate::part::REGISTRY;
use crate::process;
use crate::rest::http::Method;
use crate::rest::{self, Answer, Rest};
use crate::server::{self, Server};

/// The media type of an image's manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an index of manifests, one a platform.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The one user of a registry that asks for a login.
pub const USER: &str = "bed";
/// That user's password.
pub const PASSWORD: &str = "bed-password";
/// The two as an `Authorization` header.
pub const AUTHORIZATION: &str = "Basic YmVkOmJlZC1wYXNzd29yZA==";
/// The two as the registry reads them (bcrypt).
const PASSWORD_FILE: &str = "bed:$2a$04$KEdIsZHQuG8pgZZjjtshyehhw/KTA0QaUoQz0GkE6cNJxbSCl0Tgi\n";

/// Why a registry is not there, or did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be built.
    #[error(transparent)]
    Build(#[from] go_build::Error),
    /// It did not start.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// It refused a request.
    #[error(transparent)]
    Request(#[from] rest::Error),
}

/// Who may use a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    #[default]
    Anonymous,
    /// [`USER`] with [`PASSWORD`] only; others are answered 401.
    Login,
}

/// An image that was pushed: its digests, each `sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its repository, without the registry's address.
    pub repository: String,
    /// The manifest's digest, which is the image's.
    pub manifest: String,
    /// The digest of its configuration.
    pub config: String,
    /// The digests of its layers, lowest first.
    pub layers: Vec<String>,
    /// How a container names it: `127.0.0.1:PORT/repository@sha256:…`.
    pub reference: String,
}

/// A running registry. Dropping it stops it and removes its images.
#[derive(Debug)]
pub struct Registry {
    server: Server,
    client: Rest,
    access: Access,
}

impl Registry {
    /// Builds it if it is not built yet, and starts one; ready when this returns. Its folder is made in `parent`: a
    /// bed's work folder or any temporary one. Blocks for a moment: call it from `spawn_blocking` in asynchronous code.
    pub fn start(parent: &Path, access: Access) -> Result<Self, Error> {
        let program = go_build::program(&REGISTRY, &Interrupt::default())?;
        let mut server = Server::launch::<server::Error>("registry", parent, |folder, port| {
            let write = |name: &str, text: &str| {
                let path = folder.join(name);
                std::fs::write(&path, text).map_err(server::Error::io("write", &path))?;
                Ok::<_, server::Error>(path)
            };
            let passwords = write("passwords", PASSWORD_FILE)?;
            let configuration = configure(&folder.join("images"), port, &passwords, access);
            let mut command = process::command(&program);
            command
                .arg("serve")
                .arg(write("registry.json", &configuration.to_string())?)
                // Traces are for a collector that is not there.
                .env("OTEL_TRACES_EXPORTER", "none");
            Ok(command)
        })?;
        // The root answers without a login, as soon as the registry listens.
        server.wait_until_ready("/")?;
        Ok(Self {
            server,
            client: Rest::plain(),
            access,
        })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Where it listens, as image references name it: `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.url().trim_start_matches("http://").to_owned()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// Pushes an image with these layers, lowest first, under a tag.
    pub fn push(&self, repository: &str, tag: &str, layers: &[&[u8]]) -> Result<Image, Error> {
        let described: Vec<_> = layers.iter().map(|layer| descriptor(LAYER, layer)).collect();
        let digests: Vec<_> = layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": digests },
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": described,
        });
        for blob in layers.iter().copied().chain([config.as_slice()]) {
            self.push_blob(repository, blob)?;
        }
        let manifest = self.push_manifest(repository, tag, &manifest)?;
        Ok(Image {
            reference: format!("{}/{repository}@{manifest}", self.address()),
            repository: repository.to_owned(),
            manifest,
            config: digest(&config),
            layers: digests,
        })
    }

    /// Pushes a blob and returns its digest.
    pub fn push_blob(&self, repository: &str, blob: &[u8]) -> Result<String, Error> {
        let digest = digest(blob);
        let uploads = format!("/v2/{repository}/blobs/uploads/");
        let begun = self.accepted(&Method::POST, &uploads, "", b"")?;
        // Absolute, with a query of its own.
        let location = begun.header("location").trim_start_matches(&self.url()).to_owned();
        let path = format!("{location}&digest={digest}");
        self.accepted(&Method::PUT, &path, "application/octet-stream", blob)?;
        Ok(digest)
    }

    /// Pushes a manifest or an index, of the media type that its `mediaType` names, under a tag or digest, and returns
    /// its digest.
    pub fn push_manifest(&self, repository: &str, reference: &str, manifest: &Value) -> Result<String, Error> {
        let media_type = manifest["mediaType"].as_str().unwrap_or(MANIFEST);
        let body = manifest.to_string().into_bytes();
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.accepted(&Method::PUT, &path, media_type, &body)?;
        Ok(digest(&body))
    }

    /// Deletes a manifest by its digest; its tags go with it, its blobs stay.
    pub fn delete_manifest(&self, repository: &str, digest: &str) -> Result<(), Error> {
        let path = format!("/v2/{repository}/manifests/{digest}");
        self.accepted(&Method::DELETE, &path, "", b"").map(drop)
    }

    /// Deletes a blob, a configuration or layer, by its digest. Manifests that name it stay.
    pub fn delete_blob(&self, repository: &str, digest: &str) -> Result<(), Error> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        self.accepted(&Method::DELETE, &path, "", b"").map(drop)
    }

    /// The file that holds the bytes of a blob or manifest, there or not, for a test that damages it.
    pub fn file(&self, digest: &str) -> PathBuf {
        let hexadecimal = digest.trim_start_matches("sha256:");
        self.server
            .folder()
            .join("images/docker/registry/v2/blobs/sha256")
            .join(hexadecimal.get(..2).unwrap_or_default())
            .join(hexadecimal)
            .join("data")
    }

    /// Sends any request, with the login if one is asked for. `path` starts with `/v2/`. The answer may be a refusal.
    pub fn request(&self, method: &Method, path: &str, media_type: &str, body: &[u8]) -> Result<Answer, Error> {
        let mut headers = vec![("accept", media_type), ("content-type", media_type)];
        if media_type.is_empty() {
            headers.clear();
        }
        if self.access == Access::Login {
            headers.push(("authorization", AUTHORIZATION));
        }
        Ok(self
            .client
            .send(method, &format!("{}{path}", self.url()), &headers, body)?)
    }

    fn accepted(&self, method: &Method, path: &str, media_type: &str, body: &[u8]) -> Result<Answer, Error> {
        let answer = self.request(method, path, media_type, body)?;
        Ok(answer.accepted(&format!("{method} {}{path}", self.url()))?)
    }
}

/// The digest of some bytes, as registries write it.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

/// The configuration file, as JSON, which is YAML too.
fn configure(images: &Path, port: u16, passwords: &Path, access: Access) -> Value {
    let mut configuration = json!({
        "version": 0.1,
        "log": { "level": "warn", "accesslog": { "disabled": true } },
        "http": { "addr": format!("127.0.0.1:{port}") },
        "storage": {
            "filesystem": { "rootdirectory": images },
            "delete": { "enabled": true },
            // A clean-up of uploads in the background would outlive no test.
            "maintenance": { "uploadpurging": { "enabled": false } },
        },
    });
    if access == Access::Login {
        configuration["auth"] = json!({ "htpasswd": { "realm": "bed", "path": passwords } });
    }
    configuration
}
