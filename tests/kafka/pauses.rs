//! Partitions that are not read for a while, because too much is in flight or because they are ahead of others: they keep their place.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use millpond::{Flow, Job, Json, Kafka, Run, Timestamp, Tuning, Untimed};
use serde::{Deserialize, Serialize};

use crate::model;
use crate::reader::read;
use crate::world::{World, same};

#[derive(Clone, Serialize, Deserialize)]
struct Click {
    page: String,
    at: i64,
    dwell: u64,
}

fn at(click: &Click) -> Timestamp {
    Timestamp::from_millis(click.at)
}

fn run(world: &World, tuning: Tuning) -> Run {
    let interval = Duration::from_millis(50);
    Run { until_end: true, interval, tuning, ..Run::new(&world.name, 1, world.state()) }
}

#[test]
fn partitions_that_wait_for_room_keep_their_place() {
    const ROOM: i64 = 16 << 10;
    let world = World::new("room", 4);
    world.feed(8_000);
    let (kafka, input, output) = (Kafka::brokers(&world.cluster.brokers), world.input(), world.topic("relayed"));
    let draw = move |flow: &Flow<'_>| {
        let clicks = flow.source("clicks", kafka.read::<Click>(&input, Json).event_time(at));
        let clicks = clicks.filter(|click| click.dwell % 10 < 9);
        clicks.sink("relayed", kafka.write(&output, Json).key(|click: &Click| click.page.clone()));
    };
    let tuning = Tuning { batch: 16, budget_bytes: ROOM as u64, ..Tuning::default() };
    let running = Job::new(&world.name).start(run(&world, tuning), draw).unwrap();
    // All of it is fetched within a moment, and there is room for a fiftieth: reading begins and stops again with every commit.
    let mut peak = 0;
    while !running.ended() {
        peak = peak.max(running.status().in_flight_peak);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(running.join().unwrap().finished);
    println!("at most {peak} bytes in flight");
    assert!((ROOM / 2..ROOM * 2).contains(&peak), "{peak} bytes in flight, where {ROOM} may be");
    let relayed = read(&world.cluster, &world.topic("relayed"));
    same("relayed", &model::lines(&relayed), &model::relay(&read(&world.cluster, &world.input())));
    // It took many commits, in their order.
    for partition in relayed {
        let epochs: Vec<_> = partition.iter().map(|record| record.origin().2).collect();
        assert!(epochs.is_sorted() && epochs.last() > epochs.first(), "{epochs:?}");
    }
}

/// By how many seconds of event time a sparse partition runs ahead of a dense one when both are read from the beginning.
fn lead(name: &str, align: Duration) -> i64 {
    const HOUR_MS: i64 = 3_600_000;
    let world = World::new(name, 2);
    let writer = world.writer();
    let put = |partition: u32, count: i64| {
        for number in 0..count {
            let at = 1_700_000_000_000 + number * HOUR_MS / count;
            let click = format!(r#"{{"user":"u","page":"{partition}","at":{at},"dwell":1}}"#);
            writer.record(partition, None, Some(click.as_bytes()));
        }
    };
    put(0, 20_000);
    put(1, 400);
    writer.flush();
    let (kafka, input, output) = (Kafka::brokers(&world.cluster.brokers), world.input(), world.topic("relayed"));
    let most = Arc::new(AtomicI64::new(0));
    let seen = Arc::clone(&most);
    let draw = move |flow: &Flow<'_>| {
        let newest = [1_700_000_000_000; 2].map(AtomicI64::new);
        let seen = Arc::clone(&seen);
        let clicks = flow.source("clicks", kafka.read::<Click>(&input, Json).event_time(at));
        let clicks = clicks.inspect(move |_, click| {
            let partition = usize::from(click.page == "1");
            newest[partition].store(click.at, Ordering::Relaxed);
            let ahead = newest[1].load(Ordering::Relaxed) - newest[0].load(Ordering::Relaxed);
            seen.fetch_max(ahead / 1_000, Ordering::Relaxed);
        });
        clicks.sink("relayed", kafka.write(&output, Json));
    };
    let tuning = Tuning { batch: 16, align, ..Tuning::default() };
    assert!(Job::new(&world.name).run(run(&world, tuning), draw).unwrap().finished);
    same(
        "relayed",
        &model::lines(&read(&world.cluster, &world.topic("relayed"))),
        &model::relay(&read(&world.cluster, &world.input()))
            .into_iter()
            .map(|(_, value, at)| (String::new(), value, at))
            .collect::<Vec<_>>(),
    );
    most.load(Ordering::Relaxed)
}

#[test]
fn a_partition_that_is_ahead_in_a_replay_waits_for_the_others_and_keeps_its_place() {
    let (aligned, free) = (lead("aligned", Duration::from_secs(60)), lead("free", Duration::from_hours(24)));
    println!("ahead by {aligned} s, and by {free} s where nobody waits");
    // One batch is 16 records of nine seconds.
    assert!(aligned < 60 + 2 * 16 * 9, "ahead by {aligned} s");
    assert!(free > 1_800, "what is not aligned runs ahead: {free} s");
}
