//! The reader: one partition, block by block, never past what is durable.
//!
//! A reader learns the end from the commit log of the topic's writer, in the same process or another one. It holds no lock: segments that
//! retention or compaction removes stay readable while a reader has them open.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use millpond_state::Timestamp;

use super::batch::{self, BatchHeader};
use super::block::{Block, Cursor, Records};
use super::bytes::read_at;
use super::commits::Ends;
use super::index::Index;
use super::segment::{self, SegmentHeader};
use super::tail::Tail;
use super::topic::{Topic, Topics};
use super::{Log, LogError};

/// Where to begin reading a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The oldest record that is kept.
    #[default]
    Earliest,
    /// What is committed from now on.
    Latest,
    /// The record of this offset.
    Offset(u64),
    /// The first record with an event time at or after this one; the end if there is none.
    Time(Timestamp),
}

/// Reads one partition of a topic. Made by [`Log::reader`].
///
/// ```
/// use millpond_connectors::log::{Log, Record, Settings, Start};
/// use millpond_state::Timestamp;
/// # let dir = tempfile::tempdir().unwrap();
/// # let log = Log::open(dir.path())?;
/// # log.create_topic("clicks", Settings::partitions(1))?;
/// # let mut writer = log.writer("feeder")?;
/// # let clicks = writer.claim("clicks")?;
/// writer.append(clicks, 0, &Record::new(Timestamp::from_secs(1), b"home"))?;
/// let mut reader = log.reader("clicks", 0, Start::Earliest)?;
/// assert!(reader.read_block(1 << 20)?.is_none(), "not committed yet");
/// writer.commit(1, b"")?;
/// while let Some(block) = reader.read_block(1 << 20)? {
///     for record in block.records() {
///         assert_eq!((record.offset, record.value), (0, Some(&b"home"[..])));
///     }
///     reader.reuse(block);
/// }
/// # Ok::<(), millpond_connectors::log::LogError>(())
/// ```
#[derive(Debug)]
pub struct Reader {
    log: Log,
    topic: Topic,
    partition: u32,
    dir: PathBuf,
    /// Follows the topic's writer, once it has one.
    tail: Option<Arc<Mutex<Tail>>>,
    ends: Ends,
    next: u64,
    segment: Option<Segment>,
    spare: Vec<u8>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    base: u64,
    /// Where the next batch begins.
    position: u64,
    /// How far it may be read.
    limit: u64,
    /// Bytes from `position` on that were read with the block before.
    carry: Vec<u8>,
}

impl Reader {
    pub(super) fn open(log: &Log, topic: &str, partition: u32, start: Start) -> Result<Reader, LogError> {
        let topic = log.topic(topic)?;
        if partition >= topic.settings.partition_count() {
            return Err(LogError::Invalid(format!("topic {} has no partition {partition}", topic.name)));
        }
        let dir = Topics::of(log.dir()).partition_dir(&topic.name, partition);
        let tail = topic.writer.as_deref().map(|writer| log.tail(writer));
        let (ends, spare) = (Ends::default(), Vec::new());
        let mut reader = Reader { log: log.clone(), topic, partition, dir, tail, ends, next: 0, segment: None, spare };
        reader.refresh()?;
        let offset = match start {
            Start::Earliest => reader.ends.start,
            Start::Latest => reader.ends.end,
            Start::Offset(offset) => offset,
            Start::Time(time) => reader.find(time.micros())?,
        };
        reader.seek(offset)?;
        Ok(reader)
    }

    /// The log it reads, to [`wait`](Log::wait) on.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The topic it reads, as it was when the reader was made.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The partition it reads.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// The offset of the next record to be read, or of none if compaction removed that one.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// The durable end as of now: the offset that the next committed record will have. Costs two small system calls.
    ///
    /// # Errors
    /// When the commit log cannot be read.
    pub fn end(&mut self) -> Result<u64, LogError> {
        self.refresh()?;
        Ok(self.ends.end)
    }

    /// The oldest offset that retention keeps, as of now.
    ///
    /// # Errors
    /// When the commit log cannot be read.
    pub fn earliest(&mut self) -> Result<u64, LogError> {
        self.refresh()?;
        Ok(self.ends.start)
    }

