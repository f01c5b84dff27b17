//! A cluster as tools see it: the registry of job versions in a compacted topic, committed outputs, and deleting what a version owned.
//!
//! The registry's writers share one transactional id: who initialises it ends the one before, reads to the end, decides, and appends in a
//! transaction. An answer that is lost is no harm: whoever asks decides again, and sees what was decided.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use millpond_engine::ledger::{Committed, CommittedRecord, Decide, Ledger, REGISTRY};
use millpond_engine::sink::Outlet;
use millpond_engine::source::From;
use millpond_engine::{Env, Exit, Fault, Lines};
use millpond_state::Timestamp;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};

use super::client::Context;
use super::connect::Asking;
use super::failure::{Class, Failure};
use super::outlets::{self, Output};
use super::producer::{Purpose, REQUEST};
use super::raw::Produced;
use super::{EVENT_TIME, Kafka, fault};

/// The group that tools read under; it never commits anything.
const READER: &str = "millpond-tools";
/// How long a decision is tried for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Records handed out at a time.
const PIECE: usize = 1_000;

impl Lines for Kafka {
    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::new(KafkaLedger { kafka: self.clone() })
    }
}

#[derive(Clone, Debug)]
struct KafkaLedger {
    kafka: Kafka,
}

impl KafkaLedger {
    /// Asks about a topic that is there; `None` when it is not.
    fn asking<T>(
        &self,
        topic: &str,
        ask: impl FnOnce(&Asking<'_>, &[u32]) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let consumer = self.kafka.consumer(1, true)?;
        let looking = format!("looking for topic {topic}");
        let Some(count) = self.kafka.ask(&looking, || outlets::partitions(consumer.client(), topic))? else {
            return Ok(None);
        };
        let partitions: Vec<u32> = (0..count).collect();
        ask(&Asking::new(Rc::new(consumer), &self.kafka.brokers, topic), &partitions).map(Some)
    }

    fn newest(&self) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
        let mut newest = BTreeMap::new();
        let Some(kept) = self.kept(REGISTRY)? else { return Ok(newest) };
        let mut reader = self.read(REGISTRY, 0, kept.first().map_or(0, |kept| kept.start))?;
        let mut take = |record: CommittedRecord<'_>| {
            let key = String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned();
            match record.value {
                Some(value) => drop(newest.insert(key, value.to_owned())),
                None => drop(newest.remove(&key)),
            }
        };
        while reader.read(&mut take)? {}
        Ok(newest)
    }

    /// One try: fence, read, decide, append.
    fn attempt(&self, key: &str, largest: u64, decide: Decide<'_>) -> Result<Result<(), Failure>, Fault> {
        let (mut producer, _) = self.kafka.producer(&Purpose::Commits(REGISTRY.to_owned()), largest)?;
        let client = |producer: &super::raw::Producer<Context>| {
            producer.client().poll(Duration::ZERO);
        };
        self.kafka.ask("taking over the registry", || {
            client(&producer);
            match producer.client().init_transactions(REQUEST).map_err(Failure::from) {
                Ok(()) => Ok(()),
                Err(failure) if failure.class() == Class::Again => Err(RDKafkaErrorCode::OperationTimedOut),
                Err(failure) => Err(failure.code()),
            }
        })?;
        let newest = self.newest()?;
        let Some(next) = decide(newest.get(key).map(Vec::as_slice))? else { return Ok(Ok(())) };
        let topic = producer.topic(REGISTRY).expect("its name is one");
        let (key, value) = (Some(key.as_bytes()), Some(&next[..]));
        let record = Produced { topic, partition: 0, timestamp: 0, key, value, headers: &[], also: None };
        let sent = producer.client().begin_transaction().map_err(Failure::from).and_then(|()| {
            producer.produce(&record).map_err(|code| Failure::new(code, false, false, code.to_string()))?;
            let began = Instant::now();
            loop {
                client(&producer);
                match producer.commit(REQUEST) {
                    Err(failure) if failure.class() == Class::Again && began.elapsed() < PATIENCE => {}
                    ended => break ended,
                }
            }
        });
        Ok(sent)
    }
}

impl Ledger for KafkaLedger {
    fn name(&self) -> String {
        format!("the Kafka cluster at {}", self.kafka.brokers)
    }

