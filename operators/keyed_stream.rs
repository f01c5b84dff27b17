//! A stream that knows its key: what windows, reductions and joins begin with.

use millpond_engine::{KeyStep, Line, Record, Row};
use millpond_state::{Data, Key, stable_hash};

use crate::Stream;

/// A stream of `T` keyed by `K`. Nothing is shuffled yet: that is done by what follows.
#[must_use = "a keyed stream does nothing until it is windowed, aggregated or reduced"]
pub struct KeyedStream<'s, K: Key, T: Data> {
    pub(crate) line: Line<'s, T>,
    pub(crate) key: KeyStep<K, T>,
}

impl<K: Key, T: Data> std::fmt::Debug for KeyedStream<'_, K, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedStream").field("line", &self.line).finish_non_exhaustive()
    }
}

impl<'s, K: Key, T: Data> KeyedStream<'s, K, T> {
    pub(crate) fn new(stream: Stream<'s, T>, key: impl Fn(&T) -> K + 'static) -> Self {
        // Here the closure's type is known, so that keying a batch is one virtual call and none per record.
        let step: KeyStep<K, T> = Box::new(move |batch, rows| {
            let row = |Record { at, seen, value }| {
                let key = key(&value);
                Row { hash: stable_hash(&key), at, seen, key, value }
            };
            if batch.tracked() {
                let positions = batch.positions.iter().copied();
                batch.rows.drain(..).zip(positions).for_each(|(record, at)| rows.push(row(record), Some(at)));
            } else {
                rows.extend(batch.rows.drain(..).map(row));
            }
        });
        KeyedStream { line: stream.line, key: step }
    }

    /// The same stream by another key.
    pub fn rekey<L: Key>(self, key: impl Fn(&T) -> L + 'static) -> KeyedStream<'s, L, T> {
        KeyedStream::new(Stream { line: self.line }, key)
    }

    /// The stream without its key.
    pub fn unkeyed(self) -> Stream<'s, T> {
        Stream { line: self.line }
    }
}
