//! Whom to send to: the pods that a file lists, followed while running.

use std::{net::SocketAddr, path::PathBuf};

use super::options::{Balance, LoadArguments};
use crate::discovery::{DiscoveryError, ReadyPod, TargetGroup, read_json};
use rand::{Rng, RngExt};

/// Where the targets come from.
#[derive(Debug, Clone)]
enum Source {
    Ready(PathBuf),
    File(PathBuf),
    Folder(PathBuf),
    Fixed(Vec<SocketAddr>),
}

/// A source with its filter.
#[derive(Debug, Clone)]
pub struct TargetSource {
    source: Source,
    namespace: Option<String>,
    app: Option<String>,
}

impl TargetSource {
    /// The source that the flags name.
    #[must_use]
    pub fn new(options: &LoadArguments) -> Self {
        let source = match (&options.ready_file, &options.targets_file, &options.targets_dir) {
            (Some(path), _, _) => Source::Ready(path.clone()),
            (_, Some(path), _) => Source::File(path.clone()),
            (_, _, Some(path)) => Source::Folder(path.clone()),
            _ => Source::Fixed(options.target.clone()),
        };
        Self {
            source,
            namespace: options.namespace.clone(),
            app: options.app.clone(),
        }
    }

    /// The present targets, sorted. One that is not on this machine is left out.
    pub fn read(&self) -> Result<Vec<ReadyPod>, DiscoveryError> {
        let mut pods = match &self.source {
            Source::Ready(path) => read_json(path)?,
            Source::File(path) => pods_of(read_json(path)?),
            Source::Folder(folder) => {
                let failed = |source| DiscoveryError::Read {
                    path: folder.clone(),
                    source,
                };
                let mut pods = Vec::new();
                for file in std::fs::read_dir(folder).map_err(failed)? {
                    let path = file.map_err(failed)?.path();
                    if path.extension().is_some_and(|extension| extension == "json") {
                        pods.extend(pods_of(read_json(&path)?));
                    }
                }
                pods
            }
            Source::Fixed(addresses) => addresses.iter().map(|address| fixed(*address)).collect(),
        };
        pods.retain(|pod| self.accepts(pod));
        pods.sort();
        Ok(pods)
    }

    fn accepts(&self, pod: &ReadyPod) -> bool {
        let matches = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        matches(&self.namespace, &pod.namespace) && matches(&self.app, &pod.app) && pod.address.ip().is_loopback()
    }
}

fn fixed(address: SocketAddr) -> ReadyPod {
    ReadyPod {
        namespace: String::new(),
        pod: address.to_string(),
        app: String::new(),
        address,
    }
}

fn pods_of(groups: Vec<TargetGroup>) -> Vec<ReadyPod> {
    let mut pods = Vec::new();
    for group in groups {
        let label = |name: &str| group.labels.get(name).cloned().unwrap_or_default();
        for address in group.targets.iter().filter_map(|target| target.parse().ok()) {
            pods.push(ReadyPod {
                namespace: label("namespace"),
                pod: label("pod"),
                app: label("app"),
                address,
            });
        }
    }
    pods
}

/// Draws a target for each request.
#[derive(Debug)]
pub struct Balancer {
    balance: Balance,
    next: usize,
}

impl Balancer {
    /// Draws in this way.
    #[must_use]
    pub fn new(balance: Balance) -> Self {
        Self { balance, next: 0 }
    }

    /// The next target; none when there are none.
    pub fn pick<'a>(&mut self, pods: &'a [ReadyPod], random: &mut impl Rng) -> Option<&'a ReadyPod> {
        if pods.is_empty() {
            return None;
        }
        let index = match self.balance {
            Balance::Random => random.random_range(0..pods.len()),
            Balance::RoundRobin => {
                self.next = self.next.wrapping_add(1);
                self.next % pods.len()
            }
        };
        pods.get(index)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::Parser;
    use rand::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn only_pods_of_the_namespace_and_app_on_this_machine_are_targets() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ready.json");
        let pod = |namespace: &str, pod: &str, app: &str, address: &str| ReadyPod {
            namespace: namespace.into(),
            pod: pod.into(),
            app: app.into(),
            address: address.parse().unwrap(),
        };
        let wanted = pod("a", "ranker-2", "ranker", "127.0.0.1:2");
        let listed = vec![
            wanted.clone(),
            pod("b", "ranker-1", "ranker", "127.0.0.1:1"),
            pod("a", "other-1", "other", "127.0.0.1:3"),
            pod("a", "ranker-9", "ranker", "192.0.2.1:80"),
        ];
        crate::discovery::write_json(&file, &listed).unwrap();
        let path = file.to_str().unwrap();
        let options = LoadArguments::parse_from(["load", "--ready-file", path, "--namespace", "a", "--app", "ranker"]);
        assert_eq!(TargetSource::new(&options).read().unwrap(), [wanted]);
    }

    #[test]
    fn a_folder_of_file_sd_files_is_read_with_its_labels() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("a.json"),
            r#"[{"targets":["127.0.0.1:7","[::1]:8"],"labels":{"namespace":"a","pod":"p","app":"x"}}]"#,
        )
        .unwrap();
        std::fs::write(folder.path().join("a.json.1.tmp"), "partial").unwrap();
        let options = LoadArguments::parse_from(["load", "--targets-dir", folder.path().to_str().unwrap()]);
        let pods = TargetSource::new(&options).read().unwrap();
        assert_eq!(pods.iter().map(|pod| pod.address.port()).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(pods[0].pod, "p");
    }

    #[test]
    fn both_ways_of_drawing_reach_every_pod() {
        let pods: Vec<ReadyPod> = (1..=3)
            .map(|port| fixed(SocketAddr::from(([127, 0, 0, 1], port))))
            .collect();
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        for balance in [Balance::Random, Balance::RoundRobin] {
            let mut balancer = Balancer::new(balance);
            let mut counts = [0; 3];
            for _ in 0..3000 {
                counts[usize::from(balancer.pick(&pods, &mut random).unwrap().address.port()) - 1] += 1;
            }
            assert!(
                counts.iter().all(|count| (900..=1100).contains(count)),
                "{balance:?}: {counts:?}"
            );
        }
        assert!(Balancer::new(Balance::Random).pick(&[], &mut random).is_none());
    }
}
