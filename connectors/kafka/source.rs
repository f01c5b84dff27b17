//! A topic of Kafka as a source.

use std::cell::OnceCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use millpond_engine::source::{Assigned, Collect, Env, From, Original, Partition, Read, Reader, SourcePlan, Waker};
use millpond_engine::{Exit, Fault, Untimed};
use millpond_state::{Data, Timestamp};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::Kafka;
use super::client::{Consumer, Context};
use super::connect::Asking;
use super::hand::{hand_again, hand_over};
use super::outlets::Output;
use super::place::Place;
use super::raw::{Keep, PartitionQueue, Topic};
use super::settings;
use crate::format::{AnyFormat, Keeping, Kept, Message as Whole, Messages, Unpack, Values};

/// How often it is looked how far the log goes beyond what can be read.
const LOOK: Duration = Duration::from_secs(1);

/// What [`Kafka::read`] makes.
#[must_use = "a source is read when it is given to `flow.source(..)`"]
pub struct KafkaSource<T, U> {
    kafka: Kafka,
    topic: String,
    committed_only: bool,
    unpack: U,
    /// The source whose requests it reads, when the topic is one of requests.
    asked_of: Option<Arc<str>>,
    /// For questions; made with the first.
    asking: OnceCell<Rc<Consumer>>,
    of: PhantomData<fn() -> T>,
}

impl<T, U: Clone> Clone for KafkaSource<T, U> {
    fn clone(&self) -> Self {
        self.with(self.unpack.clone())
    }
}

impl<T, U> std::fmt::Debug for KafkaSource<T, U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource").field("kafka", &self.kafka).field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl<T, U> KafkaSource<T, U> {
    pub(super) fn new(kafka: Kafka, topic: &str, unpack: U) -> Self {
        let topic = topic.to_owned();
        let (asking, asked_of) = (OnceCell::new(), None);
        KafkaSource { kafka, topic, committed_only: true, unpack, asked_of, asking, of: PhantomData }
    }

    fn asking(&self) -> Result<Asking<'_>, Fault> {
        if self.asking.get().is_none() {
            // Only this thread has this source.
            let _ = self.asking.set(Rc::new(self.kafka.consumer(1, self.committed_only)?));
        }
        let consumer = self.asking.get().expect("it was set above");
        Ok(Asking::new(Rc::clone(consumer), &self.kafka, &self.topic))
    }

    fn with<T2, U2>(&self, unpack: U2) -> KafkaSource<T2, U2> {
        let (committed_only, asked_of) = (self.committed_only, self.asked_of.clone());
        KafkaSource { committed_only, asked_of, ..KafkaSource::new(self.kafka.clone(), &self.topic, unpack) }
    }

    /// Reads records of transactions that are not committed yet, or never will be, too. What comes out then depends on when it was read:
    /// a replay does not see what was aborted and compacted away since.
    pub fn read_uncommitted(self) -> Self {
        KafkaSource { committed_only: false, ..self }
    }
}

impl<T: Data> KafkaSource<T, Values<AnyFormat<T>>> {
    /// Reads whole messages: key, headers and timestamp beside the value, and tombstones as messages without one.
    pub fn messages(self) -> KafkaSource<Whole<T>, Messages<AnyFormat<T>>> {
        self.with(Messages(self.unpack.0.clone()))
    }

    /// Keeps the bytes of each message beside its value, for what is written on unchanged. See [`Kept`].
    pub fn kept(self) -> KafkaSource<Kept<T>, Keeping<AnyFormat<T>>> {
        self.with(Keeping(self.unpack.0.clone()))
    }
}

impl<T: Data, U: Unpack<T>> Untimed for KafkaSource<T, U> {
    type Item = T;
    type Reader = KafkaReader<T, U>;

    fn system(&self) -> Option<String> {
        Some(self.kafka.identity())
    }

    fn plan(&self) -> SourcePlan {
        let kind = if self.committed_only { "kafka" } else { "kafka, uncommitted too:" };
        SourcePlan { kind: kind.to_owned(), from: self.topic.clone(), bounded: false, bound_micros: 0 }
    }

    fn redriven(&self, name: &str, topic: &str) -> Option<Self> {
        // What somebody did not come to ask is not asked, whatever else is read uncommitted.
        let again = KafkaSource::new(self.kafka.clone(), topic, self.unpack.clone());
        Some(KafkaSource { asked_of: Some(name.into()), ..again })
    }

