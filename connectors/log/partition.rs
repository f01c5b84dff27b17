//! A partition as its writer sees it: the batch being filled, the segment being written, and how much of both is committed.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::LogError;
use super::batch::BatchBuilder;
use super::commits::{Ends, Place};
use super::disk::{Disk, Handle};
use super::index;
use super::record::{self, Record};
use super::segment::{self, SegmentHeader};
use super::topic::Settings;

/// A batch is written out when it has this many bytes.
pub(super) const BATCH: usize = 128 << 10;

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) dir: PathBuf,
    pub(super) place: Place,
    /// What is committed.
    pub(super) ends: Ends,
    /// The offset that the next appended record gets.
    next: u64,
    batch: BatchBuilder,
    /// The segment that grows, once something was appended.
    active: Option<Active>,
    /// Segments completed since the last commit.
    complete: Vec<Active>,
    /// Whether segments were made since the last commit.
    made: bool,
}

#[derive(Debug)]
struct Active {
    handle: Handle,
    base: u64,
    position: u64,
    /// When its first batch was appended.
    begun: i64,
}

impl Partition {
    pub(super) fn new(dir: PathBuf, place: Place, ends: Ends) -> Self {
        let batch = BatchBuilder::default();
        Partition { dir, place, ends, next: ends.end, batch, active: None, complete: Vec::new(), made: false }
    }

    /// Whether anything was appended since the last commit.
    pub(super) fn is_changed(&self) -> bool {
        self.next != self.ends.end
    }

    /// Takes a record and returns its offset. `now` is asked once a batch.
    #[inline]
    pub(super) fn append(
        &mut self,
        disk: &Disk,
        settings: &Settings,
        record: &Record<'_>,
        now: impl FnOnce() -> i64,
    ) -> Result<u64, LogError> {
        let weight = record::weight(record);
        if self.batch.len() + weight > BATCH {
            self.write_out(disk, settings)?;
        }
        if self.batch.is_empty() {
            if weight > record::MOST {
                return Err(LogError::Invalid(format!(
                    "a record of {weight} bytes is too large, {} is the most",
                    record::MOST
                )));
            }
            self.batch.begin(self.next, now());
        }
        let offset = self.next;
        self.batch.push(offset, record);
        self.next += 1;
        Ok(offset)
    }

    /// Writes the batch being filled to the segment, or to a new one where that is complete.
    pub(super) fn write_out(&mut self, disk: &Disk, settings: &Settings) -> Result<(), LogError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        if self.active.is_none() && self.ends.position > 0 {
            self.active = Some(self.reopen(disk)?);
        }
        let now = self.batch.append_time();
        if let Some(active) = self.active.take_if(|active| active.is_complete(settings, now)) {
            self.complete.push(active);
        }
        if self.active.is_none() {
            self.active = Some(Active::create(disk, self, self.batch.base(), now)?);
            self.made = true;
        }
        let active = self.active.as_mut().expect("made just above where there was none");
        let bytes = self.batch.seal(self.next);
        disk.write_at(&active.handle, bytes, active.position)?;
        active.position += bytes.len() as u64;
        self.batch.clear();
        Ok(())
    }

    fn reopen(&self, disk: &Disk) -> Result<Active, LogError> {
        let handle = disk.open(&segment::path(&self.dir, self.ends.segment))?;
        let (from, to) = (segment::HEADER as u64, self.ends.position);
        let begun =
            segment::scan(&handle.file, &handle.path, from, to, |_, header| ControlFlow::Break(header.append_time))?;
        Ok(Active { handle, base: self.ends.segment, position: to, begun: begun.unwrap_or(i64::MAX) })
    }

    /// The files that were written since the last commit, once all is written out.
    pub(super) fn written(&self) -> impl Iterator<Item = &Handle> {
        self.complete.iter().chain(&self.active).map(|active| &active.handle)
    }

    /// Makes new files durable in their directory, after the files themselves. Returns what a commit record says of the partition.
    pub(super) fn settle(&self, disk: &Disk) -> Result<Ends, LogError> {
        if self.made {
            disk.sync_dir(&self.dir)?;
        }
        let Some(active) = &self.active else { return Ok(self.ends) };
        Ok(Ends { start: self.ends.start, end: self.next, segment: active.base, position: active.position })
    }

    /// The commit record is durable: what it said is real.
    pub(super) fn committed(&mut self, disk: &Disk, ends: Ends) -> Result<(), LogError> {
        self.ends = ends;
        self.made = false;
        for complete in self.complete.drain(..) {
            index::Index::write(disk, &complete.handle.path)?;
        }
        Ok(())
    }

    /// Goes back to the last commit.
    pub(super) fn abort(&mut self, disk: &Disk) -> Result<(), LogError> {
        self.batch.clear();
        self.next = self.ends.end;
        let written = self.complete.drain(..).chain(self.active.take());
        for active in written {
            if self.ends.position > 0 && active.base == self.ends.segment {
                disk.cut(&active.handle, self.ends.position)?;
                self.active = Some(Active { position: self.ends.position, ..active });
            } else {
                disk.remove(&active.handle.path)?;
            }
        }
        self.made = false;
        Ok(())
    }

    /// Bases of the complete segments, ascending, with the base of the one after each.
    pub(super) fn complete_segments(&self) -> Result<Vec<(u64, u64)>, LogError> {
        complete_segments(&self.dir, self.ends)
    }

    /// Removes the segments that lie wholly before `ends.start`.
    pub(super) fn remove_expired(&self, disk: &Disk) -> Result<(), LogError> {
        let mut removed = false;
        for (base, next) in self.complete_segments()? {
            if next <= self.ends.start {
                let path = segment::path(&self.dir, base);
                disk.remove(&path)?;
                if fs::exists(index::beside(&path)).unwrap_or(false) {
                    disk.remove(&index::beside(&path))?;
                }
                removed = true;
            }
        }
        if removed { disk.sync_dir(&self.dir) } else { Ok(()) }
    }
}

impl Active {
    fn create(disk: &Disk, of: &Partition, base: u64, begun: i64) -> Result<Active, LogError> {
        let handle = disk.create(&segment::path(&of.dir, base))?;
        let header = SegmentHeader { topic: of.place.0, partition: of.place.1, compacted: false, tombstones: false };
        disk.write_at(&handle, &header.encode(), 0)?;
        Ok(Active { handle, base, position: segment::HEADER as u64, begun })
    }

    fn is_complete(&self, settings: &Settings, now: i64) -> bool {
        let aged = settings.kept_micros().is_some_and(|age| now.saturating_sub(self.begun) >= age);
        self.position >= settings.segment_size() || aged
    }
}

/// As [`Partition::complete_segments`], of a directory and the ends that were committed there.
pub(super) fn complete_segments(dir: &Path, ends: Ends) -> Result<Vec<(u64, u64)>, LogError> {
    let bases = segment::list(dir)?;
    let upto = bases.iter().position(|base| *base == ends.segment).unwrap_or(0);
    let upto = bases.get(..=upto).unwrap_or_default();
    Ok(upto.windows(2).map(|pair| (pair[0], pair[1])).collect())
}
