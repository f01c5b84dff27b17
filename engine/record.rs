//! What travels: records in batches, keyed rows in shipments.

use millpond_state::{Data, Position, Timestamp};
use serde::{Deserialize, Serialize};

/// A value, when it happened, and the watermark of its own source partition when it was read.
///
/// `seen` depends on the partition's content alone, so a decision "late" taken by it does not depend on how partitions interleave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<T> {
    /// Event time.
    pub at: Timestamp,
    /// The watermark of the record's own partition once it was read.
    pub seen: Timestamp,
    /// The user's value.
    pub value: T,
}

impl<T> Record<T> {
    /// Another value at the same time.
    #[inline]
    pub fn with<U>(&self, value: U) -> Record<U> {
        Record { at: self.at, seen: self.seen, value }
    }
}

/// Where a batch was read: a run of one source partition. Names the place when a user's function fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Index of the source in the plan.
    pub source: u32,
    /// Partition of that source.
    pub partition: u32,
    /// Offset of the first record.
    pub first: u64,
    /// Offset of the last one.
    pub last: u64,
}

impl Origin {
    /// In the place of a partition: the offsets are of [requests](crate::redrive).
    pub(crate) const AGAIN: u32 = u32::MAX;
}

/// Records on their way through a chain.
///
/// `positions` is empty unless a step of the flow asks for them (`first`, `last`, `collect`, `try_map`); otherwise it goes with `rows`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "T: Data")]
pub struct Batch<T> {
    /// The records.
    pub rows: Vec<Record<T>>,
    /// The position of each row, or nothing.
    pub positions: Vec<Position>,
    /// Where they were read.
    pub origin: Origin,
    /// About how many bytes they came from.
    pub bytes: u64,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Batch { rows: Vec::new(), positions: Vec::new(), origin: Origin::default(), bytes: 0 }
    }
}

impl<T> Batch<T> {
    /// Forgets the records, keeps the memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.positions.clear();
        self.bytes = 0;
    }

    /// Whether positions travel with the rows.
    #[inline]
    #[must_use]
    pub fn tracked(&self) -> bool {
        !self.positions.is_empty()
    }

    /// Takes over where `other` came from, for a step that makes a new batch out of it.
    pub fn follow<U>(&mut self, other: &Batch<U>) {
        self.origin = other.origin;
        self.bytes = other.bytes;
    }

    /// What it counts as in flight: what it came from, or what its rows take, whichever is more.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.bytes.max((self.rows.len() * size_of::<Record<T>>()) as u64)
    }
}

/// A keyed record: the key's stable hash travels with it, since the shuffle and the state table both need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row<K, V> {
    /// [`millpond_state::stable_hash`] of the key.
    pub hash: u64,
    /// Event time.
    pub at: Timestamp,
    /// The watermark of the record's own partition once it was read.
    pub seen: Timestamp,
    /// The key.
    pub key: K,
    /// The user's value.
    pub value: V,
}

/// Keyed rows for one worker, made from one batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "K: Data, V: Data")]
pub struct Shipment<K, V> {
    /// The rows, all for the same worker.
    pub rows: Vec<Row<K, V>>,
    /// The position of each row, or nothing.
    pub positions: Vec<Position>,
    /// Where they were read.
    pub origin: Origin,
    /// The worker they go to.
    pub worker: u32,
    /// What was counted as in flight when they left.
    pub weight: u64,
}

impl<K, V> Default for Shipment<K, V> {
    fn default() -> Self {
        Shipment { rows: Vec::new(), positions: Vec::new(), origin: Origin::default(), worker: 0, weight: 0 }
    }
}
