//! The operator as its own process, under its own rights.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use bed::Endpoints;
use serde_json::json;

use crate::{StageError, install::service_account_kubeconfig};

/// How to run the operator.
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// Watch only this namespace; all of them when `None`.
    pub namespace: Option<String>,
    /// URL of the metrics source `default`.
    pub prometheus: String,
    /// How long a look waits for the scrapes before it.
    pub settle: Duration,
    /// The deadline of one query.
    pub timeout: Duration,
    /// Longer answers of the metrics source are refused.
    pub max_answer_bytes: u64,
    /// Replaces the API server's URL: a proxy, say.
    pub api_server: Option<String>,
    /// Leads only while it holds the lease of its namespace.
    pub leader_elect: bool,
    /// More of the configuration: `mlflowSources`, `objectStores`.
    pub more: serde_json::Value,
    /// Another build of it than the one beside the test.
    pub program: Option<PathBuf>,
}

impl OperatorOptions {
    /// For one namespace, with the bed's Prometheus.
    pub fn for_namespace(namespace: &str, prometheus: &str) -> Self {
        Self {
            namespace: Some(namespace.to_owned()),
            prometheus: prometheus.to_owned(),
            settle: Duration::from_millis(500),
            timeout: Duration::from_secs(5),
            max_answer_bytes: 16 << 20,
            api_server: None,
            leader_elect: false,
            more: json!({}),
            program: None,
        }
    }
}

/// Names another build of the operator than the one beside the tests.
pub const PROGRAM_VARIABLE: &str = "QUALITY_OFFICER_PROGRAM";

/// A running operator; it ends with this value.
pub struct Operator {
    child: Option<Child>,
    listen: SocketAddr,
    options: OperatorOptions,
    kubeconfig: PathBuf,
    config: PathBuf,
    log: PathBuf,
}

impl Operator {
    /// Starts it and waits until its caches are synced. Blocks.
    pub fn start(endpoints: &Endpoints, folder: &Path, options: OperatorOptions) -> Result<Self, StageError> {
        std::fs::create_dir_all(folder).map_err(StageError::io(format!("make {}", folder.display())))?;
        let endpoints = Endpoints {
            api_server: options
                .api_server
                .clone()
                .unwrap_or_else(|| endpoints.api_server.clone()),
            ..endpoints.clone()
        };
        let kubeconfig = service_account_kubeconfig(&endpoints, folder)?;
        let config = folder.join("operator.yaml");
        let mut sources = options.more.clone();
        sources["metricsSources"] = json!({"default": {
            "url": options.prometheus,
            "settleMilliseconds": options.settle.as_millis() as u64,
            "timeoutMilliseconds": options.timeout.as_millis() as u64,
            "maxAnswerBytes": options.max_answer_bytes,
        }});
        std::fs::write(&config, sources.to_string()).map_err(StageError::io(format!("write {}", config.display())))?;
        let log = folder.join("operator.log");
        let mut operator = Self {
            child: None,
            listen: free_address()?,
            options,
            kubeconfig,
            config,
            log,
        };
        operator.run()?;
        Ok(operator)
    }

    fn run(&mut self) -> Result<(), StageError> {
        self.launch()?;
        let started = Instant::now();
        while !self.answers("/readyz") {
            if !self.is_running() || started.elapsed() > Duration::from_secs(30) {
                return Err(StageError::Unexpected(format!(
                    "the operator is not ready; its log ends with:\n{}",
                    self.log_tail()
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Starts it after [`Operator::kill`], without waiting until it is ready.
    pub fn launch(&mut self) -> Result<(), StageError> {
        let program = match (&self.options.program, std::env::var_os(PROGRAM_VARIABLE)) {
            (Some(program), _) => program.clone(),
            (None, Some(program)) => program.into(),
            (None, None) => workload::harness::program("quality-officer")?,
        };
        let append = std::fs::File::options().create(true).append(true).open(&self.log);
        let output = append.map_err(StageError::io(format!("open {}", self.log.display())))?;
        let child = workload::process::start(&program.to_string_lossy(), |command| {
            command.args(["run", "--config"]).arg(&self.config);
            command.args([
                "--listen",
                &self.listen.to_string(),
                "--log",
                "info,quality_officer=debug,quality_sources=debug",
            ]);
            if let Some(namespace) = &self.options.namespace {
                command.args(["--namespace", namespace]);
            }
            if self.options.leader_elect {
                command.arg("--leader-elect");
            }
            command
                .env("KUBECONFIG", &self.kubeconfig)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(output);
        })?;
        self.child = Some(child);
        Ok(())
    }

    fn answers(&self, path: &str) -> bool {
        self.get(path).is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// The answer of one of its endpoints, headers and all.
    pub fn get(&self, path: &str) -> Option<String> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect_timeout(&self.listen, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// The sum of one of its own counters over all labels.
    pub fn counter(&self, name: &str) -> f64 {
        let text = self.get("/metrics").unwrap_or_default();
        let of_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        text.lines()
            .filter(of_it)
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Its resident memory, bytes: the program's own pages among it.
    pub fn memory(&self) -> Option<u64> {
        self.status("VmRSS:")
    }

    /// The resident memory that it allocated, bytes.
    pub fn allocated(&self) -> Option<u64> {
        self.status("RssAnon:")
    }

    /// How many files and sockets it has open.
    pub fn files(&self) -> Option<usize> {
        let id = self.child.as_ref()?.id();
        std::fs::read_dir(format!("/proc/{id}/fd")).ok().map(Iterator::count)
    }

    /// A line of its status, in bytes.
    fn status(&self, field: &str) -> Option<u64> {
        let id = self.child.as_ref()?.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim()
            .split(' ')
            .next()?
            .parse::<u64>()
            .ok()
            .map(|kib| kib * 1_024)
    }

    /// Ends it without a chance to say goodbye.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether its process has not ended.
    pub fn is_running(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| child.try_wait().is_ok_and(|exited| exited.is_none()))
    }

    /// Where its endpoints are, `host:port`.
    pub fn address(&self) -> String {
        self.listen.to_string()
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it again after [`Operator::kill`]. Blocks.
    pub fn restart(&mut self) -> Result<(), StageError> {
        self.kill();
        self.run()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            workload::process::stop(child, Duration::from_secs(5));
        }
    }
}

fn free_address() -> Result<SocketAddr, StageError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(StageError::io("find a free port"))?;
    listener.local_addr().map_err(StageError::io("find a free port"))
}
