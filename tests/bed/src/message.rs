//! What the bed tells its user, on stderr.

use std::fmt::Display;
use std::io::Write;

/// Writes one message. The reader of stderr may be gone (`2>&1 | head`); a bed that panicked for that would not stop
/// its servers in order.
pub fn say(message: impl Display) {
    let _ = writeln!(std::io::stderr(), "bed: {message}");
}
