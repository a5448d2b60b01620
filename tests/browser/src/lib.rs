//! A headless Chromium, driven over its `DevTools` protocol, and the records that report pages are made from.

mod chromium;
pub mod records;

pub use chromium::{Chromium, Tab, Theme};

/// What a page is checked for, as a script that returns a list of problems.
pub const CHECKS: &str = include_str!("checks.js");

/// What a reader who has no browser installed is told.
pub const MISSING: &str = "no Chromium was found (chromium, chromium-browser or google-chrome on the PATH, or the variable \
                           CHROMIUM); Debian: apt install chromium";

/// Why the browser could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// A file or process.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The connection.
    #[error("the connection to the browser: {0}")]
    Connection(#[from] Box<tungstenite::Error>),
    /// The browser answered with an error, or not in time.
    #[error("the browser: {0}")]
    Answer(String),
    /// A file of records is none.
    #[error("{file}: {source}")]
    Records {
        /// The file.
        file: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl BrowserError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
