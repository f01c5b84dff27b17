//! Reading data files: the footer first, then only the blocks that are asked for, each checked before a byte of it is believed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::footer::{Block, END, Footer, HEADER_BYTES, MAGIC, TRAILER_BYTES, VERSION};
use super::wire::{Take, take_varint};
use super::write::rank;
use super::{FileRef, StoreError};
use crate::{Entry, KeyGroup};

/// An open data file whose header and footer are what its manifest names.
#[derive(Debug)]
pub(crate) struct DataReader {
    path: PathBuf,
    file: File,
    footer: Footer,
}

impl DataReader {
    /// Opens a file and checks everything but the blocks. `needed_by` is for the message when it is missing.
    pub(crate) fn open(dir: &Path, file_ref: &FileRef, needed_by: &str) -> Result<Self, StoreError> {
        let path = dir.join(&file_ref.name);
        let file = open(&path, needed_by)?;
        let length = file.metadata().map_err(|error| StoreError::io("look at", &path, error))?.len();
        if length != file_ref.bytes || length < HEADER_BYTES + TRAILER_BYTES {
            let what = format!("the file ends here, but was written with {} bytes", file_ref.bytes);
            return Err(StoreError::corrupt(&path, length, what));
        }
        let mut header = [0; HEADER_BYTES as usize];
        read_at(&file, &path, 0, &mut header)?;
        check_header(&path, &header, MAGIC, VERSION)?;

        let trailer_at = length - TRAILER_BYTES;
        let mut trailer = [0; TRAILER_BYTES as usize];
        read_at(&file, &path, trailer_at, &mut trailer)?;
        let mut take = Take { bytes: &trailer };
        let (footer_bytes, crc) = (take.u64(), take.u32());
        let footer_at = footer_bytes.and_then(|bytes| trailer_at.checked_sub(bytes)).filter(|at| *at >= HEADER_BYTES);
        let (Some(footer_at), true) = (footer_at, take.bytes == END) else {
            return Err(StoreError::corrupt(&path, trailer_at, "this is not the end of a data file"));
        };
        let mut bytes = vec![0; usize::try_from(trailer_at - footer_at).expect("a footer fits in memory")];
        read_at(&file, &path, footer_at, &mut bytes)?;
        let found = crc32fast::hash(&bytes);
        if Some(found) != crc || found != file_ref.checksum {
            return Err(StoreError::corrupt(
                &path,
                footer_at,
                "the footer does not have the checksum that its manifest names",
            ));
        }
        let footer =
            Footer::decode(&bytes).ok_or_else(|| StoreError::corrupt(&path, footer_at, "this is not a footer"))?;
        match footer.gap(footer_at) {
            Some(offset) => Err(StoreError::corrupt(&path, offset, "the blocks do not lie where the footer says")),
            None => Ok(DataReader { path, file, footer }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }
}

pub(crate) fn open(path: &Path, needed_by: &str) -> Result<File, StoreError> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::missing(path, needed_by),
        _ => StoreError::io("open", path, error),
    })
}

fn read_at(mut file: &File, path: &Path, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
    let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(into));
    read.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            StoreError::corrupt(path, offset, "the file ends in the middle of what should lie here")
        }
        _ => StoreError::io("read", path, error),
    })
}

/// Checks the first 12 bytes of any of our files.
pub(crate) fn check_header(path: &Path, header: &[u8], magic: [u8; 8], known: u32) -> Result<(), StoreError> {
    let version = header.strip_prefix(&magic).and_then(|bytes| Take { bytes }.u32());
    match version {
        Some(version) if version == known => Ok(()),
        Some(version) if version > known => Err(StoreError::newer(path, 8, version, known)),
        Some(version) => Err(StoreError::corrupt(path, 8, format!("there is no format version {version}"))),
        None => Err(StoreError::corrupt(path, 0, "this is not the beginning of a file of the checkpoint store")),
    }
}

