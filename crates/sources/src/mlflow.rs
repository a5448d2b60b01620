//! An MLflow tracking server: what state a run is in, what data it used, and where its artifacts are. Artifacts are
//! read through the server's proxy, or from the object store that they are in.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Deserialize;

use super::{
    http::{self, Access, Body, Http, HttpError, TimeoutPolicy},
    object_storage::{self, Entry, Folder},
    run::{RunError, RunId},
};
use crate::settings::{MlflowSource, ObjectStoreSettings};

/// The server's own answers are short; longer ones are refused. Bytes.
const MAX_ANSWER: u64 = 4 << 20;
/// A folder's listing is cut off after this many pages.
const MAX_PAGES: usize = 20;

/// Where the server serves artifacts.
const PROXY: [&str; 4] = ["api", "2.0", "mlflow-artifacts", "artifacts"];

/// A tracking server.
pub struct Mlflow {
    name: String,
    http: Http,
    within: Duration,
    stores: Arc<BTreeMap<String, ObjectStoreSettings>>,
}

/// A run that ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// When it ended, unix seconds.
    pub ended: Option<i64>,
    /// The digest of the data that it used, where the server knows exactly one.
    pub dataset_digest: Option<String>,
    /// Where its artifacts are.
    artifact_uri: String,
}

/// The artifacts of a run.
pub enum Artifacts<'a> {
    /// Behind the server's proxy, below this path.
    Proxy(&'a Mlflow, RunId, Vec<String>),
    /// In an object store.
    Store(Folder),
}

impl Mlflow {
    /// A client by the administrator's settings. Stores hold the artifacts that the server does not serve.
    pub fn new(
        name: &str,
        settings: &MlflowSource,
        stores: Arc<BTreeMap<String, ObjectStoreSettings>>,
    ) -> Result<Self, HttpError> {
        let client = http::client(TimeoutPolicy::EachStep(settings.timeout()), settings.ca_file.as_ref())?;
        let access = Access {
            bearer_token_file: settings.bearer_token_file.clone(),
            basic_auth: settings.basic_auth.clone(),
            tenant: None,
        };
        Ok(Self {
            name: name.to_owned(),
            http: Http::new(&settings.url, access, client)?,
            within: settings.timeout(),
            stores,
        })
    }

    fn source(&self, error: HttpError) -> RunError {
        RunError::Source {
            what: format!("MLflow source {}", self.name),
            error,
        }
    }

    async fn ask<T>(&self, endpoint: [&str; 2], parameters: &[(&str, String)]) -> Result<T, RunError>
    where
        T: for<'de> Deserialize<'de>,
    {
        let path = ["api", "2.0", "mlflow", endpoint[0], endpoint[1]];
        let response = self
            .http
            .get(path, parameters)
            .await
            .map_err(|error| self.source(error))?;
        let bytes = http::whole(response, MAX_ANSWER, self.within)
            .await
            .map_err(|error| self.source(error))?;
        serde_json::from_slice(&bytes).map_err(|_| RunError::Malformed(format!("MLflow source {}", self.name)))
    }

    /// A run that has ended well; any other one is no evidence.
    pub async fn run(&self, id: &RunId) -> Result<Run, RunError> {
        let run = self.raw(id).await?;
        let (info, id) = (run.info, id.as_str().to_owned());
        let malformed = || RunError::Malformed(format!("MLflow source {}", self.name));
        match info.status.as_str() {
            "FINISHED" => {}
            "RUNNING" | "SCHEDULED" => return Err(RunError::Running(id)),
            "FAILED" => return Err(RunError::NotFinished(id, "it failed")),
            "KILLED" => return Err(RunError::NotFinished(id, "it was killed")),
            _ => return Err(malformed()),
        }
        let ended = info.end_time.map(|at| second(at).ok_or_else(malformed)).transpose()?;
        Ok(Run {
            ended,
            dataset_digest: digest(&run.inputs.unwrap_or_default().dataset_inputs),
            artifact_uri: info.artifact_uri.unwrap_or_default(),
        })
    }

    /// Writes an artifact of a run through the server's proxy.
    pub async fn put(&self, id: &RunId, name: &[&str], text: String) -> Result<(), RunError> {
        let run = self.raw(id).await?;
        let run = Run {
            ended: None,
            dataset_digest: None,
            artifact_uri: run.info.artifact_uri.unwrap_or_default(),
        };
        let Artifacts::Proxy(_, _, root) = self.artifacts(id, &run)? else {
            return Err(RunError::NotServed(id.as_str().to_owned()));
        };
        let path = PROXY
            .into_iter()
            .chain(root.iter().map(String::as_str))
            .chain(name.iter().copied());
        let answer = self.http.put(path, text).await;
        answer.map(drop).map_err(|error| self.source(error))
    }

