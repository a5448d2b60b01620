//! Replay of a recorded service: real arrivals and sizes, latency from tokens.

use rayon::prelude::*;

use super::rollout::{Outcome, Shift, baseline_effect, hourly_threshold, outcome};
use super::rules::{Rule, first_alarm};
use super::{BASELINE_BLOCKS, BLOCK, INTERVAL, LOOKS};
use quality_stats::quantile::rank_of;
use quality_stats::{Seed, StatsError};

/// Seconds of latency for each context token (time to first token) and each generated token.
const SECONDS_PER_TOKEN: [f64; 2] = [0.000_25, 0.03];

/// One recorded request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// Arrival, in seconds from the start.
    pub arrival: f64,
    /// Tokens of the prompt.
    pub context: f64,
    /// Tokens of the answer.
    pub generated: f64,
}

/// A recorded service cut into looks: the latencies, in seconds, of the requests that each look sees end.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    looks: Vec<Vec<f64>>,
    limit: f64,
}

/// How a request's latency follows from its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Every request runs at once.
    Unlimited,
    /// So many requests run at once; others wait for their turn.
    Slots(usize),
}

impl Trace {
    /// The trace that these requests, in order of arrival, make on this server.
    pub fn new(requests: &[Request], server: Server) -> Result<Self, StatsError> {
        let arrivals: Vec<f64> = requests.iter().map(|request| request.arrival).collect();
        finite("arrivals", &arrivals)?;
        if let Some(index) = arrivals.windows(2).position(|pair| pair[0] > pair[1]) {
            return Err(StatsError::NotMonotone {
                what: "arrivals",
                index: index + 1,
            });
        }
        let mut free = match server {
            Server::Unlimited => Vec::new(),
            Server::Slots(slots) => vec![f64::NEG_INFINITY; slots.max(1)],
        };
        let mut ends = Vec::with_capacity(requests.len());
        for request in requests {
            let service = SECONDS_PER_TOKEN[0] * request.context + SECONDS_PER_TOKEN[1] * request.generated;
            let first = free.iter_mut().min_by(|a, b| a.total_cmp(b));
            let start = first.as_ref().map_or(request.arrival, |free| free.max(request.arrival));
            if let Some(slot) = first {
                *slot = start + service;
            }
            ends.push((start + service, start + service - request.arrival));
        }
        let mut latencies: Vec<f64> = ends.iter().map(|end| end.1).collect();
        finite("latencies", &latencies)?;
        latencies.sort_unstable_by(f64::total_cmp);
        let limit = latencies[rank_of(latencies.len(), 0.95) - 1];
        // Only whole looks of the recording: while it begins and ends, too few requests end.
        let last = arrivals.last().copied().unwrap_or(0.0);
        let mut looks = vec![Vec::new(); (last / INTERVAL) as usize];
        for (end, latency) in ends {
            if let Some(look) = looks.get_mut((end / INTERVAL) as usize) {
                look.push(latency);
            }
        }
        Ok(Self { looks, limit })
    }

    /// P95 of all latencies, in seconds.
    pub fn p95(&self) -> f64 {
        self.limit
    }

    /// Looks of the recording.
    pub fn len(&self) -> usize {
        self.looks.len()
    }

    /// Whether the recording is shorter than a look.
    pub fn is_empty(&self) -> bool {
        self.looks.is_empty()
    }

    /// Variance over mean of the counts of the looks.
    pub fn dispersion(&self) -> f64 {
        let counts: Vec<f64> = self.looks.iter().map(|look| look.len() as f64).collect();
        let n = counts.len() as f64;
        let mean = counts.iter().sum::<f64>() / n;
        counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / (n - 1.0) / mean
    }

    /// (requests, requests slower than `limit`) of each look, when all take `factor` times as long.
    pub fn slow(&self, limit: f64, factor: f64) -> Vec<(f64, f64)> {
        let slower = |look: &Vec<f64>| look.iter().filter(|latency| **latency * factor > limit).count();
        self.looks
            .iter()
            .map(|look| (look.len() as f64, slower(look) as f64))
            .collect()
    }
}

