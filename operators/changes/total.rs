//! The operator: one partial a key, for ever.

use std::marker::PhantomData;

use millpond_engine::{Change, Context, Firing, Operator, Row, Shipment};
use millpond_state::{
    CodecError, Data, Entry, Handle, Key, Keyed, Section, Timestamp, decode, encode_into, restore_entry,
};
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Logged, Stored};
use crate::windowed::made_at;

/// The tag of the partials in a checkpoint.
const TOTALS: u8 = 0;

/// What is kept of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept<P> {
    /// The newest event time of its records.
    newest: Timestamp,
    partial: P,
    /// The epoch that touched it last, counted from this start, and the place of its answer before that in [`Total::before`].
    #[serde(skip)]
    touched: (u64, usize),
}

#[derive(Debug)]
pub(super) struct Total<K: Key, T, A: Aggregate<T>> {
    aggregate: A,
    kept: Keyed<K, Kept<A::Partial>>,
    epoch: u64,
    /// The answer at the end of the last epoch, of each key touched in this one.
    before: Vec<Option<A::Output>>,
    rows: PhantomData<fn(T)>,
}

impl<K: Key, T, A: Aggregate<T>> Total<K, T, A> {
    pub(super) fn new(aggregate: A) -> Self {
        Total { aggregate, kept: Keyed::new(TOTALS), epoch: 1, before: Vec::new(), rows: PhantomData }
    }
}

impl<K: Key, T: Data, A: Aggregate<T>> Operator for Total<K, T, A> {
    type Key = K;
    type In = T;
    type Out = Change<K, A::Output>;
    type Side = ();

    fn apply(&mut self, rows: &mut Shipment<K, T>, _: &mut Context<Self::Out, ()>) {
        let mut positions = rows.positions.iter();
        let Total { aggregate, kept, epoch, before, .. } = self;
        for Row { hash, at, key, value, .. } in rows.rows.drain(..) {
            let position = positions.next().copied().unwrap_or_default();
            let record = Logged { value: &value, at, position };
            let place = before.len();
            let touched = (*epoch, place);
            let made = || Kept { newest: at, partial: aggregate.init(), touched: (0, 0) };
            let fresh = std::cell::Cell::new(false);
            let init = || {
                fresh.set(true);
                made()
            };
            kept.upsert(hash, key, init, |kept| {
                if kept.touched.0 != *epoch {
                    let answer = || aggregate.finish(kept.partial.clone());
                    before.push((!fresh.get()).then(answer));
                    kept.touched = touched;
                }
                kept.newest = kept.newest.max(at);
                aggregate.add(&mut kept.partial, &record);
            });
        }
    }

    fn advance(&mut self, _: Timestamp, _: usize, _: &mut Context<Self::Out, ()>) -> Firing {
        Firing::Done
    }

    fn close(&mut self, budget: usize, cx: &mut Context<Self::Out, ()>) -> Firing {
        let Total { aggregate, kept, before, epoch, .. } = self;
        cx.reserve(budget.min(before.len()));
        let all = kept.for_each_touched(budget, |key, hash, kept| {
            assert_eq!(kept.touched.0, *epoch, "a key that the epoch touched has its answer from before");
            let (key, new) = (key.clone(), aggregate.finish(kept.partial.clone()));
            let change = match before[kept.touched.1].take() {
                Some(old) => Change::Update { key, old, new },
                None => Change::Insert { key, new },
            };
            cx.emit(kept.newest, || made_at(hash, 0), change);
        });
        if !all {
            return Firing::More;
        }
        before.clear();
        *epoch += 1;
        Firing::Done
    }

    fn snapshot(&mut self, most: &mut usize, section: &mut Section) -> Result<bool, CodecError> {
        self.kept.snapshot(most, section)
    }

    fn restore(&mut self, entry: Entry<'_>) -> Result<(), CodecError> {
        restore_entry(&mut [&mut self.kept], entry.group, entry.key, entry.value.unwrap_or_default())
    }
}

/// The aggregate of `reduce`: the first record, and all others put into it.
#[derive(Debug)]
pub(super) struct Reduce<F>(pub(super) F);

impl<T: Data, F: Fn(&mut T, &T) + 'static> Aggregate<T> for Reduce<F> {
    type Partial = Option<T>;
    type Output = T;

    fn init(&self) -> Option<T> {
        None
    }
    fn add(&self, kept: &mut Option<T>, record: &Logged<'_, T>) {
        match kept {
            Some(kept) => (self.0)(kept, record.value),
            None => *kept = Some(record.value.clone()),
        }
    }
    fn merge(&self, kept: &mut Option<T>, other: Option<T>) {
        match (kept.as_mut(), other) {
            (Some(kept), Some(other)) => (self.0)(kept, &other),
            (None, other) => *kept = other,
            (Some(_), None) => {}
        }
    }
    fn finish(&self, kept: Option<T>) -> T {
        kept.expect("a key that is there has had a record")
    }
    fn order_dependent(&self) -> bool {
        true
    }
    fn describe(&self) -> String {
        "reduce".to_owned()
    }
}

/// Partials stored with the newest event time of their key.
pub(super) struct InTotal;

impl Stored for InTotal {
    fn upgrade<Old: Data, New: Data>(
        _: &[u8],
        value: &[u8],
        with: &dyn Fn(Old) -> New,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let Kept::<Old> { newest, partial, touched } = decode(value)?;
        encode_into(&Kept { newest, partial: with(partial), touched }, out)
    }
}