    /// A run that was not deleted.
    async fn raw(&self, id: &RunId) -> Result<RawRun, RunError> {
        let asked = [("run_id", id.as_str().to_owned())];
        let run: GetRun = match self.ask(["runs", "get"], &asked).await {
            Err(RunError::Source {
                error: HttpError::Status(404),
                ..
            }) => return Err(RunError::NotFound(id.as_str().to_owned())),
            other => other?,
        };
        if run.run.info.lifecycle_stage.as_deref() == Some("deleted") {
            return Err(RunError::Deleted(id.as_str().to_owned()));
        }
        Ok(run.run)
    }

    /// Where the artifacts of a run are read.
    pub fn artifacts(&self, id: &RunId, run: &Run) -> Result<Artifacts<'_>, RunError> {
        let uri = run.artifact_uri.trim_end_matches('/');
        if let Some(rest) = uri.strip_prefix("mlflow-artifacts:") {
            let path = rest
                .strip_prefix("//")
                .map_or(rest, |rest| rest.split_once('/').map_or("", |(_, path)| path));
            let segments: Vec<String> = path
                .split('/')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect();
            if segments.iter().any(|part| part == "." || part == "..") {
                return Err(RunError::Malformed(format!("MLflow source {}", self.name)));
            }
            return Ok(Artifacts::Proxy(self, id.clone(), segments));
        }
        // A path without a scheme is a folder on the server's machine.
        let uri = if uri.starts_with('/') {
            format!("file://{uri}")
        } else {
            uri.to_owned()
        };
        match object_storage::covering(&self.stores, &uri) {
            Some((name, settings, rest)) => Ok(Artifacts::Store(object_storage::open(name, settings)?.descend(rest))),
            None => Err(RunError::Elsewhere {
                run: id.as_str().to_owned(),
                scheme: uri
                    .split_once(':')
                    .map(|(scheme, _)| scheme)
                    .filter(|scheme| scheme.len() <= 16 && scheme.bytes().all(|b| b.is_ascii_alphanumeric()))
                    .unwrap_or("unknown")
                    .to_owned(),
            }),
        }
    }

    async fn list(&self, id: &RunId, folder: Option<&str>) -> Result<Vec<Entry>, RunError> {
        let mut entries = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut asked = vec![("run_id", id.as_str().to_owned())];
            asked.extend(folder.map(|folder| ("path", folder.to_owned())));
            asked.extend(token.map(|token| ("page_token", token)));
            let page: ListArtifacts = match self.ask(["artifacts", "list"], &asked).await {
                // A folder that is not there: some stores say so.
                Err(RunError::Source {
                    error: HttpError::Status(404),
                    ..
                }) => break,
                other => other?,
            };
            entries.extend(page.files.into_iter().filter(|file| !file.is_dir).filter_map(|file| {
                Some(Entry {
                    name: file.path.rsplit('/').next()?.to_owned(),
                    size: file.file_size.unwrap_or(0),
                    mark: String::new(),
                })
            }));
            token = page.next_page_token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}

impl Artifacts<'_> {
    /// The files right in the artifacts' root, or in a folder of it.
    pub async fn list(&self, folder: Option<&str>) -> Result<Vec<Entry>, RunError> {
        match self {
            Self::Proxy(mlflow, id, _) => mlflow.list(id, folder).await,
            Self::Store(root) => match folder {
                Some(folder) => root.join(folder).list().await,
                None => root.list().await,
            },
        }
    }

    /// The bytes of a file, at most `limit` of them, or nothing where there is none.
    pub async fn read(&self, folder: Option<&str>, name: &str, limit: u64) -> Result<Option<Body>, RunError> {
        match self {
            Self::Proxy(mlflow, _, root) => {
                let path = PROXY
                    .into_iter()
                    .chain(root.iter().map(String::as_str))
                    .chain(folder)
                    .chain([name]);
                match mlflow.http.get(path, &[]).await {
                    Ok(response) => Ok(Some(http::body(response, limit).map_err(|error| mlflow.source(error))?)),
                    Err(HttpError::Status(404)) => Ok(None),
                    Err(error) => Err(mlflow.source(error)),
                }
            }
            Self::Store(root) => match folder {
                Some(folder) => root.join(folder).read(name, limit).await,
                None => root.read(name, limit).await,
            },
        }
    }
}

/// The digest of the run's data: of the inputs marked as evaluation data where there are some, else of all of them.
/// Several digests say nothing about which one a file is from.
fn digest(inputs: &[DatasetInput]) -> Option<String> {
    let is_evaluation = |input: &&DatasetInput| {
        input.tags.iter().any(|tag| {
            tag.key == "mlflow.data.context" && matches!(tag.value.as_str(), "evaluation" | "eval" | "testing" | "test")
        })
    };
    let marked: Vec<&DatasetInput> = inputs.iter().filter(is_evaluation).collect();
    let chosen = if marked.is_empty() {
        inputs.iter().collect()
    } else {
        marked
    };
    let mut digests: Vec<&str> = chosen.iter().map(|input| input.dataset.digest.as_str()).collect();
    digests.sort_unstable();
    digests.dedup();
    match digests.as_slice() {
        [one] if !one.is_empty() => Some((*one).to_owned()),
        _ => None,
    }
}

