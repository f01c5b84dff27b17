//! The topics a job writes to: made where they are missing, looked at for what they take and for what this job wrote before.

use std::time::Duration;

use futures_executor::block_on;
use millpond_engine::sink::Outlet;
use millpond_engine::{Env, Exit, Fault};
use millpond_state::Timestamp;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::Kafka;
use super::ask::{self, code, partitions};
use super::client::Context;
use super::producer::REQUEST;
use crate::topic::HEADER;

/// How far back the last record of a partition is looked for at first: behind it there may be control records only.
const BACK: i64 = 16;

/// One topic a job writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) sink: u32,
    pub(super) topic: String,
    keeps: Keeps,
    pub(super) partitions: u32,
    pub(super) takes: Takes,
}

/// What a topic keeps that is made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// What the broker's own settings say.
    Usual,
    /// The newest value of each key.
    Newest,
    /// Everything. Its records may be larger than others: they are those of another topic with more headers.
    Everything,
}

/// What a topic takes, by its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Takes {
    /// The largest batch, bytes.
    pub(super) largest: u64,
    /// Whether the broker's time replaces the record's.
    pub(super) appends_time: bool,
    /// How far a record's time may lie behind and before the broker's clock, milliseconds.
    pub(super) within: (i64, i64),
    /// After how long a record is removed, milliseconds; never when negative.
    pub(super) kept: i64,
}

impl Takes {
    /// A broker's own defaults.
    const DEFAULT: Takes = Takes { largest: 1_048_588, appends_time: false, within: (i64::MAX, 3_600_000), kept: -1 };

    /// The record's timestamp for an event time, in milliseconds, when the topic would take and keep it as it is.
    pub(super) fn timestamp(&self, at: Timestamp, now_ms: i64) -> Option<i64> {
        let ms = at.micros().div_euclid(1_000);
        let (behind, ahead) = self.within;
        let taken = ms > 0 && ms <= now_ms.saturating_add(ahead) && ms >= now_ms.saturating_sub(behind);
        (taken && !self.appends_time).then_some(ms)
    }
}

impl Output {
    pub(super) fn new(env: &Env, outlet: &Outlet) -> Self {
        let topic = env.output(&outlet.to);
        let keeps = if outlet.upsert { Keeps::Newest } else { Keeps::Usual };
        Output { sink: outlet.sink, topic, keeps, partitions: 0, takes: Takes::DEFAULT }
    }

    /// A topic of that very name, in which the newest value of each key counts.
    pub(super) fn compacted(topic: &str) -> Self {
        Output { sink: 0, topic: topic.to_owned(), keeps: Keeps::Newest, partitions: 0, takes: Takes::DEFAULT }
    }

    /// A topic of that very name, whose records stay.
    pub(super) fn kept_for_ever(topic: &str) -> Self {
        Output { keeps: Keeps::Everything, ..Output::compacted(topic) }
    }
}

impl Kafka {
    /// Learns what the topics take that are there, and of those that will be made, what the cluster gives them.
    pub(super) fn learn(&self, outputs: &mut [Output]) -> Result<(), Fault> {
        let admin = self.admin()?;
        for output in outputs {
            let topic = &output.topic;
            let found = self.ask(&format!("looking for topic {topic}"), || ask::topic(admin.inner(), topic))?;
            match found.partitions {
                Some(all) => {
                    output.takes = self.takes(&admin, topic)?;
                    output.partitions = u32::try_from(all.len()).unwrap_or(u32::MAX);
                }
                None => {
                    let broker = self.settings_of(&admin, &ResourceSpecifier::Broker(found.broker), "a broker")?;
                    output.takes.largest = largest(&broker, "message.max.bytes");
                }
            }
        }
        Ok(())
    }

