//! A broker that dies, comes back, or is away for a while: it costs time only, and the status says so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::broker;
use crate::producers::CLICKS;
use crate::world::World;

#[test]
fn a_broker_that_is_killed_and_started_again_costs_time_only() {
    let broker = broker::other();
    let world = World::on(broker.cluster(), "crash", 2);
    world.feed(3_000);
    let mut job = world.relay("run", &[]);
    // Each transaction stays open for a while with its output in it, so that the broker dies in the middle of one.
    job.env("MILLPOND_FAILPOINT", "sent:*:1s");
    let mut job = world.start(job);
    job.until("some clicks relayed", || world.relayed(1_000));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (writer, over) = (world.writer(), &over);
        // All the time, so that there is output in every transaction.
        let feeding = scope.spawn(move || {
            for from in (3_000..).step_by(100).take_while(|_| !over.load(Ordering::Relaxed)) {
                writer.hand_over(&CLICKS, from..from + 100);
                std::thread::sleep(Duration::from_millis(100));
            }
            writer.flush();
        });
        for _ in 0..2 {
            let before = world.relayed_count();
            job.until("more relayed", || world.relayed(before + 100));
            broker.call("kill9").unwrap();
            broker.call("start").unwrap();
        }
        over.store(true, Ordering::Relaxed);
        feeding.join().unwrap();
    });
    job.until("everything relayed", || world.relayed_all());
    job.stop();
    job.succeed();
    world.check_relay();
}

#[test]
fn a_broker_that_is_away_for_twenty_seconds_stalls_the_job_and_the_status_says_so() {
    let broker = broker::other();
    let mut world = World::on(broker.cluster(), "away", 2);
    world.more = ["--kafka", "transaction.timeout.ms=6000"].map(str::to_owned).into();
    world.feed(3_000);
    let mut job = world.relay_process(&[]);
    job.until("some clicks relayed", || world.relayed(1_000));
    broker.call("stop").unwrap();
    let gone = Instant::now();
    job.until("the status saying what the job waits for", || {
        let status = world.status("relay");
        status["waiting"].as_str().is_some_and(|waiting| waiting.contains(&world.cluster.brokers))
    });
    std::thread::sleep(Duration::from_secs(20).saturating_sub(gone.elapsed()));
    assert!(!job.ended(), "it waits: {}", job.said());
    broker.call("start").unwrap();
    world.writer().clicks(&CLICKS, 3_000..6_000);
    job.until("everything relayed", || world.relayed_all());
    job.stop();
    job.succeed();
    world.check_relay();
}

#[test]
fn a_broker_that_hangs_costs_time_only() {
    let broker = broker::other();
    let mut world = World::on(broker.cluster(), "hangs", 2);
    world.more =
        ["--kafka", "transaction.timeout.ms=6000", "--kafka", "socket.timeout.ms=3000"].map(str::to_owned).into();
    world.feed(3_000);
    let mut job = world.relay_process(&[]);
    job.until("some clicks relayed", || world.relayed(1_000));
    let writer = world.writer();
    broker.call("pause").unwrap();
    std::thread::sleep(Duration::from_secs(8));
    broker.call("resume").unwrap();
    writer.clicks(&CLICKS, 3_000..6_000);
    job.until("everything relayed", || world.relayed_all());
    job.stop();
    job.succeed();
    world.check_relay();
}