    /// Goes on from `offset`.
    ///
    /// # Errors
    /// [`LogError::Expired`] before the oldest kept offset, [`LogError::BeyondEnd`] after the end; the reader stays where it was then.
    pub fn seek(&mut self, offset: u64) -> Result<(), LogError> {
        self.refresh()?;
        let topic = || self.topic.name.clone();
        if offset < self.ends.start {
            return Err(self.expired(offset));
        }
        if offset > self.ends.end {
            return Err(LogError::BeyondEnd { topic: topic(), partition: self.partition, offset, end: self.ends.end });
        }
        self.segment = None;
        self.next = offset;
        Ok(())
    }

    /// Up to `max_bytes` of whole batches (a larger one comes alone), or `None` when everything durable was read.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when bytes do not match their checksum, [`LogError::Expired`] when retention overtook the reader.
    pub fn read_block(&mut self, max_bytes: usize) -> Result<Option<Block>, LogError> {
        if self.next >= self.ends.end {
            self.refresh()?;
            if self.next >= self.ends.end {
                return Ok(None);
            }
        }
        loop {
            let mut segment = match self.segment.take() {
                Some(segment) => segment,
                None => self.open_segment(self.next)?,
            };
            if segment.position >= segment.limit {
                segment.limit = self.limit(&segment)?;
            }
            if segment.position < segment.limit {
                let block = self.fill(&mut segment, max_bytes)?;
                self.segment = Some(segment);
                return Ok(Some(block));
            }
            if segment.base == self.ends.segment {
                return Err(LogError::corrupt(&segment.path, segment.position, "committed records are missing"));
            }
            self.next = self.after(&segment)?;
            if self.next >= self.ends.end {
                return Ok(None);
            }
        }
    }

    /// Gives back the memory of a block for the next one.
    pub fn reuse(&mut self, block: Block) {
        self.spare = block.bytes;
    }

    fn fill(&mut self, segment: &mut Segment, max_bytes: usize) -> Result<Block, LogError> {
        let left = usize::try_from(segment.limit - segment.position).unwrap_or(usize::MAX);
        let mut bytes = std::mem::take(&mut self.spare);
        let mut filled = segment.carry.len();
        let grow = |bytes: &mut Vec<u8>, filled: usize, len: usize| {
            bytes.resize(len, 0);
            let read = read_at(&segment.file, &mut bytes[filled..], segment.position + filled as u64);
            match read.map_err(LogError::io("read", &segment.path))? {
                read if read < len - filled => {
                    let at = segment.position + (filled + read) as u64;
                    Err(LogError::corrupt(&segment.path, at, "the file ends before its committed end"))
                }
                _ => Ok(len),
            }
        };
        let want = max_bytes.max(batch::HEADER).max(filled).min(left);
        bytes.resize(want, 0);
        bytes[..filled].copy_from_slice(&segment.carry);
        filled = grow(&mut bytes, filled, want)?;
        let (mut whole, mut expected) = (0, self.next);
        loop {
            let rest = &bytes[whole..filled];
            if whole > 0 && rest.len() < batch::HEADER {
                break;
            }
            let damaged = |what| LogError::corrupt(&segment.path, segment.position + whole as u64, what);
            let header = BatchHeader::parse(rest).map_err(damaged)?;
            if header.len > rest.len() {
                if whole > 0 {
                    break;
                }
                if header.len > left {
                    return Err(damaged("a batch goes beyond the committed end"));
                }
                filled = grow(&mut bytes, filled, header.len)?;
            }
            let header = BatchHeader::verify(&bytes[whole..whole + header.len]).map_err(damaged)?;
            if header.next() <= expected || (header.base > expected && !self.topic.settings.is_compacted()) {
                return Err(damaged("offsets do not follow one another"));
            }
            expected = header.next();
            whole += header.len;
        }
        segment.carry.clear();
        segment.carry.extend_from_slice(&bytes[whole..filled]);
        bytes.truncate(whole);
        segment.position += whole as u64;
        let from = std::mem::replace(&mut self.next, expected);
        Ok(Block { bytes, from, next: expected })
    }

