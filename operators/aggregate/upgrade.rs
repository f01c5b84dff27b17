//! An aggregate that also takes what another one had kept: [`Over::upgrade_state`](super::Over::upgrade_state).

use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use millpond_engine::Upgrade;
use millpond_state::{CodecError, Data, Shape, ShapeError, decode, encode_into};

use super::{Aggregate, Logged};

/// How a step keeps partials in a checkpoint, for a function that knows only partials. Each window operator and each kind of change has one.
#[doc(hidden)]
pub trait Stored: 'static {
    /// The shape under which the plan has a partial of type `P`.
    ///
    /// # Errors
    /// When no checkpoint could hold it.
    fn shape<P: Data>() -> Result<Shape, ShapeError> {
        Shape::of::<P>()
    }

    /// Turns a stored value with partials of type `Old` into one with partials of type `New`.
    ///
    /// # Errors
    /// When the value is not one, or the new one has no encoding.
    fn upgrade<Old: Data, New: Data>(
        key: &[u8],
        value: &[u8],
        with: &dyn Fn(Old) -> New,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError>;
}

/// A partial stored as it is.
#[derive(Debug)]
pub(crate) struct Bare;

impl Stored for Bare {
    fn upgrade<Old: Data, New: Data>(
        _: &[u8],
        value: &[u8],
        with: &dyn Fn(Old) -> New,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        encode_into(&with(decode(value)?), out)
    }
}

/// What an aggregate takes from others.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Upgrades {
    /// One for each shape.
    pub(crate) all: Vec<Upgrade>,
    /// Why the job cannot run as it is drawn.
    pub(crate) refused: Vec<String>,
}

/// An aggregate, and a function from what another one had kept.
pub struct UpgradeState<A, Old, F> {
    aggregate: A,
    upgrade: Rc<F>,
    old: PhantomData<fn(Old)>,
}

impl<A: fmt::Debug, Old, F> fmt::Debug for UpgradeState<A, Old, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeState").field("aggregate", &self.aggregate).finish_non_exhaustive()
    }
}

impl<A, Old, F> UpgradeState<A, Old, F> {
    pub(super) fn new(aggregate: A, upgrade: F) -> Self {
        UpgradeState { aggregate, upgrade: Rc::new(upgrade), old: PhantomData }
    }
}

impl<T, A: Aggregate<T>, Old: Data, F: Fn(Old) -> A::Partial + 'static> Aggregate<T> for UpgradeState<A, Old, F> {
    type Partial = A::Partial;
    type Output = A::Output;

    #[inline]
    fn init(&self) -> A::Partial {
        self.aggregate.init()
    }
    #[inline]
    fn add(&self, partial: &mut A::Partial, record: &Logged<'_, T>) {
        self.aggregate.add(partial, record);
    }
    #[inline]
    fn merge(&self, partial: &mut A::Partial, other: A::Partial) {
        self.aggregate.merge(partial, other);
    }
    #[inline]
    fn finish(&self, partial: A::Partial) -> A::Output {
        self.aggregate.finish(partial)
    }
    #[inline]
    fn carry(&self, partial: &A::Partial) -> Option<A::Partial> {
        self.aggregate.carry(partial)
    }
    fn needs_position(&self) -> bool {
        self.aggregate.needs_position()
    }
    fn order_dependent(&self) -> bool {
        self.aggregate.order_dependent()
    }
    fn describe(&self) -> String {
        self.aggregate.describe()
    }
    fn upgrades<S: Stored>(&self) -> Upgrades {
        let mut upgrades = self.aggregate.upgrades::<S>();
        let upgrade = Rc::clone(&self.upgrade);
        match S::shape::<Old>() {
            Ok(shape) => upgrades.all.push(Upgrade::new(shape, move |key, value, out| {
                S::upgrade::<Old, A::Partial>(key, value, &*upgrade, out)
            })),
            Err(error) => {
                upgrades.refused.push(format!("`upgrade_state` from {}: {error}", std::any::type_name::<Old>()));
            }
        }
        upgrades
    }
}

#[cfg(test)]
mod tests {
    use millpond_state::Timestamp;

    use super::super::{Over, answer};
    use super::*;

    #[test]
    fn the_answer_is_the_aggregates_own_and_several_old_shapes_are_taken() {
        let w = Over::<u64>::new();
        let of_counts = w.upgrade_state((w.count(), w.max(|n| *n)), |count: u64| (count, None));
        let both = w.upgrade_state(of_counts, |(count, sum): (u64, i64)| (count, Some(sum.unsigned_abs())));
        let records = [(Timestamp::EPOCH, 4), (Timestamp::EPOCH, 9)];
        assert_eq!(answer(&both, &records), Some((2, 9)));
        assert_eq!(Aggregate::<u64>::describe(&both), "count, max");
        let upgrades = Aggregate::<u64>::upgrades::<Bare>(&both).all;
        let shapes: Vec<_> = upgrades.iter().map(|upgrade| upgrade.from().to_string()).collect();
        assert_eq!(shapes, ["u64", "(u64, i64)"]);
        let (mut old, mut new) = (Vec::new(), Vec::new());
        encode_into(&(7_u64, -5_i64), &mut old).unwrap();
        upgrades[1].convert(b"", &old, &mut new).unwrap();
        assert_eq!(decode::<(u64, Option<u64>)>(&new).unwrap(), (7, Some(5)));
        assert!(upgrades[1].convert(b"", &old[1..], &mut Vec::new()).is_err(), "a value that is none");
    }

    #[test]
    fn a_part_of_a_tuple_cannot_take_what_the_whole_had_kept() {
        let w = Over::<u64>::new();
        let part = (w.count(), w.upgrade_state(w.max(|n| *n), |old: i64| Some(old.unsigned_abs())));
        let upgrades = Aggregate::<u64>::upgrades::<Bare>(&part);
        assert!(upgrades.all.is_empty() && upgrades.refused[0].contains("around the whole"), "{upgrades:?}");
    }
}
