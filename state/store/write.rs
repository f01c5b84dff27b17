//! Writing data files: sorted entries in checksummed blocks, the footer last.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::disk::{Aside, Disk};
use super::footer::{Block, Dropped, END, Footer, HEADER_BYTES, MAGIC, SectionIndex, TRAILER_BYTES, VERSION};
use super::name::Name;
use super::wire::{Put, put_varint};
use crate::{Delta, Entry, KeyGroup};

/// A block is closed when it has at least this many bytes; only a single greater entry makes a greater block.
pub(crate) const BLOCK_BYTES: usize = 64 * 1024;

/// Whether anything older than a file lies below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// Changes: entries, deletions and dropped prefixes, to be applied to older files.
    Delta,
    /// Live entries only: the oldest file of its manifest.
    Base,
}

/// A data file as a manifest names it: enough to find out any other file in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Its name in `checkpoints/`.
    pub name: String,
    /// Whether it stands alone or changes older files.
    pub kind: FileKind,
    /// Its length.
    pub bytes: u64,
    /// crc32 of its footer, which holds the crc32 of every block.
    pub checksum: u32,
    /// What each operator has in it, in the order of uids.
    pub sections: Vec<SectionRef>,
}

/// What one operator has in a data file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionRef {
    /// The operator.
    pub uid: String,
    /// Entries, deletions counted.
    pub entries: u64,
    /// First key group of which something is said.
    pub from: u16,
    /// Key group behind the last one of which something is said.
    pub to: u16,
    /// Where its blocks begin in the file.
    pub offset: u64,
    /// How long they are together.
    pub bytes: u64,
}

impl FileRef {
    /// Whether its name is one that the store gives, which leads out of no folder.
    #[must_use]
    pub fn is_named_by_the_store(&self) -> bool {
        Name::parse(&self.name).is_some()
    }

    /// Entries of all operators, deletions counted.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.sections.iter().map(|section| section.entries).sum()
    }
}

/// A data file being written: sections in the order of uids, entries in the order of (key group, key), each key once.
pub(crate) struct DataFile<'a> {
    aside: Aside<'a>,
    name: Name,
    at: u64,
    footer: Footer,
    block: Vec<u8>,
    groups: (u16, u16),
}

impl<'a> DataFile<'a> {
    pub(crate) fn create(disk: &'a dyn Disk, dir: &'a std::path::Path, name: Name) -> Result<Self, StoreError> {
        let mut aside = Aside::create(disk, dir, name)?;
        let mut header = MAGIC.to_vec();
        VERSION.put(&mut header);
        aside.write(&header)?;
        let block = Vec::with_capacity(BLOCK_BYTES + BLOCK_BYTES / 4);
        Ok(DataFile { aside, name, at: HEADER_BYTES, footer: Footer::default(), block, groups: (0, 0) })
    }

    pub(crate) fn section(&mut self, uid: &str, drops: Vec<Dropped>) -> Result<(), StoreError> {
        self.close_block()?;
        assert!(
            self.footer.sections.last().is_none_or(|last| last.uid.as_str() < uid),
            "sections are written in order"
        );
        self.footer.sections.push(SectionIndex { uid: uid.to_owned(), drops, ..SectionIndex::default() });
        Ok(())
    }

    pub(crate) fn push(&mut self, entry: Entry<'_>) -> Result<(), StoreError> {
        let group = entry.group.index() as u16;
        if self.block.is_empty() {
            self.groups.0 = group;
        }
        self.groups.1 = group;
        group.put(&mut self.block);
        put_varint(&mut self.block, entry.key.len() as u64);
        // 0 is a deletion, so lengths of values are one greater.
        put_varint(&mut self.block, entry.value.map_or(0, |value| value.len() as u64 + 1));
        self.block.extend_from_slice(entry.key);
        self.block.extend_from_slice(entry.value.unwrap_or_default());
        self.footer.sections.last_mut().expect("entries follow the call of section()").entries += 1;
        if self.block.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    fn close_block(&mut self) -> Result<(), StoreError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let bytes =
            u32::try_from(self.block.len()).expect("one entry's key and value encode to less than 4 GiB together");
        let (crc, (first, last)) = (crc32fast::hash(&self.block), self.groups);
        self.aside.write(&self.block)?;
        let section = self.footer.sections.last_mut().expect("a block has entries, entries have a section");
        section.blocks.push(Block { offset: self.at, bytes, crc, first, last });
        self.at += u64::from(bytes);
        self.block.clear();
        Ok(())
    }