    /// Makes the topics that are missing, with so many partitions, and learns what those take.
    pub(super) fn prepare(&self, outputs: &mut [Output], create: bool, count: u32) -> Result<(), Fault> {
        let admin = self.admin()?;
        for output in outputs.iter_mut().filter(|output| output.partitions == 0) {
            let topic = output.topic.clone();
            let looking = format!("looking for topic {topic}");
            if self.ask(&looking, || partitions(admin.inner(), &topic))?.is_none() {
                if !create {
                    return Err(Fault::new(
                        Exit::Usage,
                        format!(
                            "there is no topic {topic} at {} to write to; create it, or let the job create its topics",
                            self.brokers
                        ),
                    ));
                }
                let count = i32::try_from(count).unwrap_or(i32::MAX);
                let new = NewTopic::new(&topic, count, TopicReplication::Fixed(-1));
                let new = match output.keeps {
                    Keeps::Usual => new,
                    Keeps::Newest => new.set("cleanup.policy", "compact"),
                    Keeps::Everything => new
                        .set("cleanup.policy", "delete")
                        .set("retention.ms", "-1")
                        .set("retention.bytes", "-1")
                        .set("max.message.bytes", "16777216"),
                };
                self.ask(&format!("creating topic {topic}"), || {
                    let made = block_on(admin.create_topics([&new], &options())).map_err(code)?;
                    match made.into_iter().next() {
                        // Another instance may have been as quick.
                        Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
                        Some(Err((_, error))) => Err(error),
                        None => Err(RDKafkaErrorCode::Unknown),
                    }
                })?;
                tracing::info!(topic, partitions = count, "created a topic");
            }
            // A broker may take a moment to know what it has just made.
            let there = || partitions(admin.inner(), &topic)?.ok_or(RDKafkaErrorCode::LeaderNotAvailable);
            output.partitions = self.ask(&looking, there)?;
            output.takes = self.takes(&admin, &topic)?;
        }
        Ok(())
    }

    fn takes(&self, admin: &AdminClient<Context>, topic: &str) -> Result<Takes, Fault> {
        Ok(takes(&self.settings_of(admin, &ResourceSpecifier::Topic(topic), &format!("topic {topic}"))?))
    }

    fn settings_of(
        &self,
        admin: &AdminClient<Context>,
        of: &ResourceSpecifier<'_>,
        name: &str,
    ) -> Result<ConfigResource, Fault> {
        self.ask(&format!("reading the settings of {name}"), || {
            let found = block_on(admin.describe_configs([of], &options())).map_err(code)?;
            found.into_iter().next().unwrap_or(Err(RDKafkaErrorCode::Unknown))
        })
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST))
}

/// The largest record, by a setting of this name.
fn largest(found: &ConfigResource, name: &str) -> u64 {
    let text = found.get(name).and_then(|entry| entry.value.as_deref());
    text.and_then(|text| text.parse().ok()).filter(|bytes| *bytes > 0).unwrap_or(Takes::DEFAULT.largest)
}

