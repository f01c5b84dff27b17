//! Sessions: windows that last until a key falls silent.
//!
//! A row is late iff its own time plus the lateness is before the greater of `seen` and `fired`. A row that is not always finds the
//! session it belongs to, since that ends after the row; judging by the merged session would depend on what came first.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use millpond_engine::{Context, Fires, Firing, Operator, Record, Row, Shipment};
use millpond_state::{
    CodecError, Data, Entry, Handle, Key, Keyed, Section, Timestamp, decode, encode_into, restore_entry,
};
use serde::{Deserialize, Serialize};

use super::agenda::Agenda;
use super::limits::Limits;
use super::pane::{self, Pane};
use super::rules::Rules;
use crate::aggregate::{Aggregate, Logged, Stored};
use crate::windows::{Session, Span};

/// The tag of the sessions in a checkpoint.
const OPEN: u8 = 0;

/// An open session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Part<P> {
    span: Span,
    partial: P,
}

/// The open sessions of a key, by time: mostly one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Open<P> {
    first: Part<P>,
    later: Vec<Part<P>>,
    /// Where this key stands in the agenda. A cell, since writing it does not change what a snapshot holds.
    #[serde(skip)]
    noted: Cell<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Sessions<K: Key, T, A: Aggregate<T>> {
    session: Session,
    rules: Rules<K>,
    aggregate: A,
    limits: Limits,
    open: Keyed<K, Open<A::Partial>>,
    /// The end of each key's first session, or an earlier time.
    agenda: Agenda<K>,
    /// Whether the agenda lacks what was restored.
    restored: bool,
    /// Keys whose sessions end at one time and leave, the next one last.
    leaving: Vec<(u64, K)>,
    ending: Timestamp,
    rows: PhantomData<fn(T)>,
}

impl<K: Key, T: Data, A: Aggregate<T>> Sessions<K, T, A> {
    pub(super) fn new(session: Session, rules: Rules<K>, aggregate: A) -> Self {
        let gap = session.window(Timestamp::EPOCH).end.micros();
        Sessions {
            session,
            rules,
            aggregate,
            limits: Limits::new(),
            open: Keyed::new(OPEN),
            agenda: Agenda::new(gap / 128),
            restored: false,
            leaving: Vec::new(),
            ending: Timestamp::MIN,
            rows: PhantomData,
        }
    }

    fn catch_up(&mut self) {
        if std::mem::take(&mut self.restored) {
            for (key, hash, open) in self.open.iter() {
                open.noted.set(open.first.span.end);
                self.agenda.add(open.first.span.end, hash, key.clone());
            }
        }
    }

    /// Whether the first session of a key whose turn has come ends now, and if so, whether others follow it. If it ends later the key is
    /// noted for then.
    fn ends_now(&mut self, hash: u64, key: &K) -> Option<bool> {
        let open = self.open.get(hash, key)?;
        let end = open.first.span.end;
        // Another entry may stand for it by now.
        if open.noted.get() == self.ending && end > self.ending {
            open.noted.set(end);
            self.agenda.add(end, hash, key.clone());
        }
        (end == self.ending).then_some(!open.later.is_empty())
    }

    /// Takes the first session of a key out.
    fn take_first(&mut self, hash: u64, key: &K, others: bool) -> Option<Part<A::Partial>> {
        if !others {
            return self.open.remove(hash, key).map(|open| open.first);
        }
        let open = self.open.get_mut(hash, key)?;
        let next = open.later.remove(0);
        open.noted.set(next.span.end);
        self.agenda.add(next.span.end, hash, key.clone());
        Some(std::mem::replace(&mut open.first, next))
    }
}

/// Puts a row into the sessions of its key.
fn absorb<T, A: Aggregate<T>>(open: &mut Open<A::Partial>, session: Session, aggregate: &A, record: &Logged<'_, T>) {
    let alone = session.window(record.at);
    if open.later.is_empty() && open.first.span.overlaps(&alone) {
        open.first.span = open.first.span.around(&alone);
        aggregate.add(&mut open.first.partial, record);
        return;
    }
    let mut all = std::mem::take(&mut open.later);
    let first = std::mem::replace(&mut open.first, Part { span: alone, partial: aggregate.init() });
    all.insert(0, first);
    let absorbed = session.absorb(&all, |part| part.span, record.at);
    let mut joined = all.drain(absorbed.places.clone()).map(|part| part.partial);
    let mut partial = joined.next().unwrap_or_else(|| aggregate.init());
    joined.for_each(|other| aggregate.merge(&mut partial, other));
    aggregate.add(&mut partial, record);
    all.insert(absorbed.places.start, Part { span: absorbed.span, partial });
    open.first = all.remove(0);
    open.later = all;
}

