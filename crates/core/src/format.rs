//! How numbers are formatted: one place decides how many digits a reader gets.

use quality_stats::{Interval, proportion::clopper_pearson};

/// What is printed where nothing is known.
pub const UNKNOWN: &str = "—";

/// What somebody else wrote, for a message of ours: on one line, at most so many characters, and without those that are
/// not seen or turn the text around.
pub fn plain(text: &str, most: usize) -> String {
    let is_seen = |c: &char| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let mut plain = String::new();
    for (index, c) in text.chars().filter(is_seen).enumerate() {
        if index == most {
            plain.push('…');
            break;
        }
        plain.push(if c.is_control() { ' ' } else { c });
    }
    plain
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(hash: impl IntoIterator<Item = u8>) -> String {
    use std::fmt::Write;
    hash.into_iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Evidence as odds, two digits: `88,000 : 1`, `1 : 3`.
pub fn odds(log_evidence: f64) -> String {
    if log_evidence.is_nan() || log_evidence == f64::NEG_INFINITY {
        return "0 : 1".to_owned();
    }
    let magnitude = log_evidence.abs();
    // Beyond this the digits say nothing more, and exp would overflow.
    let number = if magnitude > 30.0 {
        "10,000,000,000,000".to_owned()
    } else {
        thousands(two_digits(magnitude.exp()))
    };
    let over = if magnitude > 30.0 { "over " } else { "" };
    if log_evidence >= 0.0 {
        format!("{over}{number} : 1")
    } else {
        format!("1 : {over}{number}")
    }
}

/// The order of magnitude of the number that [`odds`] prints; 0 where it is not against the release.
pub fn odds_magnitude(log_evidence: f64) -> i32 {
    if log_evidence.is_nan() || log_evidence <= 0.0 {
        return 0;
    }
    if log_evidence > 30.0 {
        return 13;
    }
    // By its digits: a logarithm of 1,000 may be a little under 3.
    let digits = format!("{:.0}", two_digits(log_evidence.exp())).len();
    i32::try_from(digits).unwrap_or(i32::MAX) - 1
}

fn two_digits(value: f64) -> f64 {
    if value < 100.0 {
        return value.round();
    }
    let unit = 10_f64.powf(value.log10().floor() - 1.0);
    (value / unit).round() * unit
}

/// A whole number with thousands separated: `7,412`.
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as a percentage: three digits under 1 %, one decimal above.
pub fn percent(share: f64) -> String {
    format!("{}%", percent_number(share))
}

fn percent_number(share: f64) -> String {
    let percent = share * 100.0;
    if percent.is_infinite() {
        return "∞".to_owned();
    }
    if percent < 0.995 {
        format!("{percent:.2}")
    } else {
        format!("{percent:.1}")
    }
}

/// Seconds as milliseconds: `463ms`; `∞` where the histogram cannot tell.
pub fn milliseconds(seconds: f64) -> String {
    if seconds.is_infinite() {
        "∞".to_owned()
    } else {
        format!("{:.0}ms", seconds * 1e3)
    }
}

/// Percentage points with their sign: `+13.2`, `−4.1`.
pub fn points(points: f64) -> String {
    let sign = if points < 0.0 { "−" } else { "+" };
    if points.is_infinite() {
        format!("{sign}∞")
    } else {
        format!("{sign}{:.1}", points.abs())
    }
}

/// A length of time for a column: `41s`, `2m`, `1h5m`.
pub fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..=119 => format!("{seconds}s"),
        seconds @ 120..=3_599 => format!("{}m", (seconds + 30) / 60),
        seconds => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// An interval in the unit that `print` writes: `2.7% to 3.5%`.
pub fn interval(interval: Interval, print: impl Fn(f64) -> String) -> String {
    format!("{} to {}", print(interval.low), print(interval.high))
}

/// The Clopper–Pearson interval of so many successes, for a sentence: ` (CI95 29.2% to 100.0%)`; nothing without runs.
pub fn success_interval(successes: u64, runs: u64) -> String {
    clopper_pearson(successes as f64, runs as f64)
        .map(|estimate| {
            let share = |share: f64| format!("{:.1}%", share * 100.0);
            format!(" (CI95 {})", interval(estimate.ci95, share))
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_one_short_line_of_what_can_be_seen() {
        assert_eq!(plain("a\u{202e}b\nc\u{7f}\u{200b}d", 9), "ab c d");
        assert_eq!(plain("äöüß", 3), "äöü…");
        assert_eq!(plain("äöü", 3), "äöü");
    }

    #[test]
    fn odds_have_two_digits_and_say_which_side_they_are_on() {
        assert_eq!(odds(88_123_f64.ln()), "88,000 : 1");
        assert_eq!(odds(72_000_f64.ln()), "72,000 : 1");
        assert_eq!(odds((1.0_f64 / 3.0).ln()), "1 : 3");
        assert_eq!(odds(0.0), "1 : 1");
        assert_eq!(odds(f64::NEG_INFINITY), "0 : 1");
        assert_eq!(odds(700.0), "over 10,000,000,000,000 : 1");
        assert_eq!(odds(f64::NAN), "0 : 1");
    }

    #[test]
    fn the_magnitude_of_odds_is_that_of_the_number_that_is_printed() {
        for (odds, expected) in [
            (0.3, 0),
            (1.0, 0),
            (9.6, 1),
            (99.0, 1),
            (996.0, 3),
            (1_000.0, 3),
            (88_123.0, 4),
        ] {
            assert_eq!(odds_magnitude(f64::ln(odds)), expected, "{odds}");
        }
        assert_eq!([f64::NAN, f64::NEG_INFINITY, 700.0].map(odds_magnitude), [0, 0, 13]);
    }

    #[test]
    fn shares_spans_and_counts_fit_a_column() {
        assert_eq!(
            (
                percent(0.0012).as_str(),
                percent(0.031).as_str(),
                percent(0.01).as_str()
            ),
            ("0.12%", "3.1%", "1.0%")
        );
        assert_eq!(
            [span(41), span(119), span(150), span(3_900), span(-5)],
            ["41s", "119s", "3m", "1h5m", "0s"].map(String::from)
        );
        assert_eq!(
            [thousands(7_412.0), thousands(999.0), thousands(1e6)],
            ["7,412", "999", "1,000,000"].map(String::from)
        );
        assert_eq!(
            [milliseconds(0.463), milliseconds(f64::INFINITY)],
            ["463ms", "∞"].map(String::from)
        );
    }
}
