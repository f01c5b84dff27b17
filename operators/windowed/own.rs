//! Windows of one's own: any number of spans for a row, wherever they lie.

use std::marker::PhantomData;
use std::ops::Range;

use millpond_engine::{Context, Fires, Firing, Operator, Record, Row, Shipment};
use millpond_state::{CodecError, Data, Entry, Handle, Key, Section, Timestamp, restore_entry};

use super::ends::Ends;
use super::leaving::Leaving;
use super::limits::Limits;
use super::pane::Pane;
use super::rules::Rules;
use crate::aggregate::{Aggregate, Logged};
use crate::windows::{Assign, Span, windows_of};

/// The tag of the panes in a checkpoint.
const PANES: u8 = 0;

#[derive(Debug)]
pub(super) struct Own<K: Key, T, W, A: Aggregate<T>> {
    assign: W,
    rules: Rules<K>,
    aggregate: A,
    limits: Limits,
    panes: Ends<K, A::Partial>,
    leaving: Leaving<K>,
    /// The windows of the row before, kept for their memory.
    windows: Vec<Span>,
    rows: PhantomData<fn(T)>,
}

impl<K: Key, T, W, A: Aggregate<T>> Own<K, T, W, A> {
    pub(super) fn new(assign: W, rules: Rules<K>, aggregate: A) -> Self {
        Own {
            assign,
            rules,
            aggregate,
            limits: Limits::new(),
            panes: Ends::new(PANES),
            leaving: Leaving::new(rules.order),
            windows: Vec::new(),
            rows: PhantomData,
        }
    }
}

impl<K: Key, T: Data, W: Assign, A: Aggregate<T>> Operator for Own<K, T, W, A> {
    type Key = K;
    type In = T;
    type Out = Pane<K, A::Output>;
    type Side = T;

    fn apply(&mut self, rows: &mut Shipment<K, T>, cx: &mut Context<Self::Out, T>) {
        let mut positions = rows.positions.iter();
        for Row { hash, at, seen, key, value } in rows.rows.drain(..) {
            let position = positions.next().copied();
            windows_of(&self.assign, at, &mut self.windows);
            if self.windows.is_empty() {
                cx.unassigned();
                continue;
            }
            let closed = |window: &Span| self.limits.reached(self.rules.lateness.closes(window.end), seen, hash);
            // In order of their ends, so those that are closed come first.
            let open = self.windows.partition_point(closed);
            let Some((newest, older)) = self.windows[open..].split_last() else {
                self.rules.late(Record { at, seen, value }, position, cx);
                continue;
            };
            let record = Logged { value: &value, at, position: position.unwrap_or_default() };
            for window in older {
                self.panes.add(*window, hash, key.clone(), &self.aggregate, &record);
            }
            self.panes.add(*newest, hash, key, &self.aggregate, &record);
        }
    }

    fn advance(&mut self, watermark: Timestamp, budget: usize, cx: &mut Context<Self::Out, T>) -> Firing {
        self.limits.advance(watermark);
        let closed = self.rules.closed(watermark);
        let mut left = budget;
        while let Some(end) = self.panes.first_end().filter(|end| *end <= closed) {
            if left == 0 {
                return Firing::More;
            }
            let count = self.panes.leave(end, left, &mut self.leaving, &self.aggregate, cx);
            left = left.saturating_sub(count);
        }
        Firing::Done
    }

    fn output_watermark(&self, watermark: Timestamp) -> Timestamp {
        self.rules.closed(watermark)
    }

    fn snapshot(&mut self, most: &mut usize, section: &mut Section) -> Result<bool, CodecError> {
        self.panes.panes.snapshot(most, section)
    }

    fn fired(&self, groups: Range<u16>) -> Fires {
        self.limits.runs(groups)
    }

    fn restore(&mut self, entry: Entry<'_>) -> Result<(), CodecError> {
        let value = entry.value.unwrap_or_default();
        restore_entry(&mut [&mut self.panes.panes], entry.group, entry.key, value)
    }

    fn restore_fired(&mut self, groups: Range<u16>, fires: &Fires) {
        self.limits.restore(groups, fires);
    }
}
