//! The model: a tokenizer and a two-layer perceptron that scores candidate documents.
//!
//! Weights come from a seed, so a release always answers a query in the same way.

use ndarray::{Array1, Array2};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::server::options::ServerOptions;

/// Features of one candidate document.
pub const FEATURES: usize = 16;
/// Documents that one query ranks.
pub const CANDIDATES: usize = 50;
/// Documents in an answer.
pub const TOP: usize = 10;
/// Size of the complete vocabulary: error rates are exact to 1 in 10,000.
pub const VOCABULARY: usize = 10_000;

/// Why an input cannot be tokenized.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// The client sent a value that no release accepts.
    #[error("signal {0} is outside of [0, 1)")]
    OutOfRange(f64),
    /// The bug of a bad release: its vocabulary lacks tokens that valid inputs need.
    #[error("token {token} is not in the vocabulary of {known} tokens")]
    UnknownToken {
        /// The token that the input needs.
        token: usize,
        /// Tokens that the release ships.
        known: usize,
    },
}

/// Maps a signal in [0, 1) to an embedding through a vocabulary.
#[derive(Debug)]
pub struct Tokenizer {
    embeddings: Vec<f32>,
}

impl Tokenizer {
    /// A tokenizer whose vocabulary lacks the last `missing` share of the tokens.
    #[must_use]
    pub fn new(missing: f64, seed: u64) -> Self {
        let known = ((1.0 - missing.clamp(0.0, 1.0)) * VOCABULARY as f64).round() as usize;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x70C);
        Self {
            embeddings: (0..known).map(|_| random.random_range(-1.0..1.0)).collect(),
        }
    }

    /// The embedding of a signal, or the reason why there is none.
    pub fn embed(&self, signal: f64) -> Result<f32, TokenError> {
        if !(0.0..1.0).contains(&signal) {
            return Err(TokenError::OutOfRange(signal));
        }
        let token = (signal * VOCABULARY as f64) as usize;
        self.embeddings.get(token).copied().ok_or(TokenError::UnknownToken {
            token,
            known: self.embeddings.len(),
        })
    }
}

/// One document with its score.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Scored {
    /// Identifier of the document.
    pub document: u32,
    /// The higher, the more relevant.
    pub score: f32,
}

/// What the feature store knows about the candidates of a query, one row a document.
#[must_use]
pub fn features(query: u64, embedding: f32) -> Array2<f32> {
    let mut state = query ^ u64::from(embedding.to_bits());
    Array2::from_shape_simple_fn((CANDIDATES, FEATURES), || {
        // One multiply-and-rotate a value: the work of a server, not of a generator.
        state = state
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(23)
            .wrapping_add(1);
        (state >> 40) as f32 / 16_777_216.0 - 0.5 + 0.1 * embedding
    })
}

/// A perceptron with one hidden layer of rectified linear units.
#[derive(Debug)]
pub struct Model {
    /// Features by hidden units.
    first: Array2<f32>,
    second: Array1<f32>,
}

