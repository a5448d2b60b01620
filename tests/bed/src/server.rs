//! A server on a free port of 127.0.0.1, with a temporary folder of its own for data and log.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::port;
use crate::process::{self, POLL, Process};
use crate::rest::Rest;

const READY_TIMEOUT: Duration = Duration::from_mins(2);

/// Why a server is not there.
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
    #[error("{name} was not ready within {} s; the last lines of its log:\n{tail}", READY_TIMEOUT.as_secs())]
    NotReady {
        /// Which one.
        name: &'static str,
        /// The end of its log.
        tail: String,
    },
}

impl Error {
    /// What makes the error of a failed action on a path.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// A running server. Dropping it kills it and removes its folder; the kernel kills it with this process.
#[derive(Debug)]
pub struct Server {
    // Dropped in this order: the folder last.
    process: Process,
    name: &'static str,
    port: u16,
    folder: TempDir,
}

impl Server {
    /// Starts the command that `order` makes of the server's folder and port, and does not wait for it.
    /// The folder is made in `parent`.
    pub fn launch<E: From<Error>>(
        name: &'static str,
        parent: &Path,
        order: impl FnOnce(&Path, u16) -> Result<Command, E>,
    ) -> Result<Self, E> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(parent)
            .map_err(Error::io("create a folder in", parent))?;
        let port = port::free().map_err(Error::from)?;
        let order = order(folder.path(), port)?;
        let process = Process::run(name, order, folder.path()).map_err(Error::from)?;
        Ok(Self {
            process,
            name,
            port,
            folder,
        })
    }

    /// Waits until the path (`/health`) answers with a status of 2xx.
    pub fn wait_until_ready(&mut self, path: &str) -> Result<(), Error> {
        let url = format!("{}{path}", self.url());
        let client = Rest::plain();
        let deadline = Instant::now() + READY_TIMEOUT;
        while !client.is_ok(&url) {
            self.process.check_alive()?;
            if Instant::now() > deadline {
                return Err(Error::NotReady {
                    name: self.name,
                    tail: self.process.log_tail(),
                });
            }
            thread::sleep(POLL);
        }
        // Another program may have taken the port first, and answer in its place.
        Ok(self.process.check_alive()?)
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process, for the bed to watch.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