/// Goes over one section of a file in the order of (key group, key), one block in memory at a time.
pub(crate) struct Cursor {
    /// Which of the walk's files, 0 is the oldest.
    pub(crate) file: usize,
    /// [`rank`] of the entry it stands on.
    pub(crate) rank: u128,
    blocks: std::vec::IntoIter<Block>,
    groups: Range<u16>,
    bytes: Vec<u8>,
    /// Length of the block, `bytes` may be longer.
    end: usize,
    offset: u64,
    next: usize,
    group: KeyGroup,
    key: (usize, usize),
    /// End of the value, which begins where the key ends.
    value: Option<usize>,
}

impl Cursor {
    /// A cursor before the first entry of `uid` in `groups`; `None` when the file has none.
    pub(crate) fn new(file: usize, reader: &DataReader, uid: &str, groups: &Range<u16>) -> Option<Self> {
        let blocks = &reader.footer.section(uid)?.blocks;
        let from = blocks.partition_point(|block| block.last < groups.start);
        let to = blocks.partition_point(|block| block.first < groups.end);
        let blocks = blocks.get(from..to).filter(|blocks| !blocks.is_empty())?.to_vec().into_iter();
        let groups = groups.clone();
        let (bytes, group) = (Vec::new(), KeyGroup::new(0));
        Some(Cursor {
            file,
            rank: 0,
            blocks,
            groups,
            bytes,
            end: 0,
            offset: 0,
            next: 0,
            group,
            key: (0, 0),
            value: None,
        })
    }

    /// Moves to the next entry; `false` behind the last one.
    #[inline]
    pub(crate) fn advance(&mut self, reader: &DataReader) -> Result<bool, StoreError> {
        loop {
            if self.next == self.end && !self.load(reader)? {
                return Ok(false);
            }
            let start = self.next;
            if self.step().is_none() {
                let what = "this is not an entry";
                return Err(StoreError::corrupt(&reader.path, self.offset + start as u64, what));
            }
            let group = self.group.index() as u16;
            if group >= self.groups.end {
                return Ok(false);
            }
            if group >= self.groups.start {
                self.rank = rank(self.group, &self.bytes[self.key.0..self.key.1]);
                return Ok(true);
            }
        }
    }

    #[inline]
    fn step(&mut self) -> Option<()> {
        let bytes = self.bytes.get(..self.end)?;
        let mut at = self.next;
        let group = u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
        at += 2;
        if usize::from(group) >= KeyGroup::COUNT {
            return None;
        }
        let key = usize::try_from(take_varint(bytes, &mut at)?).ok()?;
        let value = usize::try_from(take_varint(bytes, &mut at)?).ok()?;
        let key_end = at.checked_add(key)?;
        let end = key_end.checked_add(value.saturating_sub(1))?;
        if end > bytes.len() {
            return None;
        }
        self.group = KeyGroup::new(group);
        self.key = (at, key_end);
        self.value = (value > 0).then_some(end);
        self.next = end;
        Some(())
    }

    fn load(&mut self, reader: &DataReader) -> Result<bool, StoreError> {
        let Some(block) = self.blocks.next() else { return Ok(false) };
        self.end = block.bytes as usize;
        if self.bytes.len() < self.end {
            self.bytes.resize(self.end, 0);
        }
        let bytes = &mut self.bytes[..self.end];
        read_at(&reader.file, &reader.path, block.offset, bytes)?;
        if crc32fast::hash(bytes) != block.crc {
            let what = format!("the block of {} bytes does not have its checksum", block.bytes);
            return Err(StoreError::corrupt(&reader.path, block.offset, what));
        }
        (self.offset, self.next) = (block.offset, 0);
        Ok(true)
    }

    /// The key it stands on.
    #[inline]
    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes[self.key.0..self.key.1]
    }

    /// The key group it stands in.
    #[inline]
    pub(crate) fn group(&self) -> u16 {
        self.group.index() as u16
    }

    /// The entry it stands on.
    #[inline]
    pub(crate) fn entry(&self) -> Entry<'_> {
        Entry { group: self.group, key: self.key(), value: self.value.map(|end| &self.bytes[self.key.1..end]) }
    }

    /// Where in the file the block of the entry begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }
}
