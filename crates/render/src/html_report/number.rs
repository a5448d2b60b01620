//! Numbers of the page: read from a status, and written for a reader.

use quality_core::{format, history::decimal};

/// A decimal string of the history.
pub fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// A number as a reader writes it.
pub fn plain(value: f64) -> String {
    if value >= 1_000.0 {
        format::thousands(value)
    } else {
        decimal(value, 3)
    }
}
