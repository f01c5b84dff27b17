//! A cluster as tools see it: the registry of job versions in a compacted topic, committed outputs, and deleting what a version owned.
//!
//! The registry's writers are one transactional id. Whoever initialises it last has ended every other one's transaction: that is the fence.
//! Who was fenced reads and decides anew, in sight of what the other one wrote.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_executor::block_on;
use millpond_engine::ledger::{Added, Committed, Decide, Doomed, Ledger, Own, REGISTRY};
use millpond_engine::{Exit, Fault, Lines};
use millpond_state::Timestamp;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Consumer, Context, heard};
use super::failure::{Class, Failure};
use super::follow::{Follow, READER};
use super::outlets::{self, Output};
use super::producer::REQUEST;
use super::raw::{Produced, Producer};
use super::{Kafka, ask, fault, raw};

/// How often a decision is made anew because somebody else came in between.
const ATTEMPTS: u32 = 50;
/// How long a cluster may be silent: a job's start and end wait for this, and neither needs it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one call of a tool's transaction may take.
const CALL: Duration = Duration::from_secs(10);

/// A cluster's ledger.
struct KafkaLedger {
    kafka: Kafka,
    /// What of the registry was read so far.
    read: Mutex<Option<Registry>>,
    /// For looking at topics.
    looking: Mutex<Option<Consumer>>,
}

struct Registry {
    follow: Follow,
    newest: BTreeMap<String, Vec<u8>>,
}

impl KafkaLedger {
    fn look<T>(&self, what: &str, mut ask: impl FnMut(&Consumer) -> Result<T, Code>) -> Result<T, Fault> {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let consumer = match &mut *looking {
            Some(consumer) => consumer,
            none => none.insert(self.kafka.reader(READER)?),
        };
        let context = consumer.context();
        self.kafka.ask_within(PATIENCE, Some(context), what, || heard(consumer, ask(consumer)))
    }

    fn partitions(&self, topic: &str) -> Result<Option<u32>, Fault> {
        self.look(&format!("looking for topic {topic}"), |consumer| ask::partitions(consumer.client(), topic))
    }

    /// The registry as of now.
    fn newest(&self) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.is_none() {
            if self.partitions(REGISTRY)?.is_none() {
                return Ok(BTreeMap::new());
            }
            let follow = Follow::new(&self.kafka, REGISTRY, 0, 0)?;
            let oldest = follow.range()?.start;
            let follow = Follow::new(&self.kafka, REGISTRY, 0, oldest)?;
            *read = Some(Registry { follow, newest: BTreeMap::new() });
        }
        let Some(Registry { follow, newest }) = &mut *read else { return Ok(BTreeMap::new()) };
        let outcome = loop {
            let more = follow.read(&mut |record| {
                let key = String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned();
                match record.value {
                    Some(value) => drop(newest.insert(key, value.to_owned())),
                    None => drop(newest.remove(&key)),
                }
            });
            match more {
                Ok(true) => {}
                Ok(false) => break Ok(newest.clone()),
                Err(fault) => break Err(fault),
            }
        };
        if outcome.is_err() {
            // Begun anew, since the topic may have been made again.
            *read = None;
        }
        outcome
    }

    /// Fences every other one that writes under a transactional id.
    fn fence(&self, id: &str, what: &str, largest: u64) -> Result<(Producer, Context), Fault> {
        let patiently = |client: &Context, request: &mut dyn FnMut() -> Result<bool, Code>| {
            self.kafka.ask_within(PATIENCE, Some(client), what, request)
        };
        let others = || {
            let text =
                format!("{what} at {}: others keep taking it over at the same time; ask again", self.kafka.brokers);
            Fault::new(Exit::Retry, text)
        };
        self.kafka.take_over(id, largest, || false, patiently)?.ok_or_else(others)
    }

    /// One decision under the fence. A failure is one after which it is made anew: somebody else came in between, the outcome is not known, or
    /// the topic is not known everywhere yet.
    fn attempt(
        &self,
        own: Own<'_>,
        largest: u64,
        decide: &mut dyn FnMut() -> Result<Vec<Added>, Fault>,
    ) -> Result<Result<(), Failure>, Fault> {
        let (mut producer, voice) = self.fence(own.writer, &format!("taking over topic {}", own.topic), largest)?;
        let added = decide()?;
        if added.is_empty() {
            return Ok(Ok(()));
        }
        match write(&mut producer, own.topic, &added) {
            Ok(()) => Ok(Ok(())),
            Err(failure) => {
                producer.poll();
                match lasting(&failure, voice.refused().map(|(code, _)| code)) {
                    None => {
                        tracing::info!(%failure, "a decision is made anew");
                        Ok(Err(failure))
                    }
                    Some(code) => Err(Fault::new(
                        fault::written(code),
                        format!(
                            "topic {} at {} cannot be written with records of up to {largest} bytes: {failure} ({code})",
                            own.topic, self.kafka.brokers
                        ),
                    )),
                }
            }
        }
    }
}

