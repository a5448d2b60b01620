//! The result of every method: a value that cannot be had without its interval and sample size.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A closed interval, in the unit of the value that it belongs to.
///
/// An end that the data cannot bound is infinite. Serialised, an infinite end is `null`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end; minus infinity where the data give none.
    #[serde(serialize_with = "finite_or_null", deserialize_with = "low_or_unbounded")]
    pub low: f64,
    /// Upper end; infinity where the data give none.
    #[serde(serialize_with = "finite_or_null", deserialize_with = "high_or_unbounded")]
    pub high: f64,
}

impl Interval {
    /// The interval from `low` to `high`.
    pub const fn new(low: f64, high: f64) -> Self {
        Self { low, high }
    }

    /// Whether `value` lies in the interval, its ends included.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Whether both ends are finite.
    pub fn is_bounded(&self) -> bool {
        self.low.is_finite() && self.high.is_finite()
    }
}

/// A measured value with its 95 % interval, its sample size and how the interval was made.
///
/// The only result type that a report can print: there is no metric without all four.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Point estimate.
    pub value: f64,
    /// Two-sided 95 % interval of the same unit.
    pub ci95: Interval,
    /// Number of observations (or pairs, queries, clusters: the unit that was sampled).
    pub n: u64,
    /// How the interval was made.
    pub method: Method,
}

impl Estimate {
    /// An estimate of `value` with the interval `low`..`high` from `n` observations.
    pub const fn new(value: f64, low: f64, high: f64, n: u64, method: Method) -> Self {
        Self {
            value,
            ci95: Interval { low, high },
            n,
            method,
        }
    }

    /// The same estimate in another unit: every number times `factor` (positive).
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        self.value *= factor;
        self.ci95.low *= factor;
        self.ci95.high *= factor;
        self
    }
}

/// How an interval was made. `Display` gives the words for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Method {
    /// Bias-corrected and accelerated bootstrap of independent observations.
    BcaBootstrap,
    /// `BCa` bootstrap of paired differences.
    PairedBootstrap,
    /// `BCa` bootstrap that resamples whole clusters.
    ClusterBootstrap,
    /// Studentised bootstrap of the logarithm.
    StudentisedBootstrap,
    /// Percentile bootstrap with resamples drawn from the exact distribution of the resampled statistic.
    ExactResampling,
    /// Multinomial resampling of bucket counts.
    MultinomialBootstrap,
    /// Wilson score interval.
    Wilson,
    /// Wilson score interval with the effective sample size n/D.
    WilsonEffective,
    /// Clopper–Pearson interval.
    ClopperPearson,
    /// Order statistics of the raw values.
    OrderStatistics,
    /// Order statistics, given as edges of histogram buckets.
    BucketOrderStatistics,
    /// Exact Poisson interval (Garwood).
    PoissonExact,
    /// Student t on the values.
    StudentT,
    /// Student t on the logarithms.
    LogStudentT,
    /// Fisher z.
    FisherZ,
    /// Bonett–Wright standard error on the Fisher z scale.
    BonettWright,
    /// `DeLong` variance on the logit scale.
    DeLongLogit,
    /// Kendall's S with its normal approximation.
    MannKendall,
    /// Quantile confidence sequence, valid at every look.
    QuantileSequence,
    /// Confidence sequence of a proportion, valid at every look.
    ProportionSequence,
    /// Confidence sequence of a bounded mean by betting, valid at every look.
    Betting,
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::BcaBootstrap => "BCa bootstrap",
            Self::PairedBootstrap => "paired BCa bootstrap",
            Self::ClusterBootstrap => "cluster BCa bootstrap",
            Self::StudentisedBootstrap => "studentised bootstrap of the logarithm",
            Self::ExactResampling => "bootstrap",
            Self::MultinomialBootstrap => "multinomial bootstrap",
            Self::Wilson => "Wilson",
            Self::WilsonEffective => "Wilson at n/D",
            Self::ClopperPearson => "Clopper–Pearson",
            Self::OrderStatistics => "order statistics",
            Self::BucketOrderStatistics => "order statistics on bucket edges",
            Self::PoissonExact => "exact Poisson",
            Self::StudentT => "Student t",
            Self::LogStudentT => "Student t on logarithms",
            Self::FisherZ => "Fisher z",
            Self::BonettWright => "Bonett–Wright",
            Self::DeLongLogit => "DeLong on logits",
            Self::MannKendall => "Mann–Kendall",
            Self::QuantileSequence => "quantile confidence sequence",
            Self::ProportionSequence => "proportion confidence sequence",
            Self::Betting => "betting confidence sequence",
        })
    }
}

