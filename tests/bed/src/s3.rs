//! S3 servers (versitygw) for tests that read objects: each has its own folder, keys and port.
//!
//! An object is a file below the server's folder, which a test may damage or remove behind the server's back. Requests
//! are path-style, `http://127.0.0.1:PORT/bucket/key`.

mod signature;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::go_build;
use crate::interrupt::Interrupt;
use crate::part::VERSITYGW;
use crate::process;
use crate::rest::http::Method;
use crate::rest::{self, Answer, Rest};
use crate::server::{self, Server};
use signature::{Signer, Unsigned};

/// The region that requests are signed for.
pub const REGION: &str = "us-east-1";
const ACCESS_KEY: &str = "bed-access-key";
const SECRET_KEY: &str = "bed-secret-key";
/// A path that answers without a signature.
const HEALTH: &str = "/health";

/// Why an S3 server is not there, or did not do as it was asked.
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

/// A running S3 server. Dropping it stops it and removes its objects.
#[derive(Debug)]
pub struct S3 {
    server: Server,
    client: Rest,
}

impl S3 {
    /// Builds it if it is not built yet, and starts one; ready when this returns. Its folder is made in `parent`: a
    /// bed's work folder or any temporary one. Blocks for a moment: call it from `spawn_blocking` in asynchronous code.
    pub fn start(parent: &Path) -> Result<Self, Error> {
        let program = go_build::program(&VERSITYGW, &Interrupt::default())?;
        let mut server = Server::launch::<server::Error>("s3", parent, |folder, port| {
            let objects = folder.join("objects");
            let attributes = folder.join("attributes");
            for path in [&objects, &attributes] {
                std::fs::create_dir(path).map_err(server::Error::io("create", path))?;
            }
            let mut command = process::command(&program);
            command
                .args(["--port", &format!("127.0.0.1:{port}")])
                .args(["--access", ACCESS_KEY, "--secret", SECRET_KEY, "--region", REGION])
                .args(["--health", HEALTH, "--quiet", "posix", "--sidecar"])
                // Attributes beside the objects: not every file system has extended ones.
                .args([&attributes, &objects]);
            Ok(command)
        })?;
        server.wait_until_ready(HEALTH)?;
        Ok(Self {
            server,
            client: Rest::plain(),
        })
    }

    /// Where it listens: the endpoint for clients, path-style.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The id of the one access key.
    pub fn access_key(&self) -> &'static str {
        ACCESS_KEY
    }

    /// Its secret.
    pub fn secret_key(&self) -> &'static str {
        SECRET_KEY
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// The environment by which common clients find it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.url()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            // MLflow's client has a variable of its own.
            ("MLFLOW_S3_ENDPOINT_URL", self.url()),
        ]
    }

    /// Makes a bucket.
    pub fn make_bucket(&self, bucket: &str) -> Result<(), Error> {
        self.accepted(&Method::PUT, &format!("/{bucket}"), &[], b"").map(drop)
    }

    /// Writes an object and returns its `ETag`, with its quotation marks.
    pub fn put(&self, bucket: &str, key: &str, body: &[u8]) -> Result<String, Error> {
        let answer = self.accepted(&Method::PUT, &format!("/{bucket}/{key}"), &[], body)?;
        Ok(answer.header("etag").to_owned())
    }

    /// Removes an object.
    pub fn remove(&self, bucket: &str, key: &str) -> Result<(), Error> {
        self.accepted(&Method::DELETE, &format!("/{bucket}/{key}"), &[], b"")
            .map(drop)
    }

    /// Lets everyone read the bucket's objects without a signature.
    pub fn allow_anonymous_reads(&self, bucket: &str) -> Result<(), Error> {
        let policy = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": "*",
                "Action": ["s3:GetObject", "s3:ListBucket"],
                "Resource": [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")],
            }],
        });
        let path = format!("/{bucket}");
        self.accepted(&Method::PUT, &path, &[("policy", "")], policy.to_string().as_bytes())
            .map(drop)
    }

    /// The file that holds an object's bytes, there or not.
    pub fn file(&self, bucket: &str, key: &str) -> PathBuf {
        self.server.folder().join("objects").join(bucket).join(key)
    }

    /// Sends any signed request. `path` is `/bucket/key`, not encoded yet; so is the query, in the order of its names.
    pub fn request(&self, method: &Method, path: &str, query: &[(&str, &str)], body: &[u8]) -> Result<Answer, Error> {
        let path = signature::encode(path, true);
        let pairs: Vec<_> = query
            .iter()
            .map(|(name, value)| {
                let encode = |text| signature::encode(text, false);
                format!("{}={}", encode(name), encode(value))
            })
            .collect();
        let query = pairs.join("&");
        let url = self.url();
        let host = url.trim_start_matches("http://");
        let (time, body_digest) = (signature::timestamp(SystemTime::now()), signature::digest(body));
        let signer = Signer {
            access_key: ACCESS_KEY,
            secret_key: SECRET_KEY,
            region: REGION,
        };
        let authorization = signer.authorization(Unsigned {
            method: method.as_str(),
            path: &path,
            query: &query,
            headers: &[
                ("host", host),
                ("x-amz-content-sha256", &body_digest),
                ("x-amz-date", &time),
            ],
            body_digest: &body_digest,
            time: &time,
        });
        let headers = [
            ("authorization", authorization.as_str()),
            ("x-amz-content-sha256", &body_digest),
            ("x-amz-date", &time),
        ];
        Ok(self
            .client
            .send(method, &format!("{url}{path}?{query}"), &headers, body)?)
    }

    fn accepted(&self, method: &Method, path: &str, query: &[(&str, &str)], body: &[u8]) -> Result<Answer, Error> {
        let answer = self.request(method, path, query, body)?;
        Ok(answer.accepted(&format!("{method} {}{path}", self.url()))?)
    }
}