/// Unix seconds of unix milliseconds; nothing where no calendar has that time.
fn second(milliseconds: i64) -> Option<i64> {
    jiff::Timestamp::from_millisecond(milliseconds).ok()?;
    Some(milliseconds.div_euclid(1_000))
}

#[derive(Deserialize)]
struct GetRun {
    run: RawRun,
}

#[derive(Deserialize)]
struct RawRun {
    info: Info,
    #[serde(default)]
    inputs: Option<Inputs>,
}

#[derive(Deserialize)]
struct Info {
    status: String,
    #[serde(default)]
    end_time: Option<i64>,
    #[serde(default)]
    lifecycle_stage: Option<String>,
    #[serde(default)]
    artifact_uri: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Inputs {
    dataset_inputs: Vec<DatasetInput>,
}

#[derive(Deserialize)]
struct DatasetInput {
    #[serde(default)]
    tags: Vec<Tag>,
    dataset: RawDataset,
}

#[derive(Deserialize)]
struct Tag {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct RawDataset {
    #[serde(default)]
    digest: String,
}

#[derive(Deserialize)]
struct ListArtifacts {
    #[serde(default)]
    files: Vec<RawFile>,
    #[serde(default)]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct RawFile {
    path: String,
    #[serde(default)]
    is_dir: bool,
    #[serde(default)]
    file_size: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(digest: &str, context: Option<&str>) -> DatasetInput {
        DatasetInput {
            tags: context
                .map(|context| Tag {
                    key: "mlflow.data.context".into(),
                    value: context.into(),
                })
                .into_iter()
                .collect(),
            dataset: RawDataset { digest: digest.into() },
        }
    }

    #[test]
    fn an_end_that_no_calendar_has_is_no_time() {
        assert_eq!(second(1_795_981_499_999), Some(1_795_981_499));
        assert_eq!(second(-1), Some(-1));
        assert_eq!([i64::MAX, i64::MIN].map(second), [None, None]);
    }

    #[test]
    fn the_evaluation_data_decides_and_two_digests_decide_nothing() {
        assert_eq!(digest(&[]), None);
        assert_eq!(digest(&[input("a", None)]), Some("a".into()));
        assert_eq!(digest(&[input("a", None), input("b", None)]), None);
        assert_eq!(
            digest(&[input("a", Some("training")), input("b", Some("evaluation"))]),
            Some("b".into())
        );
        assert_eq!(
            digest(&[input("b", Some("eval")), input("b", Some("testing"))]),
            Some("b".into())
        );
    }

    fn server(stores: &[(&str, &str)]) -> Mlflow {
        crate::tls::install_crypto();
        let settings = |url: &str| ObjectStoreSettings {
            url: url.into(),
            options: BTreeMap::default(),
            option_files: BTreeMap::default(),
            ca_file: None,
            timeout_milliseconds: 1_000,
        };
        let stores = stores
            .iter()
            .map(|(name, url)| ((*name).to_owned(), settings(url)))
            .collect();
        let source = MlflowSource {
            url: "http://127.0.0.1:1".into(),
            bearer_token_file: None,
            basic_auth: None,
            ca_file: None,
            timeout_milliseconds: 1_000,
        };
        Mlflow::new("default", &source, Arc::new(stores)).unwrap()
    }

    #[test]
    fn artifacts_are_read_where_their_uri_says_and_nowhere_else() {
        let mlflow = server(&[("models", "file:///srv/models")]);
        let id = RunId::parse("r1").unwrap();
        let at = |uri: &str| {
            let run = Run {
                ended: None,
                dataset_digest: None,
                artifact_uri: uri.into(),
            };
            mlflow.artifacts(&id, &run)
        };
        for uri in [
            "mlflow-artifacts:/0/r1/artifacts",
            "mlflow-artifacts://host:5000/0/r1/artifacts",
        ] {
            match at(uri) {
                Ok(Artifacts::Proxy(_, _, path)) => assert_eq!(path, ["0", "r1", "artifacts"], "{uri}"),
                _ => panic!("{uri}"),
            }
        }
        assert!(matches!(at("file:///srv/models/0/r1"), Ok(Artifacts::Store(_))));
        assert!(matches!(at("/srv/models/0/r1"), Ok(Artifacts::Store(_))));
        assert!(matches!(
            at("/srv/models-of-others/r1"),
            Err(RunError::Elsewhere { .. })
        ));
        assert!(matches!(
            at("mlflow-artifacts:/0/../../r1"),
            Err(RunError::Malformed(_))
        ));
        let Err(error) = at("s3://bucket/0/r1/artifacts") else {
            panic!("no store covers it")
        };
        assert!(error.to_string().contains("s3://"), "{error}");
    }
}