    /// Whether nothing was said so far that a reader could see.
    pub(crate) fn says_nothing(&self) -> bool {
        self.footer.sections.iter().all(|section| section.entries == 0 && section.drops.is_empty())
    }

    /// Durable under its name when this returns.
    pub(crate) fn publish(mut self) -> Result<FileRef, StoreError> {
        self.close_block()?;
        self.footer.sections.retain(|section| section.entries > 0 || !section.drops.is_empty());
        let mut end = self.footer.encode();
        let (length, checksum) = (end.len() as u64, crc32fast::hash(&end));
        length.put(&mut end);
        checksum.put(&mut end);
        end.extend_from_slice(&END);
        self.aside.write(&end)?;
        self.aside.publish()?;
        let kind = if matches!(self.name, Name::Base(..)) { FileKind::Base } else { FileKind::Delta };
        let sections = self.footer.sections.iter().map(section_ref).collect();
        Ok(FileRef { name: self.name.to_string(), kind, bytes: self.at + length + TRAILER_BYTES, checksum, sections })
    }
}

fn section_ref(section: &SectionIndex) -> SectionRef {
    let of_blocks = section.blocks.iter().map(|block| (block.first, block.last + 1));
    let of_drops = section.drops.iter().map(|dropped| (dropped.from, dropped.to));
    let (from, to) = of_blocks
        .chain(of_drops)
        .reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
        .expect("a section says something");
    let offset = section.blocks.first().map_or(0, |block| block.offset);
    let bytes = section.blocks.iter().map(|block| u64::from(block.bytes)).sum();
    SectionRef { uid: section.uid.clone(), entries: section.entries, from, to, offset, bytes }
}

/// Writes what a worker that owns `groups` changed in an epoch.
pub(crate) fn write_delta(mut file: DataFile<'_>, groups: Range<u16>, delta: &Delta) -> Result<FileRef, StoreError> {
    let mut sections: Vec<_> = delta.sections.iter().filter(|section| !section.is_empty()).collect();
    // Stable: of two sections of one operator the later one's entries come later.
    sections.sort_by_key(|section| section.uid());
    let mut sorted = Vec::new();
    for same in sections.chunk_by(|a, b| a.uid() == b.uid()) {
        let dropped = same.iter().flat_map(|section| section.dropped());
        let mut drops: Vec<_> =
            dropped.map(|prefix| Dropped { prefix: prefix.to_vec(), from: groups.start, to: groups.end }).collect();
        drops.sort();
        drops.dedup();
        file.section(same[0].uid(), drops)?;
        sorted.clear();
        sorted.extend(same.iter().flat_map(|section| section.entries()).enumerate().map(|(at, entry)| {
            let index = entry.group.index() as u16;
            assert!(groups.contains(&index), "{}: key group {index} is not among {groups:?}", same[0].uid());
            Sorted { rank: rank(entry.group, entry.key), at, entry }
        }));
        sorted.sort_unstable_by(|a, b| {
            (a.rank.cmp(&b.rank)).then_with(|| a.entry.key.cmp(b.entry.key)).then(a.at.cmp(&b.at))
        });
        for equal in sorted.chunk_by(|a, b| a.rank == b.rank && a.entry.key == b.entry.key) {
            file.push(equal[equal.len() - 1].entry)?;
        }
    }
    file.publish()
}

struct Sorted<'a> {
    rank: u128,
    at: usize,
    entry: Entry<'a>,
}

/// Orders as (key group, key) does, but for keys that begin with the same 8 bytes: most comparisons need no look at the key.
#[inline]
pub(crate) fn rank(group: KeyGroup, key: &[u8]) -> u128 {
    let head = match key.first_chunk::<8>() {
        Some(head) => u64::from_be_bytes(*head),
        None => {
            key.iter().zip([56, 48, 40, 32, 24, 16, 8]).fold(0, |head, (byte, shift)| head | u64::from(*byte) << shift)
        }
    };
    (group.index() as u128) << 64 | u128::from(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_never_contradict_keys() {
        let keys: [&[u8]; 9] = [b"", b"\0", b"\0\0", b"a", b"a\0", b"abcdefg", b"abcdefgh", b"abcdefghi", b"b"];
        for (i, a) in keys.iter().enumerate() {
            for b in &keys[i..] {
                assert!(rank(KeyGroup::new(3), a) <= rank(KeyGroup::new(3), b));
                assert!(rank(KeyGroup::new(2), b) < rank(KeyGroup::new(3), a));
            }
        }
    }
}
