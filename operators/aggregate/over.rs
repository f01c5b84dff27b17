//! The builder that a flow hands to the closure of `.aggregate(|w| ..)`.

use std::marker::PhantomData;

use millpond_state::Data;

use super::{
    Aggregate, Collect, Count, Distinct, First, Fold, Last, Max, MaxF64, Mean, Min, MinF64, Quantiles, Quantity, Sum,
    UpgradeState,
};

/// Makes aggregates over records of type `T`. It holds nothing: it is there so that closures need no type.
///
/// ```
/// use millpond_operators::aggregate::{Over, answer};
/// use millpond_state::Timestamp;
///
/// struct Click { page: String, dwell: f64 }
/// let w = Over::<Click>::new();
/// let visits = (w.count(), w.mean(|click| click.dwell), w.distinct(|click| click.page.clone()));
///
/// let click = |page: &str, dwell| (Timestamp::EPOCH, Click { page: page.to_owned(), dwell });
/// assert_eq!(answer(&visits, &[click("/", 1.0), click("/help", 4.0), click("/", 4.0)]), Some((3, 3.0, 2)));
/// ```
pub struct Over<T>(PhantomData<fn(&T)>);

impl<T> std::fmt::Debug for Over<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Over<{}>", std::any::type_name::<T>())
    }
}

impl<T> Clone for Over<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Over<T> {}

impl<T> Default for Over<T> {
    fn default() -> Self {
        Over(PhantomData)
    }
}

