//! Object stores by the administrator's settings: S3 and what speaks its API, Google Cloud Storage, Azure Blob
//! Storage, HTTP (`WebDAV`) and folders.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::TryStreamExt;
use object_store::{
    BackoffConfig, ClientOptions, Error as StoreError, ObjectStore, ObjectStoreExt, ObjectStoreScheme, RetryConfig,
    aws::AmazonS3Builder,
    azure::MicrosoftAzureBuilder,
    client::{HttpClient, HttpConnector},
    gcp::GoogleCloudStorageBuilder,
    http::HttpBuilder,
    local::LocalFileSystem,
    path::Path,
};
use reqwest::Url;
use sha2::{Digest, Sha256};

use super::{
    http::{self, Body, HttpError, TimeoutPolicy},
    run::RunError,
};
use crate::settings::ObjectStoreSettings;
use quality_core::format::hexadecimal;

/// A folder's listing is cut off here.
const MAX_ENTRIES: usize = 10_000;

/// A file in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the folder.
    pub name: String,
    /// Its length, bytes.
    pub size: u64,
    /// What changes with its content, where the store says so: an entity tag or a time.
    pub mark: String,
}

/// A place in an object store.
#[derive(Clone, Debug)]
pub struct Folder {
    name: String,
    store: Arc<dyn ObjectStore>,
    path: Path,
}

/// The client that every store uses: no redirects, no proxy, bounded waits.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// Opens a store; credentials are read from their files now.
pub fn open(name: &str, settings: &ObjectStoreSettings) -> Result<Folder, RunError> {
    let failed = |error: HttpError| RunError::Source {
        what: format!("object store {name}"),
        error,
    };
    let mut options = settings.options.clone();
    for (key, path) in &settings.option_files {
        let value = std::fs::read_to_string(path).map_err(|error| failed(HttpError::Credential(error)))?;
        options.insert(key.clone(), value.trim_end_matches(['\r', '\n']).to_owned());
    }
    let url = Url::parse(&settings.url).map_err(|error| failed(HttpError::Setup(error.to_string())))?;
    let client =
        http::client(TimeoutPolicy::EachStep(settings.timeout()), settings.ca_file.as_ref()).map_err(failed)?;
    let (store, path) = build(&url, &options, client).map_err(|error| failed(HttpError::Setup(error.to_string())))?;
    Ok(Folder {
        name: name.to_owned(),
        store,
        path,
    })
}

/// The configured store that covers a URI, and the rest of the URI's path.
pub fn covering<'a, 'u>(
    stores: &'a BTreeMap<String, ObjectStoreSettings>,
    uri: &'u str,
) -> Option<(&'a str, &'a ObjectStoreSettings, &'u str)> {
    stores.iter().find_map(|(name, settings)| {
        let rest = uri.strip_prefix(settings.url.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then_some((name.as_str(), settings, rest))
    })
}

/// A folder of this machine, as an object store.
pub fn local(path: &std::path::Path) -> Result<Folder, RunError> {
    let failed = |error: &dyn std::fmt::Display| RunError::Source {
        what: format!("folder {}", path.display()),
        error: HttpError::Setup(error.to_string()),
    };
    let whole = path.canonicalize().map_err(|error| failed(&error))?;
    if !whole.is_dir() {
        return Err(failed(&"it is not a folder"));
    }
    let store = LocalFileSystem::new_with_prefix(whole).map_err(|error| failed(&error))?;
    Ok(Folder {
        name: path.display().to_string(),
        store: Arc::new(store),
        path: Path::default(),
    })
}

fn build(
    url: &Url,
    options: &BTreeMap<String, String>,
    client: reqwest::Client,
) -> object_store::Result<(Arc<dyn ObjectStore>, Path)> {
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 2,
        retry_timeout: Duration::from_secs(20),
    };
    let (scheme, path) = ObjectStoreScheme::parse(url)?;
    let connector = Connector(client);
    // An option that the store's client does not know is a mistake that would otherwise stay unseen.
    macro_rules! built {
        ($builder:expr) => {{
            let mut builder = $builder;
            for (key, value) in options {
                builder = builder.with_config(key.to_ascii_lowercase().parse()?, value);
            }
            Arc::new(builder.with_retry(retry).with_http_connector(connector).build()?) as Arc<dyn ObjectStore>
        }};
    }
    let store = match scheme {
        ObjectStoreScheme::AmazonS3 => built!(AmazonS3Builder::new().with_url(url.to_string())),
        ObjectStoreScheme::GoogleCloudStorage => built!(GoogleCloudStorageBuilder::new().with_url(url.to_string())),
        ObjectStoreScheme::MicrosoftAzure => built!(MicrosoftAzureBuilder::new().with_url(url.to_string())),
        ObjectStoreScheme::Http => built!(HttpBuilder::new().with_url(url.origin().ascii_serialization())),
        ObjectStoreScheme::Local => Arc::new(LocalFileSystem::new()),
        other => {
            return Err(StoreError::NotSupported {
                source: format!("{other:?} is not supported").into(),
            });
        }
    };
    Ok((store, Path::parse(path)?))
}

