//! Source and sink in different places: two clusters, and the embedded log on either side.

use std::path::Path;

use millpond::log::{Log, Record as Entry, Settings, Start};
use millpond::{Flow, Job, Json, Kafka, Run, Stream, Timestamp, Untimed, partition_of};
use serde::{Deserialize, Serialize};

use crate::model::{self, Line};
use crate::producers::CLICKS;
use crate::reader::{self, read};
use crate::world::{World, same};
use crate::{broker, cluster::Cluster};

#[derive(Clone, Serialize, Deserialize)]
struct Click {
    page: String,
    at: i64,
    dwell: u64,
}

fn kept(clicks: Stream<'_, Click>) -> Stream<'_, Click> {
    clicks.filter(|click| click.dwell % 10 < 9)
}

/// Runs a job to the end of its input, which is its first end: what is appended later is another run's.
fn finish(name: &str, state: &Path, draw: impl Fn(&Flow<'_>) + Send + Sync + 'static) {
    let run = Run { until_end: true, ..Run::new(name, 1, state) };
    let ended = Job::new(name).run(run, move |flow: &Flow<'_>| draw(flow)).unwrap();
    assert!(ended.finished);
}

fn at(click: &Click) -> Timestamp {
    Timestamp::from_millis(click.at)
}

#[test]
fn input_and_output_may_lie_on_two_clusters() {
    let other = broker::other();
    let world = World::new("two-clusters", 3);
    world.feed(5_000);
    let (from, to) = (Kafka::brokers(&world.cluster.brokers), Kafka::brokers(&other.cluster().brokers));
    let (input, output) = (world.input(), world.topic("relayed"));
    let draw = move |flow: &Flow<'_>| {
        let clicks = kept(flow.source("clicks", from.read::<Click>(&input, Json).event_time(at)));
        clicks.sink("relayed", to.write(&output, Json).key(|click: &Click| click.page.clone()));
    };
    finish(&world.name, world.state(), draw);
    let seen = model::lines(&read(&other.cluster(), &world.topic("relayed")));
    same("relayed", &seen, &model::relay(&read(&world.cluster, &world.input())));
    assert_eq!(world.cluster.partitions(&world.topic("relayed")), None, "the input's cluster has no output");
}

#[test]
fn a_job_reads_the_embedded_log_and_writes_kafka() {
    let world = World::new("log-to-kafka", 1);
    let log = Log::at(world.state().join("log"));
    let input = feed(world.state(), 5_000);
    let (kafka, output) = (Kafka::brokers(&world.cluster.brokers), world.topic("relayed"));
    let draw = move |flow: &Flow<'_>| {
        let clicks = kept(flow.source("clicks", log.read::<Click>("clicks", Json).event_time(at)));
        clicks.sink("relayed", kafka.write(&output, Json).key(|click: &Click| click.page.clone()));
    };
    finish(&world.name, world.state(), draw);
    let seen = model::lines(&read(&world.cluster, &world.topic("relayed")));
    same("relayed", &seen, &model::relay(&input));
}

#[test]
fn a_job_reads_kafka_and_writes_the_embedded_log() {
    let world = World::new("kafka-to-log", 2);
    world.feed(5_000);
    let log = Log::at(world.state().join("log"));
    let (kafka, input) = (Kafka::brokers(&world.cluster.brokers), world.input());
    let written = log.clone();
    let draw = move |flow: &Flow<'_>| {
        let clicks = kept(flow.source("clicks", kafka.read::<Click>(&input, Json).event_time(at)));
        clicks.sink("relayed", written.write("relayed", Json).key(|click: &Click| click.page.clone()));
    };
    finish(&world.name, world.state(), draw);
    same(
        "relayed",
        &lines(&log, "relayed"),
        &model::relay(&read(&Cluster::at(&world.cluster.brokers), &world.input())),
    );
}

/// Clicks in the embedded log; the same as records, for the model.
fn feed(state: &Path, count: u64) -> Vec<Vec<reader::Record>> {
    let log = Log::open(state.join("log")).unwrap();
    let mut writer = log.writer("feeder").unwrap();
    log.create_topic("clicks", Settings::partitions(2)).unwrap();
    let claim = writer.claim("clicks").unwrap();
    let mut input = vec![Vec::new(); 2];
    for number in 0..count {
        let click = CLICKS.click(number);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        click.put_key(&mut key);
        click.put_value(&mut value);
        let partition = partition_of(&key, 2);
        writer.append(claim, partition, &Entry::new(Timestamp::from_millis(click.at), &value)).unwrap();
        let record = reader::Record {
            key: Some(key),
            value: Some(value),
            headers: Vec::new(),
            timestamp: click.at,
            offset: number,
        };
        input[partition as usize].push(record);
    }
    writer.commit(1, b"").unwrap();
    input
}

/// Records of a topic of the embedded log, sorted.
fn lines(log: &Log, topic: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for partition in 0..log.topic(topic).unwrap().settings.partition_count() {
        let mut reader = log.reader(topic, partition, Start::Earliest).unwrap();
        while let Some(block) = reader.read_block(1 << 20).unwrap() {
            let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap()).into_owned();
            lines.extend(
                block
                    .records()
                    .map(|record| (text(record.key), text(record.value), record.event_time.micros() / 1_000)),
            );
        }
    }
    lines.sort();
    lines
}
