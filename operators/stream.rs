//! Streams and their stateless steps.

use std::fmt::Display;

use millpond_engine::sink::Sink;
use millpond_engine::{Batch, Line};
use millpond_state::{Data, Key, Timestamp};

use crate::KeyedStream;

/// Records on their way, appended and never taken back.
///
/// Steps that follow each other fuse: each is a loop over a batch, and a chain of them runs in one operator with the source it begins
/// with. Cloning a stream ends its chain, so that both readers share what it gives.
#[must_use = "a stream that goes nowhere computes nothing: end it with `.sink(..)`"]
#[derive(Debug)]
pub struct Stream<'s, T: Data> {
    pub(crate) line: Line<'s, T>,
}

impl<T: Data> Clone for Stream<'_, T> {
    fn clone(&self) -> Self {
        Stream { line: self.line.share() }
    }
}

impl<'s, T: Data> Stream<'s, T> {
    /// Says that the step above does not answer the same each time: that it looks at a clock, draws at random. The plan notes it, and
    /// `replay --check` tells.
    pub fn not_repeatable(self, why: &str) -> Self {
        self.line.note(format!("not repeatable: {why}"));
        self
    }

    /// Says that the step above asks or tells something outside: a service, a database. The plan notes it, and `replay --check` tells.
    pub fn calls_outside(self, what: &str) -> Self {
        self.line.note(format!("calls outside: {what}"));
        self
    }

