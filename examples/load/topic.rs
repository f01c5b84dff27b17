//! The topic that clicks are written to.

use std::time::Duration;

use futures_executor::block_on;
use millpond::{Exit, Fault};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many partitions the topic has. Created with `partitions` where it does not exist.
pub(crate) fn partitions(settings: &ClientConfig, topic: &str, partitions: u32) -> Result<u32, Fault> {
    let brokers = settings.get("bootstrap.servers").unwrap_or_default();
    let failed = |what: &str| Fault::new(Exit::Retry, format!("{what} at {brokers}"));
    let admin: AdminClient<DefaultClientContext> =
        settings.create().map_err(|error| Fault::new(Exit::Usage, "a setting is wrong").because(error))?;
    let known = admin.inner().fetch_metadata(Some(topic), PATIENCE).map_err(|error| {
        failed("no broker answers (`tests/kafka/broker.sh start` starts one on this machine)").because(error)
    })?;
    let known = known.topics().iter().find(|known| known.name() == topic && known.error().is_none());
    if let Some(known) = known.filter(|known| !known.partitions().is_empty()) {
        return Ok(known.partitions().len() as u32);
    }
    let wanted = NewTopic::new(topic, partitions as i32, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let created = block_on(admin.create_topics([&wanted], &options))
        .map_err(|error| failed(&format!("topic {topic} cannot be created")).because(error))?;
    match created.into_iter().find_map(Result::err) {
        Some((_, error)) if error != RDKafkaErrorCode::TopicAlreadyExists => {
            Err(failed(&format!("topic {topic} cannot be created")).because(error))
        }
        _ => Ok(partitions),
    }
}
