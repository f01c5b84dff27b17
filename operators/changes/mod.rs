//! Tables kept up to date: aggregates of a keyed stream without windows.
//!
//! A key's value goes on changing for as long as records come, so what leaves is not results but changes ([`Change`]): an insert, then
//! updates with the old value and the new. There is at most one for each key and epoch, emitted when the epoch closes, so that a hot
//! key costs no more than any other. Where epochs close depends on the clock; the table that the changes add up to is a function of the
//! log.
//!
//! No record is late, since nothing is ever final. A change has the event time of the newest record of its key, which may lie far back,
//! so changes have no event time that a watermark follows.

#[cfg(test)]
mod tests;
mod total;

use std::fmt;

use millpond_engine::{Change, Line, Stateful, UpsertSink};
use millpond_state::{Data, Key};

use crate::aggregate::{Aggregate, Over};
use crate::windowed::{shape, taken};
use crate::{KeyedStream, Stream};
use total::{InTotal, Total};

/// Changes of a table from `K` to `V`. They can be written to a sink that keeps the newest value of each key, and to no other.
///
/// ```compile_fail
/// # use millpond_operators::Changes;
/// # use millpond_engine::sink::Sink;
/// fn append<'s>(counts: Changes<'s, String, u64>, topic: impl Sink<String>) {
///     counts.sink("counts", topic);
/// }
/// ```
#[must_use = "changes that go nowhere compute nothing: end them with `.sink(..)`"]
pub struct Changes<'s, K: Key, V: Data> {
    /// Draws the step under the name it was given. Taken when that is certain.
    draw: Option<Box<dyn FnOnce(Option<String>) -> Line<'s, Change<K, V>> + 's>>,
    name: Option<String>,
}

impl<K: Key, V: Data> fmt::Debug for Changes<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<K: Key, V: Data> Drop for Changes<'_, K, V> {
    fn drop(&mut self) {
        // Drawn all the same, so that the plan can say that it goes nowhere.
        if let Some(draw) = self.draw.take() {
            drop(draw(self.name.take()));
        }
    }
}

impl<'s, K: Key, V: Data> Changes<'s, K, V> {
    fn line(mut self) -> Line<'s, Change<K, V>> {
        let draw = self.draw.take().expect("changes are drawn once, here");
        draw(self.name.take())
    }

    /// What the state of the step is kept under. Needed where a job has several of its kind below the same named step.
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Ends in a sink that keeps the newest value of each key.
    pub fn sink(self, name: &str, sink: impl UpsertSink<K, V>) {
        self.line().sink(name, sink);
    }

    /// The changes as records, for whoever wants each of them appended: a reader that adds up the values counts twice.
    pub fn changelog(self) -> Stream<'s, Change<K, V>> {
        Stream { line: self.line() }
    }
}

impl<'s, K: Key, T: Data> KeyedStream<'s, K, T> {
    /// Keeps the answer of an aggregate for each key, over all its records.
    ///
    /// ```
    /// use millpond_operators::{Changes, Stream};
    ///
    /// fn longest<'s>(words: Stream<'s, String>) -> Changes<'s, Option<char>, (u64, usize)> {
    ///     words.key_by(|word| word.chars().next()).aggregate(|w| (w.count(), w.max(|word| word.len())))
    /// }
    /// ```
    pub fn aggregate<A: Aggregate<T>>(self, build: impl FnOnce(Over<T>) -> A) -> Changes<'s, K, A::Output> {
        changes(self, "aggregate", build(Over::new()))
    }

    /// Keeps one record for each key: `reduce` puts each new one into it. Records of a key come in no order that the log determines
    /// unless they are in one partition, so it should not matter; the plan says so.
    ///
    /// ```
    /// use millpond_operators::{Changes, Stream};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Clone, Serialize, Deserialize)]
    /// struct Balance { account: u64, cents: i64 }
    ///
    /// fn balances<'s>(bookings: Stream<'s, Balance>) -> Changes<'s, u64, Balance> {
    ///     bookings.key_by(|booking| booking.account).reduce(|sum, booking| sum.cents += booking.cents)
    /// }
    /// ```
    pub fn reduce(self, reduce: impl Fn(&mut T, &T) + 'static) -> Changes<'s, K, T> {
        changes(self, "reduce", total::Reduce(reduce))
    }

    /// Counts the records of each key.
    ///
    /// ```
    /// use millpond_operators::{Changes, Stream};
    ///
    /// fn count_words<'s>(words: Stream<'s, String>) -> Changes<'s, String, u64> {
    ///     words.key_by(|word| word.clone()).count()
    /// }
    /// ```
    pub fn count(self) -> Changes<'s, K, u64> {
        changes(self, "count", crate::aggregate::Count)
    }
}

fn changes<'s, K: Key, T: Data, A: Aggregate<T>>(
    keyed: KeyedStream<'s, K, T>,
    kind: &'static str,
    aggregate: A,
) -> Changes<'s, K, A::Output> {
    let draw = move |name| {
        let line = keyed.line;
        let graph = line.graph();
        let what = Stateful {
            kind: kind.to_owned(),
            name,
            settings: vec![("aggregate".to_owned(), aggregate.describe())],
            shapes: vec![shape::<K>(graph, kind, "key"), shape::<A::Partial>(graph, kind, "partial")],
            notes: if aggregate.order_dependent() {
                vec![format!("order-dependent: {}", aggregate.describe())]
            } else {
                Vec::new()
            },
            positions: aggregate.needs_position(),
            time: false,
            upgrades: taken::<InTotal, T, A>(graph, &aggregate),
            size: None,
        };
        let (changes, _) = line.operate(what, move || Total::new(aggregate));
        changes.untimed()
    };
    Changes { draw: Some(Box::new(draw)), name: None }
}
