//! Windows of rows.
//!
//! Rows wait until the watermark has passed their time: then no row can come before them any more, and those of a key fill its window in
//! the order of event time, then log position. A pane has its last row's time. Since a window that is not full leaves with the final
//! watermark, at a time long past, the promise downstream stays at the oldest last row of such a window: a window of time over
//! windows of rows waits for the key that is silent the longest.
//!
//! Where rows are taken [by arrival](crate::windows::Count::by_arrival) nothing waits and nothing is late, and results have no event
//! time to rely on. A [`Global`](crate::windows::Global) window needs no order, unless its aggregate does; what it promises is nothing,
//! until the end.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::ops::Range;

use millpond_engine::{Context, Fires, Firing, Operator, Record, Row, Shipment};
use millpond_state::{
    CodecError, Data, Entry, Handle, Key, Keyed, Position, Section, Timestamp, decode, encode_into, restore_entry,
};
use serde::{Deserialize, Serialize};

use super::agenda::Agenda;
use super::limits::Limits;
use super::pane::{self, Pane};
use super::rules::Rules;
use crate::aggregate::{Aggregate, Logged, Stored};
use crate::windows::{Count, Span};

/// The tag of what keys hold in a checkpoint.
const HELD: u8 = 0;
/// A second: how finely the agenda sorts before it has to.
const DAY: i64 = 1_000_000;

/// What a key holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "T: Data, P: Data")]
pub(super) struct Held<T, P> {
    /// Rows whose place is not certain, by event time, then position.
    waiting: VecDeque<(Timestamp, Position, T)>,
    /// The window being filled.
    filling: Option<Filling<P>>,
    /// Where this key stands in the agenda. A cell, since writing it does not change what a snapshot holds.
    #[serde(skip)]
    noted: Cell<Option<Timestamp>>,
}

/// A window with room for more rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Filling<P> {
    span: Span,
    rows: u64,
    partial: P,
}

#[derive(Debug)]
pub(super) struct Rows<K: Key, T: Data, A: Aggregate<T>> {
    count: Count,
    rules: Rules<K>,
    aggregate: A,
    /// Whether rows fill windows as they arrive.
    at_once: bool,
    limits: Limits,
    held: Keyed<K, Held<T, A::Partial>>,
    /// The time of each key's first waiting row.
    agenda: Agenda<K>,
    /// How many windows that are being filled have their last row when.
    last_rows: BTreeMap<Timestamp, u64>,
    /// Whether agenda and last rows lack what was restored.
    restored: bool,
    /// Keys whose turn has come, the next one last.
    turn: Vec<(u64, K)>,
    turn_at: Timestamp,
    /// At the final watermark: what is left, the first to leave last.
    remainders: Option<Vec<(Timestamp, u64, K)>>,
    rows: PhantomData<fn(T)>,
}

impl<K: Key, T: Data, A: Aggregate<T>> Rows<K, T, A> {
    pub(super) fn new(count: Count, rules: Rules<K>, aggregate: A) -> Self {
        let whole = count.rows() == u64::MAX && !aggregate.order_dependent();
        Rows {
            at_once: whole || count.order_dependent(),
            count,
            rules,
            aggregate,
            limits: Limits::new(),
            held: Keyed::new(HELD),
            agenda: Agenda::new(DAY),
            last_rows: BTreeMap::new(),
            restored: false,
            turn: Vec::new(),
            turn_at: Timestamp::MIN,
            remainders: None,
            rows: PhantomData,
        }
    }

    fn catch_up(&mut self) {
        if !std::mem::take(&mut self.restored) {
            return;
        }
        for (key, hash, held) in self.held.iter() {
            if let Some(&(first, ..)) = held.waiting.front() {
                held.noted.set(Some(first));
                self.agenda.add(first, hash, key.clone());
            }
            if let Some(filling) = &held.filling {
                *self.last_rows.entry(filling.span.last()).or_default() += 1;
            }
        }
    }

