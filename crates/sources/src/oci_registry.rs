//! OCI registries: whether an image is whole, that is, its manifest has the digest that names it, its configuration
//! and every layer are there, and it is for the platform that is asked for.
//!
//! Only registries that the administrator configured are asked, redirects are not followed, and no word of an answer
//! is passed on. A layer whose registry redirects to where it is stored counts as there: the registry says so.

mod challenge;
mod reference;

use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Method, Response, StatusCode, Url, header};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{
    formats::sha256,
    http::{self, Access, Http, HttpError, TimeoutPolicy},
};
use crate::settings::{BasicAuth, Platform, RegistrySettings};
use challenge::Challenge;
pub use reference::Reference;

/// Registries refuse longer manifests themselves. Bytes.
const MAX_MANIFEST: u64 = 4 << 20;
/// Bytes of an image's configuration.
const MAX_CONFIG: u64 = 8 << 20;
/// Bytes of a token server's answer, and of an error's.
const MAX_ANSWER: u64 = 256 << 10;
/// An image with more layers is none that a node would run.
const MAX_LAYERS: usize = 512;
/// How many layers are looked for at the same time.
const AT_ONCE: usize = 4;

const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Why an image was not found whole; a sentence about the image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The reference names no image.
    #[error("its reference is not one that a registry knows")]
    Reference,
    /// The registry has no such manifest.
    #[error("its registry has no such manifest")]
    ManifestMissing,
    /// A part of the image is gone.
    #[error("its registry lacks {0}")]
    BlobMissing(String),
    /// It is for something else.
    #[error("it is not for the platform {0}")]
    Platform(String),
    /// The manifest is what its digest says, and no image.
    #[error("its digest names something that is no image")]
    NotAnImage,
    /// The server gave no usable answer.
    #[error("its registry {0}")]
    Registry(HttpError),
    /// The token server gave no usable answer.
    #[error("its registry's token server {0}")]
    Tokens(HttpError),
    /// The registry does not let us in.
    #[error("its registry denies access")]
    Denied,
    /// The registry asks for a login that is not configured, or by a way that is not known.
    #[error("its registry asks for a login at a server that the configuration does not name")]
    Login,
    /// The answer is not one of a registry.
    #[error("its registry gave an answer that is not one of a registry")]
    Nonsense,
    /// It took too long.
    #[error("its registry took longer than it may")]
    TooSlow,
}

impl ImageError {
    /// A stable CamelCase reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Reference => "ReferenceInvalid",
            Self::ManifestMissing => "ImageMissing",
            Self::BlobMissing(_) => "LayerMissing",
            Self::Platform(_) => "PlatformMissing",
            Self::NotAnImage => "NotAnImage",
            Self::Registry(_) | Self::Tokens(_) | Self::Nonsense | Self::TooSlow => "RegistryUnreachable",
            Self::Denied | Self::Login => "RegistryDenied",
        }
    }

    /// Whether the registry is at fault and not the image: what was known before still is.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Reference | Self::ManifestMissing | Self::BlobMissing(_) | Self::Platform(_) | Self::NotAnImage => {
                false
            }
            Self::Registry(_) | Self::Tokens(_) | Self::Denied | Self::Login | Self::Nonsense | Self::TooSlow => true,
        }
    }
}

impl From<HttpError> for ImageError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Status(401 | 403) => Self::Denied,
            error => Self::Registry(error),
        }
    }
}

/// A registry by the administrator's settings.
pub struct Registry {
    http: Http,
    client: reqwest::Client,
    basic: Option<BasicAuth>,
    /// Where a token may be asked for.
    token_server: Url,
    platform: Platform,
    wanted: String,
    within: std::time::Duration,
}

impl Registry {
    /// The registry that image references call `host`.
    pub fn new(host: &str, settings: &RegistrySettings) -> Result<Self, HttpError> {
        let setup = |error: &dyn std::fmt::Display| HttpError::Setup(error.to_string());
        let client = http::client(TimeoutPolicy::Whole(settings.timeout()), settings.ca_file.as_ref())?;
        let base = settings.base(host);
        let token_server = settings.token_server.as_ref().unwrap_or(&base);
        let wanted = settings.platform.as_deref().unwrap_or("linux/amd64");
        Ok(Self {
            http: Http::new(&base, Access::default(), client.clone())?,
            client,
            basic: settings.basic_auth.clone(),
            token_server: Url::parse(token_server).map_err(|error| setup(&error))?,
            platform: Platform::parse(wanted).ok_or_else(|| setup(&"the platform is not one"))?,
            wanted: wanted.to_owned(),
            within: settings.timeout(),
        })
    }

