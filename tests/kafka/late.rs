//! Requests that arrive late, answers that never do, and connections that are cut: what a transaction did not get from one of its own requests
//! must not come from one of another's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::producers::CLICKS;
use crate::proxy::{self, ADD_OFFSETS, ADD_PARTITIONS, END_TXN, PRODUCE, Proxy, Step, TXN_OFFSET_COMMIT};
use crate::runs::Process;
use crate::seeded::Seeded;
use crate::world::World;

/// A world whose job reaches the broker through the proxy.
fn behind(proxy: &Proxy, name: &str) -> World {
    let mut world = World::new(name, 2);
    world.more = vec!["--brokers".to_owned(), proxy.address()];
    world.feed(1_000);
    world
}

/// `relay`, with a moment after the output of each transaction was handed over, so that it is written before the transaction goes on.
fn relay(world: &World) -> Process {
    let mut job = world.relay("run", &[]);
    job.env("MILLPOND_FAILPOINT", "sent:*:100ms");
    world.start(job)
}

/// Does something while clicks come in all the time, so that there is output in every transaction.
fn while_fed(world: &World, act: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (writer, over) = (world.writer(), &over);
        let feeding = scope.spawn(move || {
            for from in (1_000..).step_by(20).take_while(|_| !over.load(Ordering::Relaxed)) {
                writer.clicks(&CLICKS, from..from + 20);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        over.store(true, Ordering::Relaxed);
        feeding.join().unwrap();
        acted.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Lets the job finish what is there, and looks at it.
#[track_caller]
fn settle(world: &World, mut job: Process) {
    job.until("everything relayed", || world.relayed_all());
    job.stop();
    job.succeed();
    world.check_relay();
}

#[test]
fn the_end_of_a_transaction_that_arrives_in_the_next_does_not_end_that_one() {
    let proxy = proxy::alone();
    let world = behind(&proxy, "late-end");
    let mut job = relay(&world);
    job.until("some clicks relayed", || world.relayed(100));
    while_fed(&world, || {
        proxy.next(&[Step::Hold(END_TXN), Step::Stall(ADD_OFFSETS)]);
        // The next transaction has its output, and not its record.
        proxy.stalled();
        proxy.deliver();
        job.kill();
    });
    proxy.calm();
    settle(&world, relay(&world));
}

#[test]
fn the_record_of_a_transaction_that_arrives_in_the_next_does_not_replace_that_ones() {
    let proxy = proxy::alone();
    let world = behind(&proxy, "late-record");
    let mut job = relay(&world);
    job.until("some clicks relayed", || world.relayed(100));
    while_fed(&world, || {
        let (end, next) = (Step::Stall(END_TXN), Step::Stall(ADD_PARTITIONS));
        proxy.next(&[Step::Hold(TXN_OFFSET_COMMIT), Step::Pass(END_TXN), end, next]);
        // The next transaction has all it needs.
        proxy.stalled();
        proxy.deliver();
        proxy.go_on();
        // And was committed.
        proxy.stalled();
        job.kill();
    });
    proxy.calm();
    settle(&world, relay(&world));
}

#[test]
fn records_of_a_transaction_that_arrive_in_the_next_are_not_written_there() {
    let proxy = proxy::alone();
    let world = behind(&proxy, "late-records");
    let mut job = relay(&world);
    job.until("some clicks relayed", || world.relayed(100));
    while_fed(&world, || {
        proxy.next(&[Step::Hold(PRODUCE), Step::Pass(END_TXN), Step::Stall(END_TXN)]);
        proxy.stalled();
        proxy.deliver();
        proxy.go_on();
    });
    settle(&world, job);
}

#[test]
fn what_a_killed_run_had_on_its_way_changes_nothing_in_the_next() {
    let proxy = proxy::alone();
    for (name, kind) in [("end", END_TXN), ("record", TXN_OFFSET_COMMIT), ("records", PRODUCE)] {
        let world = behind(&proxy, &format!("dead-{name}"));
        let mut job = relay(&world);
        job.until("some clicks relayed", || world.relayed(100));
        let mut next = None;
        while_fed(&world, || {
            proxy.next(&[Step::Hold(kind)]);
            proxy.held();
            job.kill();
            proxy.next(&[Step::Pass(TXN_OFFSET_COMMIT), Step::Stall(TXN_OFFSET_COMMIT)]);
            next = Some(relay(&world));
            proxy.stalled();
            proxy.deliver();
            proxy.go_on();
        });
        settle(&world, next.unwrap());
    }
}

#[test]
fn a_record_that_arrives_after_its_transaction_was_aborted_and_sent_again_changes_nothing() {
    let proxy = proxy::alone();
    let mut world = behind(&proxy, "late-aborted");
    world.more.extend(["--kafka", "transaction.timeout.ms=1000"].map(str::to_owned));
    let mut job = world.relay("run", &[]);
    // The broker gives up on the third transaction, and the job sends it again.
    job.env("MILLPOND_FAILPOINT", "staged:3:2500ms");
    let record = Step::Pass(TXN_OFFSET_COMMIT);
    proxy.next(&[record, record, Step::Hold(TXN_OFFSET_COMMIT), record, record, Step::Stall(END_TXN)]);
    let job = world.start(job);
    while_fed(&world, || {
        proxy.stalled();
        assert!(job.said().contains("Fatal transaction error"), "{}", job.said());
        proxy.deliver();
        proxy.go_on();
    });
    settle(&world, job);
}

#[test]
fn commits_whose_answers_never_come_are_made_once() {
    let proxy = proxy::alone();
    let mut world = behind(&proxy, "mute");
    world.more.extend(["--kafka", "socket.timeout.ms=1000"].map(str::to_owned));
    let mut job = relay(&world);
    job.until("some clicks relayed", || world.relayed(100));
    while_fed(&world, || {
        let pass = Step::Pass(END_TXN);
        proxy.next(&[
            Step::Swallow(END_TXN),
            pass,
            Step::Swallow(END_TXN),
            Step::Swallow(END_TXN),
            Step::Mute(END_TXN),
        ]);
        proxy.done();
        job.until("more relayed", {
            let before = world.relayed_count();
            let world = &world;
            move || world.relayed(before + 20)
        });
        // Nobody but the broker knows of this one.
        proxy.next(&[Step::Swallow(END_TXN), Step::Stall(END_TXN)]);
        proxy.stalled();
        job.kill();
    });
    proxy.calm();
    settle(&world, relay(&world));
}

#[test]
fn connections_that_are_cut_all_the_time_cost_time_only() {
    let proxy = proxy::alone();
    let (world, pages) = (behind(&proxy, "cut"), behind(&proxy, "cut-pages"));
    let (mut job, mut views) = (world.relay_process(&[]), pages.run(&[]));
    job.until("some clicks relayed", || world.relayed(100));
    let (began, mut random) = (Instant::now(), Seeded::new());
    while_fed(&world, || {
        while_fed(&pages, || {
            while began.elapsed() < Duration::from_secs(20) {
                proxy.cut(|open| random.below(open as u64) as usize);
                std::thread::sleep(Duration::from_millis(random.below(200)));
            }
        });
    });
    assert!(!job.ended() && !views.ended(), "{}\n{}", job.said(), views.said());
    println!("{} of clicks relayed while connections were cut", world.relayed_count());
    settle(&world, job);
    views.stop();
    views.succeed();
    pages.finish(&[]);
    pages.check();
}
