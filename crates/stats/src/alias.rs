//! Draws from a discrete distribution in constant time.

use rand::Rng;

/// Walker's alias method (Walker 1977; Vose 1991) on a run of integers: one 64-bit word a draw, of which
/// the high bits pick a column and the low bits one of its two outcomes.
#[derive(Clone, Debug)]
pub(super) struct Alias {
    first: u64,
    shift: u32,
    /// The low bits below which the column's own outcome is meant, and the other outcome.
    columns: Vec<(u64, u32)>,
}

impl Alias {
    /// The distribution on `first`, `first` + 1, … with these weights (not all zero).
    pub(super) fn new(first: u64, weights: &[f64]) -> Self {
        let size = weights.len().next_power_of_two().max(2);
        let shift = 64 - size.trailing_zeros();
        let total: f64 = weights.iter().sum();
        let mut share: Vec<f64> = weights.iter().map(|weight| weight / total * size as f64).collect();
        share.resize(size, 0.0);
        let whole = (1_u64 << shift) as f64;
        let mut columns: Vec<(u64, u32)> = (0..size as u32).map(|own| (1_u64 << shift, own)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..size).partition(|&i| share[i] < 1.0);
        while let (Some(&less), Some(&more)) = (small.last(), large.last()) {
            small.pop();
            columns[less] = ((share[less] * whole) as u64, more as u32);
            share[more] -= 1.0 - share[less];
            if share[more] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        Self { first, shift, columns }
    }

    /// Binomial(n, p) without the tails below 1e-18 of the mode.
    pub(super) fn binomial(n: u64, p: f64) -> Self {
        if p <= 0.0 || p >= 1.0 || n == 0 {
            return Self::new(if p >= 1.0 { n } else { 0 }, &[1.0]);
        }
        let mode = (((n + 1) as f64 * p) as u64).min(n);
        let odds = p / (1.0 - p);
        let mut below = Vec::new();
        let mut weight = 1.0;
        for k in (0..mode).rev() {
            weight *= (k + 1) as f64 / ((n - k) as f64 * odds);
            if weight < 1e-18 {
                break;
            }
            below.push(weight);
        }
        let first = mode - below.len() as u64;
        let mut weights: Vec<f64> = below.into_iter().rev().collect();
        weights.push(1.0);
        weight = 1.0;
        for k in mode..n {
            weight *= (n - k) as f64 * odds / (k + 1) as f64;
            if weight < 1e-18 {
                break;
            }
            weights.push(weight);
        }
        Self::new(first, &weights)
    }

    /// One draw.
    #[inline]
    pub(super) fn draw(&self, rng: &mut impl Rng) -> u64 {
        let word = rng.next_u64();
        let column = (word >> self.shift) as usize;
        let (own_below, other) = self.columns[column];
        let low = word & ((1_u64 << self.shift) - 1);
        self.first
            + if low < own_below {
                column as u64
            } else {
                u64::from(other)
            }
    }

    /// The smallest value that can be drawn and how many there are, padding included.
    pub(super) fn support(&self) -> (u64, usize) {
        (self.first, self.columns.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    #[test]
    fn frequencies_follow_the_weights() {
        let alias = Alias::new(5, &[1.0, 0.0, 3.0, 4.0]);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut counts = [0_u32; 4];
        for _ in 0..80_000 {
            counts[(alias.draw(&mut rng) - 5) as usize] += 1;
        }
        assert_eq!(counts[1], 0);
        for (count, expected) in counts.into_iter().zip([10_000.0, 0.0, 30_000.0, 40_000.0]) {
            assert!((f64::from(count) - expected).abs() < 600.0);
        }
    }

    #[test]
    fn binomial_moments() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        for (n, p) in [(1_u64, 0.5), (1000, 0.01), (10_000, 0.95), (1024, 0.5)] {
            let alias = Alias::binomial(n, p);
            let draws: Vec<f64> = (0..40_000).map(|_| alias.draw(&mut rng) as f64).collect();
            let mean = draws.iter().sum::<f64>() / 40_000.0;
            let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 40_000.0;
            let expected = n as f64 * p * (1.0 - p);
            assert!((mean - n as f64 * p).abs() < 5.0 * (expected / 40_000.0).sqrt());
            assert!((variance / expected - 1.0).abs() < 0.05, "{n} {p}: {variance}");
        }
        assert_eq!(Alias::binomial(9, 0.0).draw(&mut rng), 0);
        assert_eq!(Alias::binomial(9, 1.0).draw(&mut rng), 9);
    }
}
