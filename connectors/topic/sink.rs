//! Values as records of a topic.

use std::fmt;
use std::rc::Rc;

use millpond_engine::sink::{Encode, Outgoing, Sink, SinkPlan, System};
use millpond_engine::{Batch, Exit, Fault};
use millpond_state::Data;

use super::Topics;
use super::key::{WireKey, partition_of};
use crate::{Format, FormatError};

type KeyOf<T> = Rc<dyn Fn(&T, &mut Vec<u8>) -> bool>;
type PlaceOf<T> = Rc<dyn Fn(&T, u32) -> u32>;

/// Values written to a topic, as records without keys. What `write` of the embedded log and of Kafka makes.
#[derive(Clone, Debug)]
#[must_use = "a sink is written when it is given to `stream.sink(..)`"]
pub struct TopicSink<L, F> {
    topics: L,
    topic: String,
    format: F,
}

impl<L: Topics, F> TopicSink<L, F> {
    pub(crate) fn new(topics: L, topic: &str, format: F) -> Self {
        TopicSink { topics, topic: topic.to_owned(), format }
    }

    pub(super) fn topics(&self) -> &L {
        &self.topics
    }
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }
    pub(super) fn format(&self) -> &F {
        &self.format
    }

    /// Gives each record a key, which also chooses its partition. The type is said in the closure: `.key(|count: &Count| ..)`.
    pub fn key<T, K: WireKey>(self, key: impl Fn(&T) -> K + 'static) -> TopicSinkBy<L, T, F> {
        TopicSinkBy { key: Some(keyed(key)), ..self.by() }
    }

    /// Chooses each record's partition, given how many there are.
    pub fn partition<T>(self, place: impl Fn(&T, u32) -> u32 + 'static) -> TopicSinkBy<L, T, F> {
        TopicSinkBy { place: Some(Rc::new(place)), ..self.by() }
    }

    fn by<T>(self) -> TopicSinkBy<L, T, F> {
        TopicSinkBy { to: self, key: None, place: None }
    }
}

fn keyed<T, K: WireKey>(key: impl Fn(&T) -> K + 'static) -> KeyOf<T> {
    Rc::new(move |value, out| key(value).put(out))
}

impl<T: Data, L: Topics, F: Format<T>> Sink<T> for TopicSink<L, F> {
    fn plan(&self) -> SinkPlan {
        plan(&self.topics, &self.topic)
    }
    fn system(&self) -> Rc<dyn System> {
        self.topics.system()
    }
    fn encoder(&self, partitions: u32) -> Box<dyn Encode<T>> {
        self.clone().by().encoder(partitions)
    }
}

pub(super) fn plan<L: Topics>(_: &L, topic: &str) -> SinkPlan {
    SinkPlan { kind: L::KIND.to_owned(), to: topic.to_owned() }
}

/// A [`TopicSink`] whose records have keys, or places of their own.
#[must_use = "a sink is written when it is given to `stream.sink(..)`"]
pub struct TopicSinkBy<L, T, F> {
    to: TopicSink<L, F>,
    key: Option<KeyOf<T>>,
    place: Option<PlaceOf<T>>,
}

impl<L: fmt::Debug, T, F: fmt::Debug> fmt::Debug for TopicSinkBy<L, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicSinkBy").field("to", &self.to).finish_non_exhaustive()
    }
}

impl<L, T, F> TopicSinkBy<L, T, F> {
    /// Gives each record a key, which also chooses its partition unless that is chosen in another way.
    pub fn key<K: WireKey>(mut self, key: impl Fn(&T) -> K + 'static) -> Self {
        self.key = Some(keyed(key));
        self
    }

    /// Chooses each record's partition, given how many there are.
    pub fn partition(mut self, place: impl Fn(&T, u32) -> u32 + 'static) -> Self {
        self.place = Some(Rc::new(place));
        self
    }
}

