//! What a window answers.

use millpond_engine::Context;
use millpond_state::{Data, KeyGroup, Position, Timestamp};
use serde::{Deserialize, Serialize};

use crate::windows::Span;

/// A window's final result for one key.
///
/// As a record its event time is a microsecond before `end`; see [the module](super).
/// ```
/// use millpond_operators::Pane;
/// use millpond_state::Timestamp;
/// let pane = Pane { key: "LGA", start: Timestamp::EPOCH, end: Timestamp::from_secs(3600), value: 12 };
/// assert!(pane.map(|departures| departures > 10).value);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pane<K, V> {
    /// The key.
    pub key: K,
    /// The first time in the window; of a window of rows, the time of the first row.
    pub start: Timestamp,
    /// The first time after the window; of a window of rows, a microsecond after the last row.
    pub end: Timestamp,
    /// What the aggregate answered.
    pub value: V,
}

impl<K, V> Pane<K, V> {
    /// Another value of the same window and key.
    pub fn map<U>(self, f: impl FnOnce(V) -> U) -> Pane<K, U> {
        Pane { key: self.key, start: self.start, end: self.end, value: f(self.value) }
    }
}

/// Emits a pane. `nth` tells panes of one key and end from each other.
#[inline]
pub(super) fn emit<K, V, S>(cx: &mut Context<Pane<K, V>, S>, window: Span, nth: u32, hash: u64, key: K, value: V)
where
    K: Data,
    V: Data,
{
    let pane = Pane { key, start: window.start, end: window.end, value };
    cx.emit(window.last(), || made_at(hash, nth), pane);
}

/// The place of a record that no log holds, among those of the same time: by its key's hash, which is the same in every run.
#[inline]
pub(crate) fn made_at(hash: u64, index: u32) -> Position {
    Position { source: u32::MAX, partition: KeyGroup::of(hash).index() as u32, offset: hash, index }
}
