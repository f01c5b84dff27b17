//! The loops that one would write by hand, each as one thread that reads the topic to its end: what jobs are measured against.
//!
//! - `poll`: the crate's `BaseConsumer::poll`, `serde_json::from_slice`, a plain `BaseProducer::send`. What people write first.
//! - `batch`: the same, reading through the batch call.
//! - `best`: the best we know: batch call, `from_str` with borrowed text, a faster hash, a batch a partition to the producer with a short
//!   queue, exactly once by a transaction each second, committed through the bindings. It saves no state.
//! - `full`: the best, but each record is written as a job writes it: with a header that says who wrote it, and with its event time as its
//!   timestamp, which the batch call takes neither of. What it costs more than `best` is the price of the two.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::Write;
use std::time::{Duration, Instant};

use millpond_connectors::partition_of;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use crate::raw::{Event, Queue, Topic, commit};
use crate::windows::{MINUTE, Windows};

const PARTITIONS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// What a loop does with clicks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Views,
    Relay,
}

/// Where a loop reads and writes.
pub(crate) struct Topics {
    pub(crate) brokers: String,
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) late: String,
}

impl Topics {
    pub(crate) fn of(args: &[String]) -> Self {
        let [brokers, input, output, late] = args else { panic!("brokers, input, output and late, not {args:?}") };
        let [brokers, input, output, late] = [brokers, input, output, late].map(Clone::clone);
        Topics { brokers, input, output, late }
    }
}

#[derive(Serialize, Deserialize)]
struct Click {
    page: String,
    at: i64,
    dwell: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Seen<'a> {
    pub(crate) page: &'a str,
    pub(crate) at: i64,
    pub(crate) dwell: u64,
}

#[derive(Serialize)]
pub(crate) struct Views<'a> {
    pub(crate) page: &'a str,
    pub(crate) start: i64,
    pub(crate) views: u64,
    pub(crate) max_dwell: u64,
}

/// Reads the topic named from its beginning, so that partitions say where they end.
pub(crate) fn consumer(brokers: &str, topic: &str) -> BaseConsumer {
    let mut settings = rdkafka::ClientConfig::new();
    settings.set("bootstrap.servers", brokers).set("group.id", format!("loop-{topic}"));
    settings.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    // The default of a second makes any loop that keeps up sleep.
    settings
        .set("fetch.queue.backoff.ms", "5")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", "4096");
    let consumer: BaseConsumer = settings.create().expect("the settings are right");
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(topic, partition as i32, Offset::Beginning).expect("it is a position");
    }
    consumer.assign(&all).expect("it can be assigned");
    consumer
}

/// Runs a loop to the end of its input: its name, what it does, and its four topics.
pub(crate) fn be(args: &[String]) {
    let [name, work, topics @ ..] = args else { panic!("which loop, with what work?") };
    let topics = &Topics::of(topics);
    let work = if work == "relay" { Work::Relay } else { Work::Views };
    match &name[..] {
        "poll" => plain(work, topics, poll),
        "batch" => plain(work, topics, batch),
        "best" => best(work, topics, None),
        "full" => best(work, topics, Some(("millpond", format!("{}@1 0123456789abcdef 1", topics.output).into()))),
        _ => panic!("there is no loop {name}"),
    }
}

