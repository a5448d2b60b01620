//! Guards that turn bad numbers into typed errors before any arithmetic sees them.

use super::StatsError;

pub(super) fn finite(what: &'static str, value: f64) -> Result<f64, StatsError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(StatsError::NotFinite { what, index: 0 })
    }
}

/// A finite number that is not negative (real-valued: `increase()` extrapolates).
pub(super) fn count(what: &'static str, value: f64) -> Result<f64, StatsError> {
    let value = finite(what, value)?;
    if value < 0.0 {
        Err(StatsError::Negative { what, value })
    } else {
        Ok(value)
    }
}

/// A finite number above zero.
pub(super) fn positive(what: &'static str, value: f64) -> Result<f64, StatsError> {
    let value = finite(what, value)?;
    if value > 0.0 {
        Ok(value)
    } else {
        Err(StatsError::OutOfRange {
            what,
            value,
            range: "(0, inf)",
        })
    }
}

/// A finite number strictly between 0 and 1.
pub(super) fn open_unit(what: &'static str, value: f64) -> Result<f64, StatsError> {
    let value = finite(what, value)?;
    if value > 0.0 && value < 1.0 {
        Ok(value)
    } else {
        Err(StatsError::OutOfRange {
            what,
            value,
            range: "(0, 1)",
        })
    }
}

/// A design effect: finite, at least 1.
pub(super) fn design_effect(value: f64) -> Result<f64, StatsError> {
    let value = finite("design effect", value)?;
    if value >= 1.0 {
        Ok(value)
    } else {
        Err(StatsError::OutOfRange {
            what: "design effect",
            value,
            range: "[1, inf)",
        })
    }
}

/// `part` of `whole`, both counts, the whole above zero.
pub(super) fn part_of(what: &'static str, part: f64, whole: f64) -> Result<(f64, f64), StatsError> {
    let whole = count(what, whole)?;
    let part = count(what, part)?;
    if whole == 0.0 {
        return Err(StatsError::Empty { what });
    }
    if part > whole {
        return Err(StatsError::OutOfRange {
            what,
            value: part,
            range: "[0, n]",
        });
    }
    Ok((part, whole))
}