fn takes(found: &ConfigResource) -> Takes {
    let text = |name: &str| found.get(name).and_then(|entry| entry.value.as_deref());
    let number = |name: &str, default: i64| text(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let default = Takes::DEFAULT;
    let (behind, ahead) = default.within;
    let deletes = text("cleanup.policy").is_none_or(|policy| policy.contains("delete"));
    Takes {
        largest: largest(found, "max.message.bytes"),
        appends_time: text("message.timestamp.type") == Some("LogAppendTime"),
        within: (number("message.timestamp.before.max.ms", behind), number("message.timestamp.after.max.ms", ahead)),
        kept: if deletes { number("retention.ms", default.kept) } else { -1 },
    }
}

/// Names a partition of `topic` whose last committed record was written by `job`, if there is one.
pub(super) fn written_by(
    kafka: &Kafka,
    consumer: &BaseConsumer<Context>,
    topic: &str,
    job: &str,
) -> Result<Option<u32>, Fault> {
    let mut found = None;
    each_mark(kafka, consumer, topic, |partition, mark| {
        found = found.or(is_of(job, mark).then_some(partition));
        found.is_none()
    })?;
    Ok(found)
}

/// Whether every partition of `topic` that has a record ends with one of `job`. Where several write one topic, hardly ever.
pub(super) fn written_by_none_but(
    kafka: &Kafka,
    consumer: &BaseConsumer<Context>,
    topic: &str,
    job: &str,
) -> Result<bool, Fault> {
    let mut all = true;
    each_mark(kafka, consumer, topic, |_, mark| {
        all &= is_of(job, mark);
        all
    })?;
    Ok(all)
}

fn is_of(job: &str, mark: &[u8]) -> bool {
    mark.strip_prefix(job.as_bytes()).is_some_and(|rest| rest.starts_with(b" "))
}

/// Shows the `millpond` header of the last committed record of each partition that has one, empty where the record has none, until `look` has
/// seen enough.
fn each_mark(
    kafka: &Kafka,
    consumer: &BaseConsumer<Context>,
    topic: &str,
    mut look: impl FnMut(u32, &[u8]) -> bool,
) -> Result<(), Fault> {
    let looking = format!("looking for earlier output in topic {topic}");
    let Some(count) = kafka.ask(&looking, || partitions(consumer.client(), topic))? else { return Ok(()) };
    for partition in 0..count {
        let number = i32::try_from(partition).unwrap_or(i32::MAX);
        let ends = kafka.ask(&looking, || consumer.fetch_watermarks(topic, number, REQUEST).map_err(code))?;
        let mut back = BACK;
        let mark = loop {
            let from = ends.1.saturating_sub(back).max(ends.0);
            let mark = if from < ends.1 { last(kafka, consumer, topic, number, from, &looking)? } else { None };
            if mark.is_some() || from == ends.0 {
                break mark;
            }
            back = back.saturating_mul(8);
        };
        if mark.is_some_and(|mark| !look(partition, &mark)) {
            break;
        }
    }
    Ok(())
}

/// The `millpond` header of the last record of a partition at or after `from`, empty when it has none; `None` when there is no record.
fn last(
    kafka: &Kafka,
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partition: i32,
    from: i64,
    looking: &str,
) -> Result<Option<Vec<u8>>, Fault> {
    kafka.ask(looking, || {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(from)).map_err(code)?;
        consumer.assign(&list).map_err(code)?;
        let mut found = None;
        let mut silent = Duration::ZERO;
        let step = Duration::from_millis(500);
        let end = loop {
            match consumer.poll(step) {
                Some(Ok(message)) => {
                    silent = Duration::ZERO;
                    let mark = message.headers().and_then(|headers| headers.iter().find(|one| one.key == HEADER));
                    found = Some(mark.and_then(|mark| mark.value).unwrap_or_default().to_owned());
                }
                Some(Err(KafkaError::PartitionEOF(_))) => break Ok(found),
                Some(Err(error)) => break Err(code(error)),
                None if silent >= 2 * REQUEST => break Err(RDKafkaErrorCode::OperationTimedOut),
                None => silent += step,
            }
        };
        consumer.unassign().map_err(code)?;
        end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_time_is_the_timestamp_where_the_broker_takes_and_keeps_it() {
        let now = 1_700_000_000_000;
        let ms = |ms: i64| Timestamp::from_millis(ms);
        let takes = Takes::DEFAULT;
        assert_eq!(takes.timestamp(ms(now - 5), now), Some(now - 5));
        assert_eq!(takes.timestamp(ms(1), now), Some(1));
        assert_eq!(takes.timestamp(ms(0), now), None, "0 would mean the broker's own time");
        assert_eq!(takes.timestamp(ms(-1), now), None, "before 1970");
        assert_eq!(takes.timestamp(ms(now + 3_600_000), now), Some(now + 3_600_000));
        assert_eq!(takes.timestamp(ms(now + 3_600_001), now), None, "too far ahead of the broker's clock");
        let narrow = Takes { within: (1_000, 1_000), ..Takes::DEFAULT };
        assert_eq!(narrow.timestamp(ms(now - 1_001), now), None, "too old for this topic");
        let stamped = Takes { appends_time: true, ..Takes::DEFAULT };
        assert_eq!(stamped.timestamp(ms(now), now), None, "the broker would write its own over it");
        assert_eq!(takes.timestamp(Timestamp::MAX, i64::MAX), Some(i64::MAX / 1_000));
    }
}
