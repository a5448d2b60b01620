//! Ctrl-C and its kin, as a flag that every loop of the bed looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Says whether the bed was asked to stop. The default one never is.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// One that is raised by SIGINT, SIGTERM and SIGHUP, which no longer end the process by themselves.
    pub fn on_signals() -> std::io::Result<Self> {
        let interrupt = Self::default();
        for (signal, number) in [(SIGINT, 2), (SIGTERM, 15), (SIGHUP, 1)] {
            signal_hook::flag::register_usize(signal, interrupt.0.clone(), number)?;
        }
        Ok(interrupt)
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            number => i32::try_from(number).ok(),
        }
    }

    /// The exit code of a program that was asked to stop: 128 + the signal's number, as shells count.
    pub fn exit_code(&self) -> Option<u8> {
        self.signal().and_then(|number| u8::try_from(128 + number).ok())
    }
}
