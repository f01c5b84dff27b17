//! Windows that overlap and share their slices.
//!
//! A row goes into its slice, once, however many windows it counts in. When a window fires, its slices are merged into a table of its
//! own, from which the panes leave; a slice goes when the last of its windows has been merged. A row that is late for the older ones
//! of its windows must not enter the slice these share: it is kept apart, once for each window that is still open.
//!
//! A crash may come between merging and leaving. What has been merged and not left is state; and up to which end windows have been
//! merged is what `fired` says here, for each key group (so it is an *end*, not the watermark that closes it: with a great lateness
//! many windows close at one watermark, the final one).

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use millpond_engine::{Context, Fires, Firing, Operator, Record, Row, Shipment};
use millpond_state::{CodecError, Data, Entry, Handle, Key, OpenWindow, Panes, Section, Timestamp, restore_entry};

use super::ends::{Ends, InEnds};
use super::leaving::Leaving;
use super::limits::Limits;
use super::pane::{self, Pane};
use super::rules::Rules;
use crate::aggregate::{Aggregate, Bare, Logged, Stored};
use crate::windows::{Admit, Aligned, Span, Windows};

/// The tags of the tables in a checkpoint.
const SLICES: u8 = 0;
const APART: u8 = 1;
const MERGED: u8 = 2;
const LAST: u8 = 3;

#[derive(Debug)]
pub(super) struct Overlapping<K: Key, T, A: Aggregate<T>> {
    layout: Aligned,
    rules: Rules<K>,
    aggregate: A,
    /// The end up to which windows have been merged.
    merged_to: Limits,
    /// The watermark: windows that close by it are due and take no rows, though they may not have been merged yet.
    watermark: Timestamp,
    slices: Panes<K, A::Partial>,
    /// Rows that are late for some of their windows.
    apart: Ends<K, A::Partial>,
    /// Windows that are leaving.
    merged: Merged<K, A::Partial>,
    leaving: Leaving<K>,
    /// What keys of the window that leaves take into the next one.
    carried: Vec<(u64, K, A::Partial)>,
    /// The slice of the row before, and the end of the oldest of its windows.
    slice: Span,
    oldest: Timestamp,
    rows: PhantomData<fn(T)>,
}

impl<K: Key, T: Data, A: Aggregate<T>> Overlapping<K, T, A> {
    pub(super) fn new(layout: Aligned, rules: Rules<K>, aggregate: A) -> Self {
        assert!(layout.overlap(), "windows with gaps need no slices");
        Overlapping {
            layout,
            rules,
            aggregate,
            merged_to: Limits::new(),
            watermark: Timestamp::MIN,
            slices: Panes::new(SLICES),
            apart: Ends::new(APART),
            merged: Merged { size: layout.size(), whole: Panes::new(MERGED), last: Panes::new(LAST) },
            leaving: Leaving::new(rules.order),
            carried: Vec::new(),
            slice: Span { start: Timestamp::MAX, end: Timestamp::MAX },
            oldest: Timestamp::MAX,
            rows: PhantomData,
        }
    }

    #[inline(never)]
    fn turn_to(&mut self, at: Timestamp) {
        self.slice = self.layout.slice(at);
        self.oldest = self.layout.windows(at).next().expect("windows that overlap leave no gap").end;
    }

    /// A row that came too late for some of its windows.
    #[cold]
    fn admit(
        &mut self,
        row: Row<K, T>,
        position: Option<millpond_state::Position>,
        cx: &mut Context<Pane<K, A::Output>, T>,
    ) {
        let Row { hash, at, seen, key, value } = row;
        let lateness = self.rules.lateness;
        let limit = seen.max(self.watermark).max(lateness.closes(self.merged_to.get(hash)));
        let Admit::Partly(open) = self.layout.admit(at, limit, lateness) else {
            self.rules.late(Record { at, seen, value }, position, cx);
            return;
        };
        let record = Logged { value: &value, at, position: position.unwrap_or_default() };
        for window in open {
            self.apart.add(window, hash, key.clone(), &self.aggregate, &record);
        }
    }

    /// The end of the next windows to be merged.
    fn next_end(&self) -> Option<Timestamp> {
        let floor = self.merged_to.floor();
        let unmerged = |start| self.windows_of(start).find(|window| window.end > floor).map(|window| window.end);
        // No window of a later slice can end before the first one that this slice still waits for.
        let in_slices = self.slices.windows().find_map(unmerged);
        [in_slices, self.apart.first_end()].into_iter().flatten().min()
    }