type Each<'e> = &'e mut dyn FnMut(Event<'_>);

fn poll(consumer: &BaseConsumer, each: Each<'_>) {
    match consumer.poll(Duration::from_millis(100)) {
        None => {}
        Some(Ok(message)) => each(Event::Record {
            partition: message.partition() as usize,
            key: message.key().unwrap_or_default(),
            value: message.payload().unwrap_or_default(),
        }),
        Some(Err(KafkaError::PartitionEOF(partition))) => each(Event::End(partition as usize)),
        Some(Err(error)) => panic!("the input cannot be read: {error}"),
    }
}

fn batch(consumer: &BaseConsumer, each: Each<'_>) {
    // The same queue each time; taking hold of it costs nothing beside a thousand records.
    Queue::of(consumer).take(each);
}

/// The loop of `poll` and `batch`: one record at a time, a plain producer, no commit.
fn plain(work: Work, topics: &Topics, next: fn(&BaseConsumer, Each<'_>)) {
    let consumer = consumer(&topics.brokers, &topics.input);
    let mut settings = rdkafka::ClientConfig::new();
    let producer: BaseProducer = settings.set("bootstrap.servers", &topics.brokers).create().expect("it is right");
    let send = |topic: &str, key: &[u8], value: &[u8]| {
        let partition = partition_of(key, PARTITIONS as u32) as i32;
        let mut record = BaseRecord::to(topic).partition(partition).key(key).payload(value);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
            producer.poll(Duration::from_millis(1));
            record = back;
        }
    };
    let mut windows = Windows::<RandomState>::new(PARTITIONS);
    let (mut line, mut ended, mut since) = (Vec::new(), 0, 0);
    while ended < PARTITIONS {
        next(&consumer, &mut |event| match event {
            Event::End(partition) => {
                windows.end(partition);
                ended += 1;
            }
            Event::Record { partition, key, value } => {
                since += 1;
                let click: Click = serde_json::from_slice(value).expect("it is a click");
                match work {
                    Work::Relay if click.dwell % 10 < 9 => {
                        encode(&mut line, &click);
                        send(&topics.output, click.page.as_bytes(), &line);
                    }
                    Work::Relay => {}
                    Work::Views if windows.count(partition, &click.page, click.at, click.dwell) => {}
                    Work::Views => send(&topics.late, key, value),
                }
            }
        });
        if since >= 1_000 || ended == PARTITIONS {
            since = 0;
            fire(&mut windows, |page, views| {
                encode(&mut line, views);
                send(&topics.output, page, &line);
            });
        }
    }
    producer.flush(PATIENCE).expect("everything is delivered");
}

fn encode(line: &mut Vec<u8>, value: &impl Serialize) {
    line.clear();
    serde_json::to_writer(line, value).expect("a vector takes everything");
}

fn fire<S: BuildHasher + Default>(windows: &mut Windows<S>, mut each: impl FnMut(&[u8], &Views<'_>)) {
    windows.fire(|page, start, views, max_dwell| each(page.as_bytes(), &Views { page, start, views, max_dwell }));
}

/// The best loop we know.
fn best(work: Work, topics: &Topics, header: Option<(&'static str, Vec<u8>)>) {
    let consumer = consumer(&topics.brokers, &topics.input);
    let mut settings = rdkafka::ClientConfig::new();
    settings.set("bootstrap.servers", &topics.brokers).set("transactional.id", &topics.output);
    settings.set("queue.buffering.max.messages", "20000").set("delivery.report.only.error", "true");
    settings.set("retry.backoff.ms", "5");
    let producer: BaseProducer = settings.create().expect("the settings are right");
    producer.init_transactions(PATIENCE).expect("nobody else has this id");
    producer.begin_transaction().expect("the first");
    let mut output = Topic::of(&producer, &topics.output, PARTITIONS, header.clone());
    let mut late = Topic::of(&producer, &topics.late, PARTITIONS, header);
    let mut windows = Windows::<foldhash::fast::FixedState>::new(PARTITIONS);
    let group = consumer.group_metadata().expect("it has a group");
    let (mut queue, mut ended, mut read, mut begun) = (Queue::of(&consumer), 0, [0_i64; PARTITIONS], Instant::now());
    let place = |key: &[u8]| partition_of(key, PARTITIONS as u32) as usize;
    while ended < PARTITIONS {
        queue.take(|event| match event {
            Event::End(partition) => {
                windows.end(partition);
                ended += 1;
            }
            Event::Record { partition, key, value } => {
                read[partition] += 1;
                let text = std::str::from_utf8(value).expect("it is text");
                let click: Seen<'_> = serde_json::from_str(text).expect("it is a click");
                match work {
                    Work::Relay if click.dwell % 10 < 9 => {
                        let page = click.page.as_bytes();
                        output.write(place(page), page, click.at, |out| put(out, &click));
                    }
                    Work::Relay => {}
                    Work::Views if windows.count(partition, click.page, click.at, click.dwell) => {}
                    Work::Views => late.write(place(key), key, click.at, |out| out.write_all(value).expect("a vector")),
                }
            }
        });
        fire(&mut windows, |page, views| {
            output.write(place(page), page, views.start + MINUTE - 1, |out| put(out, views));
        });
        if begun.elapsed() >= Duration::from_secs(1) || ended == PARTITIONS {
            output.send_all();
            late.send_all();
            let mut offsets = TopicPartitionList::new();
            for (partition, read) in read.iter().enumerate() {
                let next = Offset::Offset(*read);
                offsets.add_partition_offset(&topics.input, partition as i32, next).expect("it is a position");
            }
            producer.send_offsets_to_transaction(&offsets, &group, PATIENCE).expect("the offsets are taken");
            commit(&producer);
            begun = Instant::now();
            if ended < PARTITIONS {
                producer.begin_transaction().expect("the last one is committed");
            }
        }
    }
}

fn put(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("a vector takes everything");
}
