//! What is built once and kept in the user's cache folder: the folder, the turns that builders take, and a step of a
//! build with its progress on stderr.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::interrupt::Interrupt;
use crate::message::say;
use crate::process;

/// Why nothing can be built or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `XDG_CACHE_HOME` nor `HOME` says where to keep what is built.
    #[error("no place to keep what is built: set HOME or XDG_CACHE_HOME")]
    NoCacheFolder,
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
    /// The user asked to stop.
    #[error("interrupted while building {0}")]
    Interrupted(&'static str),
}

impl Error {
    /// What makes the error of a failed action on a path.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// What is built, for messages.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its release.
    pub version: &'static str,
}

/// Where everything that is built is kept, for this user.
pub fn folder() -> Result<PathBuf, Error> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("quality-officer/bed"))
        .ok_or(Error::NoCacheFolder)
}

/// Waits for its turn to build: two builders of one thing never run at once. The turn lasts as long as the value.
pub fn turn(label: Label, interrupt: &Interrupt) -> Result<File, Error> {
    let Label { name, version } = label;
    let cache = folder()?;
    std::fs::create_dir_all(&cache).map_err(Error::io("create", &cache))?;
    let path = cache.join(format!("{name}.lock"));
    let lock = File::create(&path).map_err(Error::io("create", &path))?;
    let mut told = false;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if interrupt.signal().is_some() => return Err(Error::Interrupted(name)),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    say(format_args!("{name} {version}: another process builds it; waiting"));
                    told = true;
                }
                thread::sleep(Duration::from_millis(200));
            }
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
        }
    }
}

/// How a step of a build ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to stderr.
    pub message: String,
}

/// Runs one step of a build to its end, and says every half minute that it is still at it. The user's interrupt ends
/// it with all that it started. The inner error: it could not be started.
pub fn step(label: Label, mut command: Command, interrupt: &Interrupt) -> Result<std::io::Result<Outcome>, Error> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = match process::spawn(command, process::Group::Own) {
        Ok(child) => child,
        Err(error) => return Ok(Err(error)),
    };
    let pipe = child.stderr.take();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            // A pipe that breaks half-way: what came so far is what there is to show.
            let _ = pipe.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let started = Instant::now();
    let mut told = 0;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => return Ok(Err(error)),
        }
        if interrupt.signal().is_some() {
            process::kill_group(&mut child);
            return Err(Error::Interrupted(label.name));
        }
        let half_minutes = started.elapsed().as_secs() / 30;
        if half_minutes > told {
            told = half_minutes;
            let Label { name, version } = label;
            say(format_args!("{name} {version}: building, {} s so far", told * 30));
        }
        thread::sleep(Duration::from_millis(100));
    };
    let message = reader.join().unwrap_or_default().trim_end().to_owned();
    Ok(Ok(Outcome { status, message }))
}

/// A short name for a digest: enough to tell the builds of one version apart.
pub fn short(digest: Sha256) -> String {
    let [a, b, c, d, ..]: [u8; 32] = digest.finalize().into();
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}
