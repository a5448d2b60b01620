//! Deterministic resampling: the same bytes from the same evidence, on any number of threads.
//!
//! The 10,000 resamples are cut into fixed blocks. Each block draws from its own xoshiro256++ generator,
//! seeded with a hash of the evidence, the metric and the block's number; blocks are joined in order.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Resamples of every bootstrap.
pub const RESAMPLES: usize = 10_000;

/// Resamples of one block: fixed, or the bytes would depend on the machine.
const BLOCK: usize = 625;

/// What a bootstrap draws from: a hash of the evidence and the metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed of `metric` on `evidence` (a digest, or `file#run_id#dataset_version`).
    pub fn new(evidence: &str, metric: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [evidence, metric] {
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        Self(hash.finalize().into())
    }

    /// An independent seed for a part of the same computation, such as one arm of a comparison.
    #[must_use]
    pub fn part(&self, part: u64) -> Self {
        Self(self.hashed(b"part", part))
    }

    /// The generator of one block.
    pub fn generator(&self, block: u64) -> Xoshiro256PlusPlus {
        Xoshiro256PlusPlus::from_seed(self.hashed(b"block", block))
    }

    fn hashed(&self, kind: &[u8], number: u64) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(kind);
        hash.update(number.to_le_bytes());
        hash.finalize().into()
    }
}

/// [`RESAMPLES`] replicates in a fixed order; `fill` writes one block with that block's generator.
pub(super) fn replicates<T: Clone + Default + Send>(
    seed: &Seed,
    fill: impl Fn(&mut Xoshiro256PlusPlus, &mut [T]) + Sync,
) -> Vec<T> {
    let mut replicates = vec![T::default(); RESAMPLES];
    replicates.par_chunks_mut(BLOCK).enumerate().for_each(|(block, chunk)| {
        fill(&mut seed.generator(block as u64), chunk);
    });
    replicates
}

/// The `p` quantile of `values` with linear interpolation (Hyndman & Fan type 7, as numpy), in linear time.
/// Reorders `values`, which must not be empty or hold NaN.
pub(super) fn percentile(values: &mut [f64], p: f64) -> f64 {
    let position = p.clamp(0.0, 1.0) * (values.len() - 1) as f64;
    let rank = position.floor() as usize;
    let (_, &mut at, above) = values.select_nth_unstable_by(rank, f64::total_cmp);
    let fraction = position - rank as f64;
    let next = above.iter().copied().min_by(f64::total_cmp).unwrap_or(at);
    // A replicate without a bound is not interpolated: infinity less infinity is no number.
    if fraction == 0.0 || at == next || !at.is_finite() {
        at
    } else {
        at + fraction * (next - at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn thread_counts_give_the_same_bytes() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                replicates::<u64>(&Seed::new("file#run#1", "ndcg"), |rng, chunk| {
                    for slot in chunk.iter_mut() {
                        *slot = rng.next_u64();
                    }
                })
            })
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(16));
    }

    #[test]
    fn seeds_tell_evidence_metric_and_part_apart() {
        let seed = Seed::new("ab", "c");
        assert_ne!(seed, Seed::new("a", "bc"));
        assert_ne!(seed, Seed::new("ab", "d"));
        assert_ne!(seed.part(0), seed.part(1));
        assert_eq!(seed, Seed::new("ab", "c"));
    }

    #[test]
    fn percentiles_interpolate() {
        let mut values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(percentile(&mut values, 0.0), 1.0);
        assert_eq!(percentile(&mut values, 1.0), 4.0);
        assert_eq!(percentile(&mut values, 0.5), 2.5);
        let mut unbounded = [1.0, f64::INFINITY, f64::INFINITY];
        assert_eq!(percentile(&mut unbounded, 0.5), f64::INFINITY);
        assert_eq!(percentile(&mut unbounded, 0.9), f64::INFINITY);
        assert_eq!(percentile(&mut unbounded, 0.0), 1.0);
    }
}