    /// Looks an image up by its digest: how many layers it has, when it is whole.
    pub async fn check(&self, image: &Reference) -> Result<usize, ImageError> {
        let asking = Asking {
            registry: self,
            image,
            login: Mutex::new(Login::None),
        };
        let manifest = asking.manifest(&image.digest).await?;
        let (manifest, known) = match manifest {
            Manifest::Image(manifest) => (manifest, false),
            Manifest::Index(entries) => {
                let digest = entries
                    .iter()
                    .find(|entry| entry.platform.as_ref().is_some_and(|platform| self.runs(platform)))
                    .map(|entry| entry.digest.as_str())
                    .filter(|digest| reference::is_digest(digest))
                    .ok_or_else(|| ImageError::Platform(self.wanted.clone()))?;
                match asking.manifest(digest).await {
                    Ok(Manifest::Image(manifest)) => (manifest, true),
                    Ok(Manifest::Index(_)) => return Err(ImageError::NotAnImage),
                    Err(ImageError::ManifestMissing) => {
                        return Err(ImageError::BlobMissing(format!("its manifest for {}", self.wanted)));
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        asking.config(&manifest.config, known).await?;
        let count = manifest.layers.len();
        if count > MAX_LAYERS {
            return Err(ImageError::NotAnImage);
        }
        // Layers that are not for distribution are never in a registry.
        let looks: Vec<_> = manifest
            .layers
            .iter()
            .enumerate()
            .filter(|(_, layer)| {
                !layer.media_type.contains("nondistributable") && !layer.media_type.contains("foreign")
            })
            .map(|(index, layer)| asking.layer(&layer.digest, index + 1, count))
            .collect();
        stream::iter(looks)
            .buffer_unordered(AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        Ok(count)
    }

    fn runs(&self, platform: &RawPlatform) -> bool {
        let wanted = &self.platform;
        platform.os == wanted.os
            && platform.architecture == wanted.architecture
            && wanted
                .variant
                .as_ref()
                .is_none_or(|variant| platform.variant.as_ref() == Some(variant))
    }

    /// A token to read a repository with, from the server that the challenge names, if it is the one that it may be.
    async fn token(&self, challenge: &Challenge, repository: &str) -> Result<String, ImageError> {
        let realm = Url::parse(&challenge.realm).map_err(|_| ImageError::Nonsense)?;
        if realm.origin() != self.token_server.origin() {
            return Err(ImageError::Login);
        }
        let server = Http::new(
            &realm.origin().ascii_serialization(),
            Access::default(),
            self.client.clone(),
        )
        .map_err(ImageError::Tokens)?;
        let mut asked = vec![("scope", format!("repository:{repository}:pull"))];
        asked.extend(challenge.service.clone().map(|service| ("service", service)));
        let path = realm
            .path_segments()
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty());
        let mut request = server.request(Method::GET, path, &asked).map_err(ImageError::Tokens)?;
        if let Some(basic) = &self.basic {
            request = http::with_password(request, basic).await.map_err(ImageError::Tokens)?;
        }
        let response = http::send(request).await.map_err(ImageError::Tokens)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(ImageError::Denied),
            other => return Err(ImageError::Tokens(HttpError::Status(other.as_u16()))),
        }
        let bytes = http::whole(response, MAX_ANSWER, self.within)
            .await
            .map_err(ImageError::Tokens)?;
        let answer: TokenAnswer = serde_json::from_slice(&bytes).map_err(|_| ImageError::Nonsense)?;
        let token = answer.token.or(answer.access_token).ok_or(ImageError::Nonsense)?;
        let is_plain = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        is_plain.then_some(token).ok_or(ImageError::Nonsense)
    }
}

/// How requests of one look are let in.
#[derive(Clone)]
enum Login {
    None,
    Basic,
    Bearer(String),
}

/// One look at one image.
struct Asking<'a> {
    registry: &'a Registry,
    image: &'a Reference,
    login: Mutex<Login>,
}

impl Asking<'_> {
    /// The answer to a request in the image's repository, whatever its status but 401 and 403.
    async fn ask(&self, method: Method, kind: &str, digest: &str, accept: &str) -> Result<Response, ImageError> {
        let login = self.login.lock().await.clone();
        let first = matches!(login, Login::None);
        let response = self.once(method.clone(), kind, digest, accept, &login).await?;
        let response = if response.status() == StatusCode::UNAUTHORIZED && first {
            let login = self.log_in(&response).await?;
            let again = self.once(method, kind, digest, accept, &login).await?;
            *self.login.lock().await = login;
            again
        } else {
            response
        };
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ImageError::Denied),
            _ => Ok(response),
        }
    }

    async fn once(
        &self,
        method: Method,
        kind: &str,
        digest: &str,
        accept: &str,
        login: &Login,
    ) -> Result<Response, ImageError> {
        let path = ["v2"]
            .into_iter()
            .chain(self.image.repository.split('/'))
            .chain([kind, digest]);
        let request = self.registry.http.request(method, path, &[])?;
        let mut request = request.header(header::ACCEPT, accept);
        match (login, &self.registry.basic) {
            (Login::Bearer(token), _) => request = request.bearer_auth(token),
            (Login::Basic, Some(basic)) => request = http::with_password(request, basic).await?,
            (Login::None, _) | (Login::Basic, None) => {}
        }
        Ok(http::send(request).await?)
    }

    async fn log_in(&self, refused: &Response) -> Result<Login, ImageError> {
        let asked: Vec<&str> = refused
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        if let Some(challenge) = asked.iter().find_map(|text| Challenge::bearer(text)) {
            let token = self.registry.token(&challenge, &self.image.repository).await?;
            return Ok(Login::Bearer(token));
        }
        let basic = asked.iter().any(|text| challenge::is_basic(text));
        (basic && self.registry.basic.is_some())
            .then_some(Login::Basic)
            .ok_or(ImageError::Denied)
    }

    /// The manifest with this digest.
    async fn manifest(&self, digest: &str) -> Result<Manifest, ImageError> {
        let response = self.ask(Method::GET, "manifests", digest, ACCEPTED).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(self.missing(response, ImageError::ManifestMissing).await),
            other => return Err(ImageError::Registry(HttpError::Status(other.as_u16()))),
        }
        let bytes = self.hashed(response, MAX_MANIFEST, digest).await?;
        let raw: RawManifest = serde_json::from_slice(&bytes).map_err(|_| ImageError::NotAnImage)?;
        match (raw.manifests, raw.config, raw.layers) {
            (Some(entries), None, None) => Ok(Manifest::Index(entries)),
            (None, Some(config), Some(layers)) => Ok(Manifest::Image(Image { config, layers })),
            _ => Err(ImageError::NotAnImage),
        }
    }

    /// The bytes of an answer, when they have the digest that they should have.
    async fn hashed(&self, response: Response, limit: u64, digest: &str) -> Result<Vec<u8>, ImageError> {
        let bytes = http::whole(response, limit, self.registry.within).await?;
        if format!("sha256:{}", sha256(&bytes)) == digest {
            Ok(bytes)
        } else {
            Err(ImageError::Nonsense)
        }
    }

    /// What a 404 says: that something is missing when it is a registry's own word, and nothing when something else
    /// stands in its place.
    async fn missing(&self, response: Response, what: ImageError) -> ImageError {
        match http::whole(response, MAX_ANSWER, self.registry.within).await {
            Ok(bytes) if serde_json::from_slice::<Errors>(&bytes).is_ok_and(|said| !said.errors.is_empty()) => what,
            Ok(_) => ImageError::Nonsense,
            Err(error) => error.into(),
        }
    }

    /// The configuration is there and, unless the index said so, for the right platform.
    async fn config(&self, config: &Descriptor, platform_known: bool) -> Result<(), ImageError> {
        let missing = || "its configuration".to_owned();
        if platform_known {
            return self.blob(&config.digest, missing).await;
        }
        if !reference::is_digest(&config.digest) {
            return Err(ImageError::NotAnImage);
        }
        let response = self.ask(Method::GET, "blobs", &config.digest, "*/*").await?;
        match response.status() {
            StatusCode::OK => {}
            // Kept elsewhere: there, and its platform stays unknown.
            other if other.is_redirection() => return Ok(()),
            StatusCode::NOT_FOUND => return Err(self.missing(response, ImageError::BlobMissing(missing())).await),
            other => return Err(ImageError::Registry(HttpError::Status(other.as_u16()))),
        }
        let bytes = self.hashed(response, MAX_CONFIG, &config.digest).await?;
        let platform: RawPlatform = serde_json::from_slice(&bytes).map_err(|_| ImageError::NotAnImage)?;
        if self.registry.runs(&platform) {
            Ok(())
        } else {
            Err(ImageError::Platform(self.registry.wanted.clone()))
        }
    }

    async fn layer(&self, digest: &str, number: usize, count: usize) -> Result<(), ImageError> {
        self.blob(digest, || format!("layer {number} of {count}")).await
    }

    /// A blob is there.
    async fn blob(&self, digest: &str, words: impl Fn() -> String) -> Result<(), ImageError> {
        if !reference::is_digest(digest) {
            return Err(ImageError::NotAnImage);
        }
        let response = self.ask(Method::HEAD, "blobs", digest, "*/*").await?;
        match response.status() {
            StatusCode::OK => return Ok(()),
            other if other.is_redirection() => return Ok(()),
            StatusCode::NOT_FOUND => {}
            other => return Err(ImageError::Registry(HttpError::Status(other.as_u16()))),
        }
        // An answer to HEAD has no words: whether it is the registry's own is seen by asking again.
        let response = self.ask(Method::GET, "blobs", digest, "*/*").await?;
        match response.status() {
            StatusCode::OK => Ok(()),
            other if other.is_redirection() => Ok(()),
            StatusCode::NOT_FOUND => Err(self.missing(response, ImageError::BlobMissing(words())).await),
            other => Err(ImageError::Registry(HttpError::Status(other.as_u16()))),
        }
    }
}

enum Manifest {
    Image(Image),
    Index(Vec<Descriptor>),
}

struct Image {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct RawManifest {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    platform: Option<RawPlatform>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<serde_json::Value>,
}

#[cfg(test)]
#[path = "oci_registry/tests.rs"]
mod tests;
