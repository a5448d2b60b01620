//! Who can be scraped and who is Ready, in files: Prometheus' `file_sd` format, and a list for the load generator.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Failures of writing and reading discovery files.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// A file cannot be written.
    #[error("writing {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("reading {path}: {source}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: serde_json::Error,
    },
}

/// One group of a `file_sd` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroup {
    /// `host:port`.
    pub targets: Vec<String>,
    /// Labels of every series scraped from them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A pod that takes traffic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReadyPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its `app` label.
    pub app: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A pod with its running containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEndpoints {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Its `app` label.
    pub app: String,
    /// Name and address of each running container.
    pub containers: Vec<(String, SocketAddr)>,
    /// Whether the pod takes traffic.
    pub ready: bool,
}

/// Replaces a file in one step: a reader sees the old or the new content, never a part.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), DiscoveryError> {
    let failed = |source| DiscoveryError::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    // A suffix that no `*.json` pattern matches.
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.tmp", std::process::id()));
    fs::write(&partial, content)
        .and_then(|()| fs::rename(&partial, path))
        .map_err(failed)
}

/// Writes `value` as JSON in one step.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), DiscoveryError> {
    let content = serde_json::to_vec_pretty(value).map_err(|source| DiscoveryError::Json {
        path: path.to_owned(),
        source,
    })?;
    write_atomically(path, &content)
}

/// Reads a JSON file; one that does not exist is the default.
pub fn read_json<T: for<'a> Deserialize<'a> + Default>(path: &Path) -> Result<T, DiscoveryError> {
    match fs::read(path) {
        Ok(content) => serde_json::from_slice(&content).map_err(|source| DiscoveryError::Json {
            path: path.to_owned(),
            source,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(source) => Err(DiscoveryError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Keeps the files of one node up to date.
#[derive(Debug)]
pub struct Discovery {
    folder: PathBuf,
    ready_file: PathBuf,
    node: String,
    pods: BTreeMap<(String, String), PodEndpoints>,
}

impl Discovery {
    /// Starts with no pods; removes what an earlier run of the same node left behind.
    pub fn new(folder: PathBuf, ready_file: PathBuf, node: &str) -> Result<Self, DiscoveryError> {
        let failed = |source| DiscoveryError::Read {
            path: folder.clone(),
            source,
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        let prefix = format!("{node}_");
        for file in fs::read_dir(&folder).map_err(failed)? {
            let file = file.map_err(failed)?;
            if file.file_name().to_string_lossy().starts_with(&prefix) {
                fs::remove_file(file.path()).map_err(failed)?;
            }
        }
        write_json(&ready_file, &Vec::<ReadyPod>::new())?;
        Ok(Self {
            folder,
            ready_file,
            node: node.to_owned(),
            pods: BTreeMap::new(),
        })
    }

    /// States what a pod is now; without a running container it is not a target.
    pub fn set(&mut self, endpoints: PodEndpoints) -> Result<(), DiscoveryError> {
        let key = (endpoints.namespace.clone(), endpoints.pod.clone());
        let before = self.pods.get(&key);
        if before == Some(&endpoints) {
            return Ok(());
        }
        let containers_differ = before.map(|known| &known.containers) != Some(&endpoints.containers);
        let path = self.target_file(&key);
        let groups = target_groups(&endpoints);
        self.pods.insert(key, endpoints);
        // Traffic before scraping, so that a pod that ends gets no request that nobody will count.
        self.write_ready()?;
        match (containers_differ, groups.is_empty()) {
            (true, true) => remove(&path),
            (true, false) => write_json(&path, &groups),
            (false, _) => Ok(()),
        }
    }

    /// The pod is gone.
    pub fn remove(&mut self, namespace: &str, pod: &str) -> Result<(), DiscoveryError> {
        let key = (namespace.to_owned(), pod.to_owned());
        if self.pods.remove(&key).is_none() {
            return Ok(());
        }
        self.write_ready()?;
        remove(&self.target_file(&key))
    }

    fn target_file(&self, (namespace, pod): &(String, String)) -> PathBuf {
        self.folder.join(format!("{}_{namespace}_{pod}.json", self.node))
    }

    fn write_ready(&self) -> Result<(), DiscoveryError> {
        let ready: Vec<ReadyPod> = self
            .pods
            .values()
            .filter(|pod| pod.ready)
            .filter_map(|pod| {
                let (_, address) = pod.containers.first()?;
                Some(ReadyPod {
                    namespace: pod.namespace.clone(),
                    pod: pod.pod.clone(),
                    app: pod.app.clone(),
                    address: *address,
                })
            })
            .collect();
        write_json(&self.ready_file, &ready)
    }
}

fn target_groups(pod: &PodEndpoints) -> Vec<TargetGroup> {
    pod.containers
        .iter()
        .map(|(container, address)| TargetGroup {
            targets: vec![address.to_string()],
            labels: [
                ("namespace", &pod.namespace),
                ("pod", &pod.pod),
                ("app", &pod.app),
                ("container", container),
            ]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect(),
        })
        .collect()
}

fn remove(path: &Path) -> Result<(), DiscoveryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DiscoveryError::Write {
            path: path.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn pod(ready: bool) -> PodEndpoints {
        PodEndpoints {
            namespace: "shop".into(),
            pod: "ranker-1".into(),
            app: "ranker".into(),
            containers: vec![("server".into(), SocketAddr::from(([127, 0, 0, 1], 4000)))],
            ready,
        }
    }

    #[test]
    fn a_running_pod_is_a_target_and_a_ready_one_takes_traffic() {
        let folder = tempfile::tempdir().unwrap();
        let (targets, ready) = (folder.path().join("targets"), folder.path().join("ready.json"));
        let mut discovery = Discovery::new(targets.clone(), ready.clone(), "node").unwrap();
        let file = targets.join("node_shop_ranker-1.json");

        discovery.set(pod(false)).unwrap();
        let content: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(
            content,
            serde_json::json!([{
                "targets": ["127.0.0.1:4000"],
                "labels": {"namespace": "shop", "pod": "ranker-1", "app": "ranker", "container": "server"},
            }])
        );
        assert_eq!(read_json::<Vec<ReadyPod>>(&ready).unwrap(), []);

        discovery.set(pod(true)).unwrap();
        let entries = read_json::<Vec<ReadyPod>>(&ready).unwrap();
        assert_eq!(entries[0].address.port(), 4000);

        discovery
            .set(PodEndpoints {
                containers: vec![],
                ready: false,
                ..pod(false)
            })
            .unwrap();
        assert!(!file.exists(), "a pod that restarts is no target");
        discovery.remove("shop", "ranker-1").unwrap();
        assert_eq!(fs::read_dir(&targets).unwrap().count(), 0, "no file stays behind");
    }

    #[test]
    fn a_new_run_removes_the_targets_of_the_last_one_of_its_node_only() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("node_a_b.json"), "[]").unwrap();
        fs::write(folder.path().join("other_a_b.json"), "[]").unwrap();
        Discovery::new(folder.path().to_owned(), folder.path().join("ready/ready.json"), "node").unwrap();
        assert!(!folder.path().join("node_a_b.json").exists());
        assert!(folder.path().join("other_a_b.json").exists());
    }
}
