//! Replays as jobs: one that stops when it has caught up, one that retention comes near to, and a comparison on a full disk.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use millpond::log::Settings;
use millpond::{Exit, Timestamp};
use serde_json::Value;

use crate::full::{Mounted, limited};
use crate::job::{CLICKS, MINUTE_MS, VIEWS, click, model};
use crate::said::said;
use crate::world::{World, append};

#[test]
fn a_replay_that_has_caught_up_keeps_its_windows_open_and_goes_on_from_there() {
    let world = World::new(60_000);
    let _first = world.start(1);
    world.caught_up(1);
    for clicks in [60_000, 80_000, 80_025] {
        let at = world.next();
        append(&world.log(), at..clicks);
        let told = world.well("replay 2 --until-caught-up");
        assert!(
            told.contains("has caught up with its input and stopped") && told.contains("open windows are kept"),
            "{told}"
        );
        let standing = &world.json("versions")["versions"]["2"]["standing"];
        assert_eq!((&standing["state"], &standing["lag"]), (&"stopped".into(), &0.into()), "{standing}");
        let watermark = standing["reached"]["watermark"].as_i64().unwrap();
        // What it wrote is what is closed by then, each minute once and whole.
        let mut seen: Vec<(i64, String, u64)> = world.views(2);
        seen.sort();
        let closed = |(start, _): &(i64, String)| (start + MINUTE_MS) * 1_000 <= watermark;
        let want = model(2, clicks).into_iter().filter(|(place, _)| closed(place));
        let want: Vec<_> = want.map(|((start, page), (views, _))| (start, page, views)).collect();
        assert!(seen == want, "{} minutes and pages of {}, with {clicks} clicks", seen.len(), want.len());
    }
    // One that read all of it in one go wrote the same.
    world.well("replay 3 --until-caught-up");
    let report = world.json("compare 3 2");
    assert_eq!((&report["passed"], &report["outputs"][0]["output"]), (&true.into(), &VIEWS.into()), "{report}");
    assert!(report["outputs"][0]["equal"].as_u64().unwrap() > 1_000, "{report}");
}

#[test]
fn a_replay_is_warned_before_retention_overtakes_it_and_refused_where_it_has() {
    let world = World::with(Settings::partitions(2).segment_bytes(16 << 10).keep_bytes(1 << 20), 10_000);
    let mut replay = world.command("replay 2 --throttle 400 --checkpoint-interval 50ms");
    let mut replay = replay.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    world.when("version 2 has read the first segments", |registry| {
        let positions = registry["versions"]["2"]["standing"]["positions"].as_array();
        positions.is_some_and(|places| places.len() == 2 && places.iter().all(|place| place[2].as_u64() > Some(800)))
    });
    // Retention takes the first segments, of some 230 clicks each; the replay stands a little behind them.
    let log = world.log();
    while log.offsets(CLICKS).unwrap()[0].start == 0 {
        let next = world.next();
        assert!(next < 200_000, "retention takes what lies more than a megabyte back");
        append(&log, next..next + 1_000);
        let mut feeder = log.writer("feeder").unwrap();
        feeder.retain(Timestamp::EPOCH).unwrap();
    }
    let mut lines = BufReader::new(replay.stderr.take().unwrap()).lines().map(Result::unwrap);
    let warned = lines.find(|line| line.contains("warning: retention nears the replay"));
    let warned = warned.expect("it warns while it runs");
    assert!(
        warned.contains("clicks partition") && warned.contains("keep the log longer, or replay faster"),
        "{warned}"
    );
    replay.kill().unwrap();
    replay.wait().unwrap();
    let told = world.call("replay 3 --until-caught-up");
    assert_eq!(told.code, Some(Exit::Refused.code().into()), "{told:?}");
    assert!(told.err.contains("retention has taken it") && told.err.contains("--from-oldest"), "{told:?}");
    assert!(world.well("replay 3 --check").contains("retention has taken what was before"));
    // From a time likewise: what is kept of it may not be all.
    let told = world.call("replay 3 --until-caught-up --from 1970-01-01T00:00:01Z");
    assert!(told.code == Some(Exit::Refused.code().into()) && told.err.contains("retention has taken it"), "{told:?}");
    world.well("replay 3 --until-caught-up --from-oldest");
    let from = &world.json("versions")["versions"]["3"]["from"];
    assert_eq!(from, "earliest, oldest kept", "compare goes by that");
    // A time that is kept is whole.
    let late = Timestamp::from_secs((world.next() - 2_000) as i64 * 120 / 1_000);
    world.well(&format!("replay 5 --until-caught-up --from {late}"));
    let first = world.views(5).into_iter().map(|(start, ..)| start).min().unwrap();
    // Clicks behind the first one of that time are up to three seconds older.
    let begins = late.millis() - 3_000 - MINUTE_MS..late.millis() + MINUTE_MS;
    assert!(begins.contains(&first), "{first} of {late}");
}

