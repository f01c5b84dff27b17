//! Dead letters along the line: readers of them go over as those of any output do, none is lost, and the old version can be retired.

use millpond::log::Record;
use millpond::{Timestamp, live};

use crate::job::CLICKS;
use crate::world::{World, append};

const DEAD: &str = "dead-clicks";

/// Appends a record that is no click, of an event time in seconds.
fn bad(world: &World, at: i64) {
    let mut writer = world.log().writer("feeder").unwrap();
    let claim = writer.claim(CLICKS).unwrap();
    writer.append(claim, 0, &Record::new(Timestamp::from_secs(at), b"no click")).unwrap();
    let epoch = writer.last_commit().map_or(0, |commit| commit.epoch) + 1;
    writer.commit(epoch, b"").unwrap();
}

/// Letters that the line gives from the beginning.
fn letters(world: &World) -> usize {
    world.well(&format!("tail {DEAD}")).lines().count()
}

#[test]
fn readers_of_dead_letters_go_over_without_losing_one_and_the_old_version_is_retired() {
    let world = World::new(5_000);
    (1..=3).for_each(|at| bad(&world, at * 100));
    let start = |version: u32| world.start_with(version, &format!("--dead-letters {DEAD}"));
    let _first = start(1);
    world.caught_up(1);
    let _second = start(2);
    world.caught_up(2);
    assert_eq!(letters(&world), 3);
    let reached = |version: &str| {
        let registry = world.json("versions");
        registry["versions"][version]["standing"]["reached"]["outputs"]["dead"].clone()
    };
    for version in ["1", "2"] {
        let dead = reached(version);
        assert_eq!(dead["beyond"].as_i64(), Some(300_000_001), "one beyond the newest letter: {dead}");
        assert!(dead["complete"].as_i64() > Some(500_000_000), "as far as its source has come: {dead}");
    }
    world.well("promote 2 --uncompared --lead 1s");
    assert_eq!(letters(&world), 3, "those from before are still there");
    let mut reader = live(DEAD).on(&world.log()).unwrap();
    // Far enough beyond the switch for version 1 to pass it.
    append(&world.log(), 5_000..8_000);
    bad(&world, 900);
    world.when("the line went over", |registry| registry["waiting"].as_object().unwrap().is_empty());
    world.when("version 2 has the last letter", |registry| {
        registry["versions"]["2"]["standing"]["reached"]["outputs"]["dead"]["beyond"] == 900_000_001
    });
    assert_eq!(letters(&world), 4);
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let rows = reader.read(std::time::Duration::from_secs(30)).unwrap();
        assert!(!rows.is_empty(), "the reader saw {seen:?}");
        seen.extend(rows.iter().map(|row| (row.version, row.at.secs())));
    }
    seen.sort_unstable();
    assert_eq!(seen, [(1, 100), (1, 200), (1, 300), (2, 900)]);
    world.well("retire 1 --yes");
    assert_eq!(letters(&world), 4, "version 2 has them all");
}

#[test]
fn nobody_waits_for_a_version_that_stopped_with_letters_beyond_its_watermark() {
    let world = World::new(2_000);
    bad(&world, 10_000);
    let start = |version: u32| world.start_with(version, &format!("--dead-letters {DEAD}"));
    let first = start(1);
    world.caught_up(1);
    let _second = start(2);
    world.caught_up(2);
    first.signal("TERM");
    world.when("version 1 has stopped", |registry| registry["versions"]["1"]["standing"]["state"] == "stopped");
    world.well("promote 2 --uncompared");
    let registry = world.json("versions");
    let turn = &registry["line"][1]["outputs"][DEAD];
    let complete = &registry["versions"]["1"]["standing"]["reached"]["outputs"]["dead"]["complete"];
    assert!(turn["from"].as_i64() > complete.as_i64() && turn["ends"].is_array(), "{registry}");
    assert!(registry["waiting"].as_object().unwrap().is_empty(), "{registry}");
    assert!(!world.well("versions").contains("waits for version"), "{registry}");
}
