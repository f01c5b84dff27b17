//! How many different values, exactly.

use std::collections::BTreeSet;

use millpond_state::Data;

use super::{Aggregate, Logged};

/// Keeps every different value; see [`super::Over::distinct`].
///
/// A sorted set rather than a hashed one: its encoding is a function of what is in it. There is no approximate count: of the sketches
/// in reach none is kept up, can be stored, and merges to the same answer in any order.
#[must_use = "an aggregate does nothing until `.aggregate(..)` returns it"]
pub struct Distinct<F>(F);

impl<F> std::fmt::Debug for Distinct<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("distinct")
    }
}

impl<F> Distinct<F> {
    pub(super) fn new(of: F) -> Self {
        Distinct(of)
    }
}

impl<T: 'static, V: Data + Ord, F: Fn(&T) -> V + 'static> Aggregate<T> for Distinct<F> {
    type Partial = BTreeSet<V>;
    type Output = u64;

    fn init(&self) -> BTreeSet<V> {
        BTreeSet::new()
    }
    fn add(&self, kept: &mut BTreeSet<V>, record: &Logged<'_, T>) {
        kept.insert((self.0)(record.value));
    }
    fn merge(&self, kept: &mut BTreeSet<V>, mut other: BTreeSet<V>) {
        if kept.len() < other.len() {
            std::mem::swap(kept, &mut other);
        }
        kept.extend(other);
    }
    fn finish(&self, kept: BTreeSet<V>) -> u64 {
        kept.len() as u64
    }
    fn describe(&self) -> String {
        "distinct (keeps every value)".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::{Over, trial};

    #[test]
    fn counts_different_values_whatever_their_order() {
        let model = |rows: &[trial::Row]| rows.iter().map(|row| row.value % 20).collect::<HashSet<_>>().len() as u64;
        trial::agrees(|| Over::<i64>::new().distinct(|n| n % 20), model);
    }
}
