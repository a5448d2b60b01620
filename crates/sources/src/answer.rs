//! Reads an answer of the Prometheus query API as a stream: rows go to a callback one by one, nothing else
//! of the answer is kept. 240,000 series never become a tree of strings.

use std::{
    fmt,
    io::{self, BufReader, Read},
};

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// One series of an answer. The same buffers are filled for each row.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Label `namespace`.
    pub namespace: String,
    /// Label `pod`.
    pub pod: String,
    /// Label `le`.
    pub le: String,
    /// `(unix seconds, value)`: one for an instant query, several for a range.
    pub samples: Vec<(f64, f64)>,
}

impl Row {
    fn clear(&mut self) {
        self.namespace.clear();
        self.pod.clear();
        self.le.clear();
        self.samples.clear();
    }
}

/// What the answer said of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseStatus {
    /// `status` was `success`.
    pub success: bool,
    /// It came with warnings: parts of it may be missing.
    pub warnings: bool,
}

/// Prometheus answers a range query with at most 11,000 points a series.
const MAX_SAMPLES: usize = 11_000;
/// No string of an answer is longer: a label, a value. Bytes.
const MAX_STRING: usize = 64 << 10;

/// Fails within a JSON string that is too long, so that no parser ever holds more of it.
struct ShortStrings<R> {
    reader: R,
    /// The length of the string so far; none outside of strings.
    string: Option<usize>,
    escaped: bool,
}

impl<R: Read> Read for ShortStrings<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        for byte in buffer.iter().take(count) {
            self.string = match (self.string, *byte) {
                (None, b'"') => Some(0),
                (None, _) => None,
                (Some(_), b'"') if !self.escaped => None,
                (Some(MAX_STRING), _) => return Err(io::ErrorKind::InvalidData.into()),
                (Some(length), _) => Some(length + 1),
            };
            self.escaped = self.string.is_some() && *byte == b'\\' && !self.escaped;
        }
        Ok(count)
    }
}

/// Reads a whole answer. One with a string longer than [`MAX_STRING`] is none.
pub fn read(reader: impl Read, each: &mut dyn FnMut(&Row)) -> Result<ResponseStatus, serde_json::Error> {
    // The parser reads byte by byte.
    let reader = BufReader::with_capacity(
        64 << 10,
        ShortStrings {
            reader,
            string: None,
            escaped: false,
        },
    );
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let mut said = ResponseStatus::default();
    let mut row = Row::default();
    AnswerSeed {
        said: &mut said,
        row: &mut row,
        each,
    }
    .deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(said)
}

struct AnswerSeed<'a> {
    said: &'a mut ResponseStatus,
    row: &'a mut Row,
    each: &'a mut dyn FnMut(&Row),
}

impl<'de> DeserializeSeed<'de> for AnswerSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AnswerSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an answer of the Prometheus query API")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            match key {
                Word::Status => self.said.success = map.next_value::<String>()? == "success",
                Word::Warnings => {
                    self.said.warnings |= map
                        .next_value::<Option<Vec<IgnoredAny>>>()?
                        .is_some_and(|list| !list.is_empty());
                }
                Word::Data => map.next_value_seed(DataSeed {
                    row: self.row,
                    each: self.each,
                })?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct DataSeed<'a> {
    row: &'a mut Row,
    each: &'a mut dyn FnMut(&Row),
}

impl<'de> DeserializeSeed<'de> for DataSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for DataSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the data of a vector or matrix")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            if key == Word::Result {
                map.next_value_seed(RowsSeed {
                    row: self.row,
                    each: self.each,
                })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct RowsSeed<'a> {
    row: &'a mut Row,
    each: &'a mut dyn FnMut(&Row),
}

impl<'de> DeserializeSeed<'de> for RowsSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowsSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of series")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(RowSeed(self.row))?.is_some() {
            (self.each)(self.row);
        }
        Ok(())
    }
}

struct RowSeed<'a>(&'a mut Row);

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.clear();
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a series with its samples")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            match key {
                Word::Metric => map.next_value_seed(LabelsSeed(self.0))?,
                Word::Value => {
                    let sample = map.next_value::<Sample>()?;
                    self.0.samples.push((sample.0, sample.1));
                }
                Word::Values => map.next_value_seed(SamplesSeed(&mut self.0.samples))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct SamplesSeed<'a>(&'a mut Vec<(f64, f64)>);

impl<'de> DeserializeSeed<'de> for SamplesSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for SamplesSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at most {MAX_SAMPLES} samples")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(Sample(at, value)) = list.next_element()? {
            if self.0.len() == MAX_SAMPLES {
                return Err(de::Error::invalid_length(MAX_SAMPLES + 1, &self));
            }
            self.0.push((at, value));
        }
        Ok(())
    }
}

struct LabelsSeed<'a>(&'a mut Row);

impl<'de> DeserializeSeed<'de> for LabelsSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for LabelsSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            let buffer = match key {
                Word::Namespace => &mut self.0.namespace,
                Word::Pod => &mut self.0.pod,
                Word::Le => &mut self.0.le,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            map.next_value_seed(Text(buffer))?;
        }
        Ok(())
    }
}

