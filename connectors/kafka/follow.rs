//! Reads one partition to its end, and knows when it is there: for tools, and for readers of outputs. Blocks.
//!
//! What is committed when a reading begins is seen before it answers that it is at the end. An offset is no count: transactions end
//! with markers that are never handed out, so the end is taken from the client's own event of it, and from a fetch that began after the end
//! was asked for.

use std::time::{Duration, Instant};

use millpond_engine::ledger::{Committed, CommittedRecord, EachWhole};
use millpond_engine::{Exit, Fault};
use millpond_state::Timestamp;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::client::Consumer;
use super::producer::REQUEST;
use super::{EVENT_TIME, Kafka, ask};

/// The group that tools read under; it is never joined and never commits anything.
pub(super) const READER: &str = "millpond-tools";
/// How long one wait for records may be.
const WAIT: Duration = Duration::from_millis(200);
/// How long a cluster may be silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// Records of one piece.
const PIECE: usize = 8_192;

/// One partition, read along.
pub(super) struct Follow {
    kafka: Kafka,
    consumer: Consumer,
    topic: String,
    partition: i32,
    next: u64,
    /// The end that is being read up to.
    target: Option<u64>,
    /// Whether the client's fetching began after that end was asked for.
    fresh: bool,
    assigned: bool,
}

impl Follow {
    pub(super) fn new(kafka: &Kafka, topic: &str, partition: u32, next: u64) -> Result<Follow, Fault> {
        let partition = i32::try_from(partition)
            .map_err(|_| Fault::new(Exit::Usage, format!("topic {topic} has no partition {partition}")))?;
        let (kafka, consumer, topic) = (kafka.clone(), kafka.reader(READER)?, topic.to_owned());
        Ok(Follow { kafka, consumer, topic, partition, next, target: None, fresh: false, assigned: false })
    }

    /// The oldest offset and the end of what is committed.
    pub(super) fn range(&self) -> Result<std::ops::Range<u64>, Fault> {
        let (oldest, end) =
            self.kafka.ask_within(PATIENCE, None, &format!("asking for the ends of topic {}", self.topic), || {
                let asked = self.consumer.fetch_watermarks(&self.topic, self.partition, REQUEST);
                asked.map_err(ask::code)
            })?;
        Ok(u64::try_from(oldest).unwrap_or(0)..u64::try_from(end).unwrap_or(0))
    }

    /// Fetches anew from the next record on: what was fetched before is dropped.
    fn assign(&mut self) -> Result<(), Fault> {
        let mut list = TopicPartitionList::new();
        let next = Offset::Offset(i64::try_from(self.next).unwrap_or(i64::MAX));
        let assigned =
            list.add_partition_offset(&self.topic, self.partition, next).and_then(|()| self.consumer.assign(&list));
        assigned.map_err(|error| self.fault(&error))?;
        (self.assigned, self.fresh) = (true, true);
        Ok(())
    }

    fn fault(&self, error: &KafkaError) -> Fault {
        let (topic, partition, brokers) = (&self.topic, self.partition, &self.kafka.brokers);
        let exit = match ask::code(error.clone()) {
            Code::OffsetOutOfRange | Code::AutoOffsetReset => Exit::Restore,
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => Exit::Usage,
            _ => Exit::Retry,
        };
        Fault::new(exit, format!("topic {topic} partition {partition} at {brokers} cannot be read: {error}"))
    }
}

/// A record's event time: in its last header, where its timestamp is the broker's own. One that stands before others came with the
/// record that was written on: another job said it, of a record of its own.
fn event_time(message: &BorrowedMessage<'_>) -> Timestamp {
    let headers = message.headers();
    let last = headers.and_then(|headers| headers.try_get(headers.count().checked_sub(1)?));
    let text = last.filter(|last| last.key == EVENT_TIME).and_then(|last| std::str::from_utf8(last.value?).ok());
    let said = text.and_then(|text| Timestamp::parse(text).ok());
    said.or_else(|| message.timestamp().to_millis().map(Timestamp::from_millis)).unwrap_or(Timestamp::MIN)
}

impl Committed for Follow {
    fn read(&mut self, each: &mut dyn FnMut(CommittedRecord<'_>)) -> Result<bool, Fault> {
        self.read_whole(&mut |record, _| each(record))
    }

    fn read_whole(&mut self, each: EachWhole<'_>) -> Result<bool, Fault> {
        let target = match self.target {
            Some(target) => target,
            None => {
                let end = self.range()?.end;
                if end <= self.next {
                    return Ok(false);
                }
                self.fresh = false;
                *self.target.insert(end)
            }
        };
        if !self.assigned {
            self.assign()?;
        }
        let (mut taken, began) = (0, Instant::now());
        while taken < PIECE {
            // What is here is handed out before anything is waited for.
            let wait = if taken > 0 { Duration::ZERO } else { WAIT };
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    let offset = u64::try_from(message.offset()).unwrap_or(0);
                    self.next = offset + 1;
                    taken += 1;
                    let (at, key, value) = (event_time(&message), message.key(), message.payload());
                    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
                    let mut headers = headers.map(|header| (header.key, header.value.unwrap_or_default()));
                    each(CommittedRecord { offset, at, key, value }, &mut headers);
                }
                Some(Err(KafkaError::PartitionEOF(_))) if self.fresh || target <= self.next + 1 => {
                    // Between the last record and the end there are only markers, and records of aborted transactions.
                    self.next = self.next.max(target);
                    self.target = None;
                    return Ok(taken > 0);
                }
                // It may be the end of an earlier fetch: only one that begins now tells.
                Some(Err(KafkaError::PartitionEOF(_))) => self.assign()?,
                Some(Err(error)) => return Err(self.fault(&error)),
                None if taken > 0 => break,
                None if began.elapsed() >= PATIENCE => {
                    let text = format!("topic {}: the brokers {} do not answer", self.topic, self.kafka.brokers);
                    return Err(Fault::new(Exit::Retry, text));
                }
                None => {}
            }
        }
        if self.next >= target {
            self.target = None;
        }
        Ok(true)
    }

    fn next(&self) -> u64 {
        self.next
    }
}
