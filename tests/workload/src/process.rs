//! Child processes that never outlive their parent, and signals by process id.
//!
//! `setpriv --pdeathsig KILL` asks the kernel to kill the child when the *thread* that started it ends. All children
//! therefore start on one thread that lives as long as the process: then even `kill -9` of the parent ends them.

use std::{
    process::{Child, Command, ExitCode},
    sync::{OnceLock, mpsc},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

/// Failures of starting, signalling and waiting.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program could not be started.
    #[error("starting {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The thread that starts processes is gone.
    #[error("the thread that starts processes is gone")]
    NoSpawner,
    /// A signal could not be sent or awaited.
    #[error("signal: {0}")]
    Signal(#[from] std::io::Error),
}

type Job = Box<dyn FnOnce() + Send>;

fn spawner() -> &'static mpsc::Sender<Job> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        // Failing to start the thread drops `jobs`: the next send reports it.
        let _thread = std::thread::Builder::new().name("spawner".into()).spawn(move || {
            for job in jobs {
                job();
            }
        });
        sender
    })
}

fn on_spawner<R: Send + 'static>(job: impl FnOnce() -> R + Send + 'static) -> Result<R, ProcessError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    spawner()
        .send(Box::new(move || {
            // The caller waits below, so the receiver exists.
            let _ = sender.send(job());
        }))
        .map_err(|_| ProcessError::NoSpawner)?;
    receiver.recv().map_err(|_| ProcessError::NoSpawner)
}

fn bound_to_parent(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// Starts `program` so that it dies with this process; `prepare` adds arguments, environment and pipes.
pub fn start(program: &str, prepare: impl FnOnce(&mut Command)) -> Result<Child, ProcessError> {
    let mut command = bound_to_parent(program);
    prepare(&mut command);
    on_spawner(move || command.spawn())?.map_err(|source| ProcessError::Start {
        program: program.to_owned(),
        source,
    })
}

/// As [`start`], for a child that is awaited on the current tokio runtime.
pub fn start_async(program: &str, prepare: impl FnOnce(&mut Command)) -> Result<tokio::process::Child, ProcessError> {
    let mut command = bound_to_parent(program);
    prepare(&mut command);
    let runtime = tokio::runtime::Handle::current();
    on_spawner(move || {
        let _entered = runtime.enter();
        tokio::process::Command::from(command).kill_on_drop(true).spawn()
    })?
    .map_err(|source| ProcessError::Start {
        program: program.to_owned(),
        source,
    })
}

/// Sends SIGTERM to one process.
pub fn terminate(id: u32) -> Result<(), ProcessError> {
    send(id, Signal::TERM)
}

/// Kills one process, which cannot prevent it.
pub fn kill(id: u32) -> Result<(), ProcessError> {
    send(id, Signal::KILL)
}

/// Stops one process where it is, until [`resume`].
pub fn pause(id: u32) -> Result<(), ProcessError> {
    send(id, Signal::STOP)
}

/// Lets a process that was paused go on.
pub fn resume(id: u32) -> Result<(), ProcessError> {
    send(id, Signal::CONT)
}

fn send(id: u32, signal: Signal) -> Result<(), ProcessError> {
    let pid = i32::try_from(id)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("{id} is not a process id")))?;
    kill_process(pid, signal).map_err(|errno| ProcessError::Signal(errno.into()))
}

/// SIGTERM, then SIGKILL after `grace`; returns when the process is gone.
pub fn stop(child: &mut Child, grace: Duration) {
    if matches!(child.try_wait(), Ok(None)) && terminate(child.id()).is_ok() {
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    // Both fail only for a process that is gone already.
    let _ = child.kill();
    let _ = child.wait();
}

/// Completes at SIGTERM or Ctrl-C.
pub async fn shutdown_signal() -> Result<(), ProcessError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Logs to standard error, at `info` unless `RUST_LOG` says otherwise.
pub fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

/// The exit code of a main whose work ended in `result`; a failure is logged.
pub fn exit_code<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "ended");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it_and_stops_on_request() {
        let mut child = std::thread::spawn(|| {
            start("sleep", |command| {
                command.arg("600");
            })
        })
        .join()
        .unwrap()
        .unwrap();
        assert!(child.try_wait().unwrap().is_none());
        stop(&mut child, Duration::from_secs(5));
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn a_child_that_ignores_sigterm_is_killed_after_the_grace() {
        let mut child = start("sh", |command| {
            command.args(["-c", "trap '' TERM; while :; do sleep 0.05; done"]);
        })
        .unwrap();
        std::thread::sleep(Duration::from_millis(100));
        stop(&mut child, Duration::from_millis(100));
        assert!(child.try_wait().unwrap().is_some());
    }
}
