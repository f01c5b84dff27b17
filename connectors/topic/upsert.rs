//! Changes as records of a topic that keeps the newest value of each key.

use std::fmt::Debug;
use std::rc::Rc;

use millpond_engine::sink::{Encode, Outgoing, Sink, SinkPlan, System};
use millpond_engine::{Batch, Change, Exit, Fault, UpsertSink};
use millpond_state::Data;

use super::Topics;
use super::key::{WireKey, partition_of};
use super::sink::{TopicSink, plan};
use crate::{Format, FormatError};

/// What [`TopicSink::upsert`] makes: a record with the change's key and its new value, or a tombstone when it was deleted. The topic is
/// compacted, when the job creates it.
#[derive(Clone, Debug)]
#[must_use = "a sink is written when it is given to `changes.sink(..)`"]
pub struct TopicUpsert<L, F> {
    to: TopicSink<L, F>,
}

impl<L: Topics, F> TopicSink<L, F> {
    /// Takes changes instead of records: the newest value of each key is what counts.
    ///
    /// ```
    /// use millpond_connectors::{Json, log::Log};
    /// let counts = Log::at("state/log").write("counts", Json).upsert(); // for `.count().sink("counts", counts)`
    /// # let _ = counts;
    /// ```
    pub fn upsert(self) -> TopicUpsert<L, F> {
        TopicUpsert { to: self }
    }
}

impl<K: Data + WireKey, V: Data, L: Topics, F: Format<V>> Sink<Change<K, V>> for TopicUpsert<L, F> {
    fn plan(&self) -> SinkPlan {
        plan(self.to.topics(), self.to.topic())
    }
    fn system(&self) -> Rc<dyn System> {
        self.to.topics().system()
    }
    fn upsert(&self) -> bool {
        true
    }
    fn encoder(&self, partitions: u32) -> Box<dyn Encode<Change<K, V>>> {
        let (topic, format) = (self.to.topic().to_owned(), self.to.format().clone());
        Box::new(Encoder { topic, format, partitions: partitions.max(1) })
    }
}

impl<K: Data + WireKey, V: Data, L: Topics, F: Format<V>> UpsertSink<K, V> for TopicUpsert<L, F> {}

struct Encoder<F> {
    topic: String,
    format: F,
    partitions: u32,
}

impl<K: Data + WireKey, V: Data, F: Format<V>> Encode<Change<K, V>> for Encoder<F> {
    fn encode(&mut self, batch: &mut Batch<Change<K, V>>, out: &mut Outgoing) -> Result<(), Fault> {
        for row in &batch.rows {
            let value = |bytes: &mut Vec<u8>| match row.value.new_value() {
                Some(new) => self.format.encode(new, bytes).map(|()| true),
                None => Ok(false),
            };
            let key = |bytes: &mut Vec<u8>| {
                let keyed = row.value.key().put(bytes);
                keyed.then_some(true).ok_or_else(|| FormatError::new("its key is none, and an upsert needs one"))
            };
            let partition = |key: Option<&[u8]>, _: &[u8]| partition_of(key.unwrap_or_default(), self.partitions);
            out.push(row.at, key, value, partition).map_err(|error| {
                Fault::new(Exit::FixJob, format!("a change cannot be written to topic {}: {error}", self.topic))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use millpond_engine::Record;
    use millpond_state::Timestamp;

    use super::*;
    use crate::Json;
    use crate::log::Log;

    #[test]
    fn the_new_value_is_written_under_the_key_and_a_delete_is_a_tombstone() {
        let sink = Log::at("nowhere").write("t", Json).upsert();
        let changes = [
            Change::Insert { key: "a".to_owned(), new: 1 },
            Change::Update { key: "a".to_owned(), old: 1, new: 2 },
            Change::Delete { key: "a".to_owned(), old: 2 },
        ];
        let at = Timestamp::EPOCH;
        let rows = changes.into_iter().map(|value| Record { at, seen: at, value });
        let mut batch = Batch { rows: rows.collect(), ..Batch::default() };
        let mut out = Outgoing::new(0, 1);
        Sink::<Change<String, i32>>::encoder(&sink, 3).encode(&mut batch, &mut out).unwrap();
        let found: Vec<_> = out.records().map(|record| (record.key, record.value)).collect();
        let key = Some(&b"a"[..]);
        assert_eq!(found, [(key, Some(&b"1"[..])), (key, Some(&b"2"[..])), (key, None)]);
    }
}
