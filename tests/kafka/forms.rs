//! What records are made of and where reading begins: whole messages, changes, compacted topics, starts, times that a topic does not take.

use std::collections::BTreeMap;
use std::time::Duration;

use millpond::{Change, Exit, Flow, Job, Json, Kafka, Message, Run, Timestamp, Untimed};
use serde::{Deserialize, Serialize};

use crate::broker;
use crate::model;
use crate::producers::{CLICKS, Writer};
use crate::reader::{Record, read};
use crate::world::{World, nanos, same};

#[derive(Clone, Serialize, Deserialize)]
struct Click {
    page: String,
    at: i64,
    dwell: u64,
}

/// Runs a job to the end of its input.
fn finish(world: &World, draw: impl Fn(&Flow<'_>, &Kafka) + Send + Sync + 'static) {
    let run = Run { until_end: true, ..Run::new(&world.name, 1, world.state()) };
    let kafka = Kafka::brokers(&world.cluster.brokers);
    let ended = Job::new(&world.name).run(run, move |flow: &Flow<'_>| draw(flow, &kafka)).unwrap();
    assert!(ended.finished);
}

#[test]
fn keys_headers_timestamps_and_tombstones_reach_the_job() {
    let world = World::new("whole", 1);
    let writer = world.writer();
    writer.whole(0, b"1", 1_700_000_000_001, &[("trace", "a"), ("trace", "b")]);
    writer.record(0, Some(b"k"), None);
    writer.record(0, Some(b""), Some(b"3"));
    writer.flush();
    let (input, output) = (world.input(), world.topic("out"));
    finish(&world, move |flow, kafka| {
        let messages = flow.source("messages", kafka.read::<u64>(&input, Json).messages().no_event_time());
        messages.sink("out", kafka.write(&output, Json));
    });
    let seen: Vec<Message<u64>> = read(&world.cluster, &world.topic("out"))
        .iter()
        .flatten()
        .map(|record| serde_json::from_slice(record.value.as_deref().unwrap()).unwrap())
        .collect();
    let header = |value: &[u8]| ("trace".to_owned(), value.to_vec());
    let [first, second, third] = &seen[..] else { panic!("{seen:?}") };
    let want = Message {
        key: None,
        value: Some(1),
        headers: vec![header(b"a"), header(b"b")],
        timestamp: Timestamp::from_millis(1_700_000_000_001),
    };
    assert_eq!(first, &want);
    assert_eq!((second.key.as_deref(), second.value), (Some(&b"k"[..]), None), "a tombstone");
    assert_eq!((third.key.as_deref(), third.value), (Some(&b""[..]), Some(3)), "an empty key is a key");
}

#[test]
fn changes_are_the_newest_value_of_each_key_in_a_compacted_topic_and_deletes_are_tombstones() {
    let world = World::new("changes", 2);
    world.feed(3_000);
    let (input, output) = (world.input(), world.topic("counts"));
    finish(&world, move |flow, kafka| {
        let clicks = flow.source("clicks", kafka.read::<Click>(&input, Json).no_event_time());
        let counts = clicks.key_by(|click| click.page.clone()).count().changelog();
        // Who has been seen an even number of times is not in the table.
        let odd = counts.map(|change| match change {
            Change::Update { key, old, new } if new % 2 == 0 => Change::Delete { key, old },
            Change::Update { key, new, .. } => Change::Insert { key, new },
            Change::Insert { key, new } if new % 2 == 0 => Change::Delete { key, old: new },
            other => other,
        });
        odd.sink("counts", kafka.write(&output, Json).upsert());
    });
    let mut want: BTreeMap<String, u64> = BTreeMap::new();
    for record in read(&world.cluster, &world.input()).iter().flatten() {
        *want.entry(click(record).page).or_default() += 1;
    }
    want.retain(|_, count| *count % 2 == 1);
    let (mut seen, mut tombstones) = (BTreeMap::new(), 0);
    for record in read(&world.cluster, &world.topic("counts")).into_iter().flatten() {
        let key = String::from_utf8(record.key.unwrap()).unwrap();
        match record.value {
            Some(value) => seen.insert(key, serde_json::from_slice(&value).unwrap()),
            None => {
                tombstones += 1;
                seen.remove(&key)
            }
        };
    }
    assert!(tombstones > 100, "{tombstones}");
    let differ = seen.iter().filter(|(key, count)| want.get(*key) != Some(count)).take(3).collect::<Vec<_>>();
    assert!(differ.is_empty() && seen.len() == want.len(), "{} of {}; {differ:?}", seen.len(), want.len());
    assert_eq!(world.cluster.setting(&world.topic("counts"), "cleanup.policy"), "compact");
}

#[test]
fn an_input_that_is_compacted_has_gaps_and_they_are_no_loss() {
    let world = World::new("compacted", 1);
    world.cluster.delete(&world.input());
    let settings = [("cleanup.policy", "compact"), ("segment.ms", "100"), ("min.cleanable.dirty.ratio", "0.01")];
    world.cluster.create_with(&world.input(), 1, &settings);
    let writer = world.writer();
    let mut rest = 0;
    for round in 0.. {
        // The same pages again and again, each time in a new segment, until something is gone from between.
        writer.clicks(&CLICKS, 0..500);
        let input = read(&world.cluster, &world.input()).remove(0);
        rest = input.len();
        if input.last().unwrap().offset as usize > rest + 200 {
            break;
        }
        assert!(round < 200, "nothing is compacted");
        std::thread::sleep(Duration::from_millis(150));
    }
    assert!(rest > 0);
    let mut job = world.relay_process(&[]);
    job.until("everything relayed", || world.relayed_all());
    // Again, over the gaps, and on.
    assert!(job.kill());
    world.writer().clicks(&CLICKS, 500..700);
    let mut job = world.relay_process(&[]);
    job.until("the newest are relayed", || {
        let newest = |topic: &str| read(&world.cluster, topic).into_iter().flatten().map(|r| click(&r).at).max();
        newest(&world.topic("relayed")) >= Some(CLICKS.click(690).at)
    });
    job.stop();
    job.succeed();
    // What the job read may be compacted away by now: of each click that is left, there is one.
    let relayed = model::lines(&read(&world.cluster, &world.topic("relayed")));
    let left = model::relay(&read(&world.cluster, &world.input()));
    assert!(left.iter().all(|line| relayed.binary_search(line).is_ok()), "all that is left was relayed");
    let total = read(&world.cluster, &world.input())[0].last().unwrap().offset as usize + 1;
    assert!(relayed.len() < total, "what was gone was not made up");
}

fn click(record: &Record) -> Click {
    serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()
}

/// The part of the input that lies at or behind `from`, relayed.
fn relayed_from(world: &World, from: impl Fn(usize, &Record) -> bool) -> Vec<model::Line> {
    let mut input = read(&world.cluster, &world.input());
    for (partition, records) in input.iter_mut().enumerate() {
        records.retain(|record| from(partition, record));
    }
    model::relay(&input)
}

#[test]
fn a_first_start_begins_at_offsets_or_at_a_time_and_a_later_one_where_it_was() {
    for from in ["0:100,1:50", "time"] {
        let world = World::new("starts", 2);
        world.feed(2_000);
        std::thread::sleep(Duration::from_millis(50));
        let time = (nanos() / 1_000_000) as i64;
        std::thread::sleep(Duration::from_millis(50));
        world.writer().clicks(&CLICKS, 2_000..3_000);
        let text = if from == "time" { Timestamp::from_millis(time).to_string() } else { from.to_owned() };
        let wanted = || {
            relayed_from(&world, |partition, record| match from {
                "time" => record.timestamp >= time,
                _ => record.offset >= [100, 50][partition],
            })
        };
        let mut job = world.relay_process(&["--from", &text]);
        job.until("what is wanted relayed", || world.relayed(wanted().len()));
        job.stop();
        job.succeed();
        // It has begun: where to begin is not asked any more.
        world.writer().clicks(&CLICKS, 3_000..3_500);
        let want = wanted();
        assert!(want.len() > 400 && want.len() < 3_200, "{}", want.len());
        let mut job = world.relay_process(&["--from", "earliest"]);
        job.until("the rest relayed", || world.relayed(want.len()));
        job.stop();
        job.succeed();
        same("relayed", &model::lines(&read(&world.cluster, &world.topic("relayed"))), &want);
    }
}

#[test]
fn the_latest_is_what_it_was_when_the_job_was_started_first() {
    let world = World::new("latest", 2);
    world.feed(2_000);
    let ends: Vec<u64> = read(&world.cluster, &world.input()).iter().map(|records| records.len() as u64).collect();
    let mut job = world.relay_process(&["--from", "latest"]);
    job.until("it reads", || world.status("relay")["state"] == "running");
    assert!(job.kill());
    world.writer().clicks(&CLICKS, 2_000..2_500);
    let want = relayed_from(&world, |partition, record| record.offset >= ends[partition]);
    let mut job = world.relay_process(&["--from", "latest"]);
    job.until("what came while it was down relayed", || world.relayed(want.len()));
    job.stop();
    job.succeed();
    same("relayed", &model::lines(&read(&world.cluster, &world.topic("relayed"))), &want);
}

#[test]
fn positions_are_in_the_group_for_the_tools_of_others() {
    let world = World::new("positions", 3);
    world.feed(3_000);
    world.finish(&[]);
    let ends: Vec<_> = read(&world.cluster, &world.input()).iter().map(|records| Some(records.len() as u64)).collect();
    assert_eq!(world.cluster.committed(&world.group(), &world.input()), ends);
}

#[test]
fn status_says_how_far_each_partition_is_and_what_holds_it_up() {
    let world = World::new("standing", 2);
    world.feed(2_000);
    let stranger = Writer::transactional(&world.cluster, &world.input(), &world.topic("stranger"));
    let mut job = world.relay_process(&[]);
    job.until("the first clicks relayed", || world.relayed_all());
    stranger.begin();
    stranger.clicks(&CLICKS, 2_000..2_500);
    let input = read(&world.cluster, &world.input());
    job.until("it says that it waits", || {
        let status = world.status("relay");
        let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
        let waits = |at: usize| {
            let (partition, end) = (&partitions[at], input[at].last().unwrap().offset + 1);
            partition["standing"] == "waits for a transaction"
                && partition["in_open_transactions"].as_u64().is_some_and(|count| count > 100)
                && partition["next"] == end
                && partition["lag"] == 0
        };
        partitions.len() == 2 && waits(0) && waits(1)
    });
    stranger.commit();
    job.until("it does not wait any more", || {
        let status = world.status("relay");
        let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
        let newest = partitions.iter().map(|partition| partition["watermark"].as_str().unwrap_or_default()).max();
        partitions.iter().all(|partition| partition["standing"] == "at end" && partition["in_open_transactions"] == 0)
            && newest.is_some_and(|newest| newest.starts_with("2023-11-14T22:1"))
    });
    job.stop();
    job.succeed();
}

#[test]
fn a_time_that_a_topic_does_not_keep_is_in_a_header() {
    let world = World::new("stamped", 2);
    world.feed(1_000);
    world.cluster.create_with(&world.topic("relayed"), 1, &[("message.timestamp.type", "LogAppendTime")]);
    world.relay_process(&["--until-end"]).succeed();
    let relayed = read(&world.cluster, &world.topic("relayed"));
    assert_eq!(relayed[0].len(), model::relay(&read(&world.cluster, &world.input())).len());
    for record in &relayed[0] {
        let (_, time) = record.headers.iter().find(|(name, _)| name == "millpond-time").unwrap();
        let time = std::str::from_utf8(time).unwrap();
        assert_eq!(time, Timestamp::from_millis(click(record).at).to_string());
        assert!(record.timestamp > 1_750_000_000_000, "the broker's own time");
    }
}

#[test]
fn results_that_a_topic_will_soon_remove_are_told_of() {
    let world = World::new("retained", 1);
    world.feed(1_000);
    world.cluster.create_with(&world.topic("relayed"), 1, &[("retention.ms", "86400000")]);
    let mut job = world.relay_process(&["--until-end"]);
    job.succeed();
    assert_eq!(job.said().matches("set retention.ms of the topic").count(), 1, "{}", job.said());
}

#[test]
fn a_topic_that_must_not_be_made_is_asked_for() {
    let world = World::new("unmade", 1);
    world.feed(100);
    let said = world.relay_process(&["--until-end", "--no-create-topics"]).fail(Exit::Usage);
    assert!(said.contains(&format!("there is no topic {}", world.topic("relayed"))), "{said}");
    assert_eq!(world.cluster.partitions(&world.topic("relayed")), None);
}

#[test]
fn records_are_compressed_when_the_job_is_told_to() {
    for compression in ["none", "zstd", "gzip"] {
        let world = World::new("compressed", 1);
        world.feed(2_000);
        world.relay_process(&["--until-end", "--kafka", &format!("compression.type={compression}")]).succeed();
        world.check_relay();
        let plain = broker::shared().holds(&world.topic("relayed"), br#""dwell":"#);
        assert_eq!(plain, compression == "none", "{compression}: whether text lies on the broker's disk as it is");
    }
}

#[test]
fn who_reads_uncommitted_records_sees_what_was_aborted() {
    let world = World::new("uncommitted", 1);
    let stranger = Writer::transactional(&world.cluster, &world.input(), &world.topic("stranger"));
    stranger.begin();
    stranger.clicks(&CLICKS, 0..300);
    stranger.abort();
    world.writer().clicks(&CLICKS, 300..400);
    let (input, output) = (world.input(), world.topic("copies"));
    finish(&world, move |flow, kafka| {
        let clicks = kafka.read::<Click>(&input, Json).read_uncommitted().no_event_time();
        flow.source("clicks", clicks).sink("copies", kafka.write(&output, Json));
    });
    let copies = read(&world.cluster, &world.topic("copies")).iter().map(Vec::len).sum::<usize>();
    assert_eq!((copies, read(&world.cluster, &world.input())[0].len()), (400, 100));
}
