//! Compaction of an upsert topic's complete segments: the newest record of each key stays, at its offset.
//!
//! Segments are rewritten one by one, oldest first, written aside and renamed over the old one; a reader that has the old file open goes
//! on with it. Oldest first matters for tombstones: the records that one deletes are gone before it goes itself.
//!
//! A complete segment does not change any more, and which are complete is asked of the writer beforehand, so that a thread of its own
//! ([`Compaction`]) can do this while the writer appends and commits. Only what removes segments must keep away from them meanwhile.

use std::collections::HashMap;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::LogError;
use super::batch::{BatchBuilder, BatchHeader};
use super::block::{Cursor, Records};
use super::commits::Place;
use super::disk::{Disk, aside};
use super::index::{self, Index};
use super::partition::Partition;
use super::record::Record;
use super::segment::{self, SegmentHeader};

/// The complete segments of a partition.
pub(super) struct Complete {
    dir: PathBuf,
    place: Place,
    segments: Vec<PathBuf>,
}

impl Complete {
    pub(super) fn of(partition: &Partition) -> Result<Self, LogError> {
        let segments = partition.complete_segments()?;
        let segments = segments.into_iter().map(|(base, _)| segment::path(&partition.dir, base)).collect();
        Ok(Complete { dir: partition.dir.clone(), place: partition.place, segments })
    }
}

/// Compaction on a thread of its own. Dropped before it is done, it stops at the next segment, and is waited for: no file changes
/// once the writer has let its lock go.
pub(super) struct Compaction {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), LogError>>>,
}

impl Compaction {
    pub(super) fn begin(disk: &Disk, partitions: Vec<Complete>, dir: &Path) -> Result<Self, LogError> {
        let (disk, stop) = (disk.clone(), Arc::new(AtomicBool::new(false)));
        let asked = Arc::clone(&stop);
        let work = move || partitions.iter().try_for_each(|partition| compact(&disk, partition, &asked));
        let thread = thread::Builder::new().name("compaction".to_owned()).spawn(work);
        Ok(Compaction { stop, thread: Some(thread.map_err(LogError::io("start a thread for", dir))?) })
    }

    pub(super) fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for it.
    pub(super) fn end(mut self) -> Result<(), LogError> {
        let thread = self.thread.take().expect("it is waited for once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Compaction {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Nobody is left who could be told how it ended; whatever it left behind, the next start puts right.
            let _ = thread.join();
        }
    }
}

/// Compacts one partition, or a part of it when it is asked to stop.
pub(super) fn compact(disk: &Disk, partition: &Complete, stop: &AtomicBool) -> Result<(), LogError> {
    let mut complete = Vec::new();
    for path in &partition.segments {
        let file = File::open(path).map_err(LogError::io("open", path))?;
        let header = SegmentHeader::read(&file, path, partition.place.0, partition.place.1)?;
        complete.push((path, file, header));
    }
    if complete.iter().all(|(_, _, header)| header.compacted && !header.tombstones) {
        return Ok(());
    }
    let mut newest: HashMap<Box<[u8]>, u64> = HashMap::new();
    for (path, file, _) in &complete {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        each_batch(file, path, |_, records| {
            for record in records {
                match newest.get_mut(record.key.unwrap_or_default()) {
                    Some(offset) => *offset = record.offset,
                    None => drop(newest.insert(record.key.unwrap_or_default().into(), record.offset)),
                }
            }
            Ok(())
        })?;
    }
    for (path, file, header) in &complete {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let seen_before = header.compacted;
        let keep =
            |key: &[u8], offset, tombstone: bool| newest.get(key) == Some(&offset) && !(tombstone && seen_before);
        rewrite(disk, path, file, *header, keep)?;
    }
    disk.sync_dir(&partition.dir)
}

fn rewrite(
    disk: &Disk,
    path: &Path,
    file: &File,
    header: SegmentHeader,
    keep: impl Fn(&[u8], u64, bool) -> bool,
) -> Result<(), LogError> {
    let target = disk.create(&aside(path))?;
    let mut position = segment::HEADER as u64;
    let (mut tombstones, mut batch) = (false, BatchBuilder::default());
    each_batch(file, path, |source, records| {
        batch.begin(source.base, source.append_time);
        for record in records {
            if keep(record.key.unwrap_or_default(), record.offset, record.value.is_none()) {
                tombstones |= record.value.is_none();
                let headers: Vec<_> = record.headers.collect();
                let record_again =
                    Record { event_time: record.event_time, key: record.key, value: record.value, headers: &headers };
                batch.push(record.offset, &record_again);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        let bytes = batch.seal(source.next());
        disk.write_at(&target, bytes, position)?;
        position += bytes.len() as u64;
        Ok(())
    })?;
    let header = SegmentHeader { compacted: true, tombstones, ..header };
    disk.write_at(&target, &header.encode(), 0)?;
    disk.sync(&target)?;
    // Before the rename: an index that fits another segment by its length alone would send searches to wrong places.
    if fs::exists(index::beside(path)).unwrap_or(false) {
        disk.remove(&index::beside(path))?;
    }
    disk.rename(&aside(path), path)?;
    Index::write(disk, path)
}

fn each_batch(
    file: &File,
    path: &Path,
    mut visit: impl FnMut(BatchHeader, Records<'_>) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let len = file.metadata().map_err(LogError::io("read", path))?.len();
    let failed = segment::scan(file, path, segment::HEADER as u64, len, |position, header| {
        let read = segment::read_batch(file, path, position, header.len);
        match read.and_then(|bytes| visit(*header, Records::new(&bytes, Cursor::default(), 0))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    })?;
    failed.map_or(Ok(()), Err)
}
