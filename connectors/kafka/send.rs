//! Output as records of Kafka: which producer takes them, what is put beside them, and what becomes of those that are not taken.

use std::time::{Duration, SystemTime};

use millpond_engine::sink::Outgoing;
use millpond_engine::{Delivery, Exit, Fault};
use millpond_state::Timestamp;
use rdkafka::error::RDKafkaErrorCode;

use super::decider::KafkaDecider;
use super::raw::Produced;
use super::transaction::SLICE;
use super::{EVENT_TIME, fault};
use crate::topic::HEADER;

/// How long a full queue is given.
const FULL: Duration = Duration::from_micros(500);

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

    /// Sends a batch through the producer that writes records. A full queue is waited for.
    pub(super) fn send(&mut self, outgoing: &Outgoing) -> Result<(), Fault> {
        if self.handles.is_empty() {
            self.open_handles()?;
        }
        let place = self.outputs.iter().position(|output| output.sink == outgoing.sink);
        let place = place.expect("the engine gives a system the output of its own sinks");
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
                        writer.client().poll(Duration::ZERO);
                        if self.patience.exhausted() {
                            return Err(self.gone("writing output", "its queue stays full"));
                        }
                        std::thread::sleep(FULL);
                    }
                    Err(code @ (RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::UnknownPartition)) => {
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
                    // The transaction has failed already; its end says how.
                    Err(code) if self.delivery == Delivery::ExactlyOnce => {
                        tracing::debug!(%code, topic = output.topic, "a record was not taken");
                        return Ok(());
                    }
                    Err(code) => return Err(self.refused(code, &output.topic)),
                }
            }
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
        Ok(())
    }

    pub(super) fn refused(&self, code: RDKafkaErrorCode, topic: &str) -> Fault {
        Fault::new(
            if fault::passes(code) { Exit::Retry } else { Exit::FixJob },
            format!("job {}: topic {topic} at {} refuses a record: {code}", self.job, self.kafka.brokers),
        )
    }

    /// Everything that was written outside of transactions is there.
    pub(super) fn drain(&mut self) -> Result<(), Fault> {
        let Some((writer, voice)) = &self.records else { return Ok(()) };
        while let Err(code) = writer.flush(SLICE) {
            writer.client().poll(Duration::ZERO);
            if self.patience.exhausted() {
                return Err(self.gone("writing output", &code.to_string()));
            }
            self.waits("writing output", &code.to_string());
        }
        writer.client().poll(Duration::ZERO);
        match voice.refused() {
            Some((code, topic)) => Err(self.refused(code, &topic)),
            None => Ok(()),
        }
    }
}