/// Why a statistic has no value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// No values at all.
    #[error("{what}: no values")]
    Empty {
        /// The series or count that was given.
        what: &'static str,
    },
    /// NaN or infinite where a finite number is needed.
    #[error("{what}: value {index} is not finite")]
    NotFinite {
        /// The series or count that was given.
        what: &'static str,
        /// Position in the series; 0 for a single number.
        index: usize,
    },
    /// A count or duration below zero.
    #[error("{what}: {value} is negative")]
    Negative {
        /// The series or count that was given.
        what: &'static str,
        /// The value.
        value: f64,
    },
    /// A number outside the range in which it means something.
    #[error("{what}: {value} is outside {range}")]
    OutOfRange {
        /// The number that was given.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The range it must be in.
        range: &'static str,
    },
    /// Undetermined: fewer values than the method needs.
    #[error("{what}: n = {n}, needs {needed}")]
    TooFew {
        /// The series or count that was given.
        what: &'static str,
        /// How many there are.
        n: u64,
        /// How many would do.
        needed: u64,
    },
    /// Two series that belong together differ in length.
    #[error("{what}: {left} against {right} values")]
    LengthMismatch {
        /// The series that were given.
        what: &'static str,
        /// Length of the first.
        left: usize,
        /// Length of the second.
        right: usize,
    },
    /// Cumulative counts that fall, or edges that do not rise.
    #[error("{what}: not monotone at position {index}")]
    NotMonotone {
        /// The series that was given.
        what: &'static str,
        /// Position of the first value that breaks the order.
        index: usize,
    },
    /// Histograms with different bucket layouts cannot be added.
    #[error("bucket layouts differ")]
    MixedLayouts,
    /// Undetermined: all values are equal, so the statistic is not defined.
    #[error("{what}: all values are equal")]
    NoVariation {
        /// The series that was given.
        what: &'static str,
    },
    /// A look that is not later than the one before.
    #[error("look at {at} is not after the look at {last}")]
    OutOfOrder {
        /// Unix seconds of the look that was refused.
        at: i64,
        /// Unix seconds of the last look taken.
        last: i64,
    },
    /// Counts given to a detector of the other kind.
    #[error("the detector watches a {watches}")]
    WrongDetector {
        /// What it watches: "share" or "rate".
        watches: &'static str,
    },
}

impl StatsError {
    /// A short stable word for metrics, Events and status reasons.
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Empty { .. } => "Empty",
            Self::NotFinite { .. } => "NotFinite",
            Self::Negative { .. } => "Negative",
            Self::OutOfRange { .. } => "OutOfRange",
            Self::TooFew { .. } => "TooFew",
            Self::LengthMismatch { .. } => "LengthMismatch",
            Self::NotMonotone { .. } => "NotMonotone",
            Self::MixedLayouts => "MixedLayouts",
            Self::NoVariation { .. } => "NoVariation",
            Self::OutOfOrder { .. } => "OutOfOrder",
            Self::WrongDetector { .. } => "WrongDetector",
        }
    }

    /// How many values would do, where too few is the reason.
    pub const fn needed(&self) -> Option<u64> {
        match self {
            Self::TooFew { needed, .. } => Some(*needed),
            _ => None,
        }
    }
}

// The signature is serde's.
#[expect(clippy::trivially_copy_pass_by_ref)]
fn finite_or_null<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    value.is_finite().then_some(*value).serialize(serializer)
}

fn low_or_unbounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NEG_INFINITY))
}

fn high_or_unbounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unbounded_end_survives_json() {
        let estimate = Estimate::new(0.4, 0.1, f64::INFINITY, 12, Method::BucketOrderStatistics);
        let json = serde_json::to_string(&estimate).unwrap();
        assert!(json.contains("\"high\":null"), "{json}");
        assert_eq!(serde_json::from_str::<Estimate>(&json).unwrap(), estimate);
    }

    #[test]
    fn too_few_says_how_many_would_do() {
        let error = StatsError::TooFew {
            what: "P95",
            n: 40,
            needed: 72,
        };
        assert_eq!(error.to_string(), "P95: n = 40, needs 72");
        assert_eq!(error.needed(), Some(72));
        assert_eq!(error.category(), "TooFew");
    }
}
