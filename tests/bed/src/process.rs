//! Child processes that end when this process does, however it ends.
//!
//! Every child is started through `setpriv --pdeathsig KILL`, so that the kernel kills it when its parent is gone,
//! `kill -9` included. The kernel takes the parent to be the *thread* that started the child, so one thread that
//! lives as long as the process starts them all.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How often a wait looks again.
pub const POLL: Duration = Duration::from_millis(25);
/// How many lines of a log an error shows.
const TAIL_LINES: usize = 20;

/// Why a child process could not be started, or is gone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("could not start {name} (`setpriv` of util-linux must be on the PATH)")]
    Spawn {
        /// Which one.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Its log could not be created.
    #[error("could not create the log {}", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended by itself.
    #[error("{name} ended by itself ({status}); the last lines of its log:\n{tail}")]
    Ended {
        /// Which one.
        name: String,
        /// How.
        status: ExitStatus,
        /// The end of its log.
        tail: String,
    },
}

/// Which process group a child belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// One of its own: the terminal's Ctrl-C does not reach it, and it can be killed with its children.
    Own,
    /// This process's: it may read the terminal.
    Shared,
}

/// A command whose process is killed by the kernel when this one ends.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts the command from the thread that starts all children.
pub fn spawn(mut command: Command, group: Group) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    if group == Group::Own {
        command.process_group(0);
    }
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // Who asked waits for the answer, so it is there to take it.
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, outcome) = mpsc::channel();
    let gone = |_| io::Error::other("the thread that starts processes is gone");
    spawner.send((command, answer)).map_err(|_| gone(mpsc::RecvError))?;
    outcome.recv().map_err(gone)?
}

/// Kills the child and everything in its process group, and waits for it.
pub fn kill_group(child: &mut Child) {
    signal_group(child, Signal::KILL);
    // Already waited for, or not ours: nothing is left to do either way.
    let _ = child.wait();
}

/// Signals the process group that the child leads; one that is gone already is no error.
pub fn signal_group(child: &Child, signal: Signal) {
    if let Some(pid) = pid_of(child) {
        let _ = kill_process_group(pid, signal);
    }
}

/// Signals the child alone; one that is gone already is no error.
pub fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = pid_of(child) {
        let _ = kill_process(pid, signal);
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

/// A server in the background, with its output in a log file. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; its log is `<logs>/<name>.log`, appended to when it is there.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        logs: &Path,
    ) -> Result<Self, Error> {
        let mut order = command(program);
        order.args(arguments);
        Self::run(name, order, logs)
    }

    /// Starts a command that [`command`] made, which may have an environment of its own.
    pub fn run(name: &str, mut order: Command, logs: &Path) -> Result<Self, Error> {
        let log = logs.join(format!("{name}.log"));
        let open = || {
            let output = File::options().create(true).append(true).open(&log)?;
            Ok((output.try_clone()?, output))
        };
        let (output, errors) = open().map_err(|source| Error::Log {
            path: log.clone(),
            source,
        })?;
        order.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = spawn(order, Group::Own).map_err(|source| Error::Spawn {
            name: name.to_owned(),
            source,
        })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// The name it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of its log when it has ended.
    pub fn check_alive(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(Error::Ended {
                name: self.name.clone(),
                status,
                tail: self.log_tail(),
            }),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// The last lines of its log, indented.
    pub fn log_tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        let first = lines.len().saturating_sub(TAIL_LINES);
        let tail: Vec<_> = lines[first..].iter().map(|line| format!("    {line}")).collect();
        tail.join("\n")
    }

    /// Asks it to end, and does not wait.
    pub fn ask_to_end(&self) {
        signal(&self.child, Signal::TERM);
    }

    /// Waits until it has ended, and kills it when that takes longer than `grace`.
    pub fn wait_to_end(&mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(POLL),
                Ok(Some(_)) | Err(_) => break,
            }
        }
        self.kill();
    }

    /// Kills it at once, with its children, and waits for it.
    pub fn kill(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_group(&mut self.child);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_is_gone_and_a_dead_one_shows_its_log() {
        let logs = tempfile::tempdir().unwrap();
        let process = Process::start("sleeper", Path::new("sleep"), ["60"], logs.path()).unwrap();
        let proc_entry = PathBuf::from(format!("/proc/{}", process.id()));
        assert!(proc_entry.exists());
        drop(process);
        assert!(!proc_entry.exists());

        let script = ["-c", "seq 100; echo the end >&2; exit 3"];
        let mut failing = Process::start("failing", Path::new("sh"), script, logs.path()).unwrap();
        let error = loop {
            match failing.check_alive() {
                Ok(()) => thread::sleep(POLL),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("failing ended by itself (exit status: 3)"), "{error}");
        assert!(
            error.contains("    100\n    the end") && !error.contains("    80\n"),
            "{error}"
        );
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let logs = tempfile::tempdir().unwrap();
        let folder = logs.path().to_owned();
        let asking = thread::spawn(move || Process::start("sleeper", Path::new("sleep"), ["60"], &folder));
        let mut process = asking.join().unwrap().unwrap();
        thread::sleep(Duration::from_millis(200));
        process.check_alive().unwrap();
    }

    #[test]
    fn a_process_that_ignores_the_request_to_end_is_killed_after_its_grace() {
        let logs = tempfile::tempdir().unwrap();
        let script = ["-c", "trap '' TERM; echo ready; while true; do sleep 0.05; done"];
        let mut stubborn = Process::start("stubborn", Path::new("sh"), script, logs.path()).unwrap();
        while !stubborn.log_tail().contains("ready") {
            thread::sleep(POLL);
        }
        stubborn.ask_to_end();
        stubborn.wait_to_end(Duration::from_millis(200));
        assert!(stubborn.check_alive().is_err());
    }
}