    fn grows(&self) -> bool {
        true
    }

    fn connect(&self, _: &Env, from: &From) -> Result<Vec<Partition>, Fault> {
        settings::check_topic(&self.topic)?;
        let asking = self.asking()?;
        let described = asking.describe()?;
        let oldest = asking.oldest(&described.partitions)?;
        let ends = asking.ends(&described.partitions)?;
        let starts = asking.starts(from, &described.partitions, &oldest, &ends)?;
        let fingerprint = described.id.map(|id| format!("topic {id}")).unwrap_or_default();
        let found = described.partitions.into_iter().zip(starts).zip(ends);
        let partition =
            |((partition, start), end)| Partition { partition, start, end, fingerprint: fingerprint.clone() };
        Ok(found.map(partition).collect())
    }

    /// By their age alone: what is taken because a topic grew too large, brokers do not say beforehand.
    fn taken(&self, within: Duration) -> Result<Vec<(u32, u64)>, Fault> {
        let mut topic = [Output::compacted(&self.topic)];
        self.kafka.learn(&mut topic)?;
        let Ok(kept) = u64::try_from(topic[0].takes.kept) else { return Ok(Vec::new()) };
        let now = Timestamp::from(SystemTime::now());
        let oldest = now.saturating_sub(Duration::from_millis(kept)).saturating_add(within);
        let asking = self.asking()?;
        let partitions = asking.describe()?.partitions;
        let ends = asking.ends(&partitions)?;
        let found = asking.starts(&From::Time(oldest), &partitions, &[], &ends)?;
        Ok(partitions.into_iter().zip(found).collect())
    }

    fn open(&self, _: &Env, assigned: &[Assigned], waker: Waker) -> Result<Self::Reader, Fault> {
        let mut consumer = self.kafka.consumer(assigned.len(), self.committed_only)?;
        // What was reported before there is a callback is looked at too.
        let reports = Arc::new(AtomicBool::new(true));
        let (flag, wake) = (Arc::clone(&reports), waker.clone());
        consumer.set_nonempty_callback(move || {
            flag.store(true, Ordering::Release);
            wake.wake();
        });
        let consumer = Rc::new(consumer);
        let topic = Topic::new(Rc::clone(&consumer), &self.topic)
            .ok_or_else(|| Fault::new(Exit::Usage, format!("{:?} cannot be the name of a topic", self.topic)))?;
        let place = Place { brokers: self.kafka.brokers.clone(), topic: self.topic.clone() };
        let mut reader = KafkaReader {
            slots: Vec::with_capacity(assigned.len()),
            topic,
            place,
            reports,
            waker,
            keep: Keep::No,
            asked_of: self.asked_of.clone(),
            unpack: self.unpack.clone(),
            of: PhantomData,
        };
        assigned.iter().try_for_each(|assigned| reader.start(assigned))?;
        Ok(reader)
    }
}

/// Reads a [`KafkaSource`]: decodes records where they lie in the fetched bytes.
pub struct KafkaReader<T, U> {
    // Before the topic and its client, which must go last.
    slots: Vec<Slot>,
    topic: Rc<Topic<Context>>,
    place: Place,
    /// Whether the client has something to report.
    reports: Arc<AtomicBool>,
    waker: Waker,
    keep: Keep,
    asked_of: Option<Arc<str>>,
    unpack: U,
    of: PhantomData<fn() -> T>,
}

impl<T, U> std::fmt::Debug for KafkaReader<T, U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaReader").field("place", &self.place).finish_non_exhaustive()
    }
}

struct Slot {
    partition: u32,
    queue: PartitionQueue<Context>,
    /// Nothing before it is left to read.
    next: u64,
    end: u64,
    /// Nothing more can be read just now.
    at_end: bool,
    /// Where the log itself ends; 0 before that is known.
    log_end: u64,
    /// When that was looked at last.
    looked: Instant,
}