    fn windows_of(&self, slice: i64) -> Windows {
        self.layout.windows(Timestamp::from_micros(slice))
    }

    /// Merges the windows that end at `end` (one, except where they are cut at the end of time), and lets go the slices it was the
    /// last for.
    fn merge(&mut self, end: Timestamp) {
        self.leaving.forget();
        let slices: Vec<i64> = self.slices.windows().take_while(|start| *start < end.micros()).collect();
        let mut windows = Vec::new();
        for slice in slices {
            let at = Timestamp::from_micros(slice);
            if end == Timestamp::MAX {
                windows.clear();
                windows.extend(self.layout.windows(at).filter(|window| window.end == end));
            } else {
                let window = self.merged.ending(end);
                windows.clear();
                windows.extend(window.contains(at).then_some(window));
            }
            let newest = self.layout.newest(at).expect("windows that overlap leave no gap");
            let Overlapping { slices, merged, merged_to, aggregate, .. } = self;
            let waits = |hash| end > merged_to.get(hash);
            let Some((last, others)) = windows.split_last() else { continue };
            for window in others {
                merged.fill(*window, |into| {
                    slices.for_each(slice, |key, hash, partial| {
                        if waits(hash) {
                            put(into, hash, key.clone(), partial.clone(), aggregate);
                        }
                    });
                });
            }
            merged.fill(*last, |into| {
                if newest.end <= end {
                    slices.drain(slice, usize::MAX, |key, hash, partial| {
                        if waits(hash) {
                            put(into, hash, key, partial, aggregate);
                        }
                    });
                } else {
                    slices.for_each(slice, |key, hash, partial| {
                        if waits(hash) {
                            put(into, hash, key.clone(), partial.clone(), aggregate);
                        }
                    });
                }
            });
        }
        let Overlapping { apart, merged, aggregate, .. } = self;
        apart.take(end, |window, key, hash, partial| {
            merged.fill(window, |into| put(into, hash, key, partial, aggregate));
        });
        self.merged_to.advance(end);
    }
}

/// Windows that have been merged and leave, in the order of their ends. Those that are cut at the end of time share one, those cut at
/// its beginning share a start: hence two tables.
#[derive(Debug)]
struct Merged<K, P> {
    size: i64,
    /// By end.
    whole: Panes<K, P>,
    /// Those that end with time, by start.
    last: Panes<K, P>,
}

impl<K: Key, P: Data> Merged<K, P> {
    /// The window that ends at `end`, before the end of time.
    fn ending(&self, end: Timestamp) -> Span {
        Span { start: end.plus_micros(-self.size), end }
    }

    /// The window to leave first.
    fn first(&self) -> Option<Span> {
        let whole = self.whole.first_window().map(|end| self.ending(Timestamp::from_micros(end)));
        let last =
            || self.last.first_window().map(|start| Span { start: Timestamp::from_micros(start), end: Timestamp::MAX });
        whole.or_else(last)
    }

    fn table(&mut self, window: Span) -> (&mut Panes<K, P>, i64) {
        match window.end {
            Timestamp::MAX => (&mut self.last, window.start.micros()),
            end => (&mut self.whole, end.micros()),
        }
    }

    /// Opens a window for many partials, so that the loop that puts them into it is short.
    fn fill(&mut self, window: Span, each: impl FnOnce(&mut OpenWindow<'_, K, P>)) {
        let (table, name) = self.table(window);
        let mut into = table.open(name);
        each(&mut into);
        if into.is_empty() {
            table.discard(name);
        }
    }
}

/// Adds to what a window has of a key.
#[inline]
fn put<T, K: Key, A: Aggregate<T>>(
    into: &mut OpenWindow<'_, K, A::Partial>,
    hash: u64,
    key: K,
    partial: A::Partial,
    aggregate: &A,
) {
    let partial = Cell::new(Some(partial));
    let first = || partial.take().expect("a value is made once");
    into.upsert(hash, key, first, |whole| {
        if let Some(partial) = partial.take() {
            aggregate.merge(whole, partial);
        }
    });
}

impl<K: Key, T: Data, A: Aggregate<T>> Operator for Overlapping<K, T, A> {
    type Key = K;
    type In = T;
    type Out = Pane<K, A::Output>;
    type Side = T;

