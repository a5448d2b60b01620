//! Decimals, percentages, durations and rates as strings with a pattern: the API holds no floats.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use quality_core::format;

/// The most digits of a span: as in its pattern.
const MAX_DIGITS: usize = 6;
/// The longest value that the schema lets through, characters.
const MAX_CHARACTERS: usize = 32;

/// Why a value of a spec is not usable. The schema's patterns refuse most of these at admission; a stored
/// object may still hold one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ValueError {
    text: String,
    expected: &'static str,
}

macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(#[schemars(regex(pattern = $pattern), length(max = 32))] String);

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl $name {
            /// The text as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            fn error(&self, expected: &'static str) -> ValueError {
                ValueError { text: format::plain(&self.0, MAX_CHARACTERS), expected }
            }
        }
    };
}

text_value!(
    /// A length of time: a whole number and one unit, `500ms`, `15s`, `30m`, `24h`, `7d`.
    Span, r"^[0-9]{1,6}(ms|s|m|h|d)$"
);
text_value!(
    /// A share of requests or of a capacity: `1%`, `0.5%`, `90%`.
    Percent, r"^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$"
);
text_value!(
    /// Requests per second: `100/s`.
    Rate, r"^[0-9]{1,7}(\.[0-9]{1,4})?/s$"
);
text_value!(
    /// A decimal number: `0.95`, `2`, `1.3`.
    Decimal, r"^[0-9]{1,6}(\.[0-9]{1,6})?$"
);

impl Span {
    /// The length in seconds, always positive.
    pub fn seconds(&self) -> Result<f64, ValueError> {
        let digits = self.0.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &self.0[digits.len()..] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(self.error("a duration like 15s, 500ms, 24h or 7d")),
        };
        match digits.parse::<u32>() {
            Ok(count) if count > 0 && digits.len() <= MAX_DIGITS => Ok(f64::from(count) * unit),
            _ => Err(self.error("a positive duration like 15s, 500ms, 24h or 7d")),
        }
    }
}

impl Percent {
    /// The share, 0 < share ≤ 1.
    pub fn share(&self) -> Result<f64, ValueError> {
        let number = self.0.strip_suffix('%').and_then(decimal);
        match number {
            Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
            _ => Err(self.error("a percentage over 0% and at most 100%")),
        }
    }

    /// The percentage as it is written, 0 to 100.
    pub fn percent(&self) -> Result<f64, ValueError> {
        match self.0.strip_suffix('%').and_then(decimal) {
            Some(percent) if percent <= 100.0 => Ok(percent),
            _ => Err(self.error("a percentage of at most 100%")),
        }
    }
}

impl Rate {
    /// Requests per second, always positive.
    pub fn per_second(&self) -> Result<f64, ValueError> {
        match self.0.strip_suffix("/s").and_then(decimal) {
            Some(rate) if rate > 0.0 => Ok(rate),
            _ => Err(self.error("a positive rate like 100/s")),
        }
    }
}

impl Decimal {
    /// The number, finite and not negative.
    pub fn value(&self) -> Result<f64, ValueError> {
        decimal(&self.0).ok_or_else(|| self.error("a decimal number like 0.95"))
    }
}

/// Digits with an optional fraction; no sign, exponent, `inf` or `nan`, which `f64::from_str` would take.
fn decimal(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain.then(|| text.parse::<f64>().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_whole_number_with_one_unit() {
        for (text, seconds) in [
            ("500ms", 0.5),
            ("15s", 15.0),
            ("30m", 1_800.0),
            ("24h", 86_400.0),
            ("7d", 604_800.0),
        ] {
            assert!((Span::from(text).seconds().unwrap() - seconds).abs() < 1e-9, "{text}");
        }
        for text in [
            "",
            "15",
            "s",
            "-15s",
            "1.5s",
            "0s",
            "1e9s",
            "15 s",
            "15sm",
            "∞s",
            "1000000d",
            "99999999999s",
        ] {
            assert!(Span::from(text).seconds().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_refused_is_quoted_only_in_part() {
        let message = Span::from("15s\n".repeat(10_000).as_str())
            .seconds()
            .unwrap_err()
            .to_string();
        assert!(message.len() < 120 && !message.contains('\n'), "{message}");
    }

    #[test]
    fn a_percentage_is_over_zero_and_at_most_one_hundred() {
        assert!((Percent::from("1%").share().unwrap() - 0.01).abs() < 1e-12);
        assert!((Percent::from("0.5%").share().unwrap() - 0.005).abs() < 1e-12);
        for text in ["0%", "101%", "-1%", "NaN%", "1", "1e2%", "inf%", "%"] {
            assert!(Percent::from(text).share().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_and_a_decimal_take_no_sign_exponent_or_word() {
        assert!((Rate::from("80/s").per_second().unwrap() - 80.0).abs() < 1e-12);
        assert!((Decimal::from("0.95").value().unwrap() - 0.95).abs() < 1e-12);
        for text in ["0/s", "-1/s", "80", "1e9/s", "nan/s"] {
            assert!(Rate::from(text).per_second().is_err(), "{text}");
        }
        for text in ["", "-1", "+1", "1e9", "nan", "inf", "1.2.3", "."] {
            assert!(Decimal::from(text).value().is_err(), "{text}");
        }
    }
}
