//! Reads the Prometheus text format: enough to compare a page with what a client saw.

use std::collections::BTreeMap;

/// Why a page cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ExpositionError {
    /// A line is not a sample.
    #[error("line {number}: {line:?} is not a sample")]
    Line {
        /// Counted from 1.
        number: usize,
        /// The line.
        line: String,
    },
}

/// One sample of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// All samples of a page, in its order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exposition {
    samples: Vec<Sample>,
}

impl Exposition {
    /// Parses a page; comments, HELP and TYPE are skipped.
    pub fn parse(text: &str) -> Result<Self, ExpositionError> {
        let samples = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
            .map(|(index, line)| {
                parse_sample(line).ok_or_else(|| ExpositionError::Line {
                    number: index + 1,
                    line: line.to_owned(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { samples })
    }

    /// The samples of one name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// Sum over the samples of a name that carry all `labels`.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// Cumulative counts by upper edge of a histogram, summed over the series that carry all `labels`.
    #[must_use]
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let bucket = format!("{name}_bucket");
        let mut counts: Vec<(f64, f64)> = Vec::new();
        for sample in self.matching(&bucket, labels) {
            let Some(edge) = sample.labels.get("le").and_then(|edge| number(edge)) else {
                continue;
            };
            match counts.iter_mut().find(|(known, _)| known.total_cmp(&edge).is_eq()) {
                Some((_, count)) => *count += sample.value,
                None => counts.push((edge, sample.value)),
            }
        }
        counts.sort_by(|left, right| left.0.total_cmp(&right.0));
        counts
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        self.named(name).filter(move |sample| {
            labels
                .iter()
                .all(|(key, value)| sample.labels.get(*key).is_some_and(|known| known == value))
        })
    }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        other => other.parse().ok(),
    }
}

fn parse_sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(key.to_owned(), value);
            rest = after;
        }
    }
    // A time stamp or an exemplar may follow the value.
    let value = number(rest.split_whitespace().next()?)?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// The text up to the closing quote, unescaped, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::float_cmp, reason = "tests; counts are whole numbers")]
mod tests {
    use super::*;

    const PAGE: &str = r#"# HELP d Time.
# TYPE d histogram
d_sum{pod="a"} 1.5
d_count{pod="a"} 3
d_bucket{le="0.5",pod="a"} 2
d_bucket{le="+Inf",pod="a"} 3 1700000000
d_bucket{le="0.5",pod="b, \"}\""} 5
d_bucket{le="+Inf",pod="b, \"}\""} 5
up 1
# EOF
"#;

    #[test]
    fn histograms_are_summed_over_series_and_sorted_by_edge() {
        let page = Exposition::parse(PAGE).unwrap();
        assert_eq!(page.histogram("d", &[]), [(0.5, 7.0), (f64::INFINITY, 8.0)]);
        assert_eq!(page.histogram("d", &[("pod", "a")]), [(0.5, 2.0), (f64::INFINITY, 3.0)]);
        assert_eq!(page.sum("d_count", &[]), 3.0);
        assert_eq!(page.sum("up", &[]), 1.0);
    }

    #[test]
    fn label_values_may_hold_any_character() {
        let page = Exposition::parse(PAGE).unwrap();
        assert!(page.named("d_bucket").any(|sample| sample.labels["pod"] == "b, \"}\""));
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = Exposition::parse("up 1\nup{x=\"1} 2").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