    /// Gives a key's window one more row. A full one leaves, as number `nth` of its key and time; whether it did.
    fn fill(
        &mut self,
        hash: u64,
        key: &K,
        record: &Logged<'_, T>,
        nth: u32,
        cx: &mut Context<Pane<K, A::Output>, T>,
    ) -> bool {
        let held = self.held.get_mut(hash, key).expect("a key that is filled is there");
        let alone = Span { start: record.at, end: record.at.plus_micros(1) };
        let filling = match &mut held.filling {
            Some(filling) => {
                forget(&mut self.last_rows, filling.span.last());
                filling
            }
            none => none.insert(Filling { span: alone, rows: 0, partial: self.aggregate.init() }),
        };
        filling.span = filling.span.around(&alone);
        filling.rows += 1;
        self.aggregate.add(&mut filling.partial, record);
        if filling.rows < self.count.rows() {
            *self.last_rows.entry(filling.span.last()).or_default() += 1;
            return false;
        }
        let full = held.filling.take().expect("it was filled just now");
        if held.waiting.is_empty() {
            self.held.remove(hash, key);
        }
        pane::emit(cx, full.span, nth, hash, key.clone(), self.aggregate.finish(full.partial));
        true
    }

    /// Fills the windows of a key with its rows at `turn_at`, in order, and notes the key for its next ones.
    fn take_turn(&mut self, hash: u64, key: K, cx: &mut Context<Pane<K, A::Output>, T>) {
        let Some(held) = self.held.get(hash, &key) else { return };
        // Another entry may stand for it by now.
        if held.noted.get() != Some(self.turn_at) {
            return;
        }
        let Some(held) = self.held.get_mut(hash, &key) else { return };
        let now = held.waiting.partition_point(|(at, ..)| *at <= self.turn_at);
        let rows: Vec<_> = held.waiting.drain(..now).collect();
        let next = held.waiting.front().map(|(at, ..)| *at);
        held.noted.set(next);
        if let Some(next) = next {
            self.agenda.add(next, hash, key.clone());
        }
        let mut nth = 0;
        for (at, position, value) in rows {
            self.held.upsert(hash, key.clone(), Held::empty, |_| ());
            let left = self.fill(hash, &key, &Logged { value: &value, at, position }, nth, cx);
            nth += u32::from(left);
        }
    }

    /// Windows that never filled, in the order of their last rows.
    fn leave_remainders(&mut self, mut left: usize, cx: &mut Context<Pane<K, A::Output>, T>) -> Firing {
        let mut remainders = self.remainders.take().unwrap_or_else(|| {
            let filling = |held: &Held<T, A::Partial>| held.filling.as_ref().map(|filling| filling.span.last());
            let mut all: Vec<_> = self
                .held
                .iter()
                .filter_map(|(key, hash, held)| filling(held).map(|last| (last, hash, key.clone())))
                .collect();
            match self.rules.order {
                Some(order) => all.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| order(&b.2, &a.2))),
                None => all.sort_unstable_by_key(|remainder| std::cmp::Reverse((remainder.0, remainder.1))),
            }
            all
        });
        while let Some((last, hash, key)) = remainders.pop() {
            if left == 0 {
                remainders.push((last, hash, key));
                self.remainders = Some(remainders);
                return Firing::More;
            }
            left -= 1;
            if let Some(filling) = self.held.remove(hash, &key).and_then(|held| held.filling) {
                forget(&mut self.last_rows, last);
                pane::emit(cx, filling.span, u32::MAX, hash, key, self.aggregate.finish(filling.partial));
            }
        }
        Firing::Done
    }
}

impl<T, P> Held<T, P> {
    fn empty() -> Self {
        Held { waiting: VecDeque::new(), filling: None, noted: Cell::new(None) }
    }
}

fn forget(last_rows: &mut BTreeMap<Timestamp, u64>, last: Timestamp) {
    if let Some(windows) = last_rows.get_mut(&last) {
        *windows -= 1;
        if *windows == 0 {
            last_rows.remove(&last);
        }
    }
}

impl<K: Key, T: Data, A: Aggregate<T>> Operator for Rows<K, T, A> {
    type Key = K;
    type In = T;
    type Out = Pane<K, A::Output>;
    type Side = T;

    fn apply(&mut self, rows: &mut Shipment<K, T>, cx: &mut Context<Self::Out, T>) {
        self.catch_up();
        let mut positions = rows.positions.iter();
        for Row { hash, at, seen, key, value } in rows.rows.drain(..) {
            let position = positions.next().copied();
            if !self.count.order_dependent() && self.limits.passed(at, seen, hash) {
                self.rules.late(Record { at, seen, value }, position, cx);
                continue;
            }
            let position = position.unwrap_or_default();
            if self.at_once {
                self.held.upsert(hash, key.clone(), Held::empty, |_| ());
                self.fill(hash, &key, &Logged { value: &value, at, position }, 0, cx);
                continue;
            }
            let earlier = self.held.upsert(hash, key.clone(), Held::empty, |held| {
                let place = held.waiting.partition_point(|(of, stands, _)| (*of, *stands) <= (at, position));
                held.waiting.insert(place, (at, position, value));
                let earlier = held.noted.get().is_none_or(|noted| at < noted);
                if earlier {
                    held.noted.set(Some(at));
                }
                earlier
            });
            if earlier {
                self.agenda.add(at, hash, key);
            }
        }
    }