    /// Opens the segment that covers `offset`, at the batch that does.
    fn open_segment(&mut self, offset: u64) -> Result<Segment, LogError> {
        let bases = segment::list(&self.dir)?;
        let after = bases.partition_point(|base| *base <= offset);
        let Some(base) = bases.get(after.saturating_sub(1)).copied().filter(|base| *base <= offset) else {
            return Err(self.missing(offset)?);
        };
        let path = segment::path(&self.dir, base);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(self.missing(offset)?),
            Err(error) => return Err(LogError::io("open", &path)(error)),
        };
        SegmentHeader::read(&file, &path, self.topic.id, self.partition)?;
        // The limit is judged by what is known after the file was opened: a segment that was growing before may have been completed and
        // compacted since, and its committed bytes would say nothing of the file that has its name now.
        self.refresh()?;
        let mut segment = Segment { file, path, base, position: 0, limit: 0, carry: Vec::new() };
        segment.limit = self.limit(&segment)?;
        let from = match base == self.ends.segment {
            true if offset == self.ends.end => self.ends.position,
            true => segment::HEADER as u64,
            false => Index::of(&segment.file, &segment.path)?.before_offset(offset),
        };
        let found = segment::scan(&segment.file, &segment.path, from, segment.limit, |position, header| {
            if header.next() > offset { ControlFlow::Break(position) } else { ControlFlow::Continue(()) }
        })?;
        segment.position = found.unwrap_or(segment.limit);
        Ok(segment)
    }

    /// How far a segment may be read.
    fn limit(&self, segment: &Segment) -> Result<u64, LogError> {
        if segment.base == self.ends.segment {
            return Ok(self.ends.position);
        }
        Ok(segment.file.metadata().map_err(LogError::io("read", &segment.path))?.len())
    }

    /// Where the segment after a complete one begins.
    fn after(&mut self, segment: &Segment) -> Result<u64, LogError> {
        let next = segment::list(&self.dir)?.into_iter().find(|base| *base > segment.base);
        match next {
            Some(base) if base == self.next || (base > self.next && self.topic.settings.is_compacted()) => Ok(base),
            _ => match self.missing(self.next)? {
                LogError::Corrupt { .. } => {
                    let what = "records are missing between its end and the segment after it";
                    Err(LogError::corrupt(&segment.path, segment.position, what))
                }
                other => Err(other),
            },
        }
    }

    /// The offset of the first record with at least this event time.
    fn find(&mut self, time: i64) -> Result<u64, LogError> {
        let ends = self.ends;
        let bases = segment::list(&self.dir)?;
        let first = bases.partition_point(|base| *base <= ends.start).saturating_sub(1);
        for base in bases[first..].iter().copied().filter(|base| ends.end > 0 && *base <= ends.segment) {
            let segment = self.open_segment(base.max(ends.start))?;
            let from = match base == self.ends.segment {
                true => segment::HEADER as u64,
                false => Index::of(&segment.file, &segment.path)?.before_time(time),
            };
            let from = from.max(segment.position);
            let found = segment::scan(&segment.file, &segment.path, from, segment.limit, |position, header| {
                if header.greatest >= time {
                    ControlFlow::Break((position, header.len))
                } else {
                    ControlFlow::Continue(())
                }
            })?;
            if let Some((position, len)) = found {
                let bytes = segment::read_batch(&segment.file, &segment.path, position, len)?;
                let found = Records::new(&bytes, Cursor::default(), ends.start)
                    .find(|record| record.event_time.micros() >= time);
                if let Some(record) = found {
                    return Ok(record.offset);
                }
            }
        }
        Ok(self.ends.end)
    }

    fn refresh(&mut self) -> Result<(), LogError> {
        if self.tail.is_none() {
            let topic = self.log.topic(&self.topic.name)?;
            if topic.id != self.topic.id {
                return Err(self.gone());
            }
            self.tail = topic.writer.as_deref().map(|writer| self.log.tail(writer));
        }
        if let Some(tail) = &self.tail {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            let ends = tail.ends((self.topic.id, self.partition))?;
            // Ends never go back; a writer that knows nothing of them has found the topic deleted.
            if ends.end < self.ends.end {
                return Err(self.gone());
            }
            self.ends = ends;
        }
        Ok(())
    }

    /// Why there is no file with `offset`: retention, or something that should not be.
    fn missing(&mut self, offset: u64) -> Result<LogError, LogError> {
        self.refresh()?;
        Ok(if offset < self.ends.start {
            self.expired(offset)
        } else if !self.dir.exists() {
            self.gone()
        } else {
            LogError::corrupt(&segment::path(&self.dir, offset), 0, "a segment with committed records is missing")
        })
    }

    fn gone(&self) -> LogError {
        LogError::NoSuchTopic { topic: self.topic.name.clone(), dir: self.log.dir().to_owned() }
    }

    fn expired(&self, offset: u64) -> LogError {
        LogError::Expired {
            topic: self.topic.name.clone(),
            partition: self.partition,
            offset,
            earliest: self.ends.start,
        }
    }
}
