//! Sums and means, exact.

use super::{Aggregate, Logged, Quantity};

/// Adds up; see [`super::Over::sum`].
#[must_use = "an aggregate does nothing until `.aggregate(..)` returns it"]
pub struct Sum<F>(F);

/// Adds up and counts; see [`super::Over::mean`].
#[must_use = "an aggregate does nothing until `.aggregate(..)` returns it"]
pub struct Mean<F>(F);

impl<F> std::fmt::Debug for Sum<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sum")
    }
}

impl<F> std::fmt::Debug for Mean<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("mean")
    }
}

impl<F> Sum<F> {
    pub(super) fn new(of: F) -> Self {
        Sum(of)
    }
}

impl<F> Mean<F> {
    pub(super) fn new(of: F) -> Self {
        Mean(of)
    }
}

impl<T: 'static, V: Quantity, F: Fn(&T) -> V + 'static> Aggregate<T> for Sum<F> {
    type Partial = V::Running;
    type Output = V::Total;

    #[inline]
    fn init(&self) -> V::Running {
        V::Running::default()
    }
    #[inline]
    fn add(&self, running: &mut V::Running, record: &Logged<'_, T>) {
        (self.0)(record.value).add(running);
    }
    #[inline]
    fn merge(&self, running: &mut V::Running, other: V::Running) {
        V::merge(running, other);
    }
    #[inline]
    fn finish(&self, running: V::Running) -> V::Total {
        V::total(&running)
    }
    fn describe(&self) -> String {
        "sum (exact)".to_owned()
    }
}

impl<T: 'static, V: Quantity, F: Fn(&T) -> V + 'static> Aggregate<T> for Mean<F> {
    type Partial = (V::Running, u64);
    type Output = V::Mean;

    #[inline]
    fn init(&self) -> Self::Partial {
        (V::Running::default(), 0)
    }
    #[inline]
    fn add(&self, (running, count): &mut Self::Partial, record: &Logged<'_, T>) {
        (self.0)(record.value).add(running);
        *count += 1;
    }
    #[inline]
    fn merge(&self, (running, count): &mut Self::Partial, (other, others): Self::Partial) {
        V::merge(running, other);
        *count += others;
    }
    #[inline]
    fn finish(&self, (running, count): Self::Partial) -> V::Mean {
        V::mean(&running, count)
    }
    fn describe(&self) -> String {
        "mean (exact)".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millpond_state::Timestamp;

    use super::super::{Over, answer, trial};

    fn at_once<T>(values: impl IntoIterator<Item = T>) -> Vec<(Timestamp, T)> {
        values.into_iter().map(|value| (Timestamp::EPOCH, value)).collect()
    }

    #[test]
    fn integers_sum_and_average_like_a_vec() {
        let sum = |rows: &[trial::Row]| rows.iter().map(|row| row.value).sum::<i64>();
        trial::agrees(|| Over::<i64>::new().sum(|n| *n), sum);
        trial::agrees(|| Over::<i64>::new().mean(|n| *n as i32), |rows| sum(rows) as f64 / rows.len() as f64);
        let squares = |rows: &[trial::Row]| rows.iter().map(|row| row.value.pow(2) as u64).sum::<u64>();
        trial::agrees(|| Over::<i64>::new().sum(|n| n.pow(2) as u16), squares);
    }

    #[test]
    fn floats_sum_and_average_exactly_in_any_order() {
        // Thirds of very different size, whose exact sum is known in units of 2^-60.
        let units = |n: i64| i128::from(n) << (n.unsigned_abs() % 59);
        let float = move |n: i64| units(n) as f64 / 2f64.powi(60);
        let total =
            move |rows: &[trial::Row]| rows.iter().map(|row| units(row.value)).sum::<i128>() as f64 / 2f64.powi(60);
        trial::agrees_as(|| Over::<i64>::new().sum(move |n| float(*n)), total, f64::to_bits);
        trial::agrees(
            || Over::<i64>::new().mean(|n| *n as f32),
            |rows| rows.iter().map(|row| row.value).sum::<i64>() as f64 / rows.len() as f64,
        );
    }

    #[test]
    fn an_integer_total_saturates_only_in_the_end() {
        let w = Over::<i64>::new();
        assert_eq!(answer(&w.sum(|n| *n), &at_once([i64::MAX, 1, -5])), Some(i64::MAX - 4));
        assert_eq!(answer(&w.sum(|n| *n), &at_once([i64::MAX, 1])), Some(i64::MAX));
        assert_eq!(answer(&w.sum(|n| *n), &at_once([i64::MIN, -1])), Some(i64::MIN));
        assert_eq!(answer(&Over::<u64>::new().sum(|n| *n), &at_once([u64::MAX, 1])), Some(u64::MAX));
        assert_eq!(answer(&Over::<u64>::new().mean(|n| *n), &at_once([u64::MAX, 1])), Some(2f64.powi(63)));
    }

    #[test]
    fn durations_sum_to_a_duration_and_saturate() {
        let nanos = |n: i64| Duration::from_nanos(n.unsigned_abs());
        trial::agrees(
            || Over::<i64>::new().sum(move |n| nanos(*n)),
            |rows| rows.iter().map(|row| nanos(row.value)).sum(),
        );
        let w = Over::<Duration>::new();
        let halves = at_once([Duration::from_nanos(1), Duration::from_nanos(2)]);
        assert_eq!(answer(&w.mean(|d| *d), &halves), Some(Duration::from_nanos(2)));
        assert_eq!(answer(&w.sum(|d| *d), &at_once([Duration::MAX, Duration::MAX])), Some(Duration::MAX));
        assert_eq!(answer(&w.mean(|d| *d), &at_once([Duration::MAX, Duration::MAX])), Some(Duration::MAX));
    }
}
