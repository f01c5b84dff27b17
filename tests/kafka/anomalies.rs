//! What nobody should do to a job's topics, group and disk, done: the job goes on where that is right, and otherwise stops with its exit
//! code and a sentence. It never guesses.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use millpond::{Exit, Timestamp};

use crate::model;
use crate::producers::{CLICKS, Writer};
use crate::reader::read;
use crate::world::{World, same};

/// A world whose job has committed something and was stopped in the middle of its input.
fn stopped(name: &str) -> World {
    let world = World::new(name, 2);
    world.feed(6_000);
    let mut job = world.run(&[]);
    job.until("late clicks committed", || !world.seen().late.is_empty());
    job.stop();
    job.succeed();
    world
}

/// Starting it must fail with this code, and the sentence must have these words.
#[track_caller]
fn refused(world: &World, exit: Exit, words: &[&str]) {
    let before = world.seen();
    let said = world.run(&["--until-end"]).fail(exit);
    words.iter().for_each(|word| assert!(said.contains(word), "{word:?} is not in\n{said}"));
    assert_eq!(world.seen(), before, "nothing was written");
}

#[test]
fn a_stranger_who_commits_positions_into_the_group_changes_nothing() {
    let world = stopped("stranger");
    for partition in 0..2 {
        world.cluster.commit(&world.group(), &world.input(), partition, 1, "mine");
    }
    world.finish(&[]);
    world.check();
}

#[test]
fn a_stranger_who_overwrites_the_commit_record_stops_the_next_start() {
    let world = stopped("vandal");
    for topic in ["views", "late"] {
        world.cluster.commit(&world.group(), &world.topic(topic), 0, 3, "mine");
    }
    refused(&world, Exit::Restore, &["somebody else", &world.group()]);
}

#[test]
fn an_input_that_was_made_anew_is_not_taken_for_the_old_one() {
    for (name, count) in [("shorter", 500), ("longer", 9_000)] {
        let world = stopped(name);
        world.cluster.delete(&world.input());
        world.cluster.create(&world.input(), 2);
        Writer::plain(&world.cluster, &world.input()).clicks(&CLICKS, 0..count);
        refused(&world, Exit::Restore, &[&world.input()]);
    }
}

#[test]
fn an_input_that_is_made_anew_while_the_job_runs_stops_it() {
    // While the job sleeps, the new log grows beyond where it stands, so that the offset alone tells nothing.
    for (name, count, asleep) in
        [("longer-asleep", 9_000, true), ("longer-live", 9_000, false), ("shorter-live", 500, false)]
    {
        let world = World::new(name, 2);
        world.feed(3_000);
        let mut job = world.relay_process(&[]);
        job.until("the first clicks relayed", || world.relayed_all());
        let before = world.relayed_count();
        if asleep {
            job.pause();
        }
        world.cluster.delete(&world.input());
        world.cluster.create(&world.input(), 2);
        world.writer().clicks(&CLICKS, 10_000..10_000 + count);
        if asleep {
            job.resume();
        }
        let said = job.fail(Exit::Restore);
        println!("{name}: {said}");
        assert!(said.contains(&world.input()), "{said}");
        assert_eq!(world.relayed_count(), before, "{name}: nothing of the other log is relayed: {said}");
    }
}

#[test]
fn an_input_that_is_gone_stops_the_next_start() {
    let world = stopped("gone");
    world.cluster.delete(&world.input());
    let said = world.run(&["--until-end"]).fail(Exit::Usage);
    assert!(said.contains(&world.input()), "{said}");
}

#[test]
fn a_deleted_group_with_a_checkpoint_on_disk_is_never_a_first_start() {
    let world = stopped("ungrouped");
    world.cluster.delete_group(&world.group());
    refused(&world, Exit::Restore, &["checkpoint"]);
}

#[test]
fn an_empty_disk_with_the_group_still_there_is_never_a_first_start() {
    let world = stopped("diskless");
    fs::remove_dir_all(world.state().join(format!("{}@1", world.name))).unwrap();
    refused(&world, Exit::Restore, &["checkpoint"]);
}

#[test]
fn output_without_group_and_disk_asks_for_a_person() {
    let world = stopped("amnesia");
    world.cluster.delete_group(&world.group());
    fs::remove_dir_all(world.state().join(format!("{}@1", world.name))).unwrap();
    refused(&world, Exit::New, &["--new"]);
    // The way out that the message names.
    world.finish(&["--new"]);
    assert!(world.seen().views.len() > 500, "everything was counted again");
}

