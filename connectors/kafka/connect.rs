//! Asks a cluster for a topic's partitions and offsets, as numbers. Blocks: only the leader calls this, before there are workers, or a
//! thread of its own.
//!
//! What passes (a broker that is starting, a leader that moves, a time-out) is asked again until a deadline; what each partition answers is
//! looked at singly.

use std::rc::Rc;
use std::time::{Duration, Instant};

use millpond_engine::source::From;
use millpond_engine::{Exit, Fault};
use millpond_state::Timestamp;
use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::ask::{self, code};
use super::client::{Consumer, reports};
use super::fault::{Class, class};
use super::producer::REQUEST;
use super::{Kafka, raw};

/// How long a cluster may be silent before a start gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A topic as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    /// Made with the topic, so that another one of the same name is known; `None` where brokers are too old to have such ids.
    pub(super) id: Option<String>,
    /// The numbers of its partitions, ascending.
    pub(super) partitions: Vec<u32>,
}

/// Asks about one topic.
pub(super) struct Asking<'a> {
    consumer: Rc<Consumer>,
    kafka: &'a Kafka,
    topic: &'a str,
    patience: Duration,
}

impl<'a> Asking<'a> {
    pub(super) fn new(consumer: Rc<Consumer>, kafka: &'a Kafka, topic: &'a str) -> Self {
        Asking { consumer, kafka, topic, patience: PATIENCE }
    }

    /// The topic's id and partitions.
    pub(super) fn describe(&self) -> Result<Described, Fault> {
        self.patiently("the description", || {
            // A partition without a leader is one too: its offsets are asked for until it has one.
            let found = ask::topic(self.consumer.client(), self.topic)?;
            let partitions = found.partitions.ok_or(Code::UnknownTopic)?;
            let id = match raw::topic_id(self.consumer.client(), self.topic, found.broker, REQUEST) {
                Err(Code::UnsupportedFeature) => None,
                id => id?,
            };
            Ok(Described { id, partitions })
        })
    }

    /// The oldest offset that the log still holds, of each partition.
    pub(super) fn oldest(&self, partitions: &[u32]) -> Result<Vec<u64>, Fault> {
        let offsets = self.offsets(partitions, Offset::Beginning)?;
        offsets.into_iter().map(|offset| offset.ok_or_else(|| self.odd("no oldest offset"))).collect()
    }

    /// One past the newest record that can be read, of each partition: the last stable offset, or the high watermark where what is not
    /// committed is read too.
    pub(super) fn ends(&self, partitions: &[u32]) -> Result<Vec<u64>, Fault> {
        let offsets = self.offsets(partitions, Offset::End)?;
        offsets.into_iter().map(|offset| offset.ok_or_else(|| self.odd("no end"))).collect()
    }

    /// The first offset whose record has this timestamp or a later one; `None` where there is none.
    fn at(&self, partitions: &[u32], time: Timestamp) -> Result<Vec<Option<u64>>, Fault> {
        // Negative numbers ask for something else.
        self.offsets(partitions, Offset::Offset(time.millis().max(0)))
    }

    /// Where a first start begins.
    pub(super) fn starts(
        &self,
        from: &From,
        partitions: &[u32],
        oldest: &[u64],
        ends: &[u64],
    ) -> Result<Vec<u64>, Fault> {
        match from {
            From::Earliest => Ok(oldest.to_vec()),
            From::Latest => Ok(ends.to_vec()),
            From::Time(time) => {
                let found = self.at(partitions, *time)?;
                Ok(found.into_iter().zip(ends).map(|(offset, end)| offset.unwrap_or(*end)).collect())
            }
            From::Offsets(named) => {
                let kept = oldest.iter().zip(ends);
                let start = |(partition, (oldest, end)): (&u32, (&u64, &u64))| match named
                    .iter()
                    .find(|(of, _)| of == partition)
                {
                    None => Ok(*oldest),
                    Some((_, offset)) if (*oldest..=*end).contains(offset) => Ok(*offset),
                    Some((_, offset)) => Err(Fault::new(
                        Exit::Usage,
                        format!(
                            "topic {} partition {partition} has the offsets from {oldest} up to {end}, and reading \
                                 cannot begin at {offset}",
                            self.topic
                        ),
                    )),
                };
                partitions.iter().zip(kept).map(start).collect()
            }
        }
    }

