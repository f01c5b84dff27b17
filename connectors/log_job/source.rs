//! A topic as a source.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond_engine::source::{
    Arrival, Assigned, Collect, Env, From, Original, Partition, Read, Reader, SourcePlan, Waker,
};
use millpond_engine::{Exit, Fault, Untimed};
use millpond_state::Data;

use super::decider::identity;
use super::fetch::Fetching;
use crate::ahead::{Ahead, Next};
use crate::format::{AnyFormat, Incoming, Keeping, Kept, Message, Messages, Unpack, Values};
use crate::log::{Block, Cursor, Log, LogError, RecordRef, Start};
use crate::topic::Asked;

/// What [`Log::read`] makes.
#[derive(Debug)]
#[must_use = "a source is read when it is given to `flow.source(..)`"]
pub struct LogSource<T, U> {
    log: Log,
    topic: String,
    unpack: U,
    /// The source whose requests it reads, when the topic is one of requests.
    asked_of: Option<Arc<str>>,
    of: PhantomData<fn() -> T>,
}

impl<T, U: Clone> Clone for LogSource<T, U> {
    fn clone(&self) -> Self {
        let asked_of = self.asked_of.clone();
        LogSource { asked_of, ..LogSource::new(self.log.clone(), &self.topic, self.unpack.clone()) }
    }
}

impl<T, U> LogSource<T, U> {
    pub(super) fn new(log: Log, topic: &str, unpack: U) -> Self {
        LogSource { log, topic: topic.to_owned(), unpack, asked_of: None, of: PhantomData }
    }
}

impl<T: Data> LogSource<T, Values<AnyFormat<T>>> {
    /// Reads whole messages: key, headers and timestamp beside the value, and tombstones as messages without one.
    pub fn messages(self) -> LogSource<Message<T>, Messages<AnyFormat<T>>> {
        LogSource::new(self.log, &self.topic, Messages(self.unpack.0))
    }

    /// Keeps the bytes of each message beside its value, for what is written on unchanged. See [`Kept`].
    pub fn kept(self) -> LogSource<Kept<T>, Keeping<AnyFormat<T>>> {
        LogSource::new(self.log, &self.topic, Keeping(self.unpack.0))
    }
}

impl<T, U> LogSource<T, U> {
    fn start(&self, from: &From, partition: u32, kept: &std::ops::Range<u64>) -> Result<u64, Fault> {
        match from {
            From::Earliest => Ok(kept.start),
            From::Latest => Ok(kept.end),
            From::Time(time) => Ok(self.log.reader(&self.topic, partition, Start::Time(*time))?.next_offset()),
            From::Offsets(offsets) => match offsets.iter().find(|(of, _)| *of == partition) {
                None => Ok(kept.start),
                Some((_, offset)) if (kept.start..=kept.end).contains(offset) => Ok(*offset),
                Some((_, offset)) => Err(Fault::new(
                    Exit::Usage,
                    format!(
                        "topic {} partition {partition} in {} has the offsets from {} up to {}, and reading cannot begin at {offset}",
                        self.topic,
                        self.log.dir().display(),
                        kept.start,
                        kept.end
                    ),
                )),
            },
        }
    }
}

fn missing(error: LogError) -> Fault {
    let LogError::NoSuchTopic { topic, .. } = &error else { return Fault::from(error) };
    let text = format!(" (the example `log` does that: `log create {topic}`)");
    let fault = Fault::from(error);
    Fault::new(fault.exit(), fault.to_string() + &text).missing()
}

impl<T: Data, U: Unpack<T>> Untimed for LogSource<T, U> {
    type Item = T;
    type Reader = LogReader<T, U>;

    fn plan(&self) -> SourcePlan {
        SourcePlan { kind: "log".to_owned(), from: self.topic.clone(), bounded: false, bound_micros: 0 }
    }

    fn system(&self) -> Option<String> {
        Some(identity(&self.log))
    }

    fn redriven(&self, name: &str, topic: &str) -> Option<Self> {
        let again = LogSource::new(self.log.clone(), topic, self.unpack.clone());
        Some(LogSource { asked_of: Some(name.into()), ..again })
    }

    fn connect(&self, _: &Env, from: &From) -> Result<Vec<Partition>, Fault> {
        let id = self.log.topic(&self.topic).map_err(missing)?.id;
        let kept = self.log.offsets(&self.topic).map_err(missing)?;
        let partitions = kept.into_iter().zip(0..).map(|(kept, partition)| {
            let start = self.start(from, partition, &kept)?;
            Ok(Partition { partition, start, end: kept.end, fingerprint: format!("topic {id:016x}") })
        });
        partitions.collect()
    }

    fn taken(&self, within: Duration) -> Result<Vec<(u32, u64)>, Fault> {
        Ok((0..).zip(self.log.removed_within(&self.topic, within)?).collect())
    }

