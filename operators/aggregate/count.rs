//! How many.

use super::{Aggregate, Logged};

/// Counts records; see [`super::Over::count`].
#[derive(Clone, Copy, Debug)]
#[must_use = "an aggregate does nothing until `.aggregate(..)` returns it"]
pub struct Count;

impl<T> Aggregate<T> for Count {
    type Partial = u64;
    type Output = u64;

    #[inline]
    fn init(&self) -> u64 {
        0
    }
    #[inline]
    fn add(&self, count: &mut u64, _: &Logged<'_, T>) {
        *count += 1;
    }
    #[inline]
    fn merge(&self, count: &mut u64, other: u64) {
        *count += other;
    }
    #[inline]
    fn finish(&self, count: u64) -> u64 {
        count
    }
    fn describe(&self) -> String {
        "count".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Over, trial};

    #[test]
    fn counts_records() {
        trial::agrees(|| Over::<i64>::new().count(), |rows| rows.len() as u64);
    }
}
