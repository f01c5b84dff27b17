//! What is asked for and cannot be: each is a clear error, and nothing is changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use millpond::engine::ledger::REGISTRY;
use millpond::engine::{Lines as _, registry};
use millpond::log::Record;
use millpond::{Exit, Timestamp};
use serde_json::Value;

use crate::world::{World, append};

/// What was decided, beside what versions say of themselves.
fn decided(world: &World) -> Option<String> {
    let said = world.call("versions --json");
    let mut value: Value = serde_json::from_str(&said.out).ok()?;
    value["serial"].take();
    value["waiting"].take();
    for version in value["versions"].as_object_mut()?.values_mut() {
        version["standing"].take();
        version["binary"].take();
    }
    Some(value.to_string())
}

fn told(world: &World, words: &str, exit: Exit, part: &str) {
    let before = decided(world);
    let said = world.call(words);
    assert_eq!(said.code, Some(exit.code().into()), "{words}: {said:?}");
    assert!(said.err.contains(part) && said.err.contains("help: "), "{words}: {said:?}");
    assert_eq!(decided(world), before, "{words} changed nothing");
}

#[test]
fn a_job_that_nobody_knows_is_told_from_a_version_that_nobody_knows() {
    let world = World::new(100);
    told(&world, "versions", Exit::Usage, "is not in the registry");
    world.well("run --until-end");
    for words in ["compare 1 7", "promote 7", "retire 7 --yes", "tail page-views --version 7"] {
        told(&world, words, Exit::Usage, "version 7 of job page_views is not known");
    }
    told(&world, "compare 1 1", Exit::Usage, "with itself");
    told(&world, "retire 1 --yes", Exit::Refused, "is live");
    told(&world, "rollback", Exit::Refused, "nothing to go back to");
    told(&world, "tail nonsense --version 1", Exit::Usage, "writes no output");
    told(&world, "tail nonsense", Exit::Usage, "writes no output");
    told(&world, "run --output elsewhere", Exit::Usage, "start it with the options it had (--output page-views)");
}

#[test]
fn names_and_places_that_no_restart_makes_right_are_refused_as_such() {
    let world = World::new(100);
    let refused = |words: &str, part: &str| {
        let said = world.call(words);
        let exit = if part.contains("sink") { Exit::FixJob } else { Exit::Usage };
        assert_eq!(said.code, Some(exit.code().into()), "{words}: {said:?}");
        assert!(said.err.contains(part), "{words}: {said:?}");
    };
    refused("run --output clicks", "sink \"views\" writes clicks, which source \"clicks\" reads");
    refused("run --output same --late same", "sinks \"views\" and \"late\" both write same");
    refused("run --output .hidden", "cannot name a topic");
    refused("run --from 0:1,9:3", "--from names offset 3 of partition 9, and no input has such a partition");
    refused("run --from 0:1000000", "cannot begin at 1000000");
    fs::write(world.dir.path().join("page_views@2"), "no directory").unwrap();
    refused("run --job-version 2", "cannot make the state directory");
    world.well("run --until-end");
    // Another job's output.
    refused("run --job other --until-end", "belongs to writer page_views@1");
}

#[test]
fn what_is_behind_or_does_not_overlap_or_has_ended_is_refused() {
    let world = World::new(60_000);
    let first = world.start(1);
    world.caught_up(1);
    let said = world.call("run --job-version 2 --from 0:15000,1:15000 --until-end");
    assert_eq!(said.code, Some(0), "{said:?}");
    told(&world, "promote 2 --uncompared", Exit::Refused, "the line would end");
    told(&world, "compare 1 2 --until 1970-01-01T00:00:01Z", Exit::Refused, "have no event time in common");
    told(&world, "compare 1 2 --only nothing", Exit::Usage, "no version writes it");
    told(&world, "compare 1 2 --expect /nowhere", Exit::Usage, "cannot read what is expected");
    // A version that has hardly begun.
    let mut third = world.command("run --job-version 3 --checkpoint-interval 1h").spawn().unwrap();
    world.when("version 3 is there", |registry| registry["versions"]["3"].is_object());
    told(&world, "compare 1 3", Exit::Refused, "have no event time in common");
    third.kill().unwrap();
    third.wait().unwrap();
    told(&world, "promote 3 --uncompared", Exit::Refused, "does not run");
    first.kill();
    assert_eq!(world.json("versions")["versions"]["1"]["standing"]["state"], "stopped");
}

#[test]
fn a_registry_of_a_newer_release_is_let_alone() {
    let world = World::new(100);
    world.well("run --until-end");
    let mut writer = world.log().writer(REGISTRY).unwrap();
    let claim = writer.claim(REGISTRY).unwrap();
    let newer = br#"{"format":2,"something":"else"}"#;
    writer.append(claim, 0, &Record::new(Timestamp::EPOCH, newer).key(b"page_views")).unwrap();
    writer.commit(99, b"").unwrap();
    drop(writer);
    for words in ["versions", "promote 1", "retire 1 --yes", "run --until-end", "tail page-views"] {
        let said = world.call(words);
        assert_eq!(said.code, Some(Exit::NewVersion.code().into()), "{words}: {said:?}");
        assert!(said.err.contains("a newer release wrote it"), "{said:?}");
    }
}