    fn open(&self, _: &Env, assigned: &[Assigned], waker: Waker) -> Result<Self::Reader, Fault> {
        let readers =
            assigned.iter().map(|slot| self.log.reader(&self.topic, slot.partition, Start::Offset(slot.next)));
        let mut readers = readers.collect::<Result<Vec<_>, _>>().map_err(missing)?;
        let ends =
            readers.iter_mut().map(|reader| reader.end().map(AtomicU64::new)).collect::<Result<Arc<[_]>, _>>()?;
        let slots = assigned.iter().map(|slot| Slot {
            next: slot.next,
            end: slot.end.unwrap_or(u64::MAX),
            block: None,
            cursor: Cursor::default(),
            before: Cursor::default(),
        });
        let slots: Vec<_> = slots.collect();
        let fetching = Fetching::new(self.log.clone(), readers, Arc::clone(&ends));
        let ahead = Ahead::start("log-reader", slots.len(), fetching, waker)?;
        let (unpack, asked_of) = (self.unpack.clone(), self.asked_of.clone());
        Ok(LogReader { ahead, slots, ends, unpack, asked_of, of: PhantomData })
    }
}

/// Reads a [`LogSource`]: decodes records in place, in blocks that a thread reads ahead.
#[derive(Debug)]
pub struct LogReader<T, U> {
    ahead: Ahead<Block>,
    slots: Vec<Slot>,
    ends: Arc<[AtomicU64]>,
    unpack: U,
    asked_of: Option<Arc<str>>,
    of: PhantomData<fn() -> T>,
}

#[derive(Debug)]
struct Slot {
    /// One past the last record handed over, or where reading begins.
    next: u64,
    end: u64,
    block: Option<Block>,
    /// The place of the next record in the block.
    cursor: Cursor,
    /// The place where the last batch began.
    before: Cursor,
}

impl<T: Data, U: Unpack<T>> Reader<T> for LogReader<T, U> {
    fn read<C: Collect<T>>(&mut self, slot: usize, most: usize, into: &mut C) -> Result<Read, Fault> {
        let Slot { next, end, block, cursor, before } = &mut self.slots[slot];
        let asked_of = self.asked_of.as_deref();
        loop {
            if *next >= *end {
                return Ok(Read::Finished);
            }
            if let Some(current) = block {
                *before = *cursor;
                let mut records = current.resume(*cursor);
                let mut taken = 0;
                while taken < most {
                    let Some(record) = records.next() else { break };
                    if record.offset < *next {
                        // After a seek within the block.
                        continue;
                    }
                    if record.offset >= *end {
                        *next = *end;
                        return Ok(Read::Finished);
                    }
                    *next = record.offset + 1;
                    taken += 1;
                    match asked_of {
                        None => hand_over(&self.unpack, &record, into),
                        Some(name) => hand_again(name, &self.unpack, &record, into),
                    }
                }
                *cursor = records.cursor();
                // The block stays until the next call: the bytes of what was just read may be asked for.
                if taken > 0 {
                    return Ok(Read::More);
                }
                if let Some(spent) = block.take() {
                    // Compaction may have removed the block's last records.
                    *next = spent.next_offset().max(*next);
                    self.ahead.spent(slot, spent);
                }
                continue;
            }
            match self.ahead.next(slot)? {
                Next::Block(fresh) => (*block, *cursor) = (Some(fresh), Cursor::default()),
                Next::Later => return Ok(Read::Later),
                // Compaction may have removed everything before the end.
                Next::AtEnd if self.ends[slot].load(Ordering::Relaxed) >= *end => *next = *end,
                Next::AtEnd => return Ok(Read::AtEnd),
                Next::Finished => return Ok(Read::Finished),
            }
        }
    }

    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault> {
        let Slot { next, block, cursor, .. } = &mut self.slots[slot];
        let first = block.as_ref().and_then(|block| block.records().next()).map(|record| record.offset);
        *next = offset;
        *cursor = Cursor::default();
        if block
            .as_ref()
            .is_some_and(|block| first.is_some_and(|first| first <= offset) && offset < block.next_offset())
        {
            return Ok(());
        }
        *block = None;
        self.ahead.seek(slot, offset);
        Ok(())
    }

    fn original(&mut self, slot: usize, offset: u64) -> Option<Original> {
        let Slot { block, before, .. } = &self.slots[slot];
        let record = block.as_ref()?.resume(*before).find(|record| record.offset >= offset)?;
        (record.offset == offset).then(|| Original {
            key: record.key.map(<[u8]>::to_owned),
            value: record.value.map(<[u8]>::to_owned),
            headers: record.headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            stamp: Some(record.event_time),
        })
    }

    fn end(&mut self, slot: usize) -> Option<u64> {
        Some(self.ends[slot].load(Ordering::Relaxed))
    }
}

#[inline]
fn hand_over<T, U: Unpack<T>, C: Collect<T>>(unpack: &U, record: &RecordRef<'_>, into: &mut C) {
    let arrival = arrival(record);
    let incoming =
        Incoming { key: record.key, value: record.value, headers: record.headers, timestamp: record.event_time };
    match unpack.unpack(incoming) {
        Ok(value) => into.take(arrival, value),
        Err(error) => into.refuse(arrival, error.to_string()),
    }
}

#[cold]
fn hand_again<T, U: Unpack<T>, C: Collect<T>>(name: &str, unpack: &U, record: &RecordRef<'_>, into: &mut C) {
    let headers = record.headers.collect();
    let asked = Asked { arrival: arrival(record), key: record.key, value: record.value, headers };
    // What does not decode was told to the job.
    let _ = asked.hand_over(name, unpack, into);
}

#[inline]
fn arrival(record: &RecordRef<'_>) -> Arrival {
    let len = record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len);
    let bytes = u32::try_from(len).unwrap_or(u32::MAX);
    Arrival { offset: record.offset, stamp: record.event_time, logged: record.append_time, bytes }
}
