//! Ranking quality: nDCG and compliance at k.

use super::resample::Seed;
use super::{Estimate, Method, StatsError, bootstrap, check, proportion};

/// How a relevance grade counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// The grade itself, as `trec_eval` does (Järvelin & Kekäläinen 2002).
    Linear,
    /// 2^grade − 1 (Burges et al. 2005).
    Exponential,
}

impl Gain {
    fn of(self, grade: f64) -> f64 {
        // A grade of 0 or below is not relevant and counts for nothing.
        match self {
            _ if grade <= 0.0 => 0.0,
            Self::Linear => grade,
            Self::Exponential => grade.exp2() - 1.0,
        }
    }
}

/// A retrieved document with its score.
#[derive(Clone, Debug, PartialEq)]
pub struct Retrieved<'a> {
    /// Document id.
    pub document: &'a str,
    /// Score; higher ranks first.
    pub score: f64,
}

/// Puts documents in rank order: score falling, equal scores by document id falling, as `trec_eval` does.
pub fn order(documents: &mut [Retrieved<'_>]) -> Result<(), StatsError> {
    if let Some(index) = documents.iter().position(|retrieved| !retrieved.score.is_finite()) {
        return Err(StatsError::NotFinite { what: "scores", index });
    }
    documents.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| b.document.cmp(a.document)));
    Ok(())
}

/// nDCG at `k` of one query: Σ gain/log2(rank + 1) over the first k, over that of the best order.
///
/// `ranked` holds the grades of the retrieved documents in rank order (0 where not judged), `judged` the
/// grades of all judged documents of the query. A query without a relevant document has no nDCG.
pub fn ndcg(ranked: &[f64], judged: &[f64], k: usize, gain: Gain) -> Result<f64, StatsError> {
    check::series("grades", ranked, 0)?;
    check::series("judged grades", judged, 0)?;
    if k == 0 {
        return Err(StatsError::OutOfRange {
            what: "k",
            value: 0.0,
            range: "[1, inf)",
        });
    }
    let mut best = judged.to_vec();
    best.sort_unstable_by(|a, b| b.total_cmp(a));
    let ideal = discounted(&best, k, gain);
    if ideal <= 0.0 {
        return Err(StatsError::Empty {
            what: "relevant documents",
        });
    }
    let value = check::finite("nDCG", discounted(ranked, k, gain) / ideal)?;
    if value > 1.0 + 1e-9 {
        return Err(StatsError::OutOfRange {
            what: "nDCG (retrieved grades are not among the judged)",
            value,
            range: "[0, 1]",
        });
    }
    Ok(value.min(1.0))
}

fn discounted(grades: &[f64], k: usize, gain: Gain) -> f64 {
    let ranks = (2_u32..).map(f64::from);
    grades
        .iter()
        .zip(ranks)
        .take(k)
        .map(|(&grade, rank)| gain.of(grade) / rank.log2())
        .sum()
}

/// Whether any of the first `k` answers complies: the outcome of one query for Compliance@k.
pub fn complies_at(answers: &[bool], k: usize) -> bool {
    answers.iter().take(k).any(|complies| *complies)
}

/// Compliance@k over queries (one outcome each): `BCa` bootstrap; by session where `clusters` are given;
/// Wilson's interval when all outcomes agree, of which no resample differs.
pub fn compliance(outcomes: &[bool], clusters: Option<&[u64]>, seed: &Seed) -> Result<Estimate, StatsError> {
    let values: Vec<f64> = outcomes.iter().map(|hit| f64::from(u8::from(*hit))).collect();
    let estimate = match clusters {
        Some(clusters) => bootstrap::cluster_mean(&values, clusters, seed),
        None => bootstrap::mean(&values, seed),
    };
    match estimate {
        Err(StatsError::NoVariation { .. }) => {
            // With sessions, only sessions are independent: all agree, so each counts once.
            let units = clusters.map_or(values.len(), |labels| {
                labels.iter().collect::<std::collections::BTreeSet<_>>().len()
            }) as f64;
            let share = values.iter().sum::<f64>() / values.len() as f64;
            proportion::wilson(share * units, units, 1.0)
        }
        Err(StatsError::TooFew { .. }) if clusters.is_none() => {
            proportion::wilson(values.iter().sum(), values.len() as f64, 1.0)
        }
        Ok(mut estimate) => {
            estimate.ci95.low = estimate.ci95.low.max(0.0);
            estimate.ci95.high = estimate.ci95.high.min(1.0);
            Ok(estimate)
        }
        other => other,
    }
}

