//! Classic histograms: what cumulative bucket counts can and cannot tell about a quantile.
//!
//! Interpolation inside a bucket is a point estimate only: for a lognormal with the default client-library
//! edges its bootstrap interval never covers the truth. The interval here is that of order statistics,
//! given as the bucket edges around them, so it covers at least 95 % on every layout.

use super::special::binomial_quantile;
use super::{Estimate, Method, StatsError, check};

/// How near an edge must lie to a threshold to serve as it, relative to the threshold.
const EDGE_TOLERANCE: f64 = 0.10;

/// A validated classic histogram: rising edges, cumulative counts that never fall, a last edge of +Inf.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    edges: Vec<f64>,
    cumulative: Vec<f64>,
}

/// Where the edges of a layout let a threshold be judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EdgeChoice {
    /// Judge at this edge: the threshold itself, or the nearest within 10 % of it.
    At {
        /// The edge.
        edge: f64,
        /// Whether it is the threshold itself.
        exact: bool,
    },
    /// The threshold lies between two edges: a breach only if too many exceed `high`, healthy only if
    /// few enough exceed `low`.
    Between {
        /// Nearest edge below.
        low: f64,
        /// Nearest edge above.
        high: f64,
    },
    /// The threshold lies above every finite edge: health can be shown at `low`, a breach cannot.
    Above {
        /// The largest finite edge.
        low: f64,
    },
    /// The threshold lies below every edge: a breach can be shown at `high`, health cannot.
    Below {
        /// The smallest edge.
        high: f64,
    },
    /// No finite edge, or no finite positive threshold: nothing can be judged.
    Unresolved,
}

