//! Aggregates: what a window, or an unwindowed key, keeps of its records and what it answers.
//!
//! An [`Aggregate`] is a value: `|w| (w.count(), w.max(|click| click.at))` makes one out of an [`Over`], whose type pins the record
//! so that closures infer, and tuples compose. The engine calls it so:
//! - [`Aggregate::init`] once for each key and window (or slice of windows), then [`Aggregate::add`] for each record, in whatever
//!   order records arrive;
//! - [`Aggregate::merge`] where slices are shared between overlapping windows, where sessions grow together, and never else;
//! - [`Aggregate::finish`] once, when the window fires. A window that exists holds a record, so `finish` never sees a partial that
//!   `init` made and nothing was added to; that is why `max` answers `V` and not `Option<V>`.
//!
//! In return an aggregate promises that its answer is a function of the *set* of records: `merge` is associative, and adding in
//! another order or merging in another order gives the same answer. Order counts only by event time and [`Position`], which travel
//! with the record (see [`Aggregate::needs_position`]). One that cannot promise this says so by [`Aggregate::order_dependent`],
//! and the plan prints it.
//!
//! [`Position`]: millpond_state::Position

mod collect;
mod count;
mod distinct;
mod exact;
mod extreme;
mod first;
mod fold;
mod over;
mod quantiles;
mod quantity;
mod sum;
#[cfg(test)]
pub(crate) mod trial;
mod tuple;
mod upgrade;

use millpond_state::{Data, Position, Timestamp};

pub use collect::Collect;
pub use count::Count;
pub use distinct::Distinct;
pub use exact::ExactSum;
pub use extreme::{Max, MaxF64, Min, MinF64};
pub use first::{First, Last};
pub use fold::Fold;
pub use over::Over;
pub use quantiles::{Quantiles, Sketch};
pub use quantity::Quantity;
pub use sum::{Mean, Sum};
pub(crate) use upgrade::Bare;
pub use upgrade::{Stored, UpgradeState, Upgrades};

/// A record as an aggregate sees it: the value, when it happened, and where it stands in the log.
#[derive(Debug)]
pub struct Logged<'a, T> {
    /// The user's value.
    pub value: &'a T,
    /// Event time.
    pub at: Timestamp,
    /// Its place in the log; the default one where [`Aggregate::needs_position`] is false.
    pub position: Position,
}

impl<T> Clone for Logged<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Logged<'_, T> {}

/// How records become an answer. The module's page says who calls what, and what is promised.
///
/// One's own aggregate, given to [`Over::with`]:
/// ```
/// use millpond_operators::aggregate::{Aggregate, Logged, Over, answer};
/// use millpond_state::Timestamp;
///
/// /// The longest time between two records.
/// struct Span;
/// impl Aggregate<String> for Span {
///     type Partial = Option<(Timestamp, Timestamp)>;
///     type Output = i64;
///     fn init(&self) -> Self::Partial {
///         None
///     }
///     fn add(&self, partial: &mut Self::Partial, record: &Logged<'_, String>) {
///         self.merge(partial, Some((record.at, record.at)));
///     }
///     fn merge(&self, partial: &mut Self::Partial, other: Self::Partial) {
///         *partial = match (*partial, other) {
///             (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
///             (one, other) => one.or(other),
///         };
///     }
///     fn finish(&self, partial: Self::Partial) -> i64 {
///         partial.map_or(0, |(first, last)| last.micros().saturating_sub(first.micros()))
///     }
/// }
///
/// let w = Over::<String>::new();
/// let records = [(Timestamp::from_secs(3), "a".to_owned()), (Timestamp::from_secs(1), "b".to_owned())];
/// assert_eq!(answer(&(w.count(), w.with(Span)), &records), Some((2, 2_000_000)));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an aggregate of `{T}`",
    note = "use `w.count()`, `w.max(|record| ..)`, `w.fold(..)`, a tuple of up to eight of them, or implement `Aggregate<{T}>`"
)]
pub trait Aggregate<T>: 'static {
    /// What is kept while records come in: state, written to checkpoints.
    type Partial: Data;
    /// The answer.
    type Output: Data;

    /// Nothing added yet.
    fn init(&self) -> Self::Partial;
    /// Takes in one record.
    fn add(&self, partial: &mut Self::Partial, record: &Logged<'_, T>);
    /// Takes in all that `other` took in. Associative; also commutative, unless [`Aggregate::order_dependent`].
    fn merge(&self, partial: &mut Self::Partial, other: Self::Partial);
    /// The answer, of a partial that took in at least one record.
    fn finish(&self, partial: Self::Partial) -> Self::Output;

    /// What a key takes into the window after, if anything: of windows that are [there without rows](crate::Windowed::with_empty).
    #[doc(hidden)]
    #[inline]
    fn carry(&self, partial: &Self::Partial) -> Option<Self::Partial> {
        let _ = partial;
        None
    }

    /// What it takes that other aggregates had kept: of those made by [`Over::upgrade_state`].
    #[doc(hidden)]
    fn upgrades<S: Stored>(&self) -> Upgrades {
        Upgrades::default()
    }

    /// Whether [`Logged::position`] is looked at, so that the flow has to carry positions (some 20 bytes a record). Asked once.
    fn needs_position(&self) -> bool {
        false
    }
    /// Whether the answer may depend on the order in which records arrive, which the log does not determine. Asked once, for the plan.
    fn order_dependent(&self) -> bool {
        false
    }
    /// What the plan calls it. An own aggregate may well say more than this.
    fn describe(&self) -> String {
        "own aggregate".to_owned()
    }
}

/// What `aggregate` answers for `records`, `None` when there are none: for testing one's own without a flow. Positions count up.
///
/// ```
/// use millpond_operators::aggregate::{Over, answer};
/// use millpond_state::Timestamp;
///
/// let w = Over::<u64>::new();
/// assert_eq!(answer(&w.sum(|n| *n), &[(Timestamp::EPOCH, 4), (Timestamp::EPOCH, 5)]), Some(9));
/// assert_eq!(answer(&w.max(|n| *n), &[]), None);
/// ```
pub fn answer<T, A: Aggregate<T>>(aggregate: &A, records: &[(Timestamp, T)]) -> Option<A::Output> {
    let mut partial = aggregate.init();
    for ((at, value), offset) in records.iter().zip(0..) {
        aggregate.add(&mut partial, &Logged { value, at: *at, position: Position { offset, ..Position::default() } });
    }
    (!records.is_empty()).then(|| aggregate.finish(partial))
}