/// Mean nDCG (or any per-query score in [0, 1]) over queries, as [`compliance`] does for outcomes.
pub fn mean_score(scores: &[f64], clusters: Option<&[u64]>, seed: &Seed) -> Result<Estimate, StatsError> {
    if let Some(&value) = scores.iter().find(|score| !(0.0..=1.0).contains(*score)) {
        return Err(if value.is_finite() {
            StatsError::OutOfRange {
                what: "scores",
                value,
                range: "[0, 1]",
            }
        } else {
            StatsError::NotFinite {
                what: "scores",
                index: 0,
            }
        });
    }
    match clusters {
        Some(clusters) => bootstrap::cluster_mean(scores, clusters, seed),
        None => bootstrap::mean(scores, seed),
    }
}

/// Whether an estimate came from Wilson's interval because all outcomes agree.
pub fn all_agree(estimate: &Estimate) -> bool {
    estimate.method == Method::Wilson
}

#[cfg(test)]
mod tests {
    use super::*;

    // Järvelin & Kekäläinen's worked example of the definition: 3, 2, 3, 0, 1, 2.
    #[test]
    fn a_worked_example() {
        let grades = [3.0, 2.0, 3.0, 0.0, 1.0, 2.0];
        let linear = ndcg(&grades, &grades, 6, Gain::Linear).unwrap();
        assert!((linear - 0.960_808).abs() < 1e-6, "{linear}");
        let exponential = ndcg(&grades, &grades, 6, Gain::Exponential).unwrap();
        assert!((exponential - 0.948_81).abs() < 1e-5, "{exponential}");
        assert_eq!(ndcg(&[3.0, 1.0], &[1.0, 3.0], 10, Gain::Linear).unwrap(), 1.0);
    }

    #[test]
    fn ties_go_to_the_higher_document_id() {
        let mut documents = [
            Retrieved {
                document: "a",
                score: 1.0,
            },
            Retrieved {
                document: "c",
                score: 1.0,
            },
            Retrieved {
                document: "b",
                score: 2.0,
            },
        ];
        order(&mut documents).unwrap();
        assert_eq!(documents.map(|retrieved| retrieved.document), ["b", "c", "a"]);
        assert!(
            order(&mut [Retrieved {
                document: "a",
                score: f64::NAN
            }])
            .is_err()
        );
    }

    #[test]
    fn queries_that_have_no_ndcg_are_errors() {
        assert!(ndcg(&[0.0], &[0.0, -1.0], 10, Gain::Linear).is_err());
        assert!(ndcg(&[], &[], 10, Gain::Linear).is_err());
        assert!(ndcg(&[5.0], &[1.0], 10, Gain::Linear).is_err());
        assert!(ndcg(&[1.0], &[1.0], 0, Gain::Linear).is_err());
        assert!(ndcg(&[f64::NAN], &[1.0], 10, Gain::Linear).is_err());
    }

    #[test]
    fn compliance_at_one_and_five() {
        let seed = Seed::new("test", "compliance");
        let answers = [false, false, true, true, false];
        assert!(!complies_at(&answers, 1) && complies_at(&answers, 5));
        let outcomes: Vec<bool> = (0..400).map(|i| i % 10 != 0).collect();
        let estimate = compliance(&outcomes, None, &seed).unwrap();
        assert!((estimate.value - 0.9).abs() < 1e-12);
        assert!((estimate.ci95.low - 0.868).abs() < 0.006, "{estimate:?}");
        let all = compliance(&[true; 100], None, &seed).unwrap();
        assert!((all.ci95.low - 0.963).abs() < 0.001);
        assert!(all_agree(&all));
        let sessions: Vec<u64> = (0..100).map(|i| i / 10).collect();
        assert_eq!(compliance(&[true; 100], Some(&sessions), &seed).unwrap().n, 10);
        assert!(compliance(&[], None, &seed).is_err());
        assert!(mean_score(&[0.5, 1.5], None, &seed).is_err());
    }
}
