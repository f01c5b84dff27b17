//! Topics of the bench's broker.

use std::time::Duration;

use futures_executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

/// The broker, for making and deleting topics of four partitions.
pub(crate) struct Cluster {
    brokers: String,
    admin: AdminClient<DefaultClientContext>,
}

impl Cluster {
    pub(crate) fn at(brokers: &str) -> Self {
        let mut settings = ClientConfig::new();
        let admin = settings.set("bootstrap.servers", brokers).create().expect("the settings are right");
        Cluster { brokers: brokers.to_owned(), admin }
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Makes a topic. False when there is one.
    pub(crate) fn create(&self, topic: &str) -> bool {
        let wanted = NewTopic::new(topic, 4, TopicReplication::Fixed(1)).set("segment.bytes", "268435456");
        let made = block_on(self.admin.create_topics([&wanted], &options())).expect("the broker answers");
        let made = made.into_iter().all(|made| made.is_ok());
        // The answer comes before every partition can be written.
        std::thread::sleep(Duration::from_millis(200));
        made
    }

    pub(crate) fn delete(&self, topic: &str) {
        block_on(self.admin.delete_topics(&[topic], &options())).expect("the broker answers");
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)))
}
