//! The whole walk, under load, with kill -9 at every step.

use std::fs;

use serde_json::Value;

use crate::job::{MINUTE_MS, VIEWS, model};
use crate::world::{Follower, Load, World, check_line, is_there};

/// Steps of a decision about the registry.
const DECIDING: [&str; 3] = ["registry fenced:1", "registry decided:1", "registry appended:1"];

/// Calls a tool that is killed at each of these steps, then once that is not. The registry is whole after each.
fn killed_at(world: &World, words: &str, steps: &[&str], holds: impl Fn(&str, &Value)) {
    for step in steps {
        let killed = world.command(words).env("MILLPOND_FAILPOINT", step).output().unwrap();
        assert_eq!(killed.status.code(), None, "{words} is killed at {step}: {killed:?}");
        holds(step, &world.json("versions"));
    }
    world.well(words);
}

/// Waits until the line has gone over its newest switch.
fn passed(world: &World) {
    world.when("the line went over", |registry| registry["waiting"].as_object().unwrap().is_empty());
}

#[test]
fn a_second_version_is_replayed_compared_promoted_taken_back_promoted_and_the_first_retired_under_load_and_kills() {
    let world = World::new(20_000);
    let first = world.start(1);
    world.caught_up(1);
    let load = Load::begin(&world, 20_000);
    let follower = Follower::begin(&world);
    let second = world.start(2);
    world.caught_up(2);
    second.kill();
    let second = world.start(2);
    world.caught_up(2);

    let told = world.call("promote 2");
    assert_eq!(told.code, Some(4), "{told:?}");
    assert!(told.err.contains("was not compared with version 1"), "{told:?}");
    let told = world.call("compare 1 2 --json");
    assert_eq!(told.code, Some(2), "nobody said that they may differ: {told:?}");
    let expect = world.dir.path().join("expect.json");
    fs::write(&expect, format!(r#"{{"{VIEWS}":{{"differing":{{"least":1}},"columns":["views"]}}}}"#)).unwrap();
    let compare = format!("compare 1 2 --expect {}", expect.display());
    let report = world.json(&compare);
    let output = &report["outputs"][0];
    let until = output["until"].as_i64().unwrap();
    let [before, after] = [1, 2].map(|version| {
        let mut windows = model(version, 200_000);
        windows.retain(|(start, _), _| (start + MINUTE_MS) * 1_000 - 1 < until);
        windows
    });
    let differing =
        before.iter().filter(|(place, views)| after.get(place).is_some_and(|other| other != *views)).count();
    assert_eq!(output["differing"].as_u64().unwrap() as usize, differing);
    assert_eq!(output["equal"].as_u64().unwrap() as usize, after.len() - differing);
    assert_eq!(output["only_in_first"].as_u64().unwrap() as usize, before.len() - after.len());

    let tail = world.well("tail page-views --version 2");
    assert!(tail.lines().count() >= after.len() / 2, "{}", tail.len());
    assert!(world.well("promote 2 --dry-run").contains("nothing is changed"));
    let live = |registry: &Value| registry["live"].as_u64().unwrap();
    assert_eq!(live(&world.json("versions")), 1);
    killed_at(&world, "promote 2 --lead 1m", &DECIDING, |step, registry| {
        assert_eq!(live(registry), if step == DECIDING[2] { 2 } else { 1 }, "killed at {step}: {registry}");
    });
    // Both die before the line has gone over, and are started again.
    first.kill();
    second.kill();
    let (first, second) = (world.start(1), world.start(2));
    passed(&world);
    assert!(world.well("promote 2").contains("is live already"), "asked again, it changes nothing");
    killed_at(&world, "rollback --lead 1m", &DECIDING[..2], |_, registry| assert_eq!(live(registry), 2));
    passed(&world);
    second.kill();
    let second = world.start(2);
    world.caught_up(2);
    world.well(&compare);
    killed_at(&world, "promote 2 --lead 1m", &DECIDING[..2], |_, registry| assert_eq!(live(registry), 1));
    passed(&world);

    let told = world.call("retire 2 --yes");
    assert!(told.code == Some(4) && told.err.contains("is live"), "{told:?}");
    let told = world.call("retire 1");
    assert!(told.code == Some(4) && told.err.contains("nobody said yes"), "{told:?}");
    // The reader must have gone over too, before what it reads is deleted.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let steps = [
        "registry fenced:1",
        "registry decided:1",
        "registry appended:1",
        "retiring:1",
        "retire stopped:1",
        "retire outputs:1",
        "retire state:1",
        "registry fenced:2",
        "registry decided:2",
    ];
    killed_at(&world, "retire 1 --yes", &steps, |_, registry| assert_eq!(live(registry), 2));
    let mut first = first;
    assert!(first.has_left(), "it was stopped");
    assert!(!is_there(&world, "page_views@1") && is_there(&world, "page_views@2"));
    assert!(world.log().topic(VIEWS).is_err());
    assert!(world.well("retire 1 --yes").contains("was retired before"), "asked again, nothing is left to do");
    let told = world.call("run --job-version 1 --until-end");
    assert!(told.code == Some(78) && told.err.contains("its number never comes back"), "{told:?}");
    let told = world.call("rollback");
    assert_eq!(told.code, Some(4), "{told:?}");

    world.caught_up(2);
    let clicks = load.end();
    std::thread::sleep(std::time::Duration::from_secs(1));
    check_line(&follower.end(), clicks);
    drop(second);
}
