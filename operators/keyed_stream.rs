//! A stream that knows its key: what windows, reductions and joins begin with.

use millpond_engine::{KeyStep, Line, Row};
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
            let mut positions = batch.positions.iter().copied();
            for record in batch.rows.drain(..) {
                let key = key(&record.value);
                let hash = stable_hash(&key);
                rows.push(Row { hash, at: record.at, seen: record.seen, key, value: record.value }, positions.next());
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
