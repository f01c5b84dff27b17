//! Where a record stands in the log: what decides between records of equal event time.

use serde::{Deserialize, Serialize};

/// A record's place in what a job reads, the same in every run over the same log.
///
/// Positions order records that have the same event time (`first`, `last`, `collect`, ties), so that the answer does not depend on
/// which partition was read first. They travel only in flows where a step asks for them.
///
/// ```
/// use millpond_state::Position;
/// let earlier = Position { source: 0, partition: 2, offset: 7, index: 0 };
/// let flat_mapped = Position { index: 1, ..earlier };
/// assert!(earlier < flat_mapped);
/// assert!(flat_mapped < Position { offset: 8, ..earlier });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Index of the source in the plan.
    pub source: u32,
    /// Partition of that source.
    pub partition: u32,
    /// Offset in the partition.
    pub offset: u64,
    /// Which of the records that steps made out of the one at this offset, from 0.
    pub index: u32,
}
