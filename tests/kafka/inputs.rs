//! Inputs as other programs leave them: transactions that are open or aborted, partitions that appear, a thousand of them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::producers::{CLICKS, Writer};
use crate::reader::read;
use crate::world::World;

#[test]
fn only_what_others_have_committed_counts() {
    let world = World::new("others", 2);
    let stranger = Writer::transactional(&world.cluster, &world.input(), &world.topic("stranger"));
    for round in 0..10 {
        let from = round * 600;
        stranger.begin();
        stranger.clicks(&CLICKS, from..from + 300);
        stranger.commit();
        stranger.begin();
        stranger.clicks(&CLICKS, from..from + 300);
        stranger.abort();
        world.writer().clicks(&CLICKS, from + 300..from + 600);
    }
    world.finish(&[]);
    world.check();
}

#[test]
fn an_open_transaction_holds_the_job_up_until_it_ends_either_way() {
    let world = World::new("open", 2);
    world.feed(2_000);
    let stranger = Writer::transactional(&world.cluster, &world.input(), &world.topic("stranger"));
    let mut job = world.relay_process(&[]);
    job.until("the first clicks relayed", || world.relayed_all());
    for commits in [true, false, true] {
        let before = world.relayed_count();
        stranger.begin();
        stranger.clicks(&CLICKS, 2_000..2_500);
        // Behind an open transaction, so not to be seen yet either.
        world.writer().clicks(&CLICKS, 2_500..3_000);
        std::thread::sleep(Duration::from_millis(1_500));
        assert_eq!(world.relayed_count(), before, "nothing behind an open transaction is read");
        if commits {
            stranger.commit()
        } else {
            stranger.abort()
        }
        job.until("what was committed relayed", || world.relayed_all());
        assert!(world.relayed_count() > before);
    }
    job.stop();
    job.succeed();
    world.check_relay();
}

#[test]
fn an_input_that_ends_with_an_open_transaction_ends_before_it() {
    let world = World::new("hanging", 2);
    world.feed(2_000);
    let stranger = Writer::transactional(&world.cluster, &world.input(), &world.topic("stranger"));
    stranger.begin();
    stranger.clicks(&CLICKS, 2_000..2_100);
    world.finish(&[]);
    world.check();
    stranger.abort();
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let world = World::new("grown", 2);
    world.feed(2_000);
    let mut job = world.relay_process(&[]);
    job.until("the first clicks relayed", || world.relayed_all());
    world.cluster.grow(&world.input(), 5);
    world.writer().clicks(&CLICKS, 2_000..6_000);
    job.until("the new partitions relayed", || world.relayed_all());
    job.stop();
    job.succeed();
    // Their positions are part of the next checkpoints.
    world.writer().clicks(&CLICKS, 6_000..7_000);
    let mut job = world.relay_process(&[]);
    job.until("everything relayed", || world.relayed_all());
    job.stop();
    job.succeed();
    world.check_relay();
}

#[test]
fn a_thousand_partitions_are_read_to_their_ends() {
    let world = World::new("wide", 1_000);
    world.feed(20_000);
    world.finish(&["--workers", "2"]);
    world.check();
}

#[test]
fn checkpoints_that_each_take_longer_than_a_transaction_may_do_no_harm() {
    let mut world = World::new("slow", 2);
    world.more = ["--kafka", "transaction.timeout.ms=2000"].map(str::to_owned).into();
    let mut job = world.relay("run", &[]);
    // No transaction is open while a checkpoint is made durable: each would be given up, and the job fenced.
    job.env("MILLPOND_FAILPOINT", "manifest:*:3s");
    let mut job = world.start(job);
    let writer = world.writer();
    for round in 0..3 {
        writer.clicks(&CLICKS, round * 1_000..(round + 1) * 1_000);
        job.until("this round relayed", || world.relayed_all());
    }
    job.stop();
    job.succeed();
    world.check_relay();
    let output = read(&world.cluster, &world.topic("relayed"));
    let epochs: BTreeSet<_> = output.iter().flatten().map(|record| record.origin().2).collect();
    assert!(epochs.len() >= 3, "{epochs:?}");
    assert!(!job.said().contains("a transaction failed"), "{}", job.said());
}

#[test]
fn a_transaction_that_the_broker_gave_up_on_is_written_again() {
    let mut world = World::new("given-up", 2);
    world.more = ["--kafka", "transaction.timeout.ms=6000"].map(str::to_owned).into();
    world.feed(6_000);
    let mut job = world.page_views("run", &["--until-end"]);
    job.env("MILLPOND_FAILPOINT", "staged:2:9s");
    let mut job = world.start(job);
    job.succeed();
    world.check();
}
