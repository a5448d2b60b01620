//! etcd, kube-apiserver, kube-controller-manager, kube-scheduler and KWOK, started together and stopped in order.

mod arguments;
mod files;
mod objects;

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use arguments::Ports;
use files::Files;
pub use objects::KWOK_NODE;

use crate::interrupt::Interrupt;
use crate::port;
use crate::process::{self, POLL, Process};
use crate::programs::Programs;
use crate::rest::{self, Rest};
use crate::work_folder::{self, WorkFolder};

/// Usually some 6 s; a busy machine takes longer.
const READY_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a server may take to end. Its data is thrown away, so nothing is lost when it is killed then.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its folder could not be filled.
    #[error(transparent)]
    WorkFolder(#[from] work_folder::Error),
    /// Its certificates or configuration could not be written.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// No port is free.
    #[error(transparent)]
    Port(#[from] port::Error),
    /// A server could not be started, or ended by itself.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// An object that belongs to the bed could not be created.
    #[error("could not set up the cluster")]
    SetUp(#[from] rest::Error),
    /// Something was not ready in time.
    #[error("{what} was not there within {} s; the last lines of the log of {name}:\n{tail}", READY_TIMEOUT.as_secs())]
    NotReady {
        /// What was waited for.
        what: &'static str,
        /// Which server should have done it.
        name: &'static str,
        /// The end of its log.
        tail: String,
    },
    /// The user asked to stop.
    #[error("interrupted while the control plane started")]
    Interrupted,
}

const ETCD: &str = "etcd";
const API_SERVER: &str = "kube-apiserver";
const CONTROLLERS: &str = "kube-controller-manager";
const SCHEDULER: &str = "kube-scheduler";
const KWOK: &str = "kwok";

/// A running control plane. Dropping it kills it.
#[derive(Debug)]
pub struct ControlPlane {
    /// In the order in which they were started.
    processes: Vec<Process>,
    files: Files,
    api_server: String,
    with_kwok: bool,
}

impl ControlPlane {
    /// Starts all servers; ready for pods when this returns.
    pub fn start(work: &WorkFolder, programs: &Programs, interrupt: &Interrupt) -> Result<Self, Error> {
        let ports = Ports {
            etcd: port::free()?,
            etcd_peers: port::free()?,
            api_server: port::free()?,
            controllers: port::free()?,
            scheduler: port::free()?,
            kwok: port::free()?,
        };
        let api_server = format!("https://127.0.0.1:{}", ports.api_server);
        let files = Files::write(work, &api_server)?;
        let logs = work.folder("logs")?;
        let (authority, administrator) = &files.administrator;
        let rest = Rest::with_identity(authority, administrator)?;
        let mut starting = Starting {
            processes: Vec::new(),
            logs: &logs,
            programs,
            interrupt,
            deadline: Instant::now() + READY_TIMEOUT,
        };

        starting.start(ETCD, &arguments::etcd(&work.path().join("etcd"), ports))?;
        starting.start(API_SERVER, &arguments::api_server(&files, ports))?;
        let ready = format!("{api_server}/readyz");
        starting.wait("its readiness", API_SERVER, || rest.is_ok(&ready))?;

        if programs.kwok.is_some() {
            for (collection, object) in objects::for_kwok() {
                rest.create(&format!("{api_server}{collection}"), &object)?;
            }
            starting.start(KWOK, &arguments::kwok(&files, ports, objects::KWOK_ANNOTATION))?;
        }
        starting.start(CONTROLLERS, &arguments::controller_manager(&files, ports))?;
        starting.start(SCHEDULER, &arguments::scheduler(&files, ports))?;

        let healthy = format!("https://127.0.0.1:{}/healthz", ports.controllers);
        starting.wait("its health", CONTROLLERS, || rest.is_ok(&healthy))?;
        let account = format!("{api_server}/api/v1/namespaces/default/serviceaccounts/default");
        starting.wait("the default ServiceAccount", CONTROLLERS, || rest.is_ok(&account))?;
        let ready = format!("https://127.0.0.1:{}/readyz", ports.scheduler);
        starting.wait("its readiness", SCHEDULER, || rest.is_ok(&ready))?;
        if programs.kwok.is_some() {
            let node = format!("{api_server}/api/v1/nodes/{KWOK_NODE}");
            let is_ready = || rest.get(&node).is_ok_and(|node| objects::is_node_ready(&node));
            starting.wait("a Ready node", KWOK, is_ready)?;
        }
        let processes = starting.processes;
        Ok(Self {
            processes,
            files,
            api_server,
            with_kwok: programs.kwok.is_some(),
        })
    }

    /// The API server's URL.
    pub fn api_server(&self) -> &str {
        &self.api_server
    }

    /// An administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.files.admin
    }

    /// The certificate that the API server's is signed by.
    pub fn certificate_authority(&self) -> &Path {
        &self.files.authority.certificate
    }

    /// The API server's audit log.
    pub fn audit_log(&self) -> &Path {
        &self.files.audit_log
    }

    /// The fake node, if there is one.
    pub fn kwok_node(&self) -> Option<&'static str> {
        self.with_kwok.then_some(KWOK_NODE)
    }

    /// Each server's process id.
    pub fn ids(&self) -> BTreeMap<String, u32> {
        self.processes
            .iter()
            .map(|process| (process.name().to_owned(), process.id()))
            .collect()
    }

    /// Its servers, for the bed to watch.
    pub fn processes(&mut self) -> &mut [Process] {
        &mut self.processes
    }

    /// Stops the servers, clients first: the API server, and last its store, end when nobody uses them.
    pub fn stop(self) {
        let is_client = |process: &Process| process.name() != ETCD && process.name() != API_SERVER;
        for process in self.processes.iter().filter(|process| is_client(process)) {
            process.ask_to_end();
        }
        for mut process in self.processes.into_iter().rev() {
            process.ask_to_end();
            process.wait_to_end(STOP_GRACE);
        }
    }
}

/// A control plane whose servers are being started.
struct Starting<'a> {
    processes: Vec<Process>,
    logs: &'a Path,
    programs: &'a Programs,
    interrupt: &'a Interrupt,
    deadline: Instant,
}

impl Starting<'_> {
    fn start(&mut self, name: &str, arguments: &[String]) -> Result<(), Error> {
        let program = self.programs.folder.join(name);
        self.processes
            .push(Process::start(name, &program, arguments, self.logs)?);
        Ok(())
    }

    /// Waits for something that the named server does.
    fn wait(&mut self, what: &'static str, name: &'static str, ready: impl Fn() -> bool) -> Result<(), Error> {
        while !ready() {
            if self.interrupt.signal().is_some() {
                return Err(Error::Interrupted);
            }
            for process in &mut self.processes {
                process.check_alive()?;
            }
            if Instant::now() > self.deadline {
                let culprit = self.processes.iter().find(|process| process.name() == name);
                return Err(Error::NotReady {
                    what,
                    name,
                    tail: culprit.map(Process::log_tail).unwrap_or_default(),
                });
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}
