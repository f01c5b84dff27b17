//! Windows that do not overlap: tumbling ones, and sliding ones with gaps.
//!
//! This is the path that most records of most jobs take. A row costs a look into the table of its window, and little else: runs of rows
//! that are on time for one window are found first, so that the loop that waits for the table's memory is as short as can be, and the
//! processor waits for many rows at once.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use millpond_engine::{Context, Fires, Firing, Operator, Record, Row, Shipment};
use millpond_state::{CodecError, Data, Entry, Handle, Key, Panes, Position, Section, Timestamp, restore_entry};

use super::leaving::Leaving;
use super::limits::Limits;
use super::pane::{self, Pane};
use super::rules::Rules;
use crate::aggregate::{Aggregate, Logged};
use crate::windows::{Aligned, Span};

/// The tag of the panes in a checkpoint.
const PANES: u8 = 0;
/// So many rows are judged before they are put into their window: few enough to be near when that is done.
const RUN: usize = 64;

#[derive(Debug)]
pub(super) struct Disjoint<K: Key, T, A: Aggregate<T>> {
    layout: Aligned,
    rules: Rules<K>,
    aggregate: A,
    limits: Limits,
    panes: Panes<K, A::Partial>,
    leaving: Leaving<K>,
    /// What keys of the window that leaves take into the next one.
    carried: Vec<(u64, K, A::Partial)>,
    /// The window of the row before, and when it closes.
    window: Span,
    closes: Timestamp,
    rows: PhantomData<fn(T)>,
}

impl<K: Key, T, A: Aggregate<T>> Disjoint<K, T, A> {
    pub(super) fn new(layout: Aligned, rules: Rules<K>, aggregate: A) -> Self {
        Disjoint {
            layout,
            rules,
            aggregate,
            limits: Limits::new(),
            panes: Panes::new(PANES),
            leaving: Leaving::new(rules.order),
            carried: Vec::new(),
            window: Span { start: Timestamp::MAX, end: Timestamp::MAX },
            closes: Timestamp::MAX,
            rows: PhantomData,
        }
    }

    /// Puts what is carried into the window after `window`, unless that is cut at the end of time.
    fn carry_on(&mut self, window: Span) {
        let gap = self.layout.slide() - self.layout.size();
        let next = self.layout.newest(window.end.plus_micros(gap)).filter(|next| next.end < Timestamp::MAX);
        let Disjoint { panes, carried, aggregate, .. } = self;
        let Some(next) = next else { return carried.clear() };
        for (hash, key, partial) in carried.drain(..) {
            let partial = Cell::new(Some(partial));
            let first = || partial.take().expect("a value is made once");
            panes.upsert(next.start.micros(), hash, key, first, |whole| {
                if let Some(partial) = partial.take() {
                    aggregate.merge(whole, partial);
                }
            });
        }
    }

    /// Turns to the window of `at`; `false` when that lies in a gap.
    #[inline(never)]
    fn turn_to(&mut self, at: Timestamp) -> bool {
        let Some(window) = self.layout.newest(at) else { return false };
        self.window = window;
        self.closes = self.rules.lateness.closes(window.end);
        true
    }
}

impl<K: Key, T: Data, A: Aggregate<T>> Operator for Disjoint<K, T, A> {
    type Key = K;
    type In = T;
    type Out = Pane<K, A::Output>;
    type Side = T;

    fn apply(&mut self, rows: &mut Shipment<K, T>, cx: &mut Context<Self::Out, T>) {
        let mut positions = rows.positions.iter().copied();
        let mut rows = rows.rows.drain(..);
        while let Some(first) = rows.as_slice().first() {
            if !self.window.contains(first.at) && !self.turn_to(first.at) {
                cx.unassigned();
                rows.next();
                positions.next();
                continue;
            }
            let Disjoint { window, closes, limits, aggregate, panes, .. } = self;
            let open = |row: &&Row<K, T>| window.contains(row.at) && !limits.reached(*closes, row.seen, row.hash);
            let run = rows.as_slice().iter().take(RUN).take_while(open).count();
            if run == 0 {
                let Row { at, seen, value, .. } = rows.next().expect("it was just looked at");
                self.rules.late(Record { at, seen, value }, positions.next(), cx);
                continue;
            }
            let mut table = panes.open(window.start.micros());
            let mut put = |Row { hash, at, key, value, .. }, position| {
                let record = Logged { value: &value, at, position };
                table.upsert(hash, key, || aggregate.init(), |partial| aggregate.add(partial, &record));
            };
            if positions.len() == 0 {
                rows.by_ref().take(run).for_each(|row| put(row, Position::default()));
            } else {
                rows.by_ref().take(run).zip(positions.by_ref()).for_each(|(row, position)| put(row, position));
            }
        }
    }

    fn advance(&mut self, watermark: Timestamp, budget: usize, cx: &mut Context<Self::Out, T>) -> Firing {
        // Before anything leaves: from now on no row may enter these windows.
        self.limits.advance(watermark);
        let closed = self.rules.closed(watermark);
        let mut left = budget;
        while let Some(start) = self.panes.first_window() {
            let window = self.layout.newest(Timestamp::from_micros(start)).expect("a window contains its start");
            if window.end > closed {
                break;
            }
            if left == 0 {
                return Firing::More;
            }
            let Disjoint { aggregate, leaving, panes, carried, .. } = self;
            cx.reserve(left.min(panes.len()));
            leaving.drain(panes, start, left, |key, hash, partial| {
                left -= 1;
                carried.extend(aggregate.carry(&partial).map(|next| (hash, key.clone(), next)));
                pane::emit(cx, window, 0, hash, key, aggregate.finish(partial));
            });
            if !self.carried.is_empty() {
                self.carry_on(window);
            }
        }
        Firing::Done
    }

    fn output_watermark(&self, watermark: Timestamp) -> Timestamp {
        self.rules.closed(watermark)
    }

    fn snapshot(&mut self, most: &mut usize, section: &mut Section) -> Result<bool, CodecError> {
        self.panes.snapshot(most, section)
    }

    fn fired(&self, groups: Range<u16>) -> Fires {
        self.limits.runs(groups)
    }

    fn restore(&mut self, entry: Entry<'_>) -> Result<(), CodecError> {
        let value = entry.value.unwrap_or_default();
        restore_entry(&mut [&mut self.panes], entry.group, entry.key, value)
    }

    fn restore_fired(&mut self, groups: Range<u16>, fires: &Fires) {
        self.limits.restore(groups, fires);
    }
}
