//! Δ between the release's run and the checkpoint's, query by query.

use std::collections::BTreeMap;

use super::resample::Seed;
use super::{Estimate, Interval, Method, StatsError, bootstrap};

/// Fewest common queries that a Δ rests on.
pub const ENOUGH: u64 = 30;

/// A query's score in one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored<'a> {
    /// Query id, unique within its run.
    pub query: &'a str,
    /// Score in [0, 1]; an outcome is 0 or 1.
    pub score: f64,
    /// Session (or prompt) that the query belongs to, where known.
    pub session: Option<&'a str>,
}

/// How a Δ is expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Percentage points: 100·(current − baseline).
    Points,
    /// Percent of the baseline: 100·(current/baseline − 1).
    Relative,
}

/// Δ over the queries that both runs share, with the `BCa` bootstrap interval of paired resamples, by session
/// where sessions are given. Fewer than [`ENOUGH`] common queries are an error.
///
/// Runs that agree on every query have no resample that differs. Their interval in points is then that of
/// the share of queries that could still differ, ±100·(1 − .025^{1/n}) (Clopper & Pearson 1934 at 0 of n).
pub fn uplift(
    current: &[Scored<'_>],
    baseline: &[Scored<'_>],
    scale: Scale,
    seed: &Seed,
) -> Result<Estimate, StatsError> {
    let before = by_query(baseline)?;
    let after = by_query(current)?;
    let pairs: Vec<(f64, f64, Option<&str>)> = after
        .iter()
        .filter_map(|(query, scored)| {
            before
                .get(query)
                .map(|old| (scored.score, old.score, scored.session.or(old.session)))
        })
        .collect();
    let n = pairs.len() as u64;
    if n < ENOUGH {
        return Err(StatsError::TooFew {
            what: "common queries",
            n,
            needed: ENOUGH,
        });
    }
    let rows = clusters(&pairs);
    let independent = rows.len() as u64;
    let estimate = match scale {
        Scale::Points => points(&rows, seed),
        Scale::Relative => relative(&rows, seed),
    };
    match estimate {
        Ok(mut estimate) => {
            estimate.n = n;
            estimate.method = if independent < n {
                Method::ClusterBootstrap
            } else {
                Method::PairedBootstrap
            };
            Ok(estimate)
        }
        Err(StatsError::NoVariation { .. }) if scale == Scale::Points && pairs.iter().all(|pair| pair.0 == pair.1) => {
            let unseen = 100.0 * (1.0 - 0.025_f64.powf(1.0 / independent as f64));
            Ok(Estimate {
                value: 0.0,
                ci95: Interval::new(-unseen, unseen),
                n,
                method: Method::ClopperPearson,
            })
        }
        Err(error) => Err(error),
    }
}

/// Sums over one cluster: current, baseline, queries.
type Row = [f64; 3];

fn points(rows: &[Row], seed: &Seed) -> Result<Estimate, StatsError> {
    let differences: Vec<f64> = rows.iter().map(|row| 100.0 * (row[0] - row[1])).collect();
    let sizes: Vec<f64> = rows.iter().map(|row| row[2]).collect();
    bootstrap::ratio(&differences, &sizes, seed)
}

fn relative(rows: &[Row], seed: &Seed) -> Result<Estimate, StatsError> {
    let differences: Vec<f64> = rows.iter().map(|row| 100.0 * (row[0] - row[1])).collect();
    let baselines: Vec<f64> = rows.iter().map(|row| row[1]).collect();
    bootstrap::ratio(&differences, &baselines, seed)
}

fn by_query<'a>(scored: &'a [Scored<'a>]) -> Result<BTreeMap<&'a str, &'a Scored<'a>>, StatsError> {
    let mut queries = BTreeMap::new();
    for (index, entry) in scored.iter().enumerate() {
        if !entry.score.is_finite() {
            return Err(StatsError::NotFinite { what: "scores", index });
        }
        if !(0.0..=1.0).contains(&entry.score) {
            return Err(StatsError::OutOfRange {
                what: "scores",
                value: entry.score,
                range: "[0, 1]",
            });
        }
        if queries.insert(entry.query, entry).is_some() {
            return Err(StatsError::NotMonotone {
                what: "query ids (one is given twice)",
                index,
            });
        }
    }
    Ok(queries)
}

/// One row a session; a query without a session is its own.
fn clusters(pairs: &[(f64, f64, Option<&str>)]) -> Vec<Row> {
    let mut sessions = BTreeMap::<&str, Row>::new();
    let mut rows = Vec::new();
    for &(new, old, session) in pairs {
        if let Some(session) = session {
            let row = sessions.entry(session).or_default();
            row[0] += new;
            row[1] += old;
            row[2] += 1.0;
        } else {
            rows.push([new, old, 1.0]);
        }
    }
    rows.extend(sessions.into_values());
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<'a>(names: &'a [String], score: impl Fn(usize) -> f64, session: Option<&'a str>) -> Vec<Scored<'a>> {
        names
            .iter()
            .enumerate()
            .map(|(index, query)| Scored {
                query,
                score: score(index),
                session,
            })
            .collect()
    }

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|index| format!("q{index:04}")).collect()
    }

    #[test]
    fn pairs_are_matched_by_query() {
        let seed = Seed::new("test", "uplift");
        let names = names(300);
        let new = run(&names, |i| f64::from(u8::from(i % 10 != 0)), None);
        let mut old = run(&names, |i| f64::from(u8::from(i % 4 != 0)), None);
        old.reverse();
        let estimate = uplift(&new, &old, Scale::Points, &seed).unwrap();
        assert!((estimate.value - 15.0).abs() < 1e-9);
        assert!(estimate.ci95.low > 8.0 && estimate.ci95.high < 22.0, "{estimate:?}");
        assert_eq!((estimate.n, estimate.method), (300, Method::PairedBootstrap));
        let relative = uplift(&new, &old, Scale::Relative, &seed).unwrap();
        assert!((relative.value - 20.0).abs() < 1e-9);
    }

    #[test]
    fn sessions_widen() {
        let seed = Seed::new("test", "sessions");
        let names = names(300);
        let new = run(&names, |i| f64::from(u8::from(i / 10 % 3 != 0)), None);
        let sessions: Vec<String> = (0..300).map(|i| format!("s{}", i / 10)).collect();
        let mut grouped = new.clone();
        for (entry, session) in grouped.iter_mut().zip(&sessions) {
            entry.session = Some(session);
        }
        let old = run(&names, |_| 0.5, None);
        let plain = uplift(&new, &old, Scale::Points, &seed).unwrap();
        let clustered = uplift(&grouped, &old, Scale::Points, &seed).unwrap();
        assert!(clustered.ci95.low < plain.ci95.low && clustered.ci95.high > plain.ci95.high);
        assert_eq!(clustered.method, Method::ClusterBootstrap);
    }

    #[test]
    fn runs_that_agree_have_an_interval_that_is_not_a_point() {
        let seed = Seed::new("test", "same");
        let names = names(100);
        let new = run(&names, |_| 1.0, None);
        let estimate = uplift(&new, &new, Scale::Points, &seed).unwrap();
        assert_eq!(estimate.value, 0.0);
        assert!((estimate.ci95.high - 3.62).abs() < 0.01, "{estimate:?}");
    }

    #[test]
    fn fewer_than_thirty_common_queries_are_too_few() {
        let seed = Seed::new("test", "few");
        let names = names(40);
        let new = run(&names[..35], |_| 1.0, None);
        let old = run(&names[10..], |_| 0.0, None);
        assert_eq!(uplift(&new, &old, Scale::Points, &seed).unwrap_err().needed(), Some(30));
        let twice = [new.clone(), new.clone()].concat();
        assert!(uplift(&twice, &old, Scale::Points, &seed).is_err());
        let broken = run(&names, |_| f64::NAN, None);
        assert!(uplift(&broken, &broken, Scale::Points, &seed).is_err());
    }
}
