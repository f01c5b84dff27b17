//! The greatest and the least.

use millpond_state::Data;

use super::{Aggregate, Logged};

/// One aggregate over ordered values: `$better(new, kept)` says when the new one is kept.
macro_rules! extreme {
    ($(#[$doc:meta])* $name:ident, $word:literal, $better:expr) => {
        $(#[$doc])*
        #[must_use = "an aggregate does nothing until `.aggregate(..)` returns it"]
        pub struct $name<F>(F);

        impl<F> std::fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($word)
            }
        }

        impl<F> $name<F> {
            pub(super) fn new(of: F) -> Self {
                $name(of)
            }
        }

        impl<T: 'static, V: Data + Ord, F: Fn(&T) -> V + 'static> Aggregate<T> for $name<F> {
            type Partial = Option<V>;
            type Output = V;

            #[inline]
            fn init(&self) -> Option<V> {
                None
            }
            #[inline]
            fn add(&self, kept: &mut Option<V>, record: &Logged<'_, T>) {
                let new = (self.0)(record.value);
                self.merge(kept, Some(new));
            }
            #[inline]
            fn merge(&self, kept: &mut Option<V>, other: Option<V>) {
                // Always written: for numbers that is a choice without a jump, which nobody could foretell.
                *kept = match (kept.take(), other) {
                    (Some(kept), Some(new)) => Some(if $better(&new, &kept) { new } else { kept }),
                    (kept, other) => other.or(kept),
                };
            }
            #[inline]
            fn finish(&self, kept: Option<V>) -> V {
                kept.expect("a window that exists holds a record")
            }
            fn describe(&self) -> String {
                $word.to_owned()
            }
        }
    };
}

extreme!(
    /// Keeps the greatest value; see [`super::Over::max`].
    Max, "max", |new, kept| new > kept
);
extreme!(
    /// Keeps the least value; see [`super::Over::min`].
    Min, "min", |new, kept| new < kept
);

/// The same for floats in total order, which need no `Option`: the order's own far end is kept until there is a record.
macro_rules! extreme_f64 {
    ($(#[$doc:meta])* $name:ident, $word:literal, $least_wanted:expr, $better:ident) => {
        $(#[$doc])*
        #[must_use = "an aggregate does nothing until `.aggregate(..)` returns it"]
        pub struct $name<F>(F);

        impl<F> std::fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($word)
            }
        }

        impl<F> $name<F> {
            pub(super) fn new(of: F) -> Self {
                $name(of)
            }
        }

        impl<T: 'static, F: Fn(&T) -> f64 + 'static> Aggregate<T> for $name<F> {
            type Partial = f64;
            type Output = f64;

            #[inline]
            fn init(&self) -> f64 {
                $least_wanted
            }
            #[inline]
            fn add(&self, kept: &mut f64, record: &Logged<'_, T>) {
                self.merge(kept, (self.0)(record.value));
            }
            #[inline]
            fn merge(&self, kept: &mut f64, other: f64) {
                if other.total_cmp(kept).$better() {
                    *kept = other;
                }
            }
            #[inline]
            fn finish(&self, kept: f64) -> f64 {
                kept
            }
            fn describe(&self) -> String {
                $word.to_owned()
            }
        }
    };
}

extreme_f64!(
    /// Keeps the greatest float in total order; see [`super::Over::max_f64`].
    MaxF64, "max", f64::from_bits(u64::MAX), is_gt
);
extreme_f64!(
    /// Keeps the least float in total order; see [`super::Over::min_f64`].
    MinF64, "min", f64::from_bits(u64::MAX >> 1), is_lt
);

#[cfg(test)]
mod tests {
    use millpond_state::Timestamp;

    use super::super::{Over, answer, trial};

    #[test]
    fn max_and_min_are_those_of_a_vec() {
        let value = |row: &trial::Row| row.value;
        trial::agrees(|| Over::<i64>::new().max(|n| *n), |rows| rows.iter().map(value).max().unwrap());
        trial::agrees(|| Over::<i64>::new().min(|n| *n), |rows| rows.iter().map(value).min().unwrap());
    }

    #[test]
    fn none_is_the_least_option() {
        let some = |n: i64| (n % 3 != 0).then_some(n);
        trial::agrees(
            || Over::<i64>::new().max(move |n| some(*n)),
            |rows| rows.iter().map(|row| some(row.value)).max().unwrap(),
        );
    }

    #[test]
    fn floats_are_compared_in_total_order() {
        let floats = |n: i64| match n % 7 {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            3 => -0.0,
            4 => -f64::NAN,
            _ => n as f64 / 8.0,
        };
        let sorted = |rows: &[trial::Row]| {
            let mut all: Vec<f64> = rows.iter().map(|row| floats(row.value)).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        trial::agrees_as(
            || Over::<i64>::new().max_f64(move |n| floats(*n)),
            |rows| *sorted(rows).last().unwrap(),
            |x| x.to_bits(),
        );
        trial::agrees_as(|| Over::<i64>::new().min_f64(move |n| floats(*n)), |rows| sorted(rows)[0], |x| x.to_bits());
    }

    #[test]
    fn the_far_ends_of_the_total_order_are_values_too() {
        let w = Over::<f64>::new();
        let lowest = f64::from_bits(u64::MAX);
        assert_eq!(answer(&w.max_f64(|x| *x), &[(Timestamp::EPOCH, lowest)]).map(f64::to_bits), Some(lowest.to_bits()));
    }
}