impl<K: Key, T: Data, A: Aggregate<T>> Operator for Sessions<K, T, A> {
    type Key = K;
    type In = T;
    type Out = Pane<K, A::Output>;
    type Side = T;

    fn apply(&mut self, rows: &mut Shipment<K, T>, cx: &mut Context<Self::Out, T>) {
        self.catch_up();
        let mut positions = rows.positions.iter();
        for Row { hash, at, seen, key, value } in rows.rows.drain(..) {
            let position = positions.next().copied();
            if self.limits.passed(self.rules.lateness.closes(at), seen, hash) {
                self.rules.late(Record { at, seen, value }, position, cx);
                continue;
            }
            let record = Logged { value: &value, at, position: position.unwrap_or_default() };
            let Sessions { session, aggregate, open, agenda, .. } = self;
            if let Some(open) = open.get_mut(hash, &key) {
                absorb(open, *session, aggregate, &record);
                // Rows of the past may begin a session before the first, or join two; only then is something due earlier.
                if open.first.span.end < open.noted.get() {
                    open.noted.set(open.first.span.end);
                    agenda.add(open.first.span.end, hash, key);
                }
                continue;
            }
            let span = session.window(at);
            let mut partial = aggregate.init();
            aggregate.add(&mut partial, &record);
            agenda.add(span.end, hash, key.clone());
            let made = || Open { first: Part { span, partial }, later: Vec::new(), noted: Cell::new(span.end) };
            open.upsert(hash, key, made, |_| ());
        }
    }

    fn advance(&mut self, watermark: Timestamp, budget: usize, cx: &mut Context<Self::Out, T>) -> Firing {
        self.catch_up();
        self.limits.advance(watermark);
        let closed = self.rules.closed(watermark);
        let mut left = budget;
        loop {
            while let Some((hash, key)) = self.leaving.pop() {
                let Some(others) = self.ends_now(hash, &key) else { continue };
                if left == 0 {
                    self.leaving.push((hash, key));
                    return Firing::More;
                }
                left -= 1;
                let part = self.take_first(hash, &key, others).expect("a session that ends is there");
                pane::emit(cx, part.span, 0, hash, key, self.aggregate.finish(part.partial));
            }
            let Some(end) = self.agenda.next(closed) else { return Firing::Done };
            self.ending = end;
            self.agenda.take(end, |hash, key| self.leaving.push((hash, key)));
            if let Some(order) = self.rules.order {
                self.leaving.sort_unstable_by(|(_, a), (_, b)| order(b, a));
            }
        }
    }

    fn output_watermark(&self, watermark: Timestamp) -> Timestamp {
        self.rules.closed(watermark)
    }

    fn snapshot(&mut self, most: &mut usize, section: &mut Section) -> Result<bool, CodecError> {
        self.open.snapshot(most, section)
    }

    fn fired(&self, groups: Range<u16>) -> Fires {
        self.limits.runs(groups)
    }

    fn restore(&mut self, entry: Entry<'_>) -> Result<(), CodecError> {
        self.restored = true;
        restore_entry(&mut [&mut self.open], entry.group, entry.key, entry.value.unwrap_or_default())
    }

    fn restore_fired(&mut self, groups: Range<u16>, fires: &Fires) {
        self.limits.restore(groups, fires);
    }
}

/// Partials stored in the open sessions of their key.
pub(super) struct InSessions;

impl Stored for InSessions {
    fn upgrade<Old: Data, New: Data>(
        _: &[u8],
        value: &[u8],
        with: &dyn Fn(Old) -> New,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let Open::<Old> { first, later, noted } = decode(value)?;
        let part = |Part { span, partial }| Part { span, partial: with(partial) };
        encode_into(&Open { first: part(first), later: later.into_iter().map(part).collect(), noted }, out)
    }
}
