//! Savepoints: taken of a job that runs and of one that does not, and gone on from by another version. What both wrote together is what one
//! undisturbed run writes.

mod job;
mod refusals;
mod world;

use std::fs;

use world::{ONCE, World, json, names};

#[test]
fn a_running_job_is_saved_without_noticing_and_another_version_goes_on_with_more_workers() {
    let world = World::new();
    let first = world.start(6_000);
    world.committed(8_000);
    let saved = world.path("saved");
    let said = world.well(&format!("savepoint {}", saved.display()));
    assert!(said.contains("start another version from it: `replay 2 --from-savepoint"), "{said}");
    // While that one goes on, merging and deleting its files.
    world.well(&World::from_saved(2, &world));
    drop(first);
    world.well("run --until-end");
    world.check(2, &ONCE);
    assert_eq!(world.sorted(1, "sums"), world::undisturbed().rows["sums"], "version 1 went on undisturbed");
    assert!(
        names(&saved).iter().all(|name| name == "savepoint.json" || name.ends_with(".base")),
        "{:?}",
        names(&saved)
    );

    // What the registry, `status` and `compare` make of it.
    let registry = json(&world.well("versions --json"));
    let second = &registry["versions"]["2"];
    assert!(second["from"].as_str().unwrap().starts_with("savepoint saved@1 "), "{second}");
    let since = second["standing"]["reached"]["outputs"]["sums"]["since"].as_i64().unwrap();
    assert!(since > 0, "{second}");
    assert!(json(&world.well("status --job-version 2 --json"))["savepoint"].as_str().unwrap().starts_with("saved@1 "));
    let compared = json(&world.well("compare 1 2 --json --only sums --only slides --only visits"));
    let sums = &compared["outputs"][0];
    assert_eq!(sums["since"].as_i64().unwrap(), since, "{sums}");
    assert!(sums["equal"].as_u64().unwrap() > 500 && sums["first"] == sums["second"], "{sums}");
    let said = world.call("retire 2");
    assert!(!said.err.contains("no other version has"), "{said:?}");
}

#[test]
fn a_job_that_does_not_run_is_saved_from_its_files_again_and_again() {
    let world = World::saved();
    for _ in 0..2 {
        world.well(&World::from_saved(2, &world));
        world.check(2, &ONCE);
    }
    // Of what is there still: the same again, in a folder of its own choosing, and its savepoint's savepoint.
    let said = json(&world.well("savepoint --json"));
    let dir = said["dir"].as_str().unwrap();
    assert!(dir.starts_with(world.path("savepoints").to_str().unwrap()), "{dir}");
    let listed = world.well("savepoints list");
    assert!(listed.contains(dir) && listed.contains("saved@1"), "{listed}");
    let one = format!("replay 3 --from-savepoint {dir} --until-end");
    world.well(&one);
    world.check(3, &ONCE);
    let page = world.well(&format!("savepoints show {dir}"));
    assert!(
        page.contains("saved@1  epoch ") && page.contains("minutes") && page.contains("key u64, partial ("),
        "{page}"
    );
    let page = json(&world.well(&format!("savepoints show {dir} --json")));
    let positions = page["sources"]["hits"]["partitions"].as_array().unwrap();
    assert!(positions.iter().all(|slot| slot["fingerprint"].as_str().is_some_and(|print| !print.is_empty())), "{page}");
    assert!(page["steps"]["minutes"]["shapes"].is_array() && page["reached"]["watermark"].is_i64(), "{page}");
    assert!(world.well(&format!("savepoints verify {dir}")).contains("sound"), "{page}");
}

#[test]
fn kill_9_at_every_step_of_taking_one_leaves_it_whole_or_not_there() {
    let world = World::new();
    let first = world.start(6_000);
    world.committed(9_000);
    let (saved, words) = (world.path("saved"), format!("savepoint {}", world.path("saved").display()));
    for step in ["savepoint begun:1", "savepoint state:1", "savepoint described:1"] {
        let killed = world.command(&words).env("MILLPOND_FAILPOINT", step).output().unwrap();
        assert_eq!(killed.status.code(), None, "{step}: {killed:?}");
        assert!(!saved.exists(), "{step}");
    }
    let killed = world.command(&words).env("MILLPOND_FAILPOINT", "savepoint renamed:1").output().unwrap();
    assert_eq!(killed.status.code(), None, "{killed:?}");
    world.well(&format!("savepoints verify {}", saved.display()));
    world.refused(&words, 4, "exists already");
    world.well(&format!("savepoint {}", world.path("other").display()));
    drop(first);
    assert!(!names(world.path("").as_path()).iter().any(|name| name.ends_with(".tmp")));
    world.well(&World::from_saved(2, &world));
    world.check(2, &ONCE);
}

#[test]
fn kill_9_at_every_step_of_the_start_from_one_is_gone_on_from() {
    let world = World::saved();
    // So slowly that there are some epochs.
    let words = format!("{} --throttle 12000", World::from_saved(2, &world));
    for step in ["imported:1", "genesis:1", "begun:1", "cut:1", "manifest:1", "committed:1", "released:1"] {
        let killed = world.command(&words).env("MILLPOND_FAILPOINT", step).output().unwrap();
        assert_eq!(killed.status.code(), None, "{step}: {killed:?}");
    }
    // Once the first commit is made it needs the savepoint no more, with the option or without.
    fs::remove_dir_all(world.path("saved")).unwrap();
    let killed = world.command(&words).env("MILLPOND_FAILPOINT", "committed:1").output().unwrap();
    assert_eq!(killed.status.code(), None, "{killed:?}");
    world.well("run --job-version 2 --until-end --workers 1");
    world.check(2, &ONCE);
    world.well(&words);
}

#[test]
fn an_aggregate_with_another_accumulator_goes_on_with_what_the_old_one_had_kept() {
    let world = World::saved();
    let words = World::from_saved(2, &world);
    let check = world.call_drawn("upgraded", &format!("{words} --check --json"));
    assert_eq!(check.code, Some(0), "{check:?}");
    let steps = json(&check.out)["savepoint"]["steps"].as_array().unwrap().clone();
    let verdict = |uid: &str| steps.iter().find(|step| step["uid"] == uid).unwrap()["verdict"].clone();
    assert_eq!([verdict("minutes"), verdict("hits/aggregate"), verdict("halves")], ["upgraded", "upgraded", "kept"]);
    let panics = world.call_drawn("panics", &words);
    assert_eq!(panics.code, Some(65), "{panics:?}");
    assert!(panics.err.contains("the state of \"minutes\" cannot be upgraded: it panicked: no idea how"), "{panics:?}");
    let said = world.call_drawn("upgraded", &words);
    assert_eq!(said.code, Some(0), "{said:?}");
    world.check(2, &ONCE);
    assert!(said.err.contains("minutes") && said.err.contains("upgraded"), "{said:?}");
}
