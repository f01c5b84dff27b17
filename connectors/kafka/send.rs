//! Output as records of Kafka: which producer takes them, what is put beside them, and what becomes of those that are not taken.

use std::time::{Duration, Instant, SystemTime};

use millpond_engine::sink::Outgoing;
use millpond_engine::{Delivery, Exit, Fault};
use millpond_state::Timestamp;
use rdkafka::error::RDKafkaErrorCode;

use super::decider::KafkaDecider;
use super::failure::Failure;
use super::fault::{self, Class};
use super::outlets::Output;
use super::raw::{Produced, Producer};
use super::transaction::SLICE;
use super::{EVENT_TIME, ask};
use crate::topic::HEADER;

/// How long a full queue is given.
const FULL: Duration = Duration::from_micros(500);
/// How long an output may be missing before it counts as deleted: a broker that has just started may not know its topics yet.
const GONE: Duration = Duration::from_secs(15);

impl KafkaDecider {
    /// Handles of the outputs in the producer that writes records. Not before they are there, or librdkafka would take them for missing.
    fn open_handles(&mut self) -> Result<(), Fault> {
        let writer = match self.delivery {
            Delivery::ExactlyOnce => &mut self.commits,
            Delivery::AtLeastOnce | Delivery::AtMostOnce => &mut self.records,
        };
        let (writer, _) = writer.as_mut().expect("it has just been made");
        let handles = self.outputs.iter().map(|output| writer.topic(&output.topic)).collect::<Result<_, _>>();
        self.handles = handles.map_err(|code| {
            Fault::new(Exit::Usage, format!("job {}: an output topic cannot be written: {code}", self.job))
        })?;
        Ok(())
    }

    fn place(&self, outgoing: &Outgoing) -> usize {
        let place = self.outputs.iter().position(|output| output.sink == outgoing.sink);
        place.expect("the engine gives a system the output of its own sinks")
    }

    pub(super) fn output(&self, outgoing: &Outgoing) -> &Output {
        &self.outputs[self.place(outgoing)]
    }

    /// Sends a batch through the producer that writes records. A full queue is waited for, and a topic that is missing. After a failure not
    /// all of the batch was taken: what it belongs to must not be committed.
    pub(super) fn send(&mut self, outgoing: &Outgoing) -> Result<Result<(), Failure>, Fault> {
        if self.handles.is_empty() {
            self.open_handles()?;
        }
        let place = self.place(outgoing);
        let (output, topic) = (&self.outputs[place], self.handles[place]);
        let writer = match self.delivery {
            Delivery::ExactlyOnce => &self.commits,
            Delivery::AtLeastOnce | Delivery::AtMostOnce => &self.records,
        };
        let (writer, _) = writer.as_ref().expect("the engine fences and begins first");
        let now = Timestamp::from(SystemTime::now()).micros().div_euclid(1_000);
        let expired = if output.takes.kept < 0 { i64::MIN } else { now.saturating_sub(output.takes.kept) };
        let mark = format!("{} {} {}", self.job, self.run, outgoing.epoch);
        let mut headers: Vec<(&str, &[u8])> = Vec::new();
        let mut short = false;
        let (mut full, mut missing, mut found) = (None, None, None);
        for record in outgoing.records() {
            headers.clear();
            headers.push((HEADER, mark.as_bytes()));
            headers.extend(outgoing.headers(record.index));
            let timestamp = output.takes.timestamp(record.at, now);
            // A record that is written on and ends with such a header of its own is given ours behind it, which is the one that counts.
            let said = timestamp.is_none() || headers.last().is_some_and(|(name, _)| *name == EVENT_TIME);
            let time = (said && record.at != Timestamp::MIN).then(|| record.at.to_string());
            let also = time.as_ref().map(|time| (EVENT_TIME, time.as_bytes()));
            short |= timestamp.is_some_and(|at| at < expired);
            let (partition, timestamp) = (record.partition, timestamp.unwrap_or(0));
            let produced =
                Produced { topic, partition, timestamp, key: record.key, value: record.value, headers: &headers, also };
            loop {
                match writer.produce(&produced) {
                    Ok(()) => break,
                    Err(RDKafkaErrorCode::QueueFull) => {
                        writer.poll();
                        if self.patience.exhausted() {
                            return Err(self.gone("writing output", "its queue stays full"));
                        }
                        if full.get_or_insert_with(Instant::now).elapsed() >= SLICE {
                            full = None;
                            self.waits("writing output", "its queue stays full");
                        }
                        std::thread::sleep(FULL);
                    }
                    // One that is there and not taken for all that is sent again with everything else.
                    Err(code)
                        if fault::class(code) == Class::Missing
                            && found.get_or_insert_with(Instant::now).elapsed() < GONE * 2 =>
                    {
                        let since = missing.get_or_insert_with(Instant::now);
                        if !self.missing(writer, &output.topic, partition, since)? {
                            missing = None;
                        }
                    }
                    Err(code @ RDKafkaErrorCode::MessageSizeTooLarge) => {
                        let size = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
                        return Err(Fault::new(
                            Exit::FixJob,
                            format!(
                                "job {}: a record of {size} bytes cannot be written to topic {} partition {partition}, which takes {} \
                                 bytes (max.message.bytes): {code}",
                                self.job, output.topic, output.takes.largest
                            ),
                        ));
                    }
                    Err(code) => return Ok(Err(Failure::untaken(code, &output.topic))),
                }
            }
            (full, missing, found) = (None, None, None);
        }
        if short && !self.warned.contains(&output.topic) {
            let topic = output.topic.clone();
            tracing::warn!(
                topic,
                retention_ms = output.takes.kept,
                "results are older than the topic keeps records and will be removed soon: set retention.ms of the topic to more than the \
                 span that is replayed, or to -1"
            );
            self.warned.push(topic);
        }
        Ok(Ok(()))
    }