#[test]
fn a_replay_that_retention_will_overtake_is_warned_before_anything_is_deleted() {
    let topic = Settings::partitions(2).segment_bytes(16 << 10).keep_for(Duration::from_mins(50));
    let world = World::with(topic, 20_000);
    // In an hour it has read a few thousand, and then all but the newest segments are older than fifty minutes.
    let mut replay = world.command("replay 2 --throttle 1 --checkpoint-interval 50ms");
    let mut replay = replay.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(replay.stderr.take().unwrap()).lines().map(Result::unwrap);
    let warned = lines.find(|line| line.contains("warning: retention nears the replay"));
    let warned = warned.expect("it warns while it runs");
    assert!(warned.contains("takes offsets before ") && warned.contains(" within 3600s"), "{warned}");
    assert!(world.log().offsets(CLICKS).unwrap().iter().all(|kept| kept.start == 0), "nothing is gone");
    replay.kill().unwrap();
    replay.wait().unwrap();
}

#[test]
fn a_replay_that_is_killed_on_its_way_and_goes_on_with_other_workers_writes_each_row_once() {
    let world = World::new(40_000);
    for (workers, killed_behind) in [(4, 4_000), (2, 12_000), (3, 20_000)] {
        let words = format!("replay 2 --throttle 15000 --checkpoint-interval 20ms --workers {workers}");
        let mut replay = world.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        world.when("the replay is on its way", |registry| {
            let places = registry["versions"]["2"]["standing"]["positions"].as_array();
            places
                .is_some_and(|places| places.iter().filter_map(|place| place[2].as_u64()).sum::<u64>() > killed_behind)
        });
        replay.kill().unwrap();
        replay.wait().unwrap();
    }
    world.well("replay 2 --until-caught-up --workers 1");
    world.well("replay 3 --until-caught-up");
    let [mut seen, mut want] = [2, 3].map(|version| world.views(version));
    seen.sort();
    want.sort();
    assert!(seen == want && want.len() > 500, "{} rows of {}", seen.len(), want.len());
}

#[test]
fn a_replay_may_be_held_to_bytes_a_second() {
    let world = World::new(20_000);
    let bytes: usize = (0..20_000).map(|number| click(number).json().len()).sum();
    let began = Instant::now();
    world.well(&format!("replay 2 --until-caught-up --throttle {}B", bytes / 3));
    // The first moment's share is taken at once.
    assert!(began.elapsed() > Duration::from_millis(1_800), "{:?} for three seconds' worth", began.elapsed());
}

#[test]
fn a_replay_is_caught_up_where_a_partition_is_empty() {
    let world = World::with(Settings::partitions(3), 5_000);
    let told = world.well("replay 2 --until-caught-up");
    assert!(told.contains("5,000 records read"), "{told}");
    assert_eq!(world.json("versions")["versions"]["2"]["standing"]["lag"], 0);
}

#[test]
fn a_disk_that_is_full_during_compare_changes_nothing() {
    let world = World::new(300_000);
    for version in [1, 2] {
        world.well(&format!("run --until-end --job-version {version}"));
    }
    let compared = || world.json("versions")["versions"]["2"]["compared"].clone();
    let fails = |output: std::process::Output, scratch: &std::path::Path| {
        let told = said(&output);
        assert_eq!(told.code, Some(Exit::Retry.code().into()), "{told:?}");
        let scratch_named = told.err.contains(&scratch.display().to_string()) && told.err.contains("--scratch");
        assert!(scratch_named && told.err.contains("nothing was changed"), "{told:?}");
        assert!(told.err.contains("help: mend what the message names, then ask again"), "{told:?}");
        assert_eq!(compared(), Value::Null);
        assert_eq!(fs::read_dir(scratch).unwrap().count(), 0, "nothing is left over");
        told
    };
    let scratch = tempfile::tempdir().unwrap();
    let words = |scratch: &std::path::Path| {
        format!("compare 1 2 --only {VIEWS} --memory-mib 1 --scratch {}", scratch.display())
    };
    fails(limited(&world.command(&words(scratch.path())), 64).output().unwrap(), scratch.path());
    let Some(disk) = Mounted::of(64) else {
        println!("not root, or mounting is not allowed: only the limit on files was tried");
        return;
    };
    let told = fails(world.command(&words(disk.path())).output().unwrap(), disk.path());
    assert!(told.err.contains("No space left on device"), "{told:?}");
    disk.grow(16_384);
    let told = world.call(&words(disk.path()));
    assert_eq!(told.code, Some(Exit::Differs.code().into()), "with room it compares: {told:?}");
    assert!(Timestamp::from_micros(compared()["at"].as_i64().unwrap()) > Timestamp::EPOCH);
    assert_eq!(world.call(&format!("compare 1 2 --only {VIEWS}")).out, told.out, "as in memory");
}
