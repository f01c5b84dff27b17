//! A producer that is told of every record that could not be written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond::{Exit, Fault};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

/// How long the broker may take to acknowledge what was written last.
const PATIENCE: Duration = Duration::from_secs(60);

/// librdkafka's settings for these brokers.
pub(crate) fn settings(brokers: &str, pairs: &[String]) -> Result<ClientConfig, Fault> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers);
    for pair in pairs {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| Fault::new(Exit::Usage, format!("--kafka {pair:?} is not of the form key=value")))?;
        settings.set(name.trim(), value.trim());
    }
    Ok(settings)
}

/// Counts what was not delivered.
#[derive(Clone, Default)]
struct Failures(Arc<AtomicU64>);

impl ClientContext for Failures {}

impl ProducerContext<NoCustomPartitioner> for Failures {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes records to one topic.
pub(crate) struct Writer {
    producer: ThreadedProducer<Failures>,
    failures: Failures,
    topic: String,
    /// Records a transaction, and how many the open one has.
    transaction: Option<(u64, u64)>,
}

impl Writer {
    /// A producer; with `transaction`, one that commits so many records at a time.
    pub(crate) fn open(settings: &ClientConfig, topic: &str, transaction: Option<u64>) -> Result<Writer, Fault> {
        let mut settings = settings.clone();
        // Idempotent, so that a repeated request doubles no click.
        settings.set("enable.idempotence", "true").set("delivery.report.only.error", "true");
        settings.set("queue.buffering.max.messages", "50000");
        if transaction.is_some() {
            settings.set("transactional.id", format!("load-{topic}"));
        }
        let failures = Failures::default();
        let producer: ThreadedProducer<Failures> = settings
            .create_with_context(failures.clone())
            .map_err(|error| Fault::new(Exit::Usage, "a setting is wrong").because(error))?;
        let writer =
            Writer { producer, failures, topic: topic.to_owned(), transaction: transaction.map(|most| (most, 0)) };
        if writer.transaction.is_some() {
            writer.producer.init_transactions(PATIENCE).map_err(|error| writer.failed(&error))?;
        }
        Ok(writer)
    }

    fn failed(&self, error: &KafkaError) -> Fault {
        Fault::new(Exit::Retry, format!("topic {} cannot be written", self.topic)).because(error)
    }

    /// Writes one record.
    pub(crate) fn write(&mut self, partition: u32, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        if let Some((_, 0)) = self.transaction {
            self.producer.begin_transaction().map_err(|error| self.failed(&error))?;
        }
        let mut record = BaseRecord::to(&self.topic).partition(partition as i32).key(key).payload(value);
        while let Err((error, back)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(self.failed(&error));
            }
            std::thread::sleep(Duration::from_millis(1));
            record = back;
        }
        if let Some((most, open)) = &mut self.transaction {
            *open += 1;
            if open == most {
                self.commit()?;
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Fault> {
        self.producer.commit_transaction(PATIENCE).map_err(|error| self.failed(&error))?;
        self.transaction = self.transaction.map(|(most, _)| (most, 0));
        Ok(())
    }

    /// Waits until everything is written.
    pub(crate) fn finish(mut self) -> Result<(), Fault> {
        if matches!(self.transaction, Some((_, open)) if open > 0) {
            self.commit()?;
        }
        self.producer.flush(PATIENCE).map_err(|error| self.failed(&error))?;
        match self.failures.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            lost => Err(Fault::new(Exit::Retry, format!("{lost} clicks could not be written to topic {}", self.topic))),
        }
    }
}
