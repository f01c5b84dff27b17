//! A cluster as a client sees it: topics and groups, made and unmade.

use std::time::{Duration, Instant};

use futures_executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(60);

/// Where a cluster is.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) brokers: String,
}

impl Cluster {
    pub(crate) fn at(brokers: &str) -> Cluster {
        Cluster { brokers: brokers.to_owned() }
    }

    /// Settings of a client of it.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", &self.brokers);
        settings
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    pub(crate) fn create(&self, topic: &str, partitions: u32) {
        self.create_with(topic, partitions, &[]);
    }

    pub(crate) fn create_with(&self, topic: &str, partitions: u32, settings: &[(&str, &str)]) {
        let topic = NewTopic::new(topic, partitions as i32, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let made = block_on(self.admin().create_topics([&topic], &options())).unwrap();
        made.into_iter().for_each(|made| assert!(made.is_ok(), "{made:?}"));
        self.settle(topic.name, Some(partitions));
    }

    /// Deletes a topic and waits until it is gone.
    pub(crate) fn delete(&self, topic: &str) {
        let gone = block_on(self.admin().delete_topics(&[topic], &options())).unwrap();
        gone.into_iter().for_each(|gone| assert!(gone.is_ok(), "{gone:?}"));
        self.settle(topic, None);
    }

    /// Gives a topic more partitions, so many in all.
    pub(crate) fn grow(&self, topic: &str, partitions: u32) {
        let wanted = NewPartitions::new(topic, partitions as usize);
        let made = block_on(self.admin().create_partitions([&wanted], &options())).unwrap();
        made.into_iter().for_each(|made| assert!(made.is_ok(), "{made:?}"));
        self.settle(topic, Some(partitions));
    }

    /// Deletes the records of a partition before `offset`, as retention does.
    pub(crate) fn forget_before(&self, topic: &str, partition: u32, offset: u64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, partition as i32, Offset::Offset(offset as i64)).unwrap();
        let gone = block_on(self.admin().delete_records(&before, &options())).unwrap();
        assert!(gone.elements().iter().all(|element| element.error().is_ok()), "{gone:?}");
    }

    /// Deletes a group with all its offsets.
    pub(crate) fn delete_group(&self, group: &str) {
        let gone = block_on(self.admin().delete_groups(&[group], &options())).unwrap();
        gone.into_iter().for_each(|gone| assert!(gone.is_ok(), "{gone:?}"));
    }

    /// The groups there are.
    pub(crate) fn groups(&self) -> Vec<String> {
        let admin = self.admin();
        let list = admin.inner().fetch_group_list(None, PATIENCE).unwrap();
        list.groups().iter().map(|group| group.name().to_owned()).collect()
    }

    /// Commits an offset into a group, as a stranger.
    pub(crate) fn commit(&self, group: &str, topic: &str, partition: u32, offset: u64, metadata: &str) {
        let stranger: BaseConsumer = self.client().set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(topic, partition as i32);
        element.set_offset(Offset::Offset(offset as i64)).unwrap();
        element.set_metadata(metadata);
        stranger.commit(&list, CommitMode::Sync).unwrap();
    }

    /// The next offsets that a group has committed for the partitions of a topic.
    pub(crate) fn committed(&self, group: &str, topic: &str) -> Vec<Option<u64>> {
        let reader: BaseConsumer = self.client().set("group.id", group).create().unwrap();
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(topic, 0, self.partitions(topic).unwrap() as i32 - 1);
        let found = reader.committed_offsets(wanted, PATIENCE).unwrap();
        let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset as u64) } else { None };
        found.elements().iter().map(|element| offset(element.offset())).collect()
    }

    /// A setting of a topic.
    pub(crate) fn setting(&self, topic: &str, name: &str) -> String {
        let found = block_on(self.admin().describe_configs([&ResourceSpecifier::Topic(topic)], &options())).unwrap();
        let found = found.into_iter().next().unwrap().unwrap();
        found.get(name).unwrap().value.clone().unwrap()
    }

    /// How many partitions a topic has, if there is one.
    pub(crate) fn partitions(&self, topic: &str) -> Option<u32> {
        let admin = self.admin();
        let known = admin.inner().fetch_metadata(Some(topic), PATIENCE).unwrap();
        let known = known.topics().iter().find(|known| known.name() == topic && known.error().is_none())?;
        // A partition without a leader cannot be used yet.
        let all = known.partitions().iter().all(|partition| partition.error().is_none() && partition.leader() >= 0);
        Some(known.partitions().len() as u32).filter(|count| all && *count > 0)
    }

    fn settle(&self, topic: &str, partitions: Option<u32>) {
        let began = Instant::now();
        while self.partitions(topic) != partitions {
            assert!(began.elapsed() < PATIENCE, "topic {topic} is to have {partitions:?} partitions");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}