impl Model {
    /// Draws the weights of a model with `hidden` units.
    #[must_use]
    pub fn new(hidden: usize, seed: u64) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x3E1);
        let mut draw = |fan_in: usize| {
            let limit = (1.0 / fan_in.max(1) as f32).sqrt();
            random.random_range(-limit..limit)
        };
        Self {
            first: Array2::from_shape_simple_fn((FEATURES, hidden), || draw(FEATURES)),
            second: Array1::from_shape_simple_fn(hidden, || draw(hidden)),
        }
    }

    /// The model that a release ships.
    #[must_use]
    pub fn of(options: &ServerOptions) -> Self {
        let model = Self::new(options.hidden_units, options.seed);
        match options.weight_bits {
            Some(bits) => model.quantised(bits),
            None => model,
        }
    }

    /// Its weights rounded to the levels that `bits` bits can tell apart, evenly spaced up to the largest weight.
    fn quantised(mut self, bits: u8) -> Self {
        let levels = f32::from((1_u16 << (bits - 1)) - 1);
        let rounded = |weights: &mut dyn Iterator<Item = &mut f32>, most: f32| {
            let step = most / levels;
            weights.for_each(|weight| *weight = (*weight / step).round() * step);
        };
        let most =
            |weights: &mut dyn Iterator<Item = &f32>| weights.fold(f32::MIN_POSITIVE, |most, w| most.max(w.abs()));
        let (first, second) = (most(&mut self.first.iter()), most(&mut self.second.iter()));
        rounded(&mut self.first.iter_mut(), first);
        rounded(&mut self.second.iter_mut(), second);
        self
    }

    /// Number of weights.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.first.len() + self.second.len()
    }

    /// Scores every candidate, in their order.
    #[must_use]
    pub fn score(&self, candidates: &Array2<f32>) -> Vec<f32> {
        let mut activation = candidates.dot(&self.first);
        for unit in &mut activation {
            *unit = unit.max(0.0);
        }
        activation.dot(&self.second).to_vec()
    }
}

/// The best documents, highest score first, ties by document.
#[must_use]
pub fn top(scores: &[f32]) -> Vec<Scored> {
    let mut ranked: Vec<Scored> = scores
        .iter()
        .zip(0..)
        .map(|(&score, document)| Scored { document, score })
        .collect();
    ranked.sort_by(|left, right| {
        right
            .score
            .total_cmp(&left.score)
            .then(left.document.cmp(&right.document))
    });
    ranked.truncate(TOP);
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_missing_share_of_the_input_range_fails() {
        for (rate, failing) in [(0.0, 0), (0.009, 90), (0.03, 300), (1.0, VOCABULARY)] {
            let tokenizer = Tokenizer::new(rate, 7);
            let failed = (0..VOCABULARY)
                .filter(|token| tokenizer.embed((*token as f64 + 0.5) / VOCABULARY as f64).is_err())
                .count();
            assert_eq!(failed, failing, "error rate {rate}");
        }
    }

    #[test]
    fn the_failing_range_is_at_the_top_and_is_the_same_each_time() {
        let tokenizer = Tokenizer::new(0.03, 7);
        assert!(tokenizer.embed(0.969_95).is_ok());
        assert_eq!(
            tokenizer.embed(0.97),
            Err(TokenError::UnknownToken {
                token: 9_700,
                known: 9_700
            })
        );
        assert_eq!(tokenizer.embed(0.97), tokenizer.embed(0.97));
        assert!(matches!(tokenizer.embed(1.0), Err(TokenError::OutOfRange(_))));
        assert!(matches!(tokenizer.embed(f64::NAN), Err(TokenError::OutOfRange(_))));
    }

    #[test]
    fn the_same_query_gets_the_same_ranking() {
        let rank = |seed, query| top(&Model::new(32, seed).score(&features(query, 0.25)));
        assert_eq!(rank(1, 5), rank(1, 5));
        assert_ne!(rank(1, 5), rank(2, 5));
        assert_ne!(rank(1, 5), rank(1, 6));
    }

    #[test]
    fn scores_match_a_direct_evaluation() {
        let model = Model::new(3, 9);
        let rows = features(11, -0.5);
        let expected: f32 = (0..3)
            .map(|unit| {
                let sum: f32 = (0..FEATURES)
                    .map(|feature| rows[[4, feature]] * model.first[[feature, unit]])
                    .sum();
                sum.max(0.0) * model.second[unit]
            })
            .sum();
        assert!((model.score(&rows)[4] - expected).abs() < 1e-6);
        assert_eq!(model.parameters(), FEATURES * 3 + 3);
    }

    #[test]
    fn the_top_is_sorted_and_ties_go_by_document() {
        let best = top(&[0.1, 0.5, 0.5, 0.9]);
        assert_eq!(best.iter().map(|item| item.document).collect::<Vec<_>>(), [3, 1, 2, 0]);
    }
}