impl Folder {
    /// A folder in this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Self {
            path: self.path.clone().join(name),
            ..self.clone()
        }
    }

    /// As [`Folder::join`], for several steps down: `7/5f2a…/artifacts`.
    #[must_use]
    pub fn descend(&self, path: &str) -> Self {
        path.split('/')
            .filter(|part| !part.is_empty())
            .fold(self.clone(), |folder, part| folder.join(part))
    }

    /// The files right in this folder, by name; nothing where there is no such folder.
    pub async fn list(&self) -> Result<Vec<Entry>, RunError> {
        let listed = match self.store.list_with_delimiter(Some(&self.path)).await {
            Ok(listed) => listed,
            Err(StoreError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(&error)),
        };
        let mut entries: Vec<Entry> = listed
            .objects
            .into_iter()
            .take(MAX_ENTRIES)
            .filter_map(|object| {
                Some(Entry {
                    name: object.location.filename()?.to_owned(),
                    size: object.size,
                    mark: object.e_tag.unwrap_or_else(|| object.last_modified.to_rfc3339()),
                })
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The bytes of a file of this folder, at most `limit` of them, or nothing where there is no such file.
    pub async fn read(&self, name: &str, limit: u64) -> Result<Option<Body>, RunError> {
        let path = self.path.clone().join(name);
        match self.store.get(&path).await {
            Ok(result) => {
                let broken = |error| std::io::Error::new(std::io::ErrorKind::ConnectionAborted, error);
                Ok(Some(http::bounded(result.into_stream().map_err(broken), limit)))
            }
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// A file of this folder, or nothing where there is no such file.
    pub async fn stat(&self, name: &str) -> Result<Option<Entry>, RunError> {
        match self.store.head(&self.path.clone().join(name)).await {
            Ok(object) => Ok(Some(Entry {
                name: name.to_owned(),
                size: object.size,
                mark: object.e_tag.unwrap_or_else(|| object.last_modified.to_rfc3339()),
            })),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// The sha256 of a file of this folder, hexadecimal, and its length; read as a stream, at most `limit` bytes of it.
    pub async fn hash(&self, name: &str, limit: u64) -> Result<Option<(String, u64)>, RunError> {
        let result = match self.store.get(&self.path.clone().join(name)).await {
            Ok(result) => result,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed(&error)),
        };
        let (mut stream, mut hasher, mut length) = (result.into_stream(), Sha256::new(), 0);
        while length <= limit {
            let Some(chunk) = stream.try_next().await.map_err(|error| self.failed(&error))? else {
                break;
            };
            hasher.update(&chunk);
            length += chunk.len() as u64;
        }
        Ok(Some((hexadecimal(hasher.finalize()), length)))
    }

    fn failed(&self, error: &StoreError) -> RunError {
        let problem = match error {
            StoreError::NotFound { .. } => "it has no such bucket or folder",
            StoreError::PermissionDenied { .. } => "it denies access",
            StoreError::Unauthenticated { .. } => "it does not accept the credentials",
            StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => "it cannot do what is asked",
            StoreError::InvalidPath { .. } => "a path is not valid",
            _ => "it did not answer as it should",
        };
        tracing::debug!(store = %self.name, %error, "object store");
        RunError::Store {
            store: self.name.clone(),
            problem,
        }
    }
}