impl<T, U> KafkaReader<T, U> {
    fn start(&mut self, assigned: &Assigned) -> Result<(), Fault> {
        let Assigned { partition, next, end } = *assigned;
        let queue = PartitionQueue::start(&self.topic, partition, next, self.waker.clone());
        let queue = queue.map_err(|error| {
            let Place { brokers, topic } = &self.place;
            Fault::new(Exit::Retry, format!("topic {topic} partition {partition} on {brokers} cannot be read"))
                .because(error)
        })?;
        self.slots.push(Slot {
            partition,
            queue,
            next,
            end: end.unwrap_or(u64::MAX),
            at_end: false,
            log_end: 0,
            looked: Instant::now(),
        });
        Ok(())
    }
}

impl<T: Data, U: Unpack<T>> Reader<T> for KafkaReader<T, U> {
    fn add(&mut self, assigned: &Assigned) -> Result<(), Fault> {
        self.start(assigned)
    }

    fn read<C: Collect<T>>(&mut self, slot: usize, most: usize, into: &mut C) -> Result<Read, Fault> {
        let (unpack, keep, place, asked_of) = (&self.unpack, self.keep, &self.place, self.asked_of.as_deref());
        let consumer = self.topic.consumer();
        let listen = || {
            // Mostly there is nothing, and looking costs less than taking.
            let some = self.reports.load(Ordering::Acquire) && self.reports.swap(false, Ordering::AcqRel);
            if some { place.listen(consumer) } else { Ok(()) }
        };
        listen()?;
        let Slot { partition, queue, next, end, at_end, log_end, looked } = &mut self.slots[slot];
        if *next >= *end {
            return Ok(Read::Finished);
        }
        let (mut taken, mut fault, mut ended) = (0, None, false);
        let shown = queue.take(most, |message| {
            if fault.is_some() || ended {
                return Keep::No;
            }
            // Again, now that messages are here: that they are of another log was reported before they were fetched.
            if let Err(heard) = listen() {
                fault = Some(heard);
                return Keep::No;
            }
            let offset = message.offset();
            match message.error() {
                None if offset < *next => fault = Some(place.went_back(*partition, *next, offset)),
                None if offset >= *end => ended = true,
                None => {
                    *at_end = false;
                    *next = offset + 1;
                    taken += 1;
                    let handed = match asked_of {
                        None => hand_over(unpack, message, into),
                        Some(name) => hand_again(name, unpack, message, into),
                    };
                    return match handed {
                        Ok(()) => keep,
                        Err(()) => Keep::UntilNext,
                    };
                }
                Some(Code::PartitionEOF) => {
                    *at_end = true;
                    // What is between the last record and here holds none: aborted, compacted away, or a transaction's marker.
                    if offset > *next {
                        *next = offset;
                        into.passed(offset);
                    }
                }
                Some(code) => fault = place.fault(*partition, *next, code, message),
            }
            Keep::No
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        if shown > 0 || *at_end && looked.elapsed() >= LOOK {
            *log_end = queue.high_watermark().unwrap_or(0);
            *looked = Instant::now();
        }
        if ended || *next >= *end {
            *next = (*next).max(*end);
            return Ok(Read::Finished);
        }
        Ok(match (taken > 0 || shown == most, *at_end) {
            (true, _) => Read::More,
            (false, true) => Read::AtEnd,
            (false, false) => Read::Later,
        })
    }

    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault> {
        let Slot { partition, queue, next, at_end, .. } = &mut self.slots[slot];
        queue.seek(offset).map_err(|error| {
            let topic = &self.place.topic;
            Fault::new(
                Exit::Retry,
                format!("topic {topic} partition {partition} cannot be read again at offset {offset}"),
            )
            .because(error)
        })?;
        (*next, *at_end) = (offset, false);
        Ok(())
    }

    fn keep_originals(&mut self) {
        self.keep = Keep::UntilNext;
    }

    fn original(&mut self, slot: usize, offset: u64) -> Option<Original> {
        let message = self.slots[slot].queue.kept(offset)?;
        Some(Original {
            key: message.key().map(<[u8]>::to_owned),
            value: message.value().map(<[u8]>::to_owned),
            headers: message.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            stamp: message.millis().map(Timestamp::from_millis),
        })
    }

    fn end(&mut self, slot: usize) -> Option<u64> {
        let Slot { next, at_end, log_end, .. } = self.slots[slot];
        (at_end || log_end > 0).then(|| if at_end { next } else { log_end.max(next) })
    }

    fn log_end(&mut self, slot: usize) -> Option<u64> {
        Some(self.slots[slot].log_end)
    }
}