impl<T: Data, L: Topics, F: Format<T>> Sink<T> for TopicSinkBy<L, T, F> {
    fn plan(&self) -> SinkPlan {
        plan(&self.to.topics, &self.to.topic)
    }
    fn system(&self) -> Rc<dyn System> {
        self.to.topics.system()
    }
    fn encoder(&self, partitions: u32) -> Box<dyn Encode<T>> {
        let TopicSink { topic, format, .. } = self.to.clone();
        Box::new(Encoder {
            topic,
            format,
            key: self.key.clone(),
            place: self.place.clone(),
            partitions: partitions.max(1),
        })
    }
}

struct Encoder<T, F> {
    topic: String,
    format: F,
    key: Option<KeyOf<T>>,
    place: Option<PlaceOf<T>>,
    partitions: u32,
}

impl<T: Data, F: Format<T>> Encode<T> for Encoder<T, F> {
    fn encode(&mut self, batch: &mut Batch<T>, out: &mut Outgoing) -> Result<(), Fault> {
        let refused = |reason: String| {
            Fault::new(Exit::FixJob, format!("a record cannot be written to topic {}: {reason}", self.topic))
        };
        for row in &batch.rows {
            let value = &row.value;
            let place = match &self.place {
                None => None,
                Some(place) => match place(value, self.partitions) {
                    place if place < self.partitions => Some(place),
                    place => {
                        return Err(refused(format!(
                            "partition {place} was chosen for it and there are {}",
                            self.partitions
                        )));
                    }
                },
            };
            out.push(
                row.at,
                |bytes| Ok::<_, FormatError>(self.key.as_ref().is_some_and(|key| key(value, bytes))),
                |bytes| self.format.encode(value, bytes).map(|()| true),
                |key, value| place.unwrap_or_else(|| partition_of(key.unwrap_or(value), self.partitions)),
            )
            .map_err(|error| refused(error.to_string()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use millpond_engine::Record;
    use millpond_state::Timestamp;

    use super::*;
    use crate::log::Log;
    use crate::{Json, Text};

    fn encode<T: Data>(sink: &impl Sink<T>, values: Vec<T>) -> Result<Outgoing, Fault> {
        let rows = values.into_iter().map(|value| Record { at: Timestamp::from_secs(3), seen: Timestamp::MIN, value });
        let mut batch = Batch { rows: rows.collect(), ..Batch::default() };
        let mut out = Outgoing::new(4, 1);
        sink.encoder(3).encode(&mut batch, &mut out)?;
        Ok(out)
    }

    #[test]
    fn keys_choose_partitions_and_values_do_without() {
        let log = Log::at("nowhere");
        let out = encode(&log.write("t", Json).key(|n: &u64| *n), vec![21, 7]).unwrap();
        let found: Vec<_> =
            out.records().map(|record| (record.key, record.value, record.partition, record.at)).collect();
        let at = Timestamp::from_secs(3);
        let place = |bytes: &[u8]| partition_of(bytes, 3);
        assert_eq!(found[0], (Some(&b"21"[..]), Some(&b"21"[..]), place(b"21"), at));
        assert_eq!(found[1], (Some(&b"7"[..]), Some(&b"7"[..]), place(b"7"), at));
        let out = encode(&log.write("t", Text), vec!["foobar".to_owned()]).unwrap();
        let record = out.records().next().unwrap();
        assert_eq!((record.key, record.value, record.partition), (None, Some(&b"foobar"[..]), place(b"foobar")));
    }

    #[test]
    fn a_chosen_partition_holds_and_must_be_there() {
        let sink = |place: u32| Log::at("nowhere").write("t", Json).key(|n: &u64| *n).partition(move |_, _| place);
        let out = encode(&sink(2), vec![5]).unwrap();
        assert_eq!(out.records().map(|record| (record.partition, record.key)).next(), Some((2, Some(&b"5"[..]))));
        let fault = encode(&sink(3), vec![5]).unwrap_err();
        assert!(fault.to_string().contains("partition 3 was chosen for it and there are 3"), "{fault}");
    }
}
