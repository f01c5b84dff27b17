//! More than one instance of a job at a time: started at once, or one that was stopped and comes back.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use millpond::engine::ledger::{Added, Own};
use millpond::{Exit, Kafka, Lines as _};

use crate::producers::CLICKS;
use crate::reader::read;
use crate::world::World;

#[test]
fn an_instance_that_was_stopped_for_long_comes_back_and_leaves() {
    let mut world = World::new("zombie", 2);
    world.more = ["--kafka", "transaction.timeout.ms=6000"].map(str::to_owned).into();
    world.feed(3_000);
    let mut first = world.relay_process(&[]);
    first.until("the first clicks relayed", || world.relayed(2_000));
    // SIGSTOP for longer than the broker waits for a transaction.
    first.pause();
    world.writer().clicks(&CLICKS, 3_000..6_000);
    let mut second = world.relay_process(&[]);
    second.until("the second instance in charge", || world.relayed(5_000));
    std::thread::sleep(Duration::from_secs(7));
    world.writer().clicks(&CLICKS, 6_000..7_000);
    first.resume();
    let said = first.fail(Exit::AlreadyRunning);
    assert!(said.contains("another instance"), "{said}");
    second.until("everything relayed", || world.relayed(6_200));
    second.until("the last commit", || world.relayed_all());
    second.stop();
    second.succeed();
    world.check_relay();
}

#[test]
fn an_instance_that_is_stopped_inside_a_transaction_comes_back_and_leaves() {
    let mut world = World::new("asleep", 2);
    world.more = ["--kafka", "transaction.timeout.ms=6000"].map(str::to_owned).into();
    world.feed(3_000);
    let mut first = world.relay("run", &[]);
    // The third transaction holds output that is not committed, for longer than the broker waits.
    first.env("MILLPOND_FAILPOINT", "sent:3:20s");
    let mut first = world.start(first);
    first.until("some clicks relayed", || world.relayed(1));
    world.writer().clicks(&CLICKS, 3_000..6_000);
    std::thread::sleep(Duration::from_secs(1));
    let mut second = world.relay_process(&[]);
    second.until("everything relayed", || world.relayed_all());
    let said = first.fail(Exit::AlreadyRunning);
    assert!(said.contains("another instance"), "{said}");
    second.stop();
    second.succeed();
    world.check_relay();
}

#[test]
fn an_instance_that_comes_back_to_files_that_were_cleared_away_is_not_told_to_restore_them() {
    let mut world = World::new("cleared", 2);
    world.more = ["--kafka", "transaction.timeout.ms=6000"].map(str::to_owned).into();
    world.feed(3_000);
    let files = || -> BTreeSet<String> {
        let dir = world.state().join(format!("{}@1", world.name)).join("checkpoints");
        let names = fs::read_dir(dir).into_iter().flatten().map(|file| file.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    };
    let counted = || world.status("page_views")["epoch"].as_u64().unwrap_or(0);
    let mut first = world.run(&[]);
    first.until("some epochs", || counted() >= 3);
    // Nothing is under way: what it does next is to write a checkpoint.
    std::thread::sleep(Duration::from_millis(500));
    first.pause();
    let its = files();
    let mut second = world.run(&[]);
    let mut next = 3_000;
    second.until("none of the first one's files are left", || {
        world.writer().clicks(&CLICKS, next..next + 500);
        next += 500;
        files().is_disjoint(&its)
    });
    first.resume();
    let said = first.fail(Exit::AlreadyRunning);
    assert!(said.contains("another instance has taken over") && !said.contains("restore"), "{said}");
    second.stop();
    second.succeed();
    world.finish(&[]);
    world.check();
}

#[test]
fn of_two_instances_that_start_at_once_one_does_the_work() {
    for round in 0..3 {
        let world = World::new("twins", 2);
        world.feed(10_000);
        let mut both = [world.run(&["--until-end"]), world.run(&["--until-end"])];
        let codes: Vec<_> = both.iter_mut().map(|job| job.wait().code()).collect();
        let known = |code: &Option<i32>| {
            [Exit::Finished, Exit::AlreadyRunning].map(|exit| exit.code().into()).contains(&code.unwrap_or(-1))
        };
        assert!(codes.iter().all(known), "round {round}: {codes:?}\n{}\n{}", both[0].said(), both[1].said());
        // Whoever leaves may have been told so before the other was done.
        world.finish(&[]);
        world.check();
    }
}

#[test]
fn of_two_instances_with_disks_of_their_own_that_start_at_once_one_does_the_work() {
    let world = World::new("strangers", 2);
    world.feed(10_000);
    let dir = tempfile::tempdir().unwrap();
    let other = World { cluster: world.cluster.clone(), name: world.name.clone(), dir, more: Vec::new() };
    let mut both = [world.run(&["--until-end"]), other.run(&["--until-end"])];
    let codes: Vec<_> = both.iter_mut().map(|job| job.wait().code()).collect();
    // Whoever finds the record of a checkpoint that is on the other's disk has nothing to go on from, and guesses nothing.
    let leaves = [Exit::AlreadyRunning, Exit::Restore].map(|exit| Some(i32::from(exit.code())));
    let done = codes.iter().filter(|code| **code == Some(0)).count();
    let left = codes.iter().filter(|code| leaves.contains(code)).count();
    assert_eq!((done, left), (1, 1), "{codes:?}\n{}\n{}", both[0].said(), both[1].said());
    world.check();
}

#[test]
fn of_many_tools_that_write_at_once_each_has_its_turn() {
    let world = World::new("tools", 1);
    let (topic, brokers) = (world.topic("notes"), &world.cluster.brokers);
    let own = Own { topic: &topic, writer: &topic, compacted: true };
    world.cluster.create(&topic, 1);
    std::thread::scope(|scope| {
        for tool in 0..6 {
            scope.spawn(move || {
                let ledger = Kafka::brokers(brokers).ledger();
                for note in 0..4 {
                    let key = Some(format!("{tool} {note}").into_bytes());
                    let added = vec![Added { value: key.clone(), key, headers: Vec::new() }];
                    ledger.append(own, &mut || Ok(added.clone())).unwrap();
                }
            });
        }
    });
    // Whose outcome was not known was written again: this decision does not look.
    let mut seen: Vec<_> = read(&world.cluster, &topic)[0].iter().map(|record| record.text()).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 24, "{seen:?}");
}
