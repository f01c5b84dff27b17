//! Producers of input: the test's own, and a stranger's with transactions.

use std::time::Duration;

use millpond::partition_of;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::clicks::Clicks;
use crate::cluster::Cluster;

const PATIENCE: Duration = Duration::from_secs(20);

/// Two minutes of a busy site, with clicks out of order and one in two hundred late.
pub(crate) const CLICKS: Clicks =
    Clicks { seed: 11, pages: 500, start_ms: 1_700_000_000_000, gap_us: 20_000, out_of_order_ms: 5_000, late: 0.005 };

/// Writes to one topic, plainly or in transactions.
pub(crate) struct Writer {
    producer: BaseProducer,
    topic: String,
    partitions: u32,
}

impl Writer {
    pub(crate) fn plain(cluster: &Cluster, topic: &str) -> Writer {
        let producer =
            cluster.client().set("enable.idempotence", "true").set("message.max.bytes", "5000000").create().unwrap();
        Writer { producer, topic: topic.to_owned(), partitions: cluster.partitions(topic).unwrap() }
    }

    /// A producer with a transactional id of its own; nothing is begun.
    pub(crate) fn transactional(cluster: &Cluster, topic: &str, id: &str) -> Writer {
        let mut settings = cluster.client();
        settings.set("transactional.id", id).set("transaction.timeout.ms", "120000");
        let producer: BaseProducer = settings.create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        Writer { producer, topic: topic.to_owned(), partitions: cluster.partitions(topic).unwrap() }
    }

    pub(crate) fn begin(&self) {
        self.producer.begin_transaction().unwrap();
    }

    pub(crate) fn commit(&self) {
        self.producer.commit_transaction(PATIENCE).unwrap();
    }

    pub(crate) fn abort(&self) {
        self.producer.flush(PATIENCE).unwrap();
        self.producer.abort_transaction(PATIENCE).unwrap();
    }

    /// The clicks of these numbers, each to the partition of its key, and waits until they are written.
    pub(crate) fn clicks(&self, clicks: &Clicks, numbers: std::ops::Range<u64>) {
        self.hand_over(clicks, numbers);
        self.flush();
    }

    /// The same, not waited for.
    pub(crate) fn hand_over(&self, clicks: &Clicks, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let click = clicks.click(number);
            let (mut key, mut value) = (Vec::new(), Vec::new());
            click.put_key(&mut key);
            click.put_value(&mut value);
            self.record(partition_of(&key, self.partitions), Some(&key), Some(&value));
        }
    }

    /// One record, not waited for.
    pub(crate) fn record(&self, partition: u32, key: Option<&[u8]>, value: Option<&[u8]>) {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).partition(partition as i32);
        record.key = key;
        record.payload = value;
        while let Err((error, back)) = self.producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::QueueFull), "{error}");
            self.producer.poll(Duration::from_millis(5));
            record = back;
        }
    }

    /// One record with a timestamp and headers, not waited for.
    pub(crate) fn whole(&self, partition: u32, value: &[u8], millis: i64, headers: &[(&str, &str)]) {
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value.as_bytes()) })
        });
        let record = BaseRecord::<[u8], [u8]>::to(&self.topic).partition(partition as i32).payload(value);
        self.producer.send(record.timestamp(millis).headers(headers)).map_err(|(error, _)| error).unwrap();
    }

    pub(crate) fn flush(&self) {
        self.producer.flush(PATIENCE).unwrap();
    }
}
