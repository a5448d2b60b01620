//! The detectors, and models of the rules that other tools use.
//!
//! The models hold what the rules' documentation says of when they act, not the tools themselves.

use quality_stats::sequential::Detector;
use quality_stats::special::normal_cdf;
use quality_stats::{StatsError, correlation};

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The e-SR detector at the design effect of the baseline: what the operator runs.
    Tempered,
    /// The e-SR detector at design effect 1.
    Untempered,
    /// Any look whose point estimate is over the limit.
    AnyLook,
    /// Three failed checks of one minute, in all.
    ThreeChecks,
    /// Five failed checks of one minute, in all.
    FiveChecks,
    /// Twelve consecutive looks (3 minutes) over the limit.
    TwelveInARow,
    /// Every 5 minutes, a Mann–Whitney test at 98 % of the looks so far against as many of the baseline.
    MannWhitney,
}

impl Rule {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 7] = [
        Self::Tempered,
        Self::Untempered,
        Self::AnyLook,
        Self::ThreeChecks,
        Self::FiveChecks,
        Self::TwelveInARow,
        Self::MannWhitney,
    ];

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tempered => "e-SR at D of the baseline",
            Self::Untempered => "e-SR, D = 1",
            Self::AnyLook => "point estimate over the limit, any look",
            Self::ThreeChecks => "3 failed checks of 1 min",
            Self::FiveChecks => "5 failed checks of 1 min",
            Self::TwelveInARow => "12 looks in a row (3 min)",
            Self::MannWhitney => "Mann–Whitney by point, every 5 min",
        }
    }
}

/// The look, from 0, at which the rule acts on `looks` of (requests, bad); `None` if it never does.
///
/// `baseline` holds earlier looks of the same service, as many as `looks` or more.
pub fn first_alarm(
    rule: Rule,
    looks: &[(f64, f64)],
    baseline: &[(f64, f64)],
    limit: f64,
    effect: f64,
    threshold: f64,
) -> Result<Option<usize>, StatsError> {
    Ok(match rule {
        Rule::Tempered => detector(looks, limit, effect, threshold)?,
        Rule::Untempered => detector(looks, limit, 1.0, threshold)?,
        Rule::AnyLook => looks.iter().position(|look| is_over(std::slice::from_ref(look), limit)),
        Rule::ThreeChecks => failed_checks(looks, limit, 3),
        Rule::FiveChecks => failed_checks(looks, limit, 5),
        Rule::TwelveInARow => in_a_row(looks, limit, 12),
        Rule::MannWhitney => mann_whitney(looks, baseline),
    })
}

fn detector(looks: &[(f64, f64)], limit: f64, effect: f64, threshold: f64) -> Result<Option<usize>, StatsError> {
    let mut detector = Detector::share(limit, effect)?;
    detector.start(0);
    let log_threshold = threshold.ln();
    for ((index, &(n, bad)), at) in looks.iter().enumerate().zip((1_i64..).map(|look| 15 * look)) {
        detector.look(at, n, bad)?;
        if detector.log_evidence() >= log_threshold {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

fn is_over(looks: &[(f64, f64)], limit: f64) -> bool {
    let (n, bad) = looks
        .iter()
        .fold((0.0, 0.0), |sum, look| (sum.0 + look.0, sum.1 + look.1));
    n > 0.0 && bad / n > limit
}

fn failed_checks(looks: &[(f64, f64)], limit: f64, enough: usize) -> Option<usize> {
    let failed = looks
        .chunks_exact(4)
        .enumerate()
        .filter(|(_, check)| is_over(check, limit));
    failed.map(|(check, _)| 4 * check + 3).nth(enough - 1)
}

fn in_a_row(looks: &[(f64, f64)], limit: f64, enough: usize) -> Option<usize> {
    let mut run = 0;
    looks.iter().position(|look| {
        run = if is_over(std::slice::from_ref(look), limit) {
            run + 1
        } else {
            0
        };
        run >= enough
    })
}

fn mann_whitney(looks: &[(f64, f64)], baseline: &[(f64, f64)]) -> Option<usize> {
    let share = |look: &(f64, f64)| if look.0 > 0.0 { look.1 / look.0 } else { 0.0 };
    let before: Vec<f64> = baseline.iter().rev().take(looks.len()).map(share).collect();
    (20..=looks.len()).step_by(20).find_map(|seen| {
        let mut points: Vec<f64> = looks[..seen].iter().map(share).collect();
        points.extend(before.iter().take(seen));
        let ranks = correlation::mean_ranks(&points);
        let m = seen as f64;
        let n = points.len() as f64 - m;
        let beaten = ranks[..seen].iter().sum::<f64>() - m * (m + 1.0) / 2.0;
        let spread = (m * n * (m + n + 1.0) / 12.0).sqrt();
        (normal_cdf(-(beaten - m * n / 2.0) / spread) < 0.01).then_some(seen - 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_act_when_they_say() {
        let mut looks = vec![(1000.0, 0.0); 40];
        looks.extend([(1000.0, 100.0); 80]);
        let baseline = vec![(1000.0, 0.0); 120];
        let at = |rule| first_alarm(rule, &looks, &baseline, 0.01, 1.0, 24_000.0).unwrap();
        assert_eq!(at(Rule::AnyLook), Some(40));
        assert_eq!(at(Rule::ThreeChecks), Some(51));
        assert_eq!(at(Rule::FiveChecks), Some(59));
        assert_eq!(at(Rule::TwelveInARow), Some(51));
        assert_eq!(at(Rule::Tempered), Some(40));
        assert_eq!(at(Rule::MannWhitney), Some(59));
    }
}
