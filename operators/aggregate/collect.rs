//! Every record.

use millpond_state::{Data, Position, Timestamp};

use super::{Aggregate, Logged};

/// Keeps something of every record; see [`super::Over::collect`].
#[must_use = "an aggregate does nothing until `.aggregate(..)` returns it"]
pub struct Collect<F>(F);

impl<F> std::fmt::Debug for Collect<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("collect")
    }
}

impl<F> Collect<F> {
    pub(super) fn new(of: F) -> Self {
        Collect(of)
    }
}

impl<T: 'static, V: Data, F: Fn(&T) -> V + 'static> Aggregate<T> for Collect<F> {
    type Partial = Vec<(Timestamp, Position, V)>;
    type Output = Vec<V>;

    #[inline]
    fn init(&self) -> Self::Partial {
        Vec::new()
    }
    #[inline]
    fn add(&self, kept: &mut Self::Partial, record: &Logged<'_, T>) {
        kept.push((record.at, record.position, (self.0)(record.value)));
    }
    fn merge(&self, kept: &mut Self::Partial, mut other: Self::Partial) {
        kept.append(&mut other);
    }
    fn finish(&self, mut kept: Self::Partial) -> Vec<V> {
        kept.sort_by_key(|(at, position, _)| (*at, *position));
        kept.into_iter().map(|(.., value)| value).collect()
    }
    fn needs_position(&self) -> bool {
        true
    }
    fn describe(&self) -> String {
        "collect by event time, then log position (keeps every record)".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Over, trial};

    #[test]
    fn collects_in_order_of_event_time_then_position() {
        trial::agrees(|| Over::<i64>::new().collect(|n| *n), |rows| rows.iter().map(|row| row.value).collect());
    }
}