    /// What each partition answers to one question: a time, or the log's beginning or end.
    fn offsets(&self, partitions: &[u32], what: Offset) -> Result<Vec<Option<u64>>, Fault> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            let partition = i32::try_from(*partition).map_err(|_| self.odd("a partition beyond all numbers"))?;
            asked.add_partition_offset(self.topic, partition, what).map_err(|error| self.refused(&error))?;
        }
        self.patiently("offsets", || {
            // It asks for ends and beginnings as well, by their numbers, with one request a broker.
            let answer = self.consumer.offsets_for_times(asked.clone(), REQUEST).map_err(code)?;
            let of = |partition: &u32| {
                let number = i32::try_from(*partition).unwrap_or(-1);
                let found = answer.find_partition(self.topic, number).ok_or(Code::UnknownPartition)?;
                found.error().map_err(code)?;
                match found.offset() {
                    Offset::Offset(offset) => Ok(u64::try_from(offset).ok()),
                    _ => Ok(None),
                }
            };
            partitions.iter().map(of).collect()
        })
    }

    /// Asks until there is an answer, an error that will not pass, or no patience left.
    fn patiently<R>(&self, what: &str, mut ask: impl FnMut() -> Result<R, Code>) -> Result<R, Fault> {
        let began = Instant::now();
        let mut trouble = None;
        let request = || {
            let answer = ask();
            // Reports wait in the client's own queue.
            reports(&self.consumer).for_each(drop);
            // That all brokers are down says less than why one is.
            let reported = self.consumer.context().trouble();
            trouble =
                reported.filter(|(code, _)| trouble.is_none() || *code != Code::AllBrokersDown).or(trouble.take());
            answer
        };
        let context = self.consumer.context();
        let answer =
            ask::until_answered(request, |_, waited| waited < self.patience && context.lasting_refusal(true).is_none());
        match (&answer, context.decisive_refusal()) {
            (Ok(_), _) => context.answered(),
            (Err(_), Some(refusal)) => return Err(self.kafka.locked_out(&refusal)),
            (Err(_), None) => {}
        }
        answer.map_err(|code| self.fault(what, code, trouble, began.elapsed()))
    }

    fn fault(&self, what: &str, code: Code, trouble: Option<(Code, String)>, waited: Duration) -> Fault {
        let (topic, brokers) = (self.topic, &self.kafka.brokers);
        let reported = trouble.as_ref().map(|(_, text)| format!("; {text}")).unwrap_or_default();
        match class(code) {
            Class::Missing => Fault::new(
                Exit::Usage,
                format!("the Kafka cluster {brokers} has no topic {topic}; create it, or name another"),
            )
            .missing(),
            Class::Passing => {
                let exit = trouble.map_or(Exit::Retry, |(code, _)| class(code).exit());
                let secs = waited.as_secs();
                Fault::new(
                    exit,
                    format!(
                        "the Kafka cluster {brokers} gave no answer for {secs} s ({what} of {topic}: {code}){reported}"
                    ),
                )
            }
            class => Fault::new(
                class.exit(),
                format!("the Kafka cluster {brokers} refuses {what} of {topic}: {code}{reported}"),
            ),
        }
    }

    fn odd(&self, what: &str) -> Fault {
        Fault::new(
            Exit::Retry,
            format!("the Kafka cluster {} answers with {what} for topic {}", self.kafka.brokers, self.topic),
        )
    }

    fn refused(&self, error: &KafkaError) -> Fault {
        Fault::new(Exit::Usage, format!("topic {} cannot be asked about", self.topic)).because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_gives_no_answer_is_told_with_what_was_wrong_last() {
        let kafka = Kafka::brokers("127.0.0.1:1");
        let consumer = Rc::new(kafka.consumer(1, true).unwrap());
        let asking = Asking { patience: Duration::from_secs(1), ..Asking::new(consumer, &kafka, "t") };
        let fault = asking.describe().unwrap_err();
        assert_eq!(fault.exit(), Exit::Retry);
        let text = fault.to_string();
        assert!(text.contains("127.0.0.1:1 gave no answer for") && text.contains("Connection refused"), "{text}");
    }
}
