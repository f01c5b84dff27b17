//! The end of a data file: what lies in it, where, and the checksum of every block.
//!
//! The footer's own checksum stands for the whole file, since it covers those of the blocks: a manifest names it, so that a file which
//! was exchanged for another whole one is found out too.

use super::wire::{Put, Take, put_bytes};
use crate::KeyGroup;

/// First bytes of a data file.
pub(crate) const MAGIC: [u8; 8] = *b"MLPDDATA";
/// Last bytes of a data file.
pub(crate) const END: [u8; 8] = *b"ATADDPLM";
/// Version of the format that is written, and the newest that is read.
pub(crate) const VERSION: u32 = 1;
/// Magic and version.
pub(crate) const HEADER_BYTES: u64 = 12;
/// Length of the footer (u64), its crc32 (u32), [`END`].
pub(crate) const TRAILER_BYTES: u64 = 20;

/// What a data file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    /// In the order of their uids.
    pub(crate) sections: Vec<SectionIndex>,
}

/// One operator's part of a data file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SectionIndex {
    pub(crate) uid: String,
    pub(crate) entries: u64,
    /// Applied to everything in older files, before this file's entries.
    pub(crate) drops: Vec<Dropped>,
    /// In the order of (key group, key).
    pub(crate) blocks: Vec<Block>,
}

/// A dropped prefix, and the key groups it was dropped in: those that the worker owned at the time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Dropped {
    pub(crate) prefix: Vec<u8>,
    pub(crate) from: u16,
    /// Exclusive.
    pub(crate) to: u16,
}

/// A run of entries that is read and checked as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
    pub(crate) crc: u32,
    /// Key group of the first entry.
    pub(crate) first: u16,
    /// Key group of the last entry.
    pub(crate) last: u16,
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        count(self.sections.len()).put(&mut out);
        for section in &self.sections {
            put_bytes(&mut out, section.uid.as_bytes());
            section.entries.put(&mut out);
            count(section.drops.len()).put(&mut out);
            for dropped in &section.drops {
                dropped.from.put(&mut out);
                dropped.to.put(&mut out);
                put_bytes(&mut out, &dropped.prefix);
            }
            count(section.blocks.len()).put(&mut out);
            for block in &section.blocks {
                block.offset.put(&mut out);
                block.bytes.put(&mut out);
                block.crc.put(&mut out);
                block.first.put(&mut out);
                block.last.put(&mut out);
            }
        }
        out
    }

    /// `None` when the bytes are not exactly a footer.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = Take { bytes };
        let mut sections = Vec::new();
        for _ in 0..take.u32()? {
            let uid = std::str::from_utf8(take.bytes()?).ok()?.to_owned();
            let entries = take.u64()?;
            let mut drops = Vec::new();
            for _ in 0..take.u32()? {
                let (from, to) = (take.u16()?, take.u16()?);
                drops.push(Dropped { prefix: take.bytes()?.to_vec(), from, to });
            }
            let mut blocks = Vec::new();
            for _ in 0..take.u32()? {
                let (offset, bytes, crc) = (take.u64()?, take.u32()?, take.u32()?);
                blocks.push(Block { offset, bytes, crc, first: take.u16()?, last: take.u16()? });
            }
            sections.push(SectionIndex { uid, entries, drops, blocks });
        }
        take.bytes.is_empty().then_some(Footer { sections })
    }

    /// The section of an operator.
    pub(crate) fn section(&self, uid: &str) -> Option<&SectionIndex> {
        let at = self.sections.binary_search_by(|section| section.uid.as_str().cmp(uid)).ok()?;
        self.sections.get(at)
    }

    /// The offset at which the blocks do not lie one behind the other up to `end`, or an order is broken; `None` when all is well.
    pub(crate) fn gap(&self, end: u64) -> Option<u64> {
        let mut at = HEADER_BYTES;
        let mut uid = None;
        for section in &self.sections {
            if uid.is_some_and(|uid| uid >= &section.uid) {
                return Some(end);
            }
            uid = Some(&section.uid);
            let mut group = 0;
            for block in &section.blocks {
                let ordered =
                    group <= block.first && block.first <= block.last && usize::from(block.last) < KeyGroup::COUNT;
                if block.offset != at || !ordered {
                    return Some(at);
                }
                at = at.checked_add(u64::from(block.bytes))?;
                group = block.last;
            }
        }
        (at != end).then_some(at)
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("a file has less than 4 Gi sections, prefixes and blocks")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        let block = |offset, bytes, first, last| Block { offset, bytes, crc: 7, first, last };
        let drops = vec![Dropped { prefix: b"w".to_vec(), from: 3, to: 512 }];
        Footer {
            sections: vec![
                SectionIndex {
                    uid: "a".into(),
                    entries: 2,
                    drops,
                    blocks: vec![block(12, 10, 0, 4), block(22, 5, 4, 9)],
                },
                SectionIndex { uid: "b".into(), entries: 1, drops: vec![], blocks: vec![block(27, 3, 1, 1)] },
            ],
        }
    }

    #[test]
    fn a_footer_comes_back_whole_or_not_at_all() {
        let bytes = footer().encode();
        assert_eq!(Footer::decode(&bytes), Some(footer()));
        for cut in 0..bytes.len() {
            assert_eq!(Footer::decode(&bytes[..cut]), None, "cut at {cut}");
        }
        assert_eq!(Footer::decode(&[bytes, vec![0]].concat()), None);
    }

    #[test]
    fn blocks_must_lie_one_behind_the_other() {
        assert_eq!(footer().gap(30), None);
        assert_eq!(footer().gap(31), Some(30));
        let mut moved = footer();
        moved.sections[0].blocks[1].offset += 1;
        assert_eq!(moved.gap(30), Some(22));
    }
}