/// Why a decision fails that would fail again; `None` when it may be made anew. `refused` is why a record was not written, as the cluster says.
fn lasting(failure: &Failure, refused: Option<Code>) -> Option<Code> {
    let code = refused.unwrap_or(failure.code());
    let passes = matches!(fault::class(code), fault::Class::Passing | fault::Class::Missing);
    // A record that was not taken asks for an abort as well, but no other attempt will have it taken.
    let aborts = refused.is_none() && failure.class() == Class::Abort && fault::written(code) == Exit::Retry;
    (!(failure.fenced() || passes || aborts)).then_some(code)
}

/// One transaction with these records.
fn write(producer: &mut Producer, topic: &str, added: &[Added]) -> Result<(), Failure> {
    producer.begin()?;
    let handle = producer.topic(topic).map_err(|code| Failure::untaken(code, topic))?;
    for one in added {
        let headers: Vec<_> = one.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let (key, value) = (one.key.as_deref(), one.value.as_deref());
        let record = Produced { topic: handle, partition: 0, timestamp: 0, key, value, headers: &headers, also: None };
        producer.produce(&record).map_err(|code| Failure::untaken(code, topic))?;
    }
    producer.commit(CALL)
}

impl Lines for Kafka {
    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::new(KafkaLedger { kafka: self.clone(), read: Mutex::new(None), looking: Mutex::new(None) })
    }
}

impl Ledger for KafkaLedger {
    fn name(&self) -> String {
        format!("the Kafka cluster {}", self.kafka.brokers)
    }

