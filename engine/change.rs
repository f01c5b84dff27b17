//! Changes: what a table that is kept up to date emits, and what a sink must be to take them.

use millpond_state::Data;
use serde::{Deserialize, Serialize};

use crate::sink::Sink;

/// How the value of one key changed.
///
/// For each key changes add up: an insert, then updates whose `old` is the `new` before, then perhaps a delete, then perhaps an insert
/// again. Who keeps the newest `new` of each key has the table.
///
/// ```
/// use std::collections::BTreeMap;
/// use millpond_engine::Change;
///
/// let mut table = BTreeMap::new();
/// let changes = [Change::Insert { key: "LGA", new: 1 }, Change::Update { key: "LGA", old: 1, new: 3 }];
/// for change in changes {
///     let (key, new) = change.into_new();
///     match new {
///         Some(new) => table.insert(key, new),
///         None => table.remove(&key),
///     };
/// }
/// assert_eq!(table["LGA"], 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change<K, V> {
    /// The key had no value.
    Insert {
        /// Whose value it is.
        key: K,
        /// The value now.
        new: V,
    },
    /// The key had another value.
    Update {
        /// Whose value it is.
        key: K,
        /// The value before.
        old: V,
        /// The value now.
        new: V,
    },
    /// The key has no value any more.
    Delete {
        /// Whose value it was.
        key: K,
        /// The value before.
        old: V,
    },
}

impl<K, V> Change<K, V> {
    /// Whose value changed.
    pub fn key(&self) -> &K {
        match self {
            Change::Insert { key, .. } | Change::Update { key, .. } | Change::Delete { key, .. } => key,
        }
    }

    /// The value before.
    pub fn old(&self) -> Option<&V> {
        match self {
            Change::Insert { .. } => None,
            Change::Update { old, .. } | Change::Delete { old, .. } => Some(old),
        }
    }

    /// The value now.
    pub fn new_value(&self) -> Option<&V> {
        match self {
            Change::Insert { new, .. } | Change::Update { new, .. } => Some(new),
            Change::Delete { .. } => None,
        }
    }

    /// The key and its value now, `None` when it has none: what is written to an upsert topic.
    pub fn into_new(self) -> (K, Option<V>) {
        match self {
            Change::Insert { key, new } | Change::Update { key, new, .. } => (key, Some(new)),
            Change::Delete { key, .. } => (key, None),
        }
    }
}

/// A place that takes changes: it keeps the newest value of each key. To be said of a sink by name, since most sinks take any record,
/// changes too, but would only append them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not take changes of `{K}` to `{V}`",
    note = "an appending sink does not take changes: write them to an upsert topic with `.upsert(..)`, or make records of them with \
            `.changelog()`"
)]
pub trait UpsertSink<K: Data, V: Data>: Sink<Change<K, V>> {}
