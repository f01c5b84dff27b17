//! Quantiles by a sketch.

use millpond_state::Data;
use serde::{Deserialize, Serialize};
use sketches_ddsketch::{Config, DDSketch};

use super::{Aggregate, Logged, Quantity};

/// A value of the sketch is within this of the true one, relatively.
const ACCURACY: f64 = 0.01;
/// More bins than the range of `f64` has at that accuracy. A sketch that ran out of bins would merge its lowest ones, and which those
/// are would depend on order; memory is taken only for the range that values span (1 KiB for every factor of 12).
const BINS: u32 = 80_000;

/// Sketches values; see [`super::Over::quantiles`].
#[must_use = "an aggregate does nothing until `.aggregate(..)` returns it"]
pub struct Quantiles<F, const N: usize> {
    ranks: [f64; N],
    of: F,
}

impl<F, const N: usize> std::fmt::Debug for Quantiles<F, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quantiles").field("ranks", &self.ranks).finish_non_exhaustive()
    }
}

impl<F, const N: usize> Quantiles<F, N> {
    pub(super) fn new(ranks: [f64; N], of: F) -> Self {
        for rank in ranks {
            assert!((0.0..=1.0).contains(&rank), "a quantile's rank lies between 0 and 1, {rank} does not");
        }
        Quantiles { ranks, of }
    }
}

/// What [`Quantiles`] keeps: a DDSketch of the finite values, subnormal ones taken for zero, and counts of the others.
#[derive(Clone, Serialize, Deserialize)]
pub struct Sketch {
    finite: DDSketch,
    below: u64,
    above: u64,
    nan: u64,
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sketch").field("values", &self.count()).finish_non_exhaustive()
    }
}

impl Sketch {
    fn new() -> Self {
        let finite = DDSketch::new(Config::new(ACCURACY, BINS, f64::MIN_POSITIVE));
        Sketch { finite, below: 0, above: 0, nan: 0 }
    }

    fn count(&self) -> u64 {
        self.below + self.finite.count() as u64 + self.above + self.nan
    }

    fn add(&mut self, x: f64) {
        match x {
            f64::INFINITY => self.above += 1,
            f64::NEG_INFINITY => self.below += 1,
            x if x.is_nan() => self.nan += 1,
            x => self.finite.add(x),
        }
    }

    fn merge(&mut self, other: &Sketch) {
        self.finite.merge(&other.finite).expect("every sketch has the same accuracy");
        self.below += other.below;
        self.above += other.above;
        self.nan += other.nan;
    }

    /// The value of this rank, counting from negative infinity up to NaN.
    fn quantile(&self, rank: f64) -> f64 {
        let place = (rank * self.count().saturating_sub(1) as f64) as u64;
        let finite = self.finite.count() as u64;
        match place.checked_sub(self.below) {
            None => f64::NEG_INFINITY,
            Some(place) if place < finite => self.finite_at(place, finite),
            Some(place) if place < finite + self.above => f64::INFINITY,
            Some(_) => f64::NAN,
        }
    }

    fn finite_at(&self, place: u64, count: u64) -> f64 {
        // The sketch takes a rank and rounds down, so aim at the middle of the place; its ends it knows exactly.
        let rank = if place == 0 {
            0.0
        } else if place + 1 == count {
            1.0
        } else {
            (place as f64 + 0.5) / (count - 1) as f64
        };
        let value = self.finite.quantile(rank).ok().flatten().unwrap_or(f64::NAN);
        value.clamp(self.finite.min().unwrap_or(value), self.finite.max().unwrap_or(value))
    }
}

impl<T: 'static, V: Quantity, F: Fn(&T) -> V + 'static, const N: usize> Aggregate<T> for Quantiles<F, N>
where
    [f64; N]: Data,
{
    type Partial = Sketch;
    type Output = [f64; N];

    fn init(&self) -> Sketch {
        Sketch::new()
    }
    fn add(&self, sketch: &mut Sketch, record: &Logged<'_, T>) {
        sketch.add((self.of)(record.value).measure());
    }
    fn merge(&self, sketch: &mut Sketch, other: Sketch) {
        sketch.merge(&other);
    }
    fn finish(&self, sketch: Sketch) -> [f64; N] {
        self.ranks.map(|rank| sketch.quantile(rank))
    }
    fn describe(&self) -> String {
        format!("quantiles {:?} (within {} %)", self.ranks, ACCURACY * 100.0)
    }
}

#[cfg(test)]
#[path = "quantiles_tests.rs"]
mod tests;