    fn apply(&mut self, rows: &mut Shipment<K, T>, cx: &mut Context<Self::Out, T>) {
        let mut positions = rows.positions.iter();
        for row in rows.rows.drain(..) {
            let position = positions.next().copied();
            if !self.slice.contains(row.at) {
                self.turn_to(row.at);
            }
            let closes = self.rules.lateness.closes(self.oldest);
            let shut =
                closes <= row.seen.max(self.watermark) || self.merged_to.reached(self.oldest, Timestamp::MIN, row.hash);
            if shut {
                self.admit(row, position, cx);
                continue;
            }
            let record = Logged { value: &row.value, at: row.at, position: position.unwrap_or_default() };
            let aggregate = &self.aggregate;
            self.slices.upsert(
                self.slice.start.micros(),
                row.hash,
                row.key,
                || aggregate.init(),
                |partial| aggregate.add(partial, &record),
            );
        }
    }

    fn advance(&mut self, watermark: Timestamp, budget: usize, cx: &mut Context<Self::Out, T>) -> Firing {
        self.watermark = self.watermark.max(watermark);
        let closed = self.rules.closed(watermark);
        let mut left = budget;
        loop {
            // After a crash windows of some key groups may be half gone, ahead of what is due now: all leave in the order of their ends.
            let leaves = self.merged.first().filter(|window| window.end <= closed);
            let due = self.next_end().filter(|end| *end <= closed);
            // What was carried into a window waits for what is merged into it.
            let merge = due.filter(|end| leaves.is_none_or(|window| *end <= window.end));
            if left == 0 && (merge.is_some() || leaves.is_some()) {
                return Firing::More;
            }
            if let Some(end) = merge {
                self.merge(end);
            } else if let Some(window) = leaves {
                let Overlapping { layout, aggregate, leaving, merged, carried, .. } = self;
                let (table, name) = merged.table(window);
                cx.reserve(left.min(table.len()));
                leaving.drain(table, name, left, |key, hash, partial| {
                    left -= 1;
                    carried.extend(aggregate.carry(&partial).map(|next| (hash, key.clone(), next)));
                    pane::emit(cx, window, 0, hash, key, aggregate.finish(partial));
                });
                // Into the window after, unless that is cut at the end of time.
                let end = window.end.plus_micros(layout.slide());
                for (hash, key, partial) in carried.drain(..).filter(|_| end < Timestamp::MAX) {
                    merged.fill(merged.ending(end), |into| put(into, hash, key, partial, aggregate));
                }
            } else {
                break;
            }
        }
        self.merged_to.advance(closed);
        Firing::Done
    }

    fn output_watermark(&self, watermark: Timestamp) -> Timestamp {
        self.rules.closed(watermark)
    }

    fn snapshot(&mut self, most: &mut usize, section: &mut Section) -> Result<bool, CodecError> {
        Ok(self.slices.snapshot(most, section)?
            && self.apart.panes.snapshot(most, section)?
            && self.merged.whole.snapshot(most, section)?
            && self.merged.last.snapshot(most, section)?)
    }

    fn fired(&self, groups: Range<u16>) -> Fires {
        self.merged_to.runs(groups)
    }

    fn restore(&mut self, entry: Entry<'_>) -> Result<(), CodecError> {
        let value = entry.value.unwrap_or_default();
        let Merged { whole, last, .. } = &mut self.merged;
        let handles: [&mut dyn Handle; 4] = [&mut self.slices, &mut self.apart.panes, whole, last];
        restore_entry(&mut { handles }, entry.group, entry.key, value)
    }

    fn restore_fired(&mut self, groups: Range<u16>, fires: &Fires) {
        self.merged_to.restore(groups, fires);
    }
}

/// Partials stored as they are, but for those of rows that are late for some of their windows.
pub(super) struct InSlices;

impl Stored for InSlices {
    fn upgrade<Old: Data, New: Data>(
        key: &[u8],
        value: &[u8],
        with: &dyn Fn(Old) -> New,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        match key.first() {
            Some(&APART) => InEnds::upgrade(key, value, with, out),
            _ => Bare::upgrade(key, value, with, out),
        }
    }
}
