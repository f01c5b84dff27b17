//! Records written on as they were read: late ones, mostly.

use std::rc::Rc;

use millpond_engine::sink::{Encode, Outgoing, Sink, SinkPlan, System};
use millpond_engine::{Batch, Fault};
use millpond_state::{Data, Timestamp};

use super::Topics;
use super::key::partition_of;
use crate::Kept;

/// Records written to a topic with their original key, value, headers and timestamp. What `write_kept` of the embedded log and of Kafka makes.
#[derive(Clone, Debug)]
#[must_use = "a sink is written when it is given to `stream.sink(..)`"]
pub struct TopicKept<L> {
    topics: L,
    topic: String,
}

impl<L> TopicKept<L> {
    pub(crate) fn new(topics: L, topic: &str) -> Self {
        TopicKept { topics, topic: topic.to_owned() }
    }
}

impl<T: Data, L: Topics> Sink<Kept<T>> for TopicKept<L> {
    fn plan(&self) -> SinkPlan {
        super::sink::plan(&self.topics, &self.topic)
    }
    fn system(&self) -> Rc<dyn System> {
        self.topics.system()
    }
    fn encoder(&self, partitions: u32) -> Box<dyn Encode<Kept<T>>> {
        Box::new(Encoder { partitions: partitions.max(1) })
    }
}

struct Encoder {
    partitions: u32,
}

impl<T> Encode<Kept<T>> for Encoder {
    fn encode(&mut self, batch: &mut Batch<Kept<T>>, out: &mut Outgoing) -> Result<(), Fault> {
        for row in &batch.rows {
            let kept = &row.value;
            let put = |from: Option<&[u8]>, bytes: &mut Vec<u8>| {
                bytes.extend_from_slice(from.unwrap_or_default());
                Ok::<_, Fault>(from.is_some())
            };
            let at = if kept.timestamp() == Timestamp::MIN { row.at } else { kept.timestamp() };
            out.push(
                at,
                |bytes| put(kept.key(), bytes),
                |bytes| put(Some(kept.bytes()), bytes),
                |key, value| partition_of(key.unwrap_or(value), self.partitions),
            )?;
            for (name, value) in kept.headers() {
                out.header(name, value);
            }
        }
        Ok(())
    }
}