impl<T: 'static> Over<T> {
    /// By hand only in tests; `.aggregate(|w| ..)` gives one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many records there are.
    pub fn count(&self) -> Count {
        Count
    }

    /// The sum, exact: integers are added in 128 bits and the total saturates, floats are rounded once, at the end.
    ///
    /// The total is wide: `u64` of any unsigned integer, `i64` of any signed one, `f64` of floats, and a `Duration` of durations.
    /// ```
    /// # use millpond_operators::aggregate::{Over, answer};
    /// # use millpond_state::Timestamp;
    /// let w = Over::<f64>::new();
    /// let tenths = [(Timestamp::EPOCH, 1e100), (Timestamp::EPOCH, 0.1), (Timestamp::EPOCH, -1e100)];
    /// assert_eq!(answer(&w.sum(|x| *x), &tenths), Some(0.1));
    /// ```
    pub fn sum<V: Quantity, F: Fn(&T) -> V + 'static>(&self, of: F) -> Sum<F> {
        Sum::new(of)
    }

    /// The mean: the exact sum divided by the count, rounded once. `f64` of numbers, a `Duration` of durations.
    /// ```
    /// # use millpond_operators::aggregate::{Over, answer};
    /// # use millpond_state::Timestamp;
    /// let w = Over::<i32>::new();
    /// assert_eq!(answer(&w.mean(|n| *n), &[(Timestamp::EPOCH, 1), (Timestamp::EPOCH, 2)]), Some(1.5));
    /// ```
    pub fn mean<V: Quantity, F: Fn(&T) -> V + 'static>(&self, of: F) -> Mean<F> {
        Mean::new(of)
    }

    /// The greatest value. Of an `Option` the answer is `None` when all are, since `None` is the least; of `f64` see [`Over::max_f64`].
    /// ```
    /// # use millpond_operators::aggregate::{Over, answer};
    /// # use millpond_state::Timestamp;
    /// let w = Over::<Option<i64>>::new();
    /// assert_eq!(answer(&w.max(|delay| *delay), &[(Timestamp::EPOCH, Some(-3)), (Timestamp::EPOCH, None)]), Some(Some(-3)));
    /// ```
    pub fn max<V: Data + Ord, F: Fn(&T) -> V + 'static>(&self, of: F) -> Max<F> {
        Max::new(of)
    }

    /// The least value. Of an `Option` the answer is `None` as soon as one is: filter them out first where that is not what is meant.
    /// ```
    /// # use millpond_operators::aggregate::{Over, answer};
    /// # use millpond_state::Timestamp;
    /// let w = Over::<String>::new();
    /// let words = [(Timestamp::EPOCH, "river".to_owned()), (Timestamp::EPOCH, "pond".to_owned())];
    /// assert_eq!(answer(&w.min(|word| word.len()), &words), Some(4));
    /// ```
    pub fn min<V: Data + Ord, F: Fn(&T) -> V + 'static>(&self, of: F) -> Min<F> {
        Min::new(of)
    }

    /// The greatest float in the total order of IEEE 754: -0.0 is below 0.0, and a NaN is above infinity, so it shows.
    /// ```
    /// # use millpond_operators::aggregate::{Over, answer};
    /// # use millpond_state::Timestamp;
    /// let w = Over::<f64>::new();
    /// assert_eq!(answer(&w.max_f64(|x| *x), &[(Timestamp::EPOCH, -2.5), (Timestamp::EPOCH, -7.0)]), Some(-2.5));
    /// ```
    pub fn max_f64<F: Fn(&T) -> f64 + 'static>(&self, of: F) -> MaxF64<F> {
        MaxF64::new(of)
    }

    /// The least float in the total order of IEEE 754: -0.0 is below 0.0, and a NaN is above infinity.
    /// ```
    /// # use millpond_operators::aggregate::{Over, answer};
    /// # use millpond_state::Timestamp;
    /// let w = Over::<f64>::new();
    /// assert_eq!(answer(&w.min_f64(|x| *x), &[(Timestamp::EPOCH, -2.5), (Timestamp::EPOCH, f64::NAN)]), Some(-2.5));
    /// ```
    pub fn min_f64<F: Fn(&T) -> f64 + 'static>(&self, of: F) -> MinF64<F> {
        MinF64::new(of)
    }

    /// Something of the earliest record: least event time, then least log position, whichever arrived first.
    /// ```
    /// # use millpond_operators::aggregate::{Over, answer};
    /// # use millpond_state::Timestamp;
    /// let w = Over::<&'static str>::new();
    /// let records = [(Timestamp::from_secs(2), "second"), (Timestamp::from_secs(1), "first"), (Timestamp::from_secs(1), "tie")];
    /// assert_eq!(answer(&w.first(|name| name.to_string()), &records), Some("first".to_owned()));
    /// ```
    pub fn first<V: Data, F: Fn(&T) -> V + 'static>(&self, of: F) -> First<F> {
        First::new(of)
    }

    /// Something of the newest record: greatest event time, then greatest log position, whichever arrived last.
    /// ```
    /// # use millpond_operators::aggregate::{Over, answer};
    /// # use millpond_state::Timestamp;
    /// let w = Over::<f64>::new();
    /// assert_eq!(answer(&w.last(|t| *t), &[(Timestamp::from_secs(9), 20.5), (Timestamp::from_secs(3), 18.0)]), Some(20.5));
    /// ```
    pub fn last<V: Data, F: Fn(&T) -> V + 'static>(&self, of: F) -> Last<F> {
        Last::new(of)
    }

    /// Something of every record, sorted by event time, then log position. State grows with the window.
    /// ```
    /// # use millpond_operators::aggregate::{Over, answer};
    /// # use millpond_state::Timestamp;
    /// let w = Over::<char>::new();
    /// let records = [(Timestamp::from_secs(3), 'c'), (Timestamp::from_secs(1), 'a'), (Timestamp::from_secs(2), 'b')];
    /// assert_eq!(answer(&w.collect(|c| *c), &records), Some(vec!['a', 'b', 'c']));
    /// ```
    pub fn collect<V: Data, F: Fn(&T) -> V + 'static>(&self, of: F) -> Collect<F> {
        Collect::new(of)
    }

    /// How many different values there are, exactly. State grows with that number.
    /// ```
    /// # use millpond_operators::aggregate::{Over, answer};
    /// # use millpond_state::Timestamp;
    /// let w = Over::<u64>::new();
    /// assert_eq!(answer(&w.distinct(|user| *user), &[(Timestamp::EPOCH, 7), (Timestamp::EPOCH, 8), (Timestamp::EPOCH, 7)]), Some(2));
    /// ```
    pub fn distinct<V: Data + Ord, F: Fn(&T) -> V + 'static>(&self, of: F) -> Distinct<F> {
        Distinct::new(of)
    }

    /// Quantiles by a sketch, each within one percent of a value that has that rank; 0.0 and 1.0 are the exact least and greatest.
    ///
    /// Durations are measured in seconds.
    ///
    /// # Panics
    /// When a rank is not between 0 and 1.
    /// ```
    /// # use millpond_operators::aggregate::{Over, answer};
    /// # use millpond_state::Timestamp;
    /// let w = Over::<u64>::new();
    /// let records: Vec<_> = (1..=1_000).map(|n| (Timestamp::EPOCH, n)).collect();
    /// let [median, most] = answer(&w.quantiles([0.5, 1.0], |n| *n), &records).unwrap();
    /// assert!((495.0..=505.0).contains(&median) && most == 1_000.0);
    /// ```
    pub fn quantiles<V: Quantity, F: Fn(&T) -> V + 'static, const N: usize>(
        &self,
        ranks: [f64; N],
        of: F,
    ) -> Quantiles<F, N> {
        Quantiles::new(ranks, of)
    }

    /// One's own, by an initial value and two functions. The plan flags it until [`Fold::commutes`] promises that order does not count.
    /// ```
    /// # use millpond_operators::aggregate::{Over, answer};
    /// # use millpond_state::Timestamp;
    /// let w = Over::<u8>::new();
    /// let bits = w.fold(0u8, |seen, flag| *seen |= flag, |seen, other| *seen |= other).commutes();
    /// assert_eq!(answer(&bits, &[(Timestamp::EPOCH, 1), (Timestamp::EPOCH, 4)]), Some(5));
    /// ```
    pub fn fold<A, F, M>(&self, init: A, add: F, merge: M) -> Fold<A, F, M>
    where
        A: Data,
        F: Fn(&mut A, &T) + 'static,
        M: Fn(&mut A, A) + 'static,
    {
        Fold::new(init, add, merge)
    }

    /// The aggregate, which also goes on with what another one had kept: when a version starts from a savepoint whose state has the shape of
    /// `Old`, `upgrade` turns each partial into one of `aggregate`. It stands around the whole aggregate of a step; several may stand
    /// around each other, for several old shapes. `plan` shows which shape a step has.
    ///
    /// `upgrade` must be pure: a start that is broken off calls it again. What the new answer needs and the old partial does not have, it has
    /// to state: here the longest dwell time counts from the savepoint on.
    /// ```
    /// # use millpond_operators::aggregate::{Over, answer};
    /// # use millpond_state::Timestamp;
    /// # struct Click { dwell: u64 }
    /// let w = Over::<Click>::new();
    /// let counts = w.upgrade_state((w.count(), w.max(|click| click.dwell)), |count: u64| (count, Some(0)));
    /// assert_eq!(answer(&counts, &[(Timestamp::EPOCH, Click { dwell: 7 })]), Some((1, 7)));
    /// ```
    pub fn upgrade_state<Old: Data, A: Aggregate<T>, F: Fn(Old) -> A::Partial + 'static>(
        &self,
        aggregate: A,
        upgrade: F,
    ) -> UpgradeState<A, Old, F> {
        UpgradeState::new(aggregate, upgrade)
    }

    /// One's own [`Aggregate`], checked here rather than where the flow uses it.
    pub fn with<A: Aggregate<T>>(&self, aggregate: A) -> A {
        aggregate
    }
}
