//! The earliest and the newest record, by event time and then log position.

use millpond_state::{Data, Position, Timestamp};

use super::{Aggregate, Logged};

/// `$before(new, kept)` says of two (event time, position) when the new one is kept. The closure runs for kept records only.
macro_rules! by_place {
    ($(#[$doc:meta])* $name:ident, $word:literal, $before:expr) => {
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

        impl<T: 'static, V: Data, F: Fn(&T) -> V + 'static> Aggregate<T> for $name<F> {
            type Partial = Option<(Timestamp, Position, V)>;
            type Output = V;

            #[inline]
            fn init(&self) -> Self::Partial {
                None
            }
            #[inline]
            fn add(&self, kept: &mut Self::Partial, record: &Logged<'_, T>) {
                let place = (record.at, record.position);
                if kept.as_ref().is_none_or(|(at, position, _)| $before(place, (*at, *position))) {
                    *kept = Some((record.at, record.position, (self.0)(record.value)));
                }
            }
            #[inline]
            fn merge(&self, kept: &mut Self::Partial, other: Self::Partial) {
                if let Some(new) = other
                    && kept.as_ref().is_none_or(|(at, position, _)| $before((new.0, new.1), (*at, *position)))
                {
                    *kept = Some(new);
                }
            }
            #[inline]
            fn finish(&self, kept: Self::Partial) -> V {
                kept.expect("a window that exists holds a record").2
            }
            fn needs_position(&self) -> bool {
                true
            }
            fn describe(&self) -> String {
                concat!($word, " by event time, then log position").to_owned()
            }
        }
    };
}

by_place!(
    /// Keeps the earliest record; see [`super::Over::first`].
    First, "first", |new, kept| new < kept
);
by_place!(
    /// Keeps the newest record; see [`super::Over::last`].
    Last, "last", |new, kept| new > kept
);

#[cfg(test)]
mod tests {
    use super::super::{Aggregate, Over, trial};

    #[test]
    fn first_and_last_go_by_event_time_then_position_never_by_arrival() {
        trial::agrees(|| Over::<i64>::new().first(|n| *n), |rows| rows[0].value);
        trial::agrees(|| Over::<i64>::new().last(|n| *n), |rows| rows[rows.len() - 1].value);
        assert!(Over::<i64>::new().first(|n| *n).needs_position());
    }
}
