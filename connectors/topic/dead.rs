//! Dead letters as records of a topic: unchanged, with what was wrong in headers.

use std::rc::Rc;

use millpond_engine::sink::{Encode, Outgoing, Sink, SinkPlan, System};
use millpond_engine::{Batch, DeadLetter, Fault};

use super::Topics;
use super::key::partition_of;

/// Bad records written to a topic. What `dead_letters` of the embedded log and of Kafka makes.
#[derive(Clone, Debug)]
#[must_use = "dead letters are written when this is given to `flow.dead_letters(..)`"]
pub struct DeadLetters<L> {
    topics: L,
    topic: String,
}

impl<L> DeadLetters<L> {
    pub(crate) fn new(topics: L, topic: &str) -> Self {
        DeadLetters { topics, topic: topic.to_owned() }
    }
}

impl<L: Topics> Sink<DeadLetter> for DeadLetters<L> {
    fn plan(&self) -> SinkPlan {
        super::sink::plan(&self.topics, &self.topic)
    }
    fn system(&self) -> Rc<dyn System> {
        self.topics.system()
    }
    fn encoder(&self, partitions: u32) -> Box<dyn Encode<DeadLetter>> {
        Box::new(Encoder { partitions: partitions.max(1) })
    }
}

struct Encoder {
    partitions: u32,
}

impl Encode<DeadLetter> for Encoder {
    fn encode(&mut self, batch: &mut Batch<DeadLetter>, out: &mut Outgoing) -> Result<(), Fault> {
        for row in &batch.rows {
            let letter = &row.value;
            let put = |from: &Option<Vec<u8>>, bytes: &mut Vec<u8>| {
                bytes.extend_from_slice(from.as_deref().unwrap_or_default());
                Ok::<_, Fault>(from.is_some())
            };
            out.push(
                row.at,
                |bytes| put(&letter.key, bytes),
                |bytes| put(&letter.value, bytes),
                |key, value| partition_of(key.unwrap_or(value), self.partitions),
            )?;
            for (name, value) in &letter.headers {
                out.header(name, value);
            }
            for (name, value) in letter.own_headers() {
                out.header(name, value.as_bytes());
            }
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

    #[test]
    fn a_letter_keeps_what_it_had_and_says_what_was_wrong() {
        let letter = |value: Option<&[u8]>| DeadLetter {
            key: Some(b"k\xff".to_vec()),
            value: value.map(<[u8]>::to_owned),
            headers: vec![("trace".into(), b"1".to_vec()), ("trace".into(), b"2".to_vec())],
            error: "not JSON".into(),
            step: "clicks".into(),
            source: "clicks".into(),
            partition: 2,
            offset: 17,
            whole: true,
            attempt: 1,
            ..DeadLetter::default()
        };
        let row = |value| Record { at: Timestamp::from_secs(5), seen: Timestamp::MIN, value: letter(value) };
        let mut batch = Batch { rows: vec![row(Some(&b"{"[..])), row(None)], ..Batch::default() };
        let mut out = Outgoing::new(0, 3);
        Log::at("nowhere").dead_letters("dead").encoder(3).encode(&mut batch, &mut out).unwrap();
        let found: Vec<_> = out.records().map(|record| (record.key, record.value, record.at.secs())).collect();
        assert_eq!(found, [(Some(&b"k\xff"[..]), Some(&b"{"[..]), 5), (Some(&b"k\xff"[..]), None, 5)]);
        let expected: [(&str, &[u8]); 6] = [
            ("trace", b"1"),
            ("trace", b"2"),
            ("millpond-error", b"not JSON"),
            ("millpond-step", b"clicks"),
            ("millpond-position", b"clicks/2/17"),
            ("millpond-whole", b"yes"),
        ];
        for index in 0..2 {
            assert_eq!(out.headers(index).collect::<Vec<_>>(), expected);
        }
    }
}