/// An hour of the recorded service, block-resampled (5-minute blocks from anywhere in the recording), after
/// a baseline of six such hours; all requests `factor` times slower from the middle of the hour.
///
/// The limit of P95 is `margin` times the recording's own.
pub fn replay(trace: &Trace, margin: f64, factor: f64, rules: &[Rule], runs: u64) -> Result<Vec<Outcome>, StatsError> {
    if trace.len() < BLOCK {
        return Err(StatsError::TooFew {
            what: "looks",
            n: trace.len() as u64,
            needed: BLOCK as u64,
        });
    }
    let limit = margin * trace.p95();
    let (healthy, slow) = (trace.slow(limit, 1.0), trace.slow(limit, factor));
    let seed = Seed::new("replay", &format!("{margin} {factor} {}", trace.p95()));
    let threshold = hourly_threshold()?;
    let alarms: Vec<Vec<Option<usize>>> = (0..runs)
        .into_par_iter()
        .map(|run| {
            use rand::Rng;
            let mut rng = seed.generator(run);
            let mut draw = |looks: usize| -> Vec<usize> {
                let starts = (healthy.len() - BLOCK + 1) as u64;
                (0..looks / BLOCK)
                    .flat_map(|_| {
                        let start = (((rng.next_u64() >> 32) * starts) >> 32) as usize;
                        start..start + BLOCK
                    })
                    .collect()
            };
            let baseline: Vec<(f64, f64)> = draw(BASELINE_BLOCKS * BLOCK)
                .into_iter()
                .map(|look| healthy[look])
                .collect();
            let looks: Vec<(f64, f64)> = draw(LOOKS)
                .into_iter()
                .enumerate()
                .map(|(at, look)| if at < LOOKS / 2 { healthy[look] } else { slow[look] })
                .collect();
            let effect = baseline_effect(&baseline);
            rules
                .iter()
                .map(|&rule| first_alarm(rule, &looks, &baseline, 0.05, effect, threshold))
                .collect()
        })
        .collect::<Result<_, StatsError>>()?;
    let shift = if factor == 1.0 { Shift::None } else { Shift::To(factor) };
    Ok(rules
        .iter()
        .enumerate()
        .map(|(index, &rule)| outcome(rule, shift, alarms.iter().map(|run| run[index])))
        .collect())
}

fn finite(what: &'static str, values: &[f64]) -> Result<(), StatsError> {
    if values.is_empty() {
        return Err(StatsError::Empty { what });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(StatsError::NotFinite { what, index }),
        None => Ok(()),
    }
}

/// The requests of a recording in the CSV of the Azure LLM inference trace: a header, then
/// `TIMESTAMP,ContextTokens,GeneratedTokens` with a time of day that does not pass midnight.
pub fn parse(csv: &str) -> Result<Vec<Request>, StatsError> {
    let mut requests = Vec::new();
    let mut start = None;
    for (index, line) in csv.lines().enumerate().skip(1) {
        let broken = StatsError::NotFinite {
            what: "lines of the trace",
            index,
        };
        let mut fields = line.trim().split(',');
        let mut number = || fields.next().ok_or_else(|| broken.clone());
        let time = number()?.rsplit(' ').next().unwrap_or_default();
        let mut seconds = 0.0;
        for part in time.split(':') {
            seconds = 60.0 * seconds + part.parse::<f64>().map_err(|_| broken.clone())?;
        }
        let context = number()?.parse().map_err(|_| broken.clone())?;
        let generated = number()?.parse().map_err(|_| broken.clone())?;
        let arrival = seconds - *start.get_or_insert(seconds);
        requests.push(Request {
            arrival,
            context,
            generated,
        });
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_make_requests_wait() {
        let request = |arrival| Request {
            arrival,
            context: 0.0,
            generated: 100.0,
        };
        let requests: Vec<Request> = (0..20).map(|i| request(f64::from(i))).collect();
        let unlimited = Trace::new(&requests, Server::Unlimited).unwrap();
        assert!((unlimited.p95() - 3.0).abs() < 1e-9);
        let one = Trace::new(&requests, Server::Slots(1)).unwrap();
        assert!(one.p95() > 30.0);
    }

    #[test]
    fn lines_are_parsed_and_broken_ones_named() {
        let csv = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.5,10,20\n2023-11-16 18:18:04.0,1,2\n";
        let requests = parse(csv).unwrap();
        assert!((requests[1].arrival - 60.5).abs() < 1e-9);
        assert!(parse("h\n2023-11-16 x,1,2\n").is_err());
        assert!(parse("h\n2023-11-16 18:17:03.5,1\n").is_err());
    }
}
