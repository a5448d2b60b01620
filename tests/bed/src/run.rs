//! A command that runs on a bed: with the bed's environment, until it ends or the user stops it.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bed::Bed;
use crate::interrupt::Interrupt;
use crate::message::say;
use crate::process::{self, Group, POLL};

/// How long a command that was asked to stop may take.
const GRACE: Duration = Duration::from_secs(10);

/// The command could not be started.
#[derive(Debug, thiserror::Error)]
#[error("could not run {command}")]
pub struct Error {
    command: String,
    source: io::Error,
}

/// Runs the command and returns its exit code, as a shell counts it: 128 + n for one that signal n ended.
///
/// At a terminal the command shares it, so Ctrl-C reaches it directly and it may be a shell. Elsewhere it has a process
/// group of its own, so that it can be stopped with everything it started.
pub fn run(bed: &mut Bed, command: &[OsString], interrupt: &Interrupt) -> Result<u8, Error> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(0);
    };
    let group = if io::stdin().is_terminal() {
        Group::Shared
    } else {
        Group::Own
    };
    let mut order = process::command(program);
    order
        .args(arguments)
        .envs(bed.endpoints().environment())
        .env("PATH", path_with(bed));
    let failed = |source| Error {
        command: program.to_string_lossy().into_owned(),
        source,
    };
    let mut child = process::spawn(order, group).map_err(failed)?;
    let outcome = wait(&mut child, group, bed, interrupt).map_err(failed);
    if group == Group::Own {
        // What it left in the background.
        process::signal_group(&child, Signal::KILL);
    }
    Ok(exit_code(outcome?))
}

/// Waits until the user asks to stop, or a server ends by itself.
pub fn wait_for_interrupt(bed: &mut Bed, interrupt: &Interrupt) -> Result<(), process::Error> {
    while interrupt.signal().is_none() {
        bed.check_alive()?;
        thread::sleep(POLL);
    }
    Ok(())
}

fn path_with(bed: &Bed) -> OsString {
    let programs = bed.endpoints().programs.clone();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(programs.clone()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap_or_else(|_| programs.into_os_string())
}

fn wait(child: &mut Child, group: Group, bed: &mut Bed, interrupt: &Interrupt) -> io::Result<ExitStatus> {
    let mut told = false;
    let mut kill_at = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        match (interrupt.signal(), kill_at) {
            (Some(number), None) => {
                kill_at = Some(Instant::now() + GRACE);
                forward(child, group, number);
            }
            (_, Some(time)) if Instant::now() > time => {
                child.kill()?;
                return child.wait();
            }
            _ => {}
        }
        // The command may have killed a server on purpose: say it once, and let it go on.
        if !told && let Err(error) = bed.check_alive() {
            say(&error);
            told = true;
        }
        thread::sleep(POLL);
    }
}

/// Passes the user's signal on. A terminal's Ctrl-C has reached a command in our own group already.
fn forward(child: &Child, group: Group, number: i32) {
    let Some(signal) = Signal::from_named_raw(number) else {
        return;
    };
    match group {
        Group::Own => process::signal_group(child, signal),
        Group::Shared if signal == Signal::INT => {}
        Group::Shared => process::signal(child, signal),
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|number| 128 + number));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