impl Histogram {
    /// A histogram of (upper edge `le`, cumulative count) pairs, in rising order of `le`, the last +Inf.
    ///
    /// Counts may be real-valued. NaN, falling counts, edges that do not rise or a missing +Inf are errors.
    pub fn new(buckets: Vec<(f64, f64)>) -> Result<Self, StatsError> {
        let (edges, cumulative): (Vec<f64>, Vec<f64>) = buckets.into_iter().unzip();
        let Some((&last, finite)) = edges.split_last() else {
            return Err(StatsError::Empty { what: "buckets" });
        };
        for (index, edge) in finite.iter().enumerate() {
            if !edge.is_finite() {
                return Err(StatsError::NotFinite {
                    what: "bucket edges",
                    index,
                });
            }
        }
        if last != f64::INFINITY {
            return Err(StatsError::OutOfRange {
                what: "last bucket edge",
                value: last,
                range: "+Inf",
            });
        }
        if let Some(index) = edges.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(StatsError::NotMonotone {
                what: "bucket edges",
                index: index + 1,
            });
        }
        for (index, &count) in cumulative.iter().enumerate() {
            if !count.is_finite() {
                return Err(StatsError::NotFinite {
                    what: "bucket counts",
                    index,
                });
            }
            if count < 0.0 {
                return Err(StatsError::Negative {
                    what: "bucket counts",
                    value: count,
                });
            }
        }
        if let Some(index) = cumulative.windows(2).position(|pair| pair[0] > pair[1]) {
            return Err(StatsError::NotMonotone {
                what: "bucket counts",
                index: index + 1,
            });
        }
        Ok(Self { edges, cumulative })
    }

    /// All observations.
    pub fn total(&self) -> f64 {
        self.cumulative.last().copied().unwrap_or(0.0)
    }

    /// Upper edges, the last +Inf.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// Cumulative counts, one an edge.
    pub fn cumulative(&self) -> &[f64] {
        &self.cumulative
    }

    /// Observations above `edge`; `None` when the layout has no such edge.
    pub fn count_above(&self, edge: f64) -> Option<f64> {
        let index = self.edges.iter().position(|&candidate| candidate == edge)?;
        Some(self.total() - self.cumulative[index])
    }

    /// Both histograms together; an error when their layouts differ.
    pub fn merged(&self, other: &Self) -> Result<Self, StatsError> {
        if self.edges != other.edges {
            return Err(StatsError::MixedLayouts);
        }
        let cumulative = self
            .cumulative
            .iter()
            .zip(&other.cumulative)
            .map(|(a, b)| a + b)
            .collect();
        Ok(Self {
            edges: self.edges.clone(),
            cumulative,
        })
    }

    /// The `q` quantile, q in (0, 1): interpolated point, order-statistic interval on the edges.
    ///
    /// Ranks l = `BinomialQuantile`(.025, n, q) and u = `BinomialQuantile`(.975, n, q) + 1 (David &
    /// Nagaraja, *Order Statistics*, 7.1) of the effective sample size n/`design_effect`; the interval runs
    /// from the lower edge of l's bucket to the upper edge of u's. It has no upper end when u lies beyond n
    /// or in the +Inf bucket.
    pub fn quantile(&self, q: f64, design_effect: f64) -> Result<Estimate, StatsError> {
        let q = check::open_unit("quantile", q)?;
        let effect = check::design_effect(design_effect)?;
        let n = self.total();
        if n <= 0.0 {
            return Err(StatsError::Empty { what: "histogram" });
        }
        if self.edges.len() == 1 {
            return Err(StatsError::Empty {
                what: "finite bucket edges",
            });
        }
        let (lower, upper) = quantile_ranks(n, q, effect);
        let (low, high) = self.edges_around(lower, upper);
        let value = self.interpolated(q);
        Ok(Estimate::new(
            value,
            low,
            high,
            n.round() as u64,
            Method::BucketOrderStatistics,
        ))
    }

    /// Where the edges (with or without +Inf) let `threshold` be judged: an edge within 10 % of it serves
    /// as it (the nearest, the lower of two equally near), else the edges around it.
    pub fn split(edges: &[f64], threshold: f64) -> EdgeChoice {
        let finite = || edges.iter().copied().filter(|edge| edge.is_finite());
        if !threshold.is_finite() || threshold <= 0.0 {
            return EdgeChoice::Unresolved;
        }
        let nearest = finite().min_by(|a, b| (a - threshold).abs().total_cmp(&(b - threshold).abs()));
        let Some(nearest) = nearest else {
            return EdgeChoice::Unresolved;
        };
        // The slack keeps 450 within 10 % of 500 in binary arithmetic.
        if (nearest - threshold).abs() <= EDGE_TOLERANCE * threshold * (1.0 + 1e-12) {
            let exact = (nearest - threshold).abs() <= 1e-12 * threshold;
            return EdgeChoice::At { edge: nearest, exact };
        }
        let below = finite().filter(|&edge| edge < threshold).max_by(f64::total_cmp);
        let above = finite().filter(|&edge| edge > threshold).min_by(f64::total_cmp);
        match (below, above) {
            (Some(low), Some(high)) => EdgeChoice::Between { low, high },
            (Some(low), None) => EdgeChoice::Above { low },
            (None, Some(high)) => EdgeChoice::Below { high },
            (None, None) => EdgeChoice::Unresolved,
        }
    }

    /// The lower edge of the bucket of rank `lower` and the upper edge of that of rank `upper`; the ends of
    /// the range where there is no rank.
    pub(super) fn edges_around(&self, lower: Option<f64>, upper: Option<f64>) -> (f64, f64) {
        (
            lower.map_or(self.least(), |rank| self.lower_edge(self.bucket_of(rank))),
            upper.map_or(f64::INFINITY, |rank| self.edges[self.bucket_of(rank)]),
        )
    }

    /// Index of the bucket that holds the observation of this rank (1 to n).
    fn bucket_of(&self, rank: f64) -> usize {
        self.cumulative
            .partition_point(|&count| count < rank)
            .min(self.edges.len() - 1)
    }

    fn lower_edge(&self, bucket: usize) -> f64 {
        if bucket == 0 {
            self.least()
        } else {
            self.edges[bucket - 1]
        }
    }

    /// The least value an observation can have: 0 where the first edge is positive, as Prometheus assumes.
    fn least(&self) -> f64 {
        if self.edges[0] > 0.0 { 0.0 } else { f64::NEG_INFINITY }
    }

    /// Prometheus' `histogram_quantile`: linear inside the bucket, the largest finite edge in +Inf.
    pub fn interpolated(&self, q: f64) -> f64 {
        let rank = q * self.total();
        let bucket = self.bucket_of(rank);
        if bucket + 1 == self.edges.len() {
            return self.edges[bucket.saturating_sub(1)];
        }
        if bucket == 0 && self.edges[0] <= 0.0 {
            return self.edges[0];
        }
        let (start, before) = if bucket == 0 {
            (0.0, 0.0)
        } else {
            (self.edges[bucket - 1], self.cumulative[bucket - 1])
        };
        let inside = self.cumulative[bucket] - before;
        if inside <= 0.0 {
            return self.edges[bucket];
        }
        start + (self.edges[bucket] - start) * (rank - before) / inside
    }
}

