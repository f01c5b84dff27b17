//! Commands that are broken off or asked back, and what of a version is left for others: `compare` that is killed, the question of `retire`,
//! the line behind a version that stopped.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use millpond::engine::{Lines as _, registry};
use millpond::{Exit, Timestamp, live};
use serde_json::Value;

use crate::job::{MINUTE_MS, VIEWS, Views, model};
use crate::said::{Said, said};
use crate::seeded::Seeded;
use crate::world::{World, append, is_there};

/// Two versions that have finished.
fn finished(clicks: u64) -> World {
    let world = World::new(clicks);
    for version in [1, 2] {
        world.well(&format!("run --until-end --job-version {version}"));
    }
    world
}

#[test]
fn a_comparison_that_is_killed_at_any_time_leaves_nothing_behind_and_changes_nothing() {
    let world = finished(300_000);
    let scratch = tempfile::tempdir().unwrap();
    let words = format!("compare 1 2 --only {VIEWS} --memory-mib 1 --json --scratch {}", scratch.path().display());
    let compared = || world.json("versions")["versions"]["2"]["compared"].clone();
    let mut random = Seeded::new();
    let mut took = Duration::from_millis(500);
    let mut killed = 0;
    for round in 0.. {
        let began = Instant::now();
        let mut child = world.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if round < 12 {
            std::thread::sleep(took.mul_f64(random.below(1_000) as f64 / 1_000.0));
            // Unless it was quicker.
            child.kill().unwrap();
        }
        let ended = child.wait().unwrap().code();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left over, round {round}");
        match ended {
            None => killed += 1,
            Some(code) => {
                assert_eq!(code, i32::from(Exit::Differs.code()));
                took = began.elapsed();
            }
        }
        // Whether it was killed before or after it had told the registry.
        let kept = compared();
        assert!(kept.is_null() || kept["rows"].as_u64() > Some(10_000) && kept["passed"] == false, "{kept}");
        if round >= 12 {
            assert_eq!(ended, Some(Exit::Differs.code().into()));
            break;
        }
    }
    assert!(killed > 2, "{killed} were killed");
    let after: Value = serde_json::from_str(&world.call(&words).out).unwrap();
    let whole = world.call(&format!("compare 1 2 --only {VIEWS} --json"));
    assert_eq!(after["outputs"], serde_json::from_str::<Value>(&whole.out).unwrap()["outputs"], "as in memory");
}

/// The command on a terminal, where somebody types this.
fn typed(world: &World, words: &str, answer: &str) -> Said {
    let command = world.command(words);
    let whole = [command.get_program()].into_iter().chain(command.get_args());
    let whole: Vec<_> = whole.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &whole.join(" "), "/dev/null"]).env_remove("MILLPOND_BROKERS");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    said(&child.wait_with_output().unwrap())
}

#[test]
fn a_version_is_retired_only_when_somebody_types_yes() {
    let world = finished(2_000);
    world.well("promote 2 --uncompared");
    // The second is the end of what is typed.
    for answer in ["no\n", "", "\n", "y\n", "YES\n"] {
        let told = typed(&world, "retire 1", answer);
        assert_eq!(told.code, Some(Exit::Refused.code().into()), "{answer:?}: {told:?}");
        assert!(told.out.contains("this deletes for good version 1 of job page_views"), "{told:?}");
        assert!(told.out.contains("type yes to go on:") && told.out.contains("nobody said yes"), "{told:?}");
        assert!(is_there(&world, "page_views@1") && !world.views(1).is_empty(), "{answer:?}");
    }
    let told = typed(&world, "retire 1", "yes\n");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("retired version 1 of job page_views"), "{told:?}");
    assert!(!is_there(&world, "page_views@1") && world.log().topic(VIEWS).is_err());
}