#[test]
fn retention_that_passed_the_position_stops_the_next_start() {
    let world = stopped("retained");
    world.writer().clicks(&CLICKS, 6_000..7_000);
    let ends: Vec<_> = read(&world.cluster, &world.input()).iter().map(|partition| partition.len() as u64).collect();
    for (partition, end) in ends.iter().enumerate() {
        world.cluster.forget_before(&world.input(), partition as u32, *end);
    }
    refused(&world, Exit::Restore, &[&world.input()]);
}

#[test]
fn retention_that_passes_the_first_offset_before_anything_is_read_does_no_harm() {
    let world = World::new("expired", 2);
    world.feed(6_000);
    // The first start commits where it begins, and is killed before it reads.
    let mut job = world.page_views("run", &["--until-end"]);
    job.env("MILLPOND_FAILPOINT", "cut:1");
    let mut job = world.start(job);
    assert!(!job.wait().success());
    for partition in 0..2 {
        world.cluster.forget_before(&world.input(), partition, 100);
    }
    world.finish(&[]);
    world.check();
}

#[test]
fn retention_that_passes_the_first_offset_of_a_life_begun_anew_does_no_harm() {
    let world = stopped("reborn");
    // Begun again, and killed before it reads: its first epoch is not 0.
    let mut job = world.page_views("run", &["--until-end", "--new"]);
    job.env("MILLPOND_FAILPOINT", "begun:2");
    assert!(!world.start(job).wait().success());
    for partition in 0..2 {
        world.cluster.forget_before(&world.input(), partition, 100);
    }
    let before = world.seen();
    let again = model::page_views(&read(&world.cluster, &world.input()));
    world.finish(&[]);
    let mut want = [before.views, again.views].concat();
    want.sort();
    same("views of both lives", &world.seen().views, &want);
}

#[test]
fn retention_that_passes_the_first_offset_of_one_partition_moves_that_one_alone() {
    for from in ["latest", "time"] {
        let world = World::new("passed", 2);
        world.feed(2_000);
        let before: Vec<_> = read(&world.cluster, &world.input()).iter().map(Vec::len).collect();
        std::thread::sleep(Duration::from_millis(20));
        let from = if from == "time" { Timestamp::from(SystemTime::now()).to_string() } else { from.to_owned() };
        let mut job = world.relay("run", &["--from", &from]);
        // The first start commits where it begins, and is killed before it reads.
        job.env("MILLPOND_FAILPOINT", "begun:2");
        // Something to begin at, for a time.
        world.writer().clicks(&CLICKS, 2_000..2_100);
        let start: Vec<_> = match from.as_str() {
            "latest" => read(&world.cluster, &world.input()).iter().map(Vec::len).collect(),
            _ => before,
        };
        let mut job = world.start(job);
        assert!(!job.wait().success());
        world.writer().clicks(&CLICKS, 2_100..3_100);
        world.cluster.forget_before(&world.input(), 0, start[0] as u64 + 100);
        world.relay_process(&["--until-end", "--from", &from]).succeed();
        let mut input = read(&world.cluster, &world.input());
        assert_eq!(input[0][0].offset, start[0] as u64 + 100);
        input[1].drain(..start[1]);
        let relayed = read(&world.cluster, &world.topic("relayed"));
        same(&from, &model::lines(&relayed), &model::relay(&input));
    }
}

#[test]
fn a_status_looks_again_for_a_commit_whose_checkpoint_it_does_not_find() {
    let world = stopped("behind");
    let home = world.state().join(format!("{}@1", world.name)).join("checkpoints");
    let aside = tempfile::tempdir_in(world.state()).unwrap();
    let manifests = |from: &Path, to: &Path| {
        let files = fs::read_dir(from).unwrap().map(|file| file.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "manifest"));
        files.map(|path| fs::rename(&path, to.join(path.file_name().unwrap())).unwrap()).count()
    };
    assert!(manifests(&home, aside.path()) > 0);
    std::thread::scope(|scope| {
        let status = scope.spawn(|| world.page_views("status", &["--json"]).output().unwrap());
        // As if a commit that released this checkpoint and made another did not show yet.
        std::thread::sleep(Duration::from_secs(2));
        manifests(aside.path(), &home);
        let status = status.join().unwrap();
        assert!(status.status.success(), "{status:?}");
    });
}
