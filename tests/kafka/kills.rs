//! kill -9 at random moments and at every step of checkpoint, transaction and commit: committed output is that of a run without kills.

use std::time::{Duration, Instant};

use millpond::failpoint::STEPS;

use crate::seeded::Seeded;
use crate::world::World;

/// Clicks in the input: so many that a run takes a while.
const COUNT: u64 = 30_000;

#[test]
fn ten_kills_at_random_moments_lose_and_double_nothing() {
    let probe = World::new("kills-probe", 3);
    probe.feed(COUNT);
    let began = Instant::now();
    probe.finish(&["--workers", "2"]);
    let whole = began.elapsed().as_millis() as u64;
    probe.check();
    let mut random = Seeded::new();
    let mut kills = 0;
    while kills < 10 {
        let world = World::new("kills", 3);
        world.feed(COUNT);
        for _ in 0..5 {
            let workers = ["1", "2"][random.below(2) as usize];
            let mut job = world.run(&["--until-end", "--workers", workers]);
            std::thread::sleep(Duration::from_millis(random.below(whole)));
            if !job.kill() {
                break;
            }
            kills += 1;
        }
        world.finish(&["--workers", "2"]);
        world.check();
    }
}

#[test]
fn a_kill_at_any_step_loses_and_doubles_nothing() {
    // A first start has one more, and a transaction two.
    for step in STEPS.iter().chain(&["genesis", "begun", "sent"]) {
        for time in [1, 3] {
            let world = World::new("steps", 2);
            world.feed(COUNT / 3);
            let mut job = world.page_views("run", &["--until-end", "--checkpoint-interval", "5ms"]);
            job.env("MILLPOND_FAILPOINT", format!("{step}:{time}"));
            let mut job = world.start(job);
            let reached = !job.wait().success();
            assert!(reached || time > 1, "the step {step} is reached {time} times: {}", job.said());
            world.finish(&["--workers", "2"]);
            world.check();
        }
    }
}

#[test]
fn after_a_kill_inside_a_transaction_nobody_waits_until_the_broker_gives_up_on_it() {
    let world = World::new("promptly", 2);
    world.feed(COUNT / 10);
    // Between its record and its commit, with the minute that a transaction is given by default.
    let mut job = world.page_views("run", &["--until-end", "--checkpoint-interval", "5ms"]);
    job.env("MILLPOND_FAILPOINT", "staged:2");
    assert!(!world.start(job).wait().success());
    let began = Instant::now();
    // It may have been killed before it was registered.
    let mut status = world.page_views("status", &["--json", "--output", &world.topic("views")]);
    let said = status.args(["--late", &world.topic("late")]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
    assert_eq!(status["job"], world.name, "{said:?}");
    world.finish(&[]);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "status and a whole run took {took:?}");
    world.check();
}

#[test]
fn a_kill_while_another_start_recovers_loses_and_doubles_nothing() {
    let world = World::new("recovers", 2);
    world.feed(COUNT / 3);
    // Each start is killed at its first or second transaction, so that every one of them recovers from the one before.
    for (step, time) in [("sent", 3), ("begun", 1), ("staged", 1), ("committed", 1), ("sent", 1), ("manifest", 1)] {
        let mut job = world.page_views("run", &["--until-end", "--checkpoint-interval", "20ms"]);
        job.env("MILLPOND_FAILPOINT", format!("{step}:{time}"));
        world.start(job).wait();
    }
    world.finish(&[]);
    world.check();
}
