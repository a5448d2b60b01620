//! `profiler_trace.json`: Chrome trace events as torch.profiler writes them, read as a stream. Nothing of the
//! file is kept but 24 bytes an event and each name once.

use std::{borrow::Cow, fmt, io::Read};

use serde::{
    Deserialize,
    de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use sha2::{Digest, Sha256};

use super::{FormatError, MAX_DEPTH, most_bytes};
use quality_core::{
    format::hexadecimal,
    quality::{
        evidence::{File, Loaded, Origin},
        trace::{Attribution, Builder, Event, TraceError},
    },
};

/// How the error of a trace that nests too deeply begins.
pub(super) const TOO_DEEP: &str = "nested too deeply";

/// Reads a trace: an object with `traceEvents`, or the bare list of events.
pub fn read_trace(reader: impl Read) -> Result<Loaded<Attribution>, FormatError> {
    let mut hashing = Hashing {
        inner: reader,
        hash: Sha256::new(),
        left: most_bytes(File::ProfilerTrace),
    };
    let mut builder = Builder::default();
    let mut failed = None;
    let buffered = std::io::BufReader::with_capacity(256 << 10, &mut hashing);
    let mut deserializer = serde_json::Deserializer::from_reader(buffered);
    let result = Top {
        builder: &mut builder,
        failed: &mut failed,
    }
    .deserialize(&mut deserializer)
    .and_then(|()| deserializer.end());
    if let Some(error) = failed {
        return Err(error.into());
    }
    match result {
        Err(error) if error.io_error_kind() == Some(std::io::ErrorKind::FileTooLarge) => {
            return Err(FormatError::TooLong(most_bytes(File::ProfilerTrace)));
        }
        other => other?,
    }
    drop(deserializer);
    let sha256 = hexadecimal(hashing.hash.finalize());
    Ok(Loaded {
        // The format has no place for an origin: the run whose artifact it is answers for it.
        origin: Origin::default(),
        sha256,
        data: builder.finish()?,
    })
}

struct Hashing<R> {
    inner: R,
    hash: Sha256,
    left: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(n as u64)
            .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::FileTooLarge))?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

struct Top<'a> {
    builder: &'a mut Builder,
    failed: &'a mut Option<TraceError>,
}

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a Chrome trace")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "traceEvents" {
                if found {
                    return Err(de::Error::custom("duplicate field `traceEvents`"));
                }
                found = true;
                map.next_value_seed(Events(Top {
                    builder: self.builder,
                    failed: self.failed,
                }))?;
            } else {
                map.next_value_seed(Skip(MAX_DEPTH - 1))?;
            }
        }
        if found {
            Ok(())
        } else {
            Err(de::Error::missing_field("traceEvents"))
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        Events(self).visit_seq(seq)
    }
}

struct Events<'a>(Top<'a>);

impl<'de> DeserializeSeed<'de> for Events<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Events<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of trace events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut thread = String::new();
        while let Some(event) = seq.next_element::<RawEvent>()? {
            if event.ph.as_deref() != Some("X") {
                continue;
            }
            let (Some(start), Some(duration)) = (event.ts, event.dur) else {
                continue;
            };
            thread.clear();
            for part in [&event.pid, &event.tid] {
                match part {
                    Id::Text(text) => thread.push_str(text.get(..64).unwrap_or(text)),
                    Id::Number(number) => thread.push_str(&number.to_string()),
                    Id::None => {}
                }
                thread.push('/');
            }
            let event = Event {
                name: event.name.as_deref().unwrap_or_default(),
                category: event.cat.as_deref().unwrap_or_default(),
                thread: &thread,
                start,
                duration,
            };
            if let Err(error) = self.0.builder.add(&event) {
                *self.0.failed = Some(error);
                return Err(de::Error::custom(error));
            }
        }
        Ok(())
    }
}

/// One event; serde refuses a field that is given twice.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RawEvent {
    ph: Option<String>,
    name: Option<String>,
    cat: Option<String>,
    ts: Option<f64>,
    dur: Option<f64>,
    pid: Id,
    tid: Id,
    #[serde(deserialize_with = "skip")]
    args: (),
}

/// Process and thread ids are numbers or texts.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Id {
    Number(i64),
    Text(String),
    #[default]
    None,
}

fn skip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    Skip(MAX_DEPTH - 3).deserialize(deserializer)
}

/// Reads past a value of at most so many levels.
struct Skip(usize);

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.0.checked_sub(1).ok_or_else(|| de::Error::custom(TOO_DEEP))?;
        while seq.next_element_seed(Skip(inner))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.0.checked_sub(1).ok_or_else(|| de::Error::custom(TOO_DEEP))?;
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Skip(inner))?;
        }
        Ok(())
    }
}
