//! What a reader of committed records sees of a topic.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::cluster::Cluster;

/// A record with all it has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
    pub(crate) offset: u64,
}

impl Record {
    fn of(message: &BorrowedMessage<'_>) -> Record {
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        Record {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect(),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
            offset: message.offset() as u64,
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    /// What its header `millpond` says: job@version, run, epoch.
    pub(crate) fn origin(&self) -> (String, String, u64) {
        let (_, header) = self.headers.iter().find(|(name, _)| name == "millpond").unwrap_or_else(|| {
            panic!("no header `millpond`: {self:?}");
        });
        let header = std::str::from_utf8(header).unwrap();
        let [job, run, epoch] = header.split(' ').collect::<Vec<_>>()[..] else { panic!("{header:?}") };
        (job.to_owned(), run.to_owned(), epoch.parse().unwrap())
    }
}

/// All committed records of a topic, partition by partition, in the order of their offsets. No topic is no partition.
pub(crate) fn read(cluster: &Cluster, topic: &str) -> Vec<Vec<Record>> {
    let Some(count) = cluster.partitions(topic) else { return Vec::new() };
    let mut settings = cluster.client();
    settings.set("group.id", "a-reader").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    settings.set("enable.partition.eof", "true").set("fetch.queue.backoff.ms", "5").set("fetch.wait.max.ms", "50");
    let consumer: BaseConsumer = settings.create().unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..count {
        all.add_partition_offset(topic, partition as i32, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let mut records = vec![Vec::new(); count as usize];
    let mut ended = vec![false; count as usize];
    let began = Instant::now();
    while ended.contains(&false) {
        assert!(began.elapsed() < Duration::from_secs(60), "topic {topic} cannot be read to its end");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => records[message.partition() as usize].push(Record::of(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => ended[partition as usize] = true,
            Some(Err(error)) => panic!("{topic}: {error}"),
        }
    }
    records
}
