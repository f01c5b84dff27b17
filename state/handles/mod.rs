//! Typed state handles: the only way in which an operator keeps state that outlives a crash.
//!
//! A handle is an in-memory table and the knowledge of what an epoch touched in it. While an epoch runs the operator reads and
//! writes; when it closes, the host calls [`Handle::snapshot`] until it is done, which appends *only what changed since the last one* to the
//! operator's [`Section`]; after a crash the host calls [`Handle::restore_entry`] for every entry of the committed checkpoint that
//! lies in the worker's key groups, before any record. Handles alone know key groups: callers pass the record's hash, which must
//! be the key's [`stable_hash`](crate::stable_hash).
//!
//! Several handles of one operator share its section. Each puts its tag, one byte that the operator chooses and never changes,
//! before its keys, and [`restore_entry`] finds the handle by it.
//!
//! | handle | keys in a section | holds |
//! |---|---|---|
//! | [`Keyed`] | tag, key | one value a key |
//! | [`Panes`] | tag, window (8 bytes, ordered), key | one value a window and key |
//! | [`Timers`] | tag, time (8 bytes, ordered), key | points in event time, a set for each key |
//! | [`Fired`] | not there, but in the manifest | how far a key group's windows have fired |
//!
//! Rows stand in hash tables with the stable hash beside them, so that growing a table, finding a key group and handing a row on
//! need no key. The two bits which no stable hash uses say whether a row is new since the last snapshot, changed, or kept as it was.

mod deleted;
mod fired;
mod keyed;
mod panes;
mod table;
mod timers;

pub use fired::Fired;
pub use keyed::Keyed;
pub use panes::{OpenWindow, Panes};
pub use timers::Timers;

use crate::{CodecError, KeyGroup, Section, decode, stable_hash};

/// What the host does with every kind of handle.
pub trait Handle {
    /// The byte before this handle's keys.
    fn tag(&self) -> u8;

    /// Appends what changed since the last snapshot or restore, about `most` entries of it, which are taken off `most`. Says whether
    /// that was all; otherwise it is called again and goes on, and until it is done nothing else may change the handle. When it is,
    /// further calls cost and write nothing.
    ///
    /// # Errors
    /// A key or value that cannot be encoded. The section is then of no use, and neither is the handle.
    fn snapshot(&mut self, most: &mut usize, section: &mut Section) -> Result<bool, CodecError>;

    /// Takes one entry of a checkpoint back, as [`Section::entries`] gave it. All entries come before the first record.
    ///
    /// # Errors
    /// An entry that is not this handle's, does not decode, or whose key does not hash to `group`.
    fn restore_entry(&mut self, group: KeyGroup, key: &[u8], value: &[u8]) -> Result<(), CodecError>;
}

/// Gives an entry of a checkpoint to that one of an operator's handles which wrote it.
///
/// # Errors
/// [`CodecError::Stray`] when none of them did, or the handle's own.
///
/// ```
/// use millpond_state::{Handle, Keyed, Section, Timers, Timestamp, restore_entry, stable_hash};
/// let mut totals = Keyed::<String, u64>::new(0);
/// totals.upsert(stable_hash("LGA"), "LGA".to_owned(), || 0, |total| *total += 5);
/// let mut section = Section::new("totals");
/// assert!(totals.snapshot(&mut { usize::MAX }, &mut section).unwrap());
///
/// let (mut totals, mut timers) = (Keyed::<String, u64>::new(0), Timers::<String>::new(1));
/// for entry in section.entries() {
///     let value = entry.value.unwrap();
///     restore_entry(&mut [&mut totals, &mut timers], entry.group, entry.key, value).unwrap();
/// }
/// assert_eq!(totals.get(stable_hash("LGA"), "LGA"), Some(&5));
/// ```
pub fn restore_entry(
    handles: &mut [&mut dyn Handle],
    group: KeyGroup,
    key: &[u8],
    value: &[u8],
) -> Result<(), CodecError> {
    match handles.iter_mut().find(|handle| key.first() == Some(&handle.tag())) {
        Some(handle) => handle.restore_entry(group, key, value),
        None => Err(stray(key)),
    }
}

fn stray(key: &[u8]) -> CodecError {
    CodecError::Stray { len: key.len(), tag: key.first().copied() }
}

/// Takes the tag off a stored key.
fn untagged(tag: u8, key: &[u8]) -> Result<&[u8], CodecError> {
    match key.split_first() {
        Some((&first, rest)) if first == tag => Ok(rest),
        _ => Err(stray(key)),
    }
}

/// Decodes a stored key, with its hash, which must name the group the key was stored in.
fn stored_key<K: crate::Key>(group: KeyGroup, bytes: &[u8]) -> Result<(u64, K), CodecError> {
    let key: K = decode(bytes)?;
    let hash = stable_hash(&key);
    match KeyGroup::of(hash) {
        of_key if of_key == group => Ok((hash, key)),
        of_key => Err(CodecError::Group { stored: group.index(), hashed: of_key.index() }),
    }
}

/// Tag and window or time, as they stand before a key.
fn ordered_prefix(tag: u8, number: i64) -> [u8; 9] {
    let mut prefix = [tag; 9];
    prefix[1..].copy_from_slice(&crate::encode_ordered(number));
    prefix
}

/// Splits what [`ordered_prefix`] and a key make into the number and the key.
fn split_ordered(tag: u8, key: &[u8]) -> Result<(i64, &[u8]), CodecError> {
    match untagged(tag, key)?.split_first_chunk::<8>() {
        Some((number, rest)) => Ok((crate::decode_ordered(*number), rest)),
        None => Err(stray(key)),
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod speed_tests;