    fn entries(&self) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        Ok(self.newest()?.into_iter().collect())
    }

    fn decide(&self, key: &str, decide: Decide<'_>) -> Result<(), Fault> {
        let mut wanted = None;
        self.append(Own::REGISTRY, &mut || {
            let newest = self.newest()?;
            if wanted.is_some() && wanted.as_ref() == newest.get(key) {
                // What was not known before: it was written after all.
                return Ok(Vec::new());
            }
            let next = decide(newest.get(key).map(Vec::as_slice))?;
            wanted.clone_from(&next);
            let added = |next| Added { key: Some(key.as_bytes().to_owned()), value: Some(next), headers: Vec::new() };
            Ok(next.map(added).into_iter().collect())
        })
    }

    fn append(&self, own: Own<'_>, decide: &mut dyn FnMut() -> Result<Vec<Added>, Fault>) -> Result<(), Fault> {
        let mut largest = 1 << 20;
        if !own.compacted {
            let mut topic = [Output::kept_for_ever(own.topic)];
            self.kafka.prepare(&mut topic, true, 1)?;
            largest = topic[0].takes.largest;
            if topic[0].takes.kept >= 0 {
                return Err(Fault::new(
                    Exit::Refused,
                    format!(
                        "topic {} at {} keeps records for {} ms only, and what it holds must stay: set its retention.ms to -1",
                        own.topic, self.kafka.brokers, topic[0].takes.kept
                    ),
                ));
            }
        } else if self.partitions(own.topic)?.is_none() {
            self.kafka.prepare(&mut [Output::compacted(own.topic)], true, 1)?;
        }
        let mut last = String::new();
        for attempt in 0..ATTEMPTS {
            match self.attempt(own, largest, decide)? {
                Ok(()) => return Ok(()),
                Err(failure) => last = failure.to_string(),
            }
            // Two that fence each other in step would do so for ever.
            let jitter = u64::from(std::process::id()).wrapping_mul(u64::from(attempt) + 1) % 50;
            std::thread::sleep(Duration::from_millis(10 + jitter * u64::from(attempt.min(8))));
        }
        Err(Fault::new(
            Exit::Retry,
            format!(
                "topic {} at {} could not be written {ATTEMPTS} times, mostly as others came in between ({last}); ask again",
                own.topic, self.kafka.brokers
            ),
        ))
    }

    fn kept(&self, output: &str) -> Result<Option<Vec<Range<u64>>>, Fault> {
        let Some(count) = self.partitions(output)? else { return Ok(None) };
        let what = format!("asking for the ends of topic {output}");
        let range = |partition: u32| {
            let number = i32::try_from(partition).unwrap_or(i32::MAX);
            let (oldest, end) =
                self.look(&what, |consumer| consumer.fetch_watermarks(output, number, REQUEST).map_err(ask::code))?;
            Ok(u64::try_from(oldest).unwrap_or(0)..u64::try_from(end).unwrap_or(0))
        };
        (0..count).map(range).collect::<Result<_, Fault>>().map(Some)
    }

    fn id(&self, output: &str) -> Result<Option<String>, Fault> {
        self.look(&format!("asking for the id of topic {output}"), |consumer| {
            let found = ask::topic(consumer.client(), output)?;
            if found.partitions.is_none() {
                return Ok(None);
            }
            match raw::topic_id(consumer.client(), output, found.broker, REQUEST) {
                Err(Code::UnsupportedFeature) => Ok(None),
                id => id,
            }
        })
    }

    fn find(&self, output: &str, time: Timestamp) -> Result<Vec<u64>, Fault> {
        let Some(kept) = self.kept(output)? else { return Ok(Vec::new()) };
        let now = Timestamp::from(std::time::SystemTime::now());
        // Where the broker's own time stands in place of the event time it says nothing of what is asked: of a whole topic, or of a record from
        // so far ahead that the topic does not take its time. That one has a time of now or before.
        let mut taken = [Output::compacted(output)];
        self.kafka.learn(&mut taken)?;
        if time.millis() <= 0 || time > now || taken[0].takes.appends_time {
            return Ok(kept.iter().map(|kept| kept.start).collect());
        }
        let mut asked = TopicPartitionList::new();
        for partition in 0..kept.len() {
            let number = i32::try_from(partition).unwrap_or(i32::MAX);
            asked.add_partition_offset(output, number, Offset::Offset(time.millis())).map_err(|error| {
                Fault::new(Exit::Usage, format!("topic {output} cannot be asked about")).because(error)
            })?;
        }
        let found = self.look(&format!("asking for times of topic {output}"), |consumer| {
            consumer.offsets_for_times(asked.clone(), REQUEST).map_err(ask::code)
        })?;
        let place = |(partition, kept): (usize, &Range<u64>)| {
            let number = i32::try_from(partition).unwrap_or(i32::MAX);
            match found.find_partition(output, number).map(|element| element.offset()) {
                Some(Offset::Offset(offset)) => u64::try_from(offset).unwrap_or(kept.end).min(kept.end),
                _ => kept.end,
            }
        };
        Ok(kept.iter().enumerate().map(place).collect())
    }

    fn read(&self, output: &str, partition: u32, from: u64) -> Result<Box<dyn Committed>, Fault> {
        Ok(Box::new(Follow::new(&self.kafka, output, partition, from)?))
    }

    fn wait(&self, most: Duration) {
        std::thread::sleep(most);
    }

    fn delete(&self, owner: &str, outputs: &[Doomed]) -> Result<(), Fault> {
        let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
        let admin = self.kafka.admin()?;
        let group = self.kafka.reader(owner)?;
        // Should it run somewhere after all, it commits nothing any more.
        self.fence(owner, &format!("fencing {owner}"), 1 << 20)?;
        for Doomed { topic, id } in outputs {
            let Some(kept) = self.kept(topic)? else { continue };
            if id.is_some() && self.id(topic)? != *id {
                tracing::warn!(topic, owner, "somebody has made the topic again meanwhile; it is let alone");
                continue;
            }
            let empty = kept.iter().all(|kept| kept.is_empty());
            if !empty && !outlets::written_by_none_but(&self.kafka, &group, topic, owner)? {
                tracing::warn!(topic, owner, "not all of the topic's last records are its own; it is let alone");
                continue;
            }
            self.kafka.ask(&format!("deleting topic {topic}"), || {
                let deleted = block_on(admin.delete_topics(&[topic], &options)).map_err(ask::code)?;
                match deleted.into_iter().next() {
                    Some(Ok(_) | Err((_, Code::UnknownTopicOrPartition | Code::UnknownTopic))) => Ok(()),
                    Some(Err((_, error))) => Err(error),
                    None => Err(Code::Unknown),
                }
            })?;
        }
        self.kafka.ask(&format!("deleting group {owner}"), || {
            let deleted = block_on(admin.delete_groups(&[owner], &options)).map_err(ask::code)?;
            match deleted.into_iter().next() {
                Some(Ok(_) | Err((_, Code::GroupIdNotFound))) => Ok(()),
                Some(Err((_, error))) => Err(error),
                None => Err(Code::Unknown),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_made_anew_only_where_that_may_help() {
        let failure = |code, abort| Failure::new(code, false, abort, String::new());
        let untaken = Failure::untaken(Code::MessageSizeTooLarge, "t");
        assert_eq!(lasting(&untaken, None), Some(Code::MessageSizeTooLarge));
        assert_eq!(lasting(&failure(Code::Fenced, false), None), None);
        assert_eq!(lasting(&failure(Code::OperationTimedOut, false), None), None);
        assert_eq!(lasting(&failure(Code::UnknownTopicOrPartition, true), None), None, "it was just made");
        // Records were not delivered: what the cluster said of one tells whether it would be again.
        let commit = failure(Code::Inconsistent, true);
        assert_eq!(lasting(&commit, None), None);
        assert_eq!(lasting(&commit, Some(Code::NotEnoughReplicas)), None);
        assert_eq!(lasting(&commit, Some(Code::MessageSizeTooLarge)), Some(Code::MessageSizeTooLarge));
        assert_eq!(
            lasting(&failure(Code::TransactionalIdAuthorizationFailed, false), None),
            Some(Code::TransactionalIdAuthorizationFailed)
        );
    }
}