    pub(super) fn refused(&self, code: RDKafkaErrorCode, topic: &str) -> Fault {
        let text = format!("job {}: topic {topic} at {} refuses a record: {code}", self.job, self.kafka.brokers);
        Fault::new(fault::written(code), text)
    }

    /// Whether an output is still missing, which it was found to be at `since`; no answer begins that anew. Asked through the very client
    /// that writes, which knows from the answer where to write again.
    ///
    /// # Errors
    /// When it has been missing for so long that it counts as deleted, or must not be looked at.
    pub(super) fn missing(
        &self,
        writer: &Producer,
        topic: &str,
        partition: u32,
        since: &mut Instant,
    ) -> Result<bool, Fault> {
        let (job, brokers) = (&self.job, &self.kafka.brokers);
        std::thread::sleep(ask::AGAIN);
        let place = format!("topic {topic} partition {partition}");
        if self.patience.exhausted() {
            return Err(self.gone("writing output", &format!("{place} is not there")));
        }
        let missing = match ask::topic(writer.client(), topic) {
            Ok(found) => !found.partitions.is_some_and(|all| all.contains(&partition)),
            Err(code) if fault::passes(code) => {
                *since = Instant::now();
                self.waits("writing output", &code.to_string());
                return Ok(true);
            }
            Err(code) => return Err(self.refused(code, topic)),
        };
        if missing && since.elapsed() >= GONE {
            return Err(Fault::new(
                Exit::Restore,
                format!(
                    "job {job}: output {place} at {brokers} is no longer there, and what was committed to it is gone with it: start the job \
                     again to write on from here in a new topic, or start a new version from the beginning of the log"
                ),
            ));
        }
        if missing {
            tracing::info!(job, brokers, "writing output: {place} is not there; waiting");
            self.patience.waits(format!("writing output: {place} is not there"));
        }
        Ok(missing)
    }

    /// Everything that was written outside of transactions is there.
    pub(super) fn drain(&mut self) -> Result<(), Fault> {
        let Some((writer, voice)) = &self.records else { return Ok(()) };
        while let Err(code) = writer.flush(SLICE) {
            writer.poll();
            if self.patience.exhausted() {
                return Err(self.gone("writing output", &code.to_string()));
            }
            self.waits("writing output", &code.to_string());
        }
        writer.poll();
        match voice.refused() {
            Some((code, topic)) => Err(self.refused(code, &topic)),
            None => Ok(()),
        }
    }
}