    /// Makes one record out of each.
    pub fn map<U: Data>(self, f: impl Fn(T) -> U + 'static) -> Stream<'s, U> {
        let step = move |batch: &mut Batch<T>, done: &mut Batch<U>| {
            // Collecting a vector's own iterator re-uses its memory where the sizes allow; what `done` had is for the batch after this one.
            let spare = std::mem::take(&mut done.rows);
            done.rows = std::mem::take(&mut batch.rows)
                .into_iter()
                .map(|record| millpond_engine::Record { at: record.at, seen: record.seen, value: f(record.value) })
                .collect();
            batch.rows = emptied(spare);
            std::mem::swap(&mut done.positions, &mut batch.positions);
        };
        Stream { line: self.line.step("map", step) }
    }

    /// Keeps the records for which `keep` answers true.
    pub fn filter(self, keep: impl Fn(&T) -> bool + 'static) -> Stream<'s, T> {
        let step = move |batch: &mut Batch<T>, done: &mut Batch<T>| {
            if batch.tracked() {
                let mut positions = batch.positions.iter();
                for record in batch.rows.drain(..) {
                    let position = positions.next();
                    if keep(&record.value) {
                        done.rows.push(record);
                        done.positions.extend(position);
                    }
                }
            } else {
                batch.rows.retain(|record| keep(&record.value));
                std::mem::swap(&mut batch.rows, &mut done.rows);
            }
        };
        Stream { line: self.line.step("filter", step) }
    }

    /// Makes any number of records out of each, at the same event time and in the order given.
    pub fn flat_map<I>(self, f: impl Fn(T) -> I + 'static) -> Stream<'s, I::Item>
    where
        I: IntoIterator<Item: Data>,
    {
        let step = move |batch: &mut Batch<T>, done: &mut Batch<I::Item>| {
            let mut positions = batch.positions.iter();
            for record in batch.rows.drain(..) {
                let position = positions.next().copied();
                spread(done, record.at, record.seen, position, f(record.value));
            }
        };
        Stream { line: self.line.step("flat_map", step).spread() }
    }

    /// Makes one record out of each, or an error: what becomes of a refused record is the job's policy.
    pub fn try_map<U: Data, E: Display>(self, f: impl Fn(T) -> Result<U, E> + 'static) -> Stream<'s, U> {
        self.try_each("try_map", move |value| f(value).map(Some))
    }

    /// Makes any number of records out of each, or an error: what becomes of a refused record is the job's policy.
    pub fn try_flat_map<I, E: Display>(self, f: impl Fn(T) -> Result<I, E> + 'static) -> Stream<'s, I::Item>
    where
        I: IntoIterator<Item: Data>,
    {
        let Stream { line } = self.try_each("try_flat_map", f);
        Stream { line: line.spread() }
    }

    fn try_each<I, E: Display>(self, kind: &str, f: impl Fn(T) -> Result<I, E> + 'static) -> Stream<'s, I::Item>
    where
        I: IntoIterator<Item: Data>,
    {
        let line = self.line.try_step(kind, move |batch: &mut Batch<T>, done: &mut Batch<I::Item>, refusals| {
            let mut positions = batch.positions.iter();
            for record in batch.rows.drain(..) {
                let position = positions.next().copied();
                let kept = refusals.keep(&record.value);
                match f(record.value) {
                    Ok(values) => spread(done, record.at, record.seen, position, values),
                    Err(error) => refusals.refuse(record.at, position.unwrap_or_default(), error.to_string(), kept),
                }
            }
        });
        Stream { line }
    }

    /// Shows each record to `look`, with its event time.
    pub fn inspect(self, look: impl Fn(Timestamp, &T) + 'static) -> Stream<'s, T> {
        let step = move |batch: &mut Batch<T>, done: &mut Batch<T>| {
            batch.rows.iter().for_each(|record| look(record.at, &record.value));
            std::mem::swap(&mut batch.rows, &mut done.rows);
            std::mem::swap(&mut batch.positions, &mut done.positions);
        };
        Stream { line: self.line.step("inspect", step) }
    }

    /// The records of both streams. Their watermark is the lesser of the two.
    pub fn union(self, other: Stream<'s, T>) -> Stream<'s, T> {
        Stream { line: self.line.union([other.line]) }
    }

    /// Two streams: the records for which `which` answers true, and the others.
    pub fn split(self, which: impl Fn(&T) -> bool + 'static) -> (Stream<'s, T>, Stream<'s, T>) {
        let (matching, other) = self.line.split(which);
        (Stream { line: matching }, Stream { line: other })
    }

    /// Names each record's key, for what follows: records of one key meet on one worker.
    ///
    /// A key that owns memory, a `String` say, is cloned for each record; [`Stream::keyed`] moves it.
    pub fn key_by<K: Key>(self, key: impl Fn(&T) -> K + 'static) -> KeyedStream<'s, K, T> {
        KeyedStream::by(self, key)
    }

    /// Takes each record apart into its key and what is wanted of the rest, which is all that travels from here on, late records included.
    ///
    /// What [`Stream::key_by`] does, without cloning the key and without carrying what nobody asks for: with a `String` as key a
    /// third to a half less work.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use millpond_operators::windows::Tumbling;
    /// # use millpond_operators::{Pane, Stream};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Clone, Serialize, Deserialize)]
    /// struct Click { page: String, user: String, dwell: u64 }
    ///
    /// fn longest<'s>(clicks: Stream<'s, Click>) -> Stream<'s, Pane<String, u64>> {
    ///     let pages = clicks.keyed(|click| (click.page, click.dwell));
    ///     pages.window(Tumbling::of(Duration::from_mins(1))).aggregate(|w| w.max(|dwell| *dwell))
    /// }
    /// ```
    pub fn keyed<K: Key, V: Data>(self, apart: impl Fn(T) -> (K, V) + 'static) -> KeyedStream<'s, K, V> {
        KeyedStream::apart(self, apart)
    }

    /// Ends the stream: its records are written to `sink`, under a name that tells it from other sinks of the job.
    pub fn sink(self, name: &str, sink: impl Sink<T>) {
        self.line.sink(name, sink);
    }
}

/// No records, in the same memory where the sizes allow.
fn emptied<T, U>(mut rows: Vec<millpond_engine::Record<T>>) -> Vec<millpond_engine::Record<U>> {
    rows.clear();
    rows.into_iter().map(|_| -> millpond_engine::Record<U> { unreachable!("all were cleared") }).collect()
}

fn spread<U>(
    done: &mut Batch<U>,
    at: Timestamp,
    seen: Timestamp,
    position: Option<millpond_state::Position>,
    values: impl IntoIterator<Item = U>,
) {
    let before = done.rows.len();
    done.rows.extend(values.into_iter().map(|value| millpond_engine::Record { at, seen, value }));
    if let Some(position) = position {
        // A record's index counts all that came of one offset, which lie side by side, however many steps made them.
        let same =
            done.positions.last().filter(|last| (last.partition, last.offset) == (position.partition, position.offset));
        let first = same.map_or(0, |last| last.index + 1);
        let count = (done.rows.len() - before) as u32;
        done.positions.extend((first..first + count).map(|index| millpond_state::Position { index, ..position }));
    }
}