/// The words that a reader of an answer looks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Status,
    Warnings,
    Data,
    Result,
    Metric,
    Value,
    Values,
    Namespace,
    Pod,
    Le,
    Other,
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Word;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Word, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Word;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
        Ok(match text {
            "status" => Word::Status,
            "warnings" => Word::Warnings,
            "data" => Word::Data,
            "result" => Word::Result,
            "metric" => Word::Metric,
            "value" => Word::Value,
            "values" => Word::Values,
            "namespace" => Word::Namespace,
            "pod" => Word::Pod,
            "le" => Word::Le,
            _ => Word::Other,
        })
    }
}

/// Fills a buffer that is there already.
struct Text<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a label's value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.0.push_str(text);
        Ok(())
    }
}

/// `[unix seconds, "value"]`.
struct Sample(f64, f64);

impl<'de> de::Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (at, value) = <(f64, Number)>::deserialize(deserializer)?;
        Ok(Self(at, value.0))
    }
}

struct Number(f64);

impl<'de> de::Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl Visitor<'_> for NumberVisitor {
            type Value = Number;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number in a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                number(text)
                    .map(Number)
                    .ok_or_else(|| E::custom("a sample is not a number"))
            }
        }
        deserializer.deserialize_str(NumberVisitor)
    }
}

/// A number as Prometheus writes it: `+Inf`, `-Inf` and `NaN` are words of their own.
pub fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        other => other.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<(ResponseStatus, Vec<Row>), serde_json::Error> {
        let mut rows = Vec::new();
        let said = read(text.as_bytes(), &mut |row| rows.push(row.clone()))?;
        Ok((said, rows))
    }

    #[test]
    fn a_vector_gives_its_rows_whatever_the_order_of_the_keys() {
        let (said, rows) = rows(
            r#"{"data":{"result":[{"value":[1.5,"7"],"metric":{"x":"y","pod":"p-1","namespace":"shop","le":"0.5"}},
                {"metric":{},"value":[2,"NaN"]}],"resultType":"vector"},"status":"success","infos":["hint"]}"#,
        )
        .unwrap();
        assert_eq!(
            said,
            ResponseStatus {
                success: true,
                warnings: false
            }
        );
        assert_eq!(
            (rows[0].namespace.as_str(), rows[0].pod.as_str(), rows[0].le.as_str()),
            ("shop", "p-1", "0.5")
        );
        assert_eq!(rows[0].samples, [(1.5, 7.0)]);
        assert!(rows[1].pod.is_empty() && rows[1].samples[0].1.is_nan());
    }

    #[test]
    fn a_matrix_gives_every_sample_and_warnings_are_seen() {
        let (said, rows) = rows(
            r#"{"status":"success","warnings":["partial"],"data":{"resultType":"matrix","result":[
                {"metric":{"pod":"p"},"values":[[1,"1"],[2,"+Inf"]]}]}}"#,
        )
        .unwrap();
        assert!(said.warnings);
        assert_eq!(rows[0].samples, [(1.0, 1.0), (2.0, f64::INFINITY)]);
    }

    #[test]
    fn a_string_that_is_too_long_is_an_error_wherever_it_stands() {
        let answer = |text: &str| {
            format!(
                r#"{{"status":"success","x":"{text}","data":{{"result":[{{"metric":{{"pod":"p"}},"value":[1,"1"]}}]}}}}"#
            )
        };
        let most = "\\\"".repeat(MAX_STRING / 2);
        assert_eq!(rows(&answer(&most)).unwrap().1[0].pod, "p");
        for long in [format!("{most}x"), "y".repeat(1 << 20)] {
            let error = rows(&answer(&long)).unwrap_err();
            assert_eq!(error.io_error_kind(), Some(io::ErrorKind::InvalidData));
        }
    }

    #[test]
    fn a_series_with_more_samples_than_a_source_sends_is_an_error() {
        let answer = |count: usize| {
            let samples = vec![r#"[1,"1"]"#; count].join(",");
            format!(r#"{{"status":"success","data":{{"result":[{{"metric":{{}},"values":[{samples}]}}]}}}}"#)
        };
        assert_eq!(rows(&answer(MAX_SAMPLES)).unwrap().1[0].samples.len(), MAX_SAMPLES);
        assert!(rows(&answer(MAX_SAMPLES + 1)).is_err());
    }

    #[test]
    fn what_is_no_answer_is_an_error_and_never_an_empty_success() {
        for text in [
            "",
            "<html><body>200 OK</body></html>",
            "[]",
            "null",
            r#"{"status":"success","data":{"result":[{"metric":{"pod":1},"value":[1,"1"]}]}}"#,
            r#"{"status":"success","data":{"result":[{"metric":{},"value":[1,"one"]}]}}"#,
            r#"{"status":"success","data":{"result":[{"metric":{},"value":[1,"1"]"#,
            r#"{"status":"success"} trailing"#,
        ] {
            assert!(rows(text).is_err(), "{text}");
        }
        assert!(
            !rows(r#"{"status":"error","errorType":"bad_data","error":"x"}"#)
                .unwrap()
                .0
                .success
        );
        let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let deep = format!("{{\"status\":\"success\",\"data\":{{\"result\":{nested}}}}}");
        assert!(rows(&deep).is_err());
        // What nobody reads is passed over without a call a level.
        assert!(!rows(&format!("{{\"x\":{nested}}}")).unwrap().0.success);
    }
}
