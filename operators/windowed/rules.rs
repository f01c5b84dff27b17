//! What a window step is told: which windows, how late, in which order, and what becomes of late rows.

use std::cmp::Ordering;

use millpond_engine::{Context, KeyedLine, Line, Record, Stateful};
use millpond_state::{Data, Key, Position, Timestamp};

use super::Pane;
use crate::Stream;
use crate::aggregate::Aggregate;
use crate::windows::Lateness;

/// What becomes of late rows, and so what [`Windowed::aggregate`](super::Windowed::aggregate) returns.
pub trait OnLate: 'static {
    /// One stream, or two.
    type Results<'s, R: Data, T: Data>;
    #[doc(hidden)]
    const SPLIT: bool;
    #[doc(hidden)]
    fn results<'s, R: Data, T: Data>(results: Line<'s, R>, late: Line<'s, T>) -> Self::Results<'s, R, T>;
}

/// Late rows are counted and let go.
#[derive(Clone, Copy, Debug)]
pub struct DropLate;

impl OnLate for DropLate {
    type Results<'s, R: Data, T: Data> = Stream<'s, R>;
    const SPLIT: bool = false;
    fn results<'s, R: Data, T: Data>(results: Line<'s, R>, _: Line<'s, T>) -> Stream<'s, R> {
        Stream { line: results }
    }
}

/// Late rows leave as a stream of their own, as they came.
#[derive(Clone, Copy, Debug)]
pub struct SplitLate;

impl OnLate for SplitLate {
    type Results<'s, R: Data, T: Data> = (Stream<'s, R>, Stream<'s, T>);
    const SPLIT: bool = true;
    fn results<'s, R: Data, T: Data>(results: Line<'s, R>, late: Line<'s, T>) -> (Stream<'s, R>, Stream<'s, T>) {
        // Late rows lie behind every watermark: a window over them asks for event time again.
        (Stream { line: results }, Stream { line: late.untimed() })
    }
}

/// Kinds of windows: whatever implements [`Assign`](crate::windows::Assign), [`Session`](crate::windows::Session),
/// [`Count`](crate::windows::Count) and [`Global`](crate::windows::Global).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no kind of window",
    note = "use `Tumbling::of(..)`, `Sliding::of(..).every(..)`, `Session::gap(..)`, `Count::of(..)`, `Global`, or implement `Assign`"
)]
pub trait Window: Sized + 'static {
    /// What a pane holds where the aggregate answers `V`.
    type Answer<V: Data>: Data;
    #[doc(hidden)]
    fn draw<'s, K: Key, T: Data, A: Aggregate<T>>(
        self,
        drawing: Drawing<'s, K, T>,
        aggregate: A,
    ) -> (Line<'s, Pane<K, Self::Answer<A::Output>>>, Line<'s, T>);
}

/// Windows of time, which can wait for late rows. A row of a [`Count`](crate::windows::Count) window has its place once the watermark
/// passed it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no window of time, so no lateness can be allowed",
    note = "a row's place among rows is certain once the watermark has passed it; raise `.out_of_order(..)` on the source instead"
)]
pub trait OfTime: Window {}

/// A window step while it is drawn.
#[derive(Debug)]
pub struct Drawing<'s, K: Key, T: Data> {
    pub(super) line: KeyedLine<'s, K, T>,
    pub(super) what: Stateful,
    pub(super) rules: Rules<K>,
}

/// How two keys of a window are ordered.
pub(super) type Order<K> = fn(&K, &K) -> Ordering;

/// What every window operator goes by.
#[derive(Debug)]
pub(super) struct Rules<K> {
    pub(super) lateness: Lateness,
    /// Whether somebody takes late rows.
    pub(super) split: bool,
    /// How the keys of a window leave; `None` in no order.
    pub(super) order: Option<Order<K>>,
}

impl<K> Clone for Rules<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Rules<K> {}

impl<K> Rules<K> {
    /// The greatest end of a window that is closed at `watermark`, which is also what may be promised downstream: the panes of later
    /// windows are not before it. In terms of ends nothing saturates into one, whatever the lateness.
    #[inline]
    pub(super) fn closed(&self, watermark: Timestamp) -> Timestamp {
        match watermark {
            Timestamp::MAX => Timestamp::MAX,
            watermark => watermark.plus_micros(-self.lateness.micros()),
        }
    }

    /// Sends a late row aside, or lets it go.
    #[inline]
    pub(super) fn late<O, T>(&self, record: Record<T>, position: Option<Position>, cx: &mut Context<O, T>) {
        if self.split {
            cx.late(record, position);
        } else {
            cx.drop_late();
        }
    }
}
