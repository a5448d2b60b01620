//! When requests are due: evenly, as a Poisson process, or as a recorded trace.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use jiff::civil::DateTime;
use rand::SeedableRng;
use rand_distr::{Distribution, Exp1};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Failures of reading a trace.
#[derive(Debug, thiserror::Error)]
pub enum ArrivalsError {
    /// The kind is not known.
    #[error("{0:?} is not constant, poisson or trace:FILE[:SPEED]")]
    Kind(String),
    /// The file cannot be read.
    #[error("reading {path}: {source}")]
    Read {
        /// The trace.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A line is not as expected.
    #[error("line {number} of the trace: {reason}")]
    Line {
        /// Counted from 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
    /// There is nothing to replay.
    #[error("a trace needs two arrivals at different times")]
    Empty,
    /// The rate or speed is not positive.
    #[error("rate and speed must be positive")]
    Rate,
}

/// The kind of arrivals, as given on the command line.
#[derive(Debug, Clone, PartialEq)]
pub enum ArrivalsKind {
    /// Evenly spaced.
    Constant,
    /// Exponential gaps.
    Poisson,
    /// As recorded.
    Trace {
        /// A CSV file with a column `TIMESTAMP`.
        path: PathBuf,
        /// How much faster than recorded; without it, as fast as the rate needs.
        speed: Option<f64>,
    },
}

impl FromStr for ArrivalsKind {
    type Err = ArrivalsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "constant" => Ok(Self::Constant),
            None if text == "poisson" => Ok(Self::Poisson),
            Some(("trace", rest)) if !rest.is_empty() => {
                let with_speed = rest
                    .rsplit_once(':')
                    .and_then(|(path, speed)| Some((path, speed.parse().ok()?)));
                Ok(match with_speed {
                    Some((path, speed)) => Self::Trace {
                        path: path.into(),
                        speed: Some(speed),
                    },
                    None => Self::Trace {
                        path: rest.into(),
                        speed: None,
                    },
                })
            }
            _ => Err(ArrivalsError::Kind(text.to_owned())),
        }
    }
}

impl fmt::Display for ArrivalsKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => write!(formatter, "constant"),
            Self::Poisson => write!(formatter, "poisson"),
            Self::Trace { path, speed: None } => write!(formatter, "trace:{}", path.display()),
            Self::Trace {
                path,
                speed: Some(speed),
            } => write!(formatter, "trace:{}:{speed}", path.display()),
        }
    }
}

/// An endless, never decreasing sequence of due times in seconds from the start.
#[derive(Debug)]
pub enum Arrivals {
    /// Evenly spaced.
    Constant {
        /// Requests per second.
        rate: f64,
        /// Index of the next one.
        next: u64,
    },
    /// Exponential gaps.
    Poisson {
        /// Requests per second.
        rate: f64,
        /// Due time of the last one.
        last: f64,
        /// Source of the gaps.
        random: Xoshiro256PlusPlus,
    },
    /// As recorded, over and over.
    Trace(TraceArrivals),
}

impl Arrivals {
    /// Arrivals of a kind at a mean rate.
    pub fn new(kind: &ArrivalsKind, rate: f64, seed: u64) -> Result<Self, ArrivalsError> {
        if rate.is_nan() || rate <= 0.0 {
            return Err(ArrivalsError::Rate);
        }
        Ok(match kind {
            ArrivalsKind::Constant => Self::Constant { rate, next: 1 },
            ArrivalsKind::Poisson => Self::Poisson {
                rate,
                last: 0.0,
                random: Xoshiro256PlusPlus::seed_from_u64(seed ^ 0xA22),
            },
            ArrivalsKind::Trace { path, speed } => Self::Trace(TraceArrivals::new(read_trace(path)?, rate, *speed)?),
        })
    }
}

impl Iterator for Arrivals {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        Some(match self {
            Self::Constant { rate, next } => {
                let due = *next as f64 / *rate;
                *next += 1;
                due
            }
            Self::Poisson { rate, last, random } => {
                let gap: f64 = Exp1.sample(random);
                *last += gap / *rate;
                *last
            }
            Self::Trace(trace) => trace.next_due(),
        })
    }
}

/// Replays a trace so that its shape stays and its mean rate is the wanted one.
///
/// The n-th request is due where the recorded cumulative count, interpolated linearly, reaches n / `multiply`.
#[derive(Debug)]
pub struct TraceArrivals {
    /// Recorded times in seconds, starting at 0, not decreasing.
    times: Vec<f64>,
    speed: f64,
    multiply: f64,
    next: u64,
}

impl TraceArrivals {
    /// A replay of recorded `times` (seconds from the first) at a mean `rate`.
    pub fn new(times: Vec<f64>, rate: f64, speed: Option<f64>) -> Result<Self, ArrivalsError> {
        let span = times.last().copied().unwrap_or(0.0);
        if times.len() < 2 || span <= 0.0 {
            return Err(ArrivalsError::Empty);
        }
        let recorded_rate = (times.len() - 1) as f64 / span;
        let speed = speed.unwrap_or(rate / recorded_rate);
        if speed.is_nan() || speed <= 0.0 {
            return Err(ArrivalsError::Rate);
        }
        Ok(Self {
            times,
            speed,
            multiply: rate / (recorded_rate * speed),
            next: 0,
        })
    }

    fn next_due(&mut self) -> f64 {
        let intervals = self.times.len() - 1;
        let position = self.next as f64 / self.multiply;
        self.next += 1;
        let lap = (position / intervals as f64).floor();
        let within = position - lap * intervals as f64;
        let index = (within as usize).min(intervals - 1);
        let (from, to) = (self.times[index], self.times[index + 1]);
        let recorded = from + (to - from) * (within - index as f64);
        (lap * self.times[intervals] + recorded) / self.speed
    }
}