    fn advance(&mut self, watermark: Timestamp, budget: usize, cx: &mut Context<Self::Out, T>) -> Firing {
        self.catch_up();
        self.limits.advance(watermark);
        let before = cx.emitted();
        // A row at the watermark itself may still get a neighbour of its own time.
        let certain = if watermark == Timestamp::MAX { watermark } else { watermark.plus_micros(-1) };
        loop {
            while let Some((hash, key)) = self.turn.pop() {
                if cx.emitted() - before >= budget {
                    self.turn.push((hash, key));
                    return Firing::More;
                }
                self.take_turn(hash, key, cx);
            }
            let Some(at) = self.agenda.next(certain) else { break };
            self.turn_at = at;
            self.agenda.take(at, |hash, key| self.turn.push((hash, key)));
            match self.rules.order {
                Some(order) => self.turn.sort_unstable_by(|(_, a), (_, b)| order(b, a)),
                None => self.turn.reverse(),
            }
        }
        if watermark < Timestamp::MAX {
            return Firing::Done;
        }
        self.leave_remainders(budget.saturating_sub(cx.emitted() - before), cx)
    }

    fn output_watermark(&self, watermark: Timestamp) -> Timestamp {
        if watermark == Timestamp::MAX {
            return watermark;
        }
        if self.at_once {
            return Timestamp::MIN;
        }
        self.last_rows.first_key_value().map_or(watermark, |(oldest, _)| watermark.min(*oldest))
    }

    fn snapshot(&mut self, most: &mut usize, section: &mut Section) -> Result<bool, CodecError> {
        self.held.snapshot(most, section)
    }

    fn fired(&self, groups: Range<u16>) -> Fires {
        self.limits.runs(groups)
    }

    fn restore(&mut self, entry: Entry<'_>) -> Result<(), CodecError> {
        self.restored = true;
        restore_entry(&mut [&mut self.held], entry.group, entry.key, entry.value.unwrap_or_default())
    }

    fn restore_fired(&mut self, groups: Range<u16>, fires: &Fires) {
        self.limits.restore(groups, fires);
    }
}

/// Partials stored beside the waiting rows of their key.
pub(super) struct InRows<T>(PhantomData<T>);

impl<T: Data> Stored for InRows<T> {
    fn upgrade<Old: Data, New: Data>(
        _: &[u8],
        value: &[u8],
        with: &dyn Fn(Old) -> New,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let Held::<T, Old> { waiting, filling, noted } = decode(value)?;
        let filling = filling.map(|Filling { span, rows, partial }| Filling { span, rows, partial: with(partial) });
        encode_into(&Held { waiting, filling, noted }, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Over;
    use crate::windows::Lateness;

    #[test]
    fn a_row_at_the_watermark_waits_for_neighbours_of_its_own_time() {
        let rules = Rules { lateness: Lateness::NONE, split: false, order: None };
        let mut rows =
            Rows::new(Count::of(2), rules, Over::<u64>::new().fold(0, |all, n| *all = *all * 10 + n, |_, _| ()));
        let (mut cx, at) = (Context::new(false), Timestamp::from_secs(10));
        for offset in [2, 1, 3] {
            let row = Row { hash: millpond_state::stable_hash(&0u8), at, seen: at, key: 0u8, value: offset };
            let positions = vec![Position { offset, ..Position::default() }];
            rows.apply(&mut Shipment { rows: vec![row], positions, ..Shipment::default() }, &mut cx);
            assert_eq!(rows.advance(at, 10, &mut cx), Firing::Done);
            assert_eq!((cx.emitted(), rows.output_watermark(at)), (0, at));
        }
        let later = at.plus_micros(1);
        assert_eq!(rows.advance(later, 10, &mut cx), Firing::Done);
        assert_eq!(rows.output_watermark(later), at, "what remains has the time of its last row");
        assert_eq!(rows.advance(Timestamp::MAX, 10, &mut cx), Firing::Done);
        let panes: Vec<_> = cx.take().0.into_iter().map(|record| record.value.value).collect();
        assert_eq!(panes, [12, 3]);
    }
}