/// Ranks, from 1 to n, of the order statistics around the `q` quantile of `n` observations that count as
/// n/`effect` independent ones; `None` where no observation bounds it.
pub(super) fn quantile_ranks(n: f64, q: f64, effect: f64) -> (Option<f64>, Option<f64>) {
    let independent = (n / effect).floor();
    if independent < 1.0 {
        return (None, None);
    }
    let lower = binomial_quantile(0.025, independent, q);
    let upper = binomial_quantile(0.975, independent, q) + 1.0;
    let stretch = n / independent;
    let lower = (lower >= 1.0).then(|| {
        if stretch == 1.0 {
            lower
        } else {
            (lower * stretch).floor()
        }
    });
    let upper = (upper <= independent).then(|| {
        if stretch == 1.0 {
            upper
        } else {
            (upper * stretch).ceil().min(n)
        }
    });
    (lower, upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hundred() -> Histogram {
        Histogram::new(vec![
            (0.1, 50.0),
            (0.25, 90.0),
            (0.5, 97.0),
            (1.0, 100.0),
            (f64::INFINITY, 100.0),
        ])
        .unwrap()
    }

    #[test]
    fn the_interval_is_made_of_edges() {
        let p95 = hundred().quantile(0.95, 1.0).unwrap();
        // Ranks 90 and 100: buckets (0.1, 0.25] and (0.5, 1].
        assert_eq!((p95.ci95.low, p95.ci95.high), (0.1, 1.0));
        assert!((p95.value - (0.25 + 0.25 * 5.0 / 7.0)).abs() < 1e-12);
        assert_eq!(p95.n, 100);
    }

    #[test]
    fn seventy_two_observations_bound_p95_and_368_bound_p99() {
        for (q, enough) in [(0.95, 72.0), (0.99, 368.0)] {
            let of = |n: f64| Histogram::new(vec![(1.0, n), (f64::INFINITY, n)]).unwrap();
            assert_eq!(of(enough - 1.0).quantile(q, 1.0).unwrap().ci95.high, f64::INFINITY);
            assert_eq!(of(enough).quantile(q, 1.0).unwrap().ci95.high, 1.0);
            assert_eq!(of(enough).quantile(q, 2.0).unwrap().ci95.high, f64::INFINITY);
        }
    }

    #[test]
    fn an_upper_rank_in_the_last_bucket_has_no_upper_end() {
        let histogram = Histogram::new(vec![(0.1, 10.0), (f64::INFINITY, 1000.0)]).unwrap();
        let median = histogram.quantile(0.5, 1.0).unwrap();
        assert_eq!(
            (median.value, median.ci95.low, median.ci95.high),
            (0.1, 0.1, f64::INFINITY)
        );
    }

    #[test]
    fn broken_buckets_are_refused() {
        let inf = f64::INFINITY;
        for buckets in [
            vec![],
            vec![(1.0, 3.0)],
            vec![(1.0, 3.0), (inf, 2.0)],
            vec![(1.0, 3.0), (1.0, 3.0), (inf, 4.0)],
            vec![(2.0, 1.0), (1.0, 3.0), (inf, 4.0)],
            vec![(f64::NAN, 1.0), (inf, 4.0)],
            vec![(1.0, f64::NAN), (inf, 4.0)],
            vec![(1.0, -1.0), (inf, 4.0)],
            vec![(1.0, 1.0), (inf, inf)],
        ] {
            assert!(Histogram::new(buckets.clone()).is_err(), "{buckets:?}");
        }
        for count in [0.0, 9.0] {
            assert!(Histogram::new(vec![(inf, count)]).unwrap().quantile(0.5, 1.0).is_err());
        }
        assert!(hundred().quantile(1.0, 1.0).is_err());
        assert!(hundred().quantile(f64::NAN, 1.0).is_err());
    }

    #[test]
    fn mixed_layouts_do_not_add_up() {
        let other = Histogram::new(vec![(0.1, 1.0), (f64::INFINITY, 2.0)]).unwrap();
        assert_eq!(hundred().merged(&other), Err(StatsError::MixedLayouts));
        assert_eq!(hundred().merged(&hundred()).unwrap().total(), 200.0);
    }

    #[test]
    fn a_threshold_is_judged_at_the_nearest_edge_or_bracketed() {
        let edges = [5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, f64::INFINITY];
        assert_eq!(
            Histogram::split(&edges, 505.0),
            EdgeChoice::At {
                edge: 500.0,
                exact: false
            }
        );
        assert_eq!(
            Histogram::split(&edges, 500.0),
            EdgeChoice::At {
                edge: 500.0,
                exact: true
            }
        );
        assert_eq!(
            Histogram::split(&edges, 700.0),
            EdgeChoice::Between {
                low: 500.0,
                high: 1000.0
            }
        );
        assert_eq!(Histogram::split(&edges, 2000.0), EdgeChoice::Above { low: 1000.0 });
        assert_eq!(Histogram::split(&edges, 2.0), EdgeChoice::Below { high: 5.0 });
        assert_eq!(Histogram::split(&[f64::INFINITY], 2.0), EdgeChoice::Unresolved);
        assert_eq!(Histogram::split(&edges, f64::NAN), EdgeChoice::Unresolved);
    }

    #[test]
    fn observations_above_an_edge_are_counted() {
        assert_eq!(hundred().count_above(0.5), Some(3.0));
        assert_eq!(hundred().count_above(0.3), None);
    }
}