/// Reads the column `TIMESTAMP` of a CSV file, as seconds from its first arrival.
pub fn read_trace(path: &Path) -> Result<Vec<f64>, ArrivalsError> {
    let text = fs::read_to_string(path).map_err(|source| ArrivalsError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse_trace(&text)
}

fn parse_trace(text: &str) -> Result<Vec<f64>, ArrivalsError> {
    let mut lines = text.lines().enumerate();
    let invalid = |index: usize, reason: &dyn std::fmt::Display| ArrivalsError::Line {
        number: index + 1,
        reason: reason.to_string(),
    };
    let (index, header) = lines.next().ok_or(ArrivalsError::Empty)?;
    let column = header
        .split(',')
        .position(|name| name.trim() == "TIMESTAMP")
        .ok_or_else(|| invalid(index, &"no column TIMESTAMP"))?;
    let mut times = Vec::new();
    for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let field = line
            .split(',')
            .nth(column)
            .ok_or_else(|| invalid(index, &"too few columns"))?;
        times.push(DateTime::from_str(field.trim()).map_err(|error| invalid(index, &error))?);
    }
    times.sort();
    let first = *times.first().ok_or(ArrivalsError::Empty)?;
    Ok(times
        .into_iter()
        .map(|time| time.duration_since(first).as_secs_f64())
        .collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_parsed_with_and_without_a_speed() {
        assert_eq!("constant".parse::<ArrivalsKind>().unwrap(), ArrivalsKind::Constant);
        let trace = |path: &str, speed| ArrivalsKind::Trace {
            path: path.into(),
            speed,
        };
        assert_eq!(
            "trace:/a/b.csv".parse::<ArrivalsKind>().unwrap(),
            trace("/a/b.csv", None)
        );
        assert_eq!(
            "trace:/a/b.csv:2.5".parse::<ArrivalsKind>().unwrap(),
            trace("/a/b.csv", Some(2.5))
        );
        for kind in [ArrivalsKind::Poisson, trace("/a", None), trace("/a", Some(2.5))] {
            assert_eq!(kind.to_string().parse::<ArrivalsKind>().unwrap(), kind);
        }
        assert!("trace:".parse::<ArrivalsKind>().is_err());
        assert!("bursty".parse::<ArrivalsKind>().is_err());
    }

    #[test]
    fn a_trace_is_read_by_its_header() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n\
                    2023-11-16 18:17:04.0319600,3180,8\n2023-11-16 18:18:03.9799600,110,27\n";
        let times = parse_trace(text).unwrap();
        assert_eq!(times.len(), 3);
        assert!(
            (times[1] - 0.052).abs() < 1e-9 && (times[2] - 60.0).abs() < 1e-9,
            "{times:?}"
        );
        assert!(matches!(
            parse_trace("TIMESTAMP\nnoon\n"),
            Err(ArrivalsError::Line { number: 2, .. })
        ));
        assert!(parse_trace("a,b\n").is_err());
    }

    #[test]
    fn every_kind_has_the_wanted_mean_rate() {
        let bursty: Vec<f64> = (0..400).map(|index| f64::from(index / 10) * 3.0).collect();
        let rate_of = |arrivals: Arrivals| 20_000.0 / arrivals.take(20_000).last().unwrap();
        assert!((rate_of(Arrivals::new(&ArrivalsKind::Constant, 200.0, 1).unwrap()) - 200.0).abs() < 1e-6);
        assert!((rate_of(Arrivals::new(&ArrivalsKind::Poisson, 200.0, 1).unwrap()) - 200.0).abs() < 5.0);
        for speed in [None, Some(1.0), Some(30.0)] {
            let trace = Arrivals::Trace(TraceArrivals::new(bursty.clone(), 200.0, speed).unwrap());
            assert!((rate_of(trace) - 200.0).abs() < 10.0, "speed {speed:?}");
        }
    }

    #[test]
    fn a_trace_keeps_its_shape_at_a_speed() {
        // A recorded burst of 2 requests a second for 5 s, then silence for 10 s.
        let mut times: Vec<f64> = (0..=10).map(|index| f64::from(index) * 0.5).collect();
        times.push(15.0);
        let replay = TraceArrivals::new(times, 200.0, Some(1.0)).unwrap();
        let first_lap: Vec<f64> = Arrivals::Trace(replay).take_while(|due| *due < 15.0).collect();
        let burst = first_lap.iter().filter(|due| **due < 5.0).count() as f64;
        assert!((burst / first_lap.len() as f64 - 10.0 / 11.0).abs() < 0.01);
    }

    #[test]
    fn an_unscaled_trace_is_replayed_exactly() {
        let times = vec![0.0, 0.5, 0.6, 3.0];
        let replay: Vec<f64> = Arrivals::Trace(TraceArrivals::new(times.clone(), 1.0, Some(1.0)).unwrap())
            .take(3)
            .collect();
        assert!(
            replay.iter().zip(&times).all(|(due, time)| (due - time).abs() < 1e-12),
            "{replay:?}"
        );
    }

    #[test]
    fn a_rate_must_be_positive() {
        assert!(matches!(
            Arrivals::new(&ArrivalsKind::Constant, 0.0, 1),
            Err(ArrivalsError::Rate)
        ));
        assert!(matches!(
            TraceArrivals::new(vec![1.0], 1.0, None),
            Err(ArrivalsError::Empty)
        ));
    }
}
