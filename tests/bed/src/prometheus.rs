//! Prometheus servers: the bed's shared one, and further ones for tests that stop, restart or backfill theirs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::endpoints::Endpoints;
use crate::go_build;
use crate::interrupt::Interrupt;
use crate::part::PROMTOOL;
use crate::port;
use crate::process::{self, POLL, Process};
use crate::rest::Rest;

const READY_TIMEOUT: Duration = Duration::from_mins(1);
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Why a Prometheus cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// No port is free.
    #[error(transparent)]
    Port(#[from] port::Error),
    /// It could not be started, or ended by itself.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// It did not become ready.
    #[error("Prometheus was not ready within {} s; the last lines of its log:\n{tail}", READY_TIMEOUT.as_secs())]
    NotReady {
        /// The end of its log.
        tail: String,
    },
    /// promtool could not be built.
    #[error(transparent)]
    Build(#[from] go_build::Error),
    /// promtool failed.
    #[error("promtool could not make blocks of {}:\n{message}", path.display())]
    Backfill {
        /// The `OpenMetrics` file.
        path: PathBuf,
        /// What promtool wrote.
        message: String,
    },
}

/// How a Prometheus is set up.
#[derive(Clone, Debug)]
pub struct PrometheusOptions {
    /// How often each target is scraped.
    pub scrape_interval: Duration,
    /// The folder whose `*.json` files list the targets (`file_sd` format), looked at every second. None: no targets.
    pub targets: Option<PathBuf>,
    /// A folder with blocks to start from, as [`backfill`] makes them; they are copied.
    pub blocks: Option<PathBuf>,
    /// How old samples may grow, in Prometheus's notation.
    pub retention: String,
    /// Further arguments, such as `--query.max-samples=1000`.
    pub arguments: Vec<String>,
}

impl Default for PrometheusOptions {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_secs(5),
            targets: None,
            blocks: None,
            retention: "30d".to_owned(),
            arguments: Vec::new(),
        }
    }
}

/// A running Prometheus. Dropping it stops it and removes its data; the kernel kills it with this process.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    program: PathBuf,
    port: u16,
    options: PrometheusOptions,
    folder: TempDir,
}

impl Prometheus {
    /// Starts one beside the bed's own, ready when this returns. Its data lies in the bed's folder.
    /// Blocks for about a second: call it from `spawn_blocking` in asynchronous code.
    pub fn start(endpoints: &Endpoints, options: PrometheusOptions) -> Result<Self, Error> {
        let mut prometheus = Self::launch(&endpoints.prometheus_program, &endpoints.work_folder, options)?;
        prometheus.wait_until_ready()?;
        Ok(prometheus)
    }