    fn entries(&self) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        Ok(self.newest()?.into_iter().collect())
    }

    fn decide(&self, key: &str, decide: Decide<'_>) -> Result<(), Fault> {
        let env = Env { state: std::path::PathBuf::new(), job: REGISTRY.to_owned(), version: 1, create: true };
        let topic = Outlet { sink: 0, to: REGISTRY.to_owned(), upsert: true };
        let mut registry = [Output::new(&env, &topic)];
        self.kafka.prepare(&mut registry, true, 1)?;
        let [Output { takes, .. }] = registry;
        let began = Instant::now();
        loop {
            match self.attempt(key, takes.largest, decide)? {
                Ok(()) => return Ok(()),
                // Somebody else decided in between, or nothing is known: read again, decide again.
                Err(failure) if began.elapsed() < PATIENCE && (failure.fenced() || fault::passes(failure.code())) => {
                    tracing::debug!(%failure, "the registry is decided again");
                }
                Err(failure) => {
                    let text = format!("the registry at {} cannot be written: {failure}", self.kafka.brokers);
                    return Err(Fault::new(fault::class(failure.code()).exit(), text));
                }
            }
        }
    }

    fn kept(&self, output: &str) -> Result<Option<Vec<Range<u64>>>, Fault> {
        self.asking(output, |asking, partitions| {
            let (oldest, ends) = (asking.oldest(partitions)?, asking.ends(partitions)?);
            Ok(oldest.into_iter().zip(ends).map(|(oldest, end)| oldest..end.max(oldest)).collect())
        })
    }

    fn find(&self, output: &str, time: Timestamp) -> Result<Vec<u64>, Fault> {
        // A record whose event time is not its timestamp was stamped later: it is found too early, never too late.
        let found = self.asking(output, |asking, partitions| {
            let (oldest, ends) = (asking.oldest(partitions)?, asking.ends(partitions)?);
            asking.starts(&From::Time(time), partitions, &oldest, &ends)
        })?;
        Ok(found.unwrap_or_default())
    }

    fn read(&self, output: &str, partition: u32, from: u64) -> Result<Box<dyn Committed>, Fault> {
        let consumer = self.kafka.reader(READER)?;
        let mut list = TopicPartitionList::new();
        let number = i32::try_from(partition).unwrap_or(i32::MAX);
        let offset = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        let assigned = list.add_partition_offset(output, number, offset).and_then(|()| consumer.assign(&list));
        assigned.map_err(|error| {
            Fault::new(Exit::Usage, format!("topic {output} partition {partition} cannot be read")).because(error)
        })?;
        let place = format!("topic {output} partition {partition} at {}", self.kafka.brokers);
        Ok(Box::new(KafkaCommitted { consumer, place, next: from, at_end: false }))
    }

    fn wait(&self, most: Duration) {
        std::thread::sleep(most.min(Duration::from_millis(50)));
    }

    fn delete(&self, owner: &str, outputs: &[String]) -> Result<(), Fault> {
        let (admin, consumer) = (self.kafka.admin()?, self.kafka.reader(READER)?);
        let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
        for output in outputs {
            let Some(kept) = self.kept(output)? else { continue };
            let empty = kept.iter().all(Range::is_empty);
            if !empty && outlets::written_by(&self.kafka, &consumer, output, owner)?.is_none() {
                continue;
            }
            self.kafka.ask(&format!("deleting topic {output}"), || {
                let gone = block_on(admin.delete_topics(&[output], &options)).map_err(outlets::code)?;
                match gone.into_iter().next() {
                    Some(Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition))) => Ok(()),
                    Some(Err((_, error))) => Err(error),
                    None => Err(RDKafkaErrorCode::Unknown),
                }
            })?;
        }
        self.kafka.ask(&format!("deleting group {owner}"), || {
            let gone = block_on(admin.delete_groups(&[owner], &options)).map_err(outlets::code)?;
            match gone.into_iter().next() {
                Some(Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound))) => Ok(()),
                Some(Err((_, error))) => Err(error),
                None => Err(RDKafkaErrorCode::Unknown),
            }
        })
    }
}

struct KafkaCommitted {
    consumer: BaseConsumer<Context>,
    place: String,
    next: u64,
    /// The broker said that nothing more is committed, and nothing has come since.
    at_end: bool,
}

impl Committed for KafkaCommitted {
    fn read(&mut self, each: &mut dyn FnMut(CommittedRecord<'_>)) -> Result<bool, Fault> {
        let mut count = 0;
        let began = Instant::now();
        while count < PIECE {
            // At the end only what is here already is taken; before it, the first record is waited for.
            let patience = if self.at_end || count > 0 { Duration::ZERO } else { Duration::from_millis(100) };
            match self.consumer.poll(patience) {
                Some(Ok(message)) => {
                    self.at_end = false;
                    let offset = u64::try_from(message.offset()).unwrap_or_default();
                    let time = message.headers().and_then(|headers| headers.iter().find(|one| one.key == EVENT_TIME));
                    let time = time.and_then(|time| std::str::from_utf8(time.value?).ok());
                    let stamp = || message.timestamp().to_millis().map_or(Timestamp::MIN, Timestamp::from_millis);
                    let at = time.and_then(|time| Timestamp::parse(time).ok()).unwrap_or_else(stamp);
                    each(CommittedRecord { offset, at, key: message.key(), value: message.payload() });
                    self.next = offset + 1;
                    count += 1;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    self.at_end = true;
                    break;
                }
                Some(Err(error)) if fault::passes(outlets::code(error.clone())) => {}
                Some(Err(error)) => {
                    return Err(Fault::new(
                        Exit::Restore,
                        format!("{} cannot be read on from offset {}", self.place, self.next),
                    )
                    .because(error));
                }
                None if self.at_end || count > 0 => break,
                None if began.elapsed() < PATIENCE => {}
                None => {
                    return Err(Fault::new(
                        Exit::Retry,
                        format!("{} cannot be read: the brokers do not answer", self.place),
                    ));
                }
            }
        }
        Ok(count > 0)
    }

    fn next(&self) -> u64 {
        self.next
    }
}