#[test]
fn two_people_who_promote_at_once_do_not_both_win() {
    let world = World::new(2_000);
    for version in 1..=3 {
        world.well(&format!("run --until-end --job-version {version}"));
    }
    world.well("compare 2 3");
    // A piece of what both have opens no gate, however equal it is.
    let told = world.call("compare 2 3 --since 1970-01-01T00:01:30Z --until 1970-01-01T00:02:30Z");
    assert!(told.code == Some(0) && told.out.contains("does not count for `promote`"), "{told:?}");
    let partial = world.json("versions")["versions"]["3"]["compared"]["partial"].clone();
    assert!(partial.is_string(), "{partial}");
    let expect = world.dir.path().join("expect.json");
    // And where there is no row at all nothing was compared.
    let words = "compare 2 3 --since 1970-01-01T00:01:30Z --until 1970-01-01T00:01:31Z";
    self::told(&world, words, Exit::Refused, "neither version 2 nor version 3 has a row there");
    let words = "compare 2 3 --since 1970-01-01T00:01:31Z --until 1970-01-01T00:01:30Z";
    self::told(&world, words, Exit::Usage, "is not before --until");
    let told = world.well("compare 2 3 --tolerance max_dwell=1 --tolerance nonsense=1");
    assert!(told.contains("note: --tolerance nonsense: no row that was looked into"), "{told}");
    fs::write(&expect, r#"{"page-views":{"only_in_first":{},"differing":{"least":1}}}"#).unwrap();
    for version in [2, 3] {
        world.well(&format!("compare 1 {version} --expect {}", expect.display()));
    }
    let both = [2, 3].map(|version| world.command(&format!("promote {version}")).spawn().unwrap());
    let codes = both.map(|child| child.wait_with_output().unwrap().status.code());
    let live = world.json("versions")["live"].as_u64().unwrap();
    let want = if live == 2 { [Some(0), Some(4)] } else { [Some(4), Some(0)] };
    assert_eq!(codes, want, "version {live} is live");
    let told = world.well("rollback");
    assert!(told.contains("version 1 has finished: readers get all that it wrote"), "{told}");
}

#[test]
fn outputs_without_rows_are_equal_and_open_no_gate() {
    let world = World::new(0);
    for version in 1..=2 {
        world.well(&format!("run --until-end --job-version {version}"));
    }
    let told = world.well("compare 1 2");
    assert!(
        told.contains("neither version has a row: equal") && told.contains("does not count for `promote`"),
        "{told}"
    );
    self::told(&world, "promote 2", Exit::Refused, "neither version has a row there");
}

#[test]
fn the_gates_of_promote_hold_from_outside_and_a_dry_run_changes_nothing() {
    let world = World::new(20_000);
    let _first = world.start(1);
    world.caught_up(1);
    let second = world.start(2);
    world.caught_up(2);
    let expect = world.dir.path().join("expect.json");
    fs::write(&expect, r#"{"page-views":{"only_in_first":{},"differing":{"least":1}}}"#).unwrap();
    world.well(&format!("compare 1 2 --expect {}", expect.display()));
    let compared = std::time::Instant::now();
    let before = decided(&world);
    for words in ["promote 2 --dry-run", "promote 2 --dry-run --lead 1m"] {
        let said = world.well(words);
        assert!(said.contains("nothing is changed") && said.contains("version 2 of job page_views is live"), "{said}");
        assert_eq!(decided(&world), before, "{words}");
    }
    second.kill();
    // One that reads slowly is behind.
    let next = world.next();
    append(&world.log(), next..next + 40_000);
    let mut slow = world.command("run --job-version 2 --throttle 300 --checkpoint-interval 50ms").spawn().unwrap();
    world.when("version 2 is behind", |registry| {
        let standing = &registry["versions"]["2"]["standing"];
        standing["state"] == "running" && standing["lag"].as_u64().is_some_and(|lag| lag > 2_000)
    });
    told(&world, "promote 2", Exit::Refused, "is behind: ");
    told(&world, "promote 2 --max-lag 100", Exit::Refused, "--max-lag is 100");
    while compared.elapsed().as_secs() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    told(&world, "promote 2 --max-lag 100000 --compared-within 1s", Exit::Refused, "too long ago");
    let live = |world: &World| world.json("versions")["live"].as_u64();
    assert_eq!(live(&world), Some(1));
    world.well("promote 2 --max-lag 100000");
    assert_eq!(live(&world), Some(2));
    let before = decided(&world);
    let said = world.well("rollback --dry-run");
    assert!(said.contains("nothing is changed") && said.contains("version 1 of job page_views is live"), "{said}");
    assert_eq!(decided(&world), before);
    world.well("rollback 2");
    assert_eq!(live(&world), Some(1));
    assert!(world.well("rollback 2").contains("version 2 of job page_views is not live"), "twice is one step");
    assert_eq!(live(&world), Some(1));
    slow.kill().unwrap();
    slow.wait().unwrap();
}

#[test]
fn a_version_whose_commits_wait_is_not_promoted() {
    let world = World::new(2_000);
    let _first = world.start(1);
    world.caught_up(1);
    let mut second = world.command("run --job-version 2 --checkpoint-interval 50ms");
    // As on a disk that hangs.
    let mut second = second.env("MILLPOND_FAILPOINT", "manifest:20:1h").spawn().unwrap();
    let standing = |registry: &Value| registry["versions"]["2"]["standing"].clone();
    let said = world.when("its commits wait", |registry| standing(registry)["waiting"].is_string());
    assert!(standing(&said)["waiting"].as_str().unwrap().contains("is not committed"), "{said}");
    told(&world, "promote 2 --uncompared", Exit::Refused, "has not committed since ");
    let status = world.json("status --job-version 2");
    assert!(status["waiting"].as_str().unwrap().contains("one is due every 2s"), "{status}");
    assert!(world.well("versions").contains("running, commits wait"));
    second.kill().unwrap();
    second.wait().unwrap();
    // The same version where nothing is in its way.
    let _second = world.start(2);
    world.caught_up(2);
    world.when("it commits", |registry| standing(registry)["waiting"].is_null());
    world.well("promote 2 --uncompared");
}

#[test]
fn builds_of_a_version_are_told_apart() {
    let world = World::new(100);
    let built = |version: &str| world.json("versions")["versions"][version].clone();
    for version in [1, 2] {
        world.well(&format!("run --until-end --job-version {version}"));
    }
    let [first, second] = ["1", "2"].map(|version| built(version)["binary"].as_str().unwrap().to_owned());
    assert!(first == second && first.len() > 9, "{first} {second}");
    // Another build: the same job with a byte more.
    let other = world.dir.path().join("other");
    let mut bytes = fs::read(world.command("versions").get_program()).unwrap();
    bytes.push(0);
    fs::write(&other, bytes).unwrap();
    fs::set_permissions(&other, PermissionsExt::from_mode(0o755)).unwrap();
    let run = std::process::Command::new(&other)
        .args(["run", "--until-end", "--job-version", "3", "--state"])
        .arg(world.dir.path())
        .output();
    assert!(run.unwrap().status.success());
    let third = built("3");
    assert_ne!(third["binary"], first.as_str());
    assert!(third["build"].as_str().unwrap().starts_with("millpond "), "{third}");
    assert_eq!(third["plan"], built("2")["plan"], "nothing else tells them apart");
}

#[test]
fn a_version_that_hangs_or_whose_state_is_gone_is_left_all_the_same() {
    let world = World::new(20_000);
    let mut versions: Vec<_> = (1..=4)
        .map(|version| {
            let running = world.start(version);
            // Whoever registers first is live.
            world.when("it is registered", |registry| registry["versions"][version.to_string()].is_object());
            Some(running)
        })
        .collect();
    (1..=4).for_each(|version| world.caught_up(version));
    world.well("promote 2 --uncompared");
    world.well("promote 3 --uncompared");
    told(&world, "rollback", Exit::Refused, "say which version is to be left, `rollback 3`");
    // The live one's state is lost, and the fourth one's too, which has nothing to do with it.
    for version in [3, 4] {
        versions[version - 1].take().unwrap().kill();
        fs::remove_dir_all(world.dir.path().join(format!("page_views@{version}"))).unwrap();
    }
    let said = world.well("rollback 3");
    assert!(said.contains("version 2 of job page_views is live"), "{said}");
    told(&world, "promote 3 --uncompared", Exit::Restore, "page_views@3");
    // Now the live one hangs.
    versions[1].as_ref().unwrap().signal("STOP");
    world.well("promote 1 --uncompared");
    assert_eq!(world.json("versions")["live"], 1);
    versions[1].as_ref().unwrap().signal("CONT");
}

#[test]
fn a_version_that_is_retired_where_nobody_can_stop_it_stops_by_itself() {
    let world = World::new(2_000);
    let _first = world.start(1);
    world.caught_up(1);
    let mut second = world.start(2);
    world.caught_up(2);
    let ledger = world.log().ledger();
    registry::change(&*ledger, "page_views", |entry| entry.retire(2).map(Some)).unwrap();
    let begun = std::time::Instant::now();
    while !second.has_left() {
        assert!(begun.elapsed().as_secs() < 60, "it goes on");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    world.well("retire 2 --yes");
    told(&world, "promote 2 --uncompared", Exit::Usage, "version 2 of job page_views was retired");
}
