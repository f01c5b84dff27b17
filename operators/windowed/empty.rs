//! Windows without rows, for keys that had rows a short while ago.
//!
//! Which keys are known must be a function of the log, like everything else, and so must be which windows there are at the end. So a key is
//! known for a number of windows after each one in which it had rows: a window that leaves takes the key into the next one, with one
//! window less to go, until rows renew the number or it is used up. What is carried is state of the next window, in the same checkpoint
//! as the pane that left.

use std::marker::PhantomData;

use millpond_engine::Line;
use millpond_state::{CodecError, Data, Key, Shape, ShapeError};
use serde::{Deserialize, Serialize};

use super::disjoint::Disjoint;
use super::overlapping::{InSlices, Overlapping};
use super::rules::{OfTime, Window};
use super::{Drawing, Pane, Windowed, shape};
use crate::aggregate::{Aggregate, Bare, Logged, Stored, Upgrades};
use crate::windows::{Assign, Sliding, Tumbling};

/// Windows that go on whether there are rows or not: [`Tumbling`] and [`Sliding`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no empty windows",
    note = "only `Tumbling` and `Sliding` windows go on whether there are records or not"
)]
pub trait Regular: Assign {}
impl Regular for Tumbling {}
impl Regular for Sliding {}

/// Windows with empty ones between and after them: what [`Windowed::with_empty`] makes.
#[derive(Clone, Copy, Debug)]
pub struct WithEmpty<W> {
    windows: W,
    empty: u32,
}

impl<'s, K: Key, T: Data, W: Regular, L> Windowed<'s, K, T, W, L> {
    /// A key that had records also has a pane in each of the next `windows` windows, even where it has none in them. Answers become
    /// `Option`s: `None` for a window without records.
    ///
    /// Before its first record a key is not known, and a window that is cut at the end of time is never empty.
    /// ```
    /// use std::time::Duration;
    /// use millpond_operators::windows::Tumbling;
    /// use millpond_operators::{Pane, Stream};
    ///
    /// fn heartbeats<'s>(hosts: Stream<'s, String>) -> Stream<'s, Pane<String, u64>> {
    ///     let minutes = hosts.key_by(|host| host.clone()).window(Tumbling::of(Duration::from_mins(1)));
    ///     // A host that fell silent counts zero for an hour.
    ///     minutes.with_empty(60).aggregate(|w| w.count()).map(|pane| pane.map(Option::unwrap_or_default))
    /// }
    /// ```
    pub fn with_empty(self, windows: u32) -> Windowed<'s, K, T, WithEmpty<W>, L> {
        self.over(|of| WithEmpty { windows: of, empty: windows })
    }
}

impl<W: Regular> OfTime for WithEmpty<W> {}
impl<W: Regular> Window for WithEmpty<W> {
    type Answer<V: Data> = Option<V>;

    fn draw<'s, K: Key, T: Data, A: Aggregate<T>>(
        self,
        drawing: Drawing<'s, K, T>,
        aggregate: A,
    ) -> (Line<'s, Pane<K, Option<A::Output>>>, Line<'s, T>) {
        let WithEmpty { windows, empty } = self;
        let layout = windows.aligned().expect("regular windows lie at equal distances");
        let aggregate = OrEmpty { aggregate, empty };
        let described = format!("{}, {empty} empty", windows.describe());
        let drawing = drawing.of_time(described, &aggregate);
        let drawing = match layout.overlap() {
            true => drawing.upgrades::<InSlices, _>(&aggregate),
            false => drawing.upgrades::<Bare, _>(&aggregate),
        };
        let Drawing { line, mut what, rules } = drawing;
        what.shapes = vec![
            shape::<K>(line.graph(), "window", "key"),
            shape::<Carried<A::Partial>>(line.graph(), "window", "partial"),
        ];
        if layout.overlap() {
            line.operate(what, move || Overlapping::new(layout, rules, aggregate))
        } else {
            line.operate(what, move || Disjoint::new(layout, rules, aggregate))
        }
    }
}

/// What a window holds of a key that it may have had rows of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Carried<P> {
    partial: Option<P>,
    /// In how many more windows the key is known.
    left: u32,
}

/// An aggregate that also answers for no rows.
#[derive(Debug)]
pub(super) struct OrEmpty<A> {
    pub(super) aggregate: A,
    pub(super) empty: u32,
}

impl<T, A: Aggregate<T>> Aggregate<T> for OrEmpty<A> {
    type Partial = Carried<A::Partial>;
    type Output = Option<A::Output>;

    fn init(&self) -> Self::Partial {
        Carried { partial: None, left: 0 }
    }
    #[inline]
    fn add(&self, carried: &mut Self::Partial, record: &Logged<'_, T>) {
        carried.left = self.empty;
        self.aggregate.add(carried.partial.get_or_insert_with(|| self.aggregate.init()), record);
    }
    fn merge(&self, carried: &mut Self::Partial, other: Self::Partial) {
        carried.left = carried.left.max(other.left);
        match (&mut carried.partial, other.partial) {
            (Some(partial), Some(other)) => self.aggregate.merge(partial, other),
            (none @ None, other) => *none = other,
            (Some(_), None) => {}
        }
    }
    fn finish(&self, carried: Self::Partial) -> Option<A::Output> {
        carried.partial.map(|partial| self.aggregate.finish(partial))
    }
    fn carry(&self, carried: &Self::Partial) -> Option<Self::Partial> {
        carried.left.checked_sub(1).map(|left| Carried { partial: None, left })
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
        self.aggregate.upgrades::<InCarried<S>>()
    }
}

/// Partials of windows that may be empty, stored as `S` stores them.
struct InCarried<S>(PhantomData<S>);

impl<S: Stored> Stored for InCarried<S> {
    fn shape<P: Data>() -> Result<Shape, ShapeError> {
        S::shape::<Carried<P>>()
    }

    fn upgrade<Old: Data, New: Data>(
        key: &[u8],
        value: &[u8],
        with: &dyn Fn(Old) -> New,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let with = |Carried { partial, left }: Carried<Old>| Carried { partial: partial.map(with), left };
        S::upgrade(key, value, &with, out)
    }
}