    /// Starts one and does not wait for it.
    pub(crate) fn launch(program: &Path, parent: &Path, options: PrometheusOptions) -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("prometheus-")
            .tempdir_in(parent)
            .map_err(|source| Error::Io {
                action: "create a folder in",
                path: parent.to_owned(),
                source,
            })?;
        let configuration = folder.path().join("prometheus.yml");
        std::fs::write(&configuration, configure(&options)).map_err(|source| Error::Io {
            action: "write",
            path: configuration.clone(),
            source,
        })?;
        let data = folder.path().join("data");
        match &options.blocks {
            Some(blocks) => copy_folder(blocks, &data)?,
            None => create_folder(&data)?,
        }
        let port = port::free()?;
        let process = run(program, folder.path(), port, &options)?;
        Ok(Self {
            process,
            program: program.to_owned(),
            port,
            options,
            folder,
        })
    }

    /// Waits until it answers queries.
    pub(crate) fn wait_until_ready(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + READY_TIMEOUT;
        while !self.is_ready() {
            self.process.check_alive()?;
            if Instant::now() > deadline {
                return Err(Error::NotReady {
                    tail: self.process.log_tail(),
                });
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Whether it answers queries.
    pub fn is_ready(&self) -> bool {
        Rest::plain().is_ok(&format!("{}/-/ready", self.url()))
    }

    /// Where it listens; stays the same over a restart.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("prometheus.log")
    }

    /// Kills it at once, as a crash does. Its data stays, for [`Prometheus::restart`].
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops it in order. Its data stays, for [`Prometheus::restart`].
    pub fn stop(&mut self) {
        self.process.ask_to_end();
        self.process.wait_to_end(STOP_GRACE);
    }

    /// Starts it again with the same data, at the same address; one that runs is stopped first.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.stop();
        self.process = run(&self.program, self.folder.path(), self.port, &self.options)?;
        self.wait_until_ready()
    }

    /// The process, for the bed to watch.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// promtool, built if it is not there yet.
pub fn promtool() -> Result<PathBuf, Error> {
    Ok(go_build::program(&PROMTOOL, &Interrupt::default())?)
}

/// Makes blocks in the folder `blocks` from samples in an `OpenMetrics` file, whose lines carry timestamps in seconds
/// and whose last line is `# EOF`.
pub fn backfill(openmetrics: &Path, blocks: &Path) -> Result<(), Error> {
    let promtool = promtool()?;
    let output = Command::new(&promtool)
        .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
        .args([openmetrics, blocks])
        .output()
        .map_err(|source| Error::Io {
            action: "start",
            path: promtool,
            source,
        })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Backfill {
        path: openmetrics.to_owned(),
        message,
    })
}

fn run(program: &Path, folder: &Path, port: u16, options: &PrometheusOptions) -> Result<Process, Error> {
    let mut arguments = vec![
        format!("--config.file={}", folder.join("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", folder.join("data").display()),
        format!("--storage.tsdb.retention.time={}", options.retention),
        format!("--web.listen-address=127.0.0.1:{port}"),
        // Every operator of a test keeps some open; at the limit (512 unless told) not even `/-/healthy` is answered.
        "--web.max-connections=8192".to_owned(),
        "--web.enable-lifecycle".to_owned(),
        "--web.enable-remote-write-receiver".to_owned(),
        // A new pod is scraped at once, not after 5 s.
        "--scrape.discovery-reload-interval=1s".to_owned(),
    ];
    arguments.extend(options.arguments.iter().cloned());
    Ok(Process::start("prometheus", program, &arguments, folder)?)
}

/// The configuration file, as JSON, which is YAML too.
fn configure(options: &PrometheusOptions) -> String {
    let scrapes: Vec<_> = options
        .targets
        .iter()
        .map(|targets| {
            serde_json::json!({
                "job_name": "pods",
                "file_sd_configs": [{ "files": [targets.join("*.json")], "refresh_interval": "1s" }],
            })
        })
        .collect();
    let configuration = serde_json::json!({
        "global": { "scrape_interval": format!("{}ms", options.scrape_interval.as_millis()) },
        "scrape_configs": scrapes,
        // History may be written after the present was scraped.
        "storage": { "tsdb": { "out_of_order_time_window": "12h" } },
    });
    format!("{configuration:#}")
}

fn create_folder(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|source| Error::Io {
        action: "create",
        path: path.to_owned(),
        source,
    })
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io {
        action: "read",
        path: from.to_owned(),
        source,
    };
    create_folder(to)?;
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_scrapes_the_folder_of_targets_only_if_there_is_one() {
        let options = PrometheusOptions {
            scrape_interval: Duration::from_millis(500),
            targets: Some(PathBuf::from("/targets")),
            ..PrometheusOptions::default()
        };
        let configuration: serde_json::Value = serde_json::from_str(&configure(&options)).unwrap();
        assert_eq!(configuration["global"]["scrape_interval"], "500ms");
        let files = &configuration["scrape_configs"][0]["file_sd_configs"][0]["files"];
        assert_eq!(files[0], "/targets/*.json");
        let without: serde_json::Value = serde_json::from_str(&configure(&PrometheusOptions::default())).unwrap();
        assert_eq!(without["scrape_configs"], serde_json::json!([]));
    }
}