#[test]
fn a_version_that_stops_while_somebody_decides_is_asked_again() {
    let world = World::new(5_000);
    let first = world.start(1);
    world.caught_up(1);
    let _second = world.start(2);
    world.caught_up(2);
    let mut promote = world.command("promote 2 --uncompared");
    let promote = promote.env("MILLPOND_FAILPOINT", "looked:1:10s").spawn().unwrap();
    // It has looked, and is held up before it decides.
    std::thread::sleep(Duration::from_secs(2));
    first.signal("TERM");
    world.when("version 1 has stopped", |registry| registry["versions"]["1"]["standing"]["state"] == "stopped");
    let told = said(&promote.wait_with_output().unwrap());
    assert_eq!(told.code, Some(0), "{told:?}");
    let registry = world.json("versions");
    assert_eq!(registry["live"], 2);
    assert!(registry["line"][1]["outputs"][VIEWS]["ends"].is_array(), "readers do not wait for it: {registry}");
    assert!(registry["waiting"].as_object().unwrap().is_empty(), "{registry}");
}

#[test]
fn a_version_elsewhere_that_was_not_heard_of_lately_is_not_promoted() {
    let world = finished(2_000);
    let elsewhere = |ago_secs: i64| {
        let ledger = world.log().ledger();
        let change = |entry: &registry::Entry| {
            let mut entry = entry.clone();
            let version = entry.versions.get_mut(&2).unwrap();
            version.home = "elsewhere:/state/page_views@2".to_owned();
            version.standing.state = registry::State::Running;
            let now = std::time::SystemTime::now();
            version.standing.at = Timestamp::from(now).micros() - ago_secs * 1_000_000;
            Ok(Some(entry))
        };
        registry::change(&*ledger, "page_views", change).unwrap();
    };
    elsewhere(40);
    let told = world.call("promote 2 --uncompared");
    assert_eq!(told.code, Some(Exit::Refused.code().into()), "{told:?}");
    assert!(told.err.contains("was heard of last at ") && told.err.contains("see whether it still runs"), "{told:?}");
    assert_eq!(world.json("versions")["live"], 1);
    elsewhere(0);
    world.well("promote 2 --uncompared");
    assert_eq!(world.json("versions")["live"], 2);
}

#[test]
fn the_line_behind_a_version_that_stopped_is_printed_whole_and_told_from_that_of_another_output() {
    let world = World::new(20_000);
    world.well("replay 1 --until-caught-up");
    append(&world.log(), 20_000..40_000);
    world.well("run --until-end --job-version 2 --from 0:5000,1:5000");
    let told = world.well("promote 2 --uncompared");
    assert!(told.contains("version 2 of job page_views is live"), "{told}");
    let from = world.json("versions")["line"][1]["outputs"][VIEWS]["from"].as_i64().unwrap();
    let mut want = BTreeMap::new();
    for (version, of) in [(1, i64::MIN..from), (2, from..i64::MAX)] {
        let rows = model(version, 40_000).into_iter();
        want.extend(rows.filter(|((start, _), _)| of.contains(&((start + MINUTE_MS) * 1_000 - 1))));
    }
    // Over the switch, and over looks that give no rows.
    let mut seen = BTreeMap::new();
    for row in world.well(&format!("tail {VIEWS}")).lines() {
        let Views { page, start, views, max_dwell } = serde_json::from_str(row).unwrap();
        assert_eq!(seen.insert((start, page), (views, max_dwell)), None, "each once");
    }
    assert!(seen == want && want.len() > 400, "{} of {}", seen.len(), want.len());
    let lost = world.well("retire 1 --dry-run");
    assert!(
        lost.contains("no other version has rows of page-views from before they began (version 2: 0:5000,1:5000)"),
        "{lost}"
    );
    let reader = live(VIEWS).on(&world.log()).unwrap();
    let wrong = live("late-clicks").from(reader.position()).on(&world.log()).unwrap_err();
    assert_eq!(wrong.exit(), Exit::Usage);
    assert!(wrong.to_string().contains("this is a position in page-views of job page_views"), "{wrong}");
}
