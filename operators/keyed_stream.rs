//! A stream that knows its key: what windows, reductions and joins begin with.

use std::rc::Rc;

use millpond_engine::{Batch, KeyStep, KeyedLine, Record, Row};
use millpond_state::{Data, Key, stable_hash};

use crate::Stream;

/// A stream of `T` keyed by `K`. Nothing is shuffled yet: that is done by what follows.
#[must_use = "a keyed stream does nothing until it is windowed, aggregated or reduced"]
#[derive(Debug)]
pub struct KeyedStream<'s, K: Key, T: Data> {
    pub(crate) line: KeyedLine<'s, K, T>,
}

impl<'s, K: Key, T: Data> KeyedStream<'s, K, T> {
    pub(crate) fn by(stream: Stream<'s, T>, key: impl Fn(&T) -> K + 'static) -> Self {
        let keyed = keying(move |value| (key(&value), value));
        KeyedStream { line: stream.line.key(keyed, std::mem::swap) }
    }

    pub(crate) fn apart<I: Data>(stream: Stream<'s, I>, apart: impl Fn(I) -> (K, T) + 'static) -> Self {
        let apart = Rc::new(apart);
        let keyed = keying({
            let apart = Rc::clone(&apart);
            move |value| apart(value)
        });
        let values = move |batch: &mut Batch<I>, done: &mut Batch<T>| {
            let value = |Record { at, seen, value }| Record { at, seen, value: apart(value).1 };
            done.rows.extend(batch.rows.drain(..).map(value));
            std::mem::swap(&mut batch.positions, &mut done.positions);
        };
        KeyedStream { line: stream.line.key(keyed, values) }
    }

    /// The same stream by another key.
    pub fn rekey<L: Key>(self, key: impl Fn(&T) -> L + 'static) -> KeyedStream<'s, L, T> {
        KeyedStream::by(self.unkeyed(), key)
    }

    /// The stream without its key.
    pub fn unkeyed(self) -> Stream<'s, T> {
        Stream { line: self.line.values() }
    }
}

/// Made where the closure's type is known, so that keying a batch is one virtual call and none per record.
fn keying<I: Data, K: Key, T: Data>(apart: impl Fn(I) -> (K, T) + 'static) -> KeyStep<I, K, T> {
    Box::new(move |batch, rows| {
        let row = |Record { at, seen, value }| {
            let (key, value) = apart(value);
            Row { hash: stable_hash(&key), at, seen, key, value }
        };
        if batch.tracked() {
            let positions = batch.positions.iter().copied();
            batch.rows.drain(..).zip(positions).for_each(|(record, at)| rows.push(row(record), Some(at)));
        } else {
            rows.extend(batch.rows.drain(..).map(row));
        }
    })
}
