//! Guards that turn bad numbers into typed errors before any arithmetic sees them.

use super::StatsError;

/// Beyond it squares and sums of a series would overflow.
const LARGEST_VALUE: f64 = 1e100;
/// Beyond it counts are not exact, and no service gets there.
const LARGEST_COUNT: f64 = 9_007_199_254_740_992.0;

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
        return Err(StatsError::Negative { what, value });
    }
    if value > LARGEST_COUNT {
        return Err(StatsError::OutOfRange {
            what,
            value,
            range: "[0, 2^53]",
        });
    }
    Ok(value)
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

/// A design effect: at least 1, and not beyond anything that counts can show.
pub(super) fn design_effect(value: f64) -> Result<f64, StatsError> {
    between("design effect", value, 1.0, 1e9, "[1, 1e9]")
}

/// A finite number in the closed range from `low` to `high`, which `range` names.
pub(super) fn between(
    what: &'static str,
    value: f64,
    low: f64,
    high: f64,
    range: &'static str,
) -> Result<f64, StatsError> {
    let value = finite(what, value)?;
    if (low..=high).contains(&value) {
        Ok(value)
    } else {
        Err(StatsError::OutOfRange { what, value, range })
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

/// A series without NaN or infinite values, of at least `needed`.
pub(super) fn series(what: &'static str, values: &[f64], needed: u64) -> Result<(), StatsError> {
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(StatsError::NotFinite { what, index });
    }
    if let Some(&value) = values.iter().find(|value| value.abs() > LARGEST_VALUE) {
        return Err(StatsError::OutOfRange {
            what,
            value,
            range: "[-1e100, 1e100]",
        });
    }
    if values.is_empty() && needed > 0 {
        return Err(StatsError::Empty { what });
    }
    let n = values.len() as u64;
    if n < needed {
        Err(StatsError::TooFew { what, n, needed })
    } else {
        Ok(())
    }
}

/// Two series of which the values belong together.
pub(super) fn same_length(what: &'static str, left: &[f64], right: &[f64]) -> Result<(), StatsError> {
    if left.len() == right.len() {
        Ok(())
    } else {
        Err(StatsError::LengthMismatch {
            what,
            left: left.len(),
            right: right.len(),
        })
    }
}
