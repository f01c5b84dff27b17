//! The life of a job's versions on Kafka, under load: a second version from the beginning, compared, promoted while a reader follows the
//! line, taken back, promoted again, and the first retired; with kill -9 of tools and jobs.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millpond::{Kafka, live};
use serde::Deserialize;
use serde_json::Value;

use crate::clicks::Clicks;
use crate::producers::{CLICKS, Writer};
use crate::reader::read;
use crate::world::World;

const MINUTE: i64 = 60_000;
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Deserialize)]
struct Views {
    page: String,
    start: i64,
    views: u64,
}

fn call(world: &World, command: &str, args: &[&str]) -> Output {
    world.page_views(command, args).output().unwrap()
}

fn well(world: &World, command: &str, args: &[&str]) -> String {
    let output = call(world, command, args);
    assert!(output.status.success(), "{command} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn registry(world: &World) -> Value {
    serde_json::from_str(&well(world, "versions", &["--json"])).unwrap()
}

fn when(world: &World, what: &str, holds: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    loop {
        let output = call(world, "versions", &["--json"]);
        let now: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if holds(&now) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "never: {what}; {now}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn caught_up(world: &World, version: &str) {
    let epoch = Cell::new(None);
    when(world, "caught up, and what was read by then is committed", |registry| {
        let standing = &registry["versions"][version]["standing"];
        let near = standing["state"] == "running" && standing["lag"].as_u64().is_some_and(|lag| lag < 500);
        let now = standing["epoch"].as_u64();
        if near && epoch.get().is_none() {
            epoch.set(now);
        }
        near && now > epoch.get()
    });
}

fn passed(world: &World) {
    let views = world.topic("views");
    when(world, "the line went over", |registry| {
        registry["waiting"].as_object().is_some_and(|waiting| !waiting.contains_key(&views))
    });
}

/// Two people ask for the same at once, and both are told that it is so. Each writes under the other's fence.
fn at_once(world: &World, [command, version]: [&str; 2]) {
    let start = || world.page_views(command, &[version]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let said = [start(), start()].map(|child| child.wait_with_output().unwrap());
    assert!(said.iter().all(|said| said.status.success()), "{said:?}");
    let done = ["is live already", "nothing to go back from"];
    let finds = |said: &&Output| done.iter().any(|done| String::from_utf8_lossy(&said.stdout).contains(done));
    assert_eq!(said.iter().filter(finds).count(), 1, "one does it, the other finds it done: {said:?}");
}

/// Views per page and minute as a version counts them, of what is in the input.
fn model(world: &World, bots: bool) -> BTreeMap<(i64, String), u64> {
    #[derive(Deserialize)]
    struct Click {
        page: String,
        at: i64,
        dwell: u64,
    }
    let mut windows = BTreeMap::new();
    for partition in crate::reader::read(&world.cluster, &world.input()) {
        let mut newest = i64::MIN / 2;
        for record in partition {
            let Click { page, at, dwell } = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            newest = newest.max(at);
            let start = at - at.rem_euclid(MINUTE);
            if start + MINUTE > newest - 5_000 && (bots || dwell >= 500) {
                *windows.entry((start, page)).or_default() += 1;
            }
        }
    }
    windows
}

#[test]
fn a_second_version_is_compared_promoted_taken_back_promoted_and_the_first_retired_while_a_reader_follows() {
    let world = World::new("versions", 2);
    world.feed(20_000);
    let mut first = world.run(&[]);
    caught_up(&world, "1");
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(20_000)));
    let load = {
        let (writer, stop, count) = (world.writer(), Arc::clone(&stop), Arc::clone(&count));
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let from = count.load(Ordering::SeqCst);
                writer.clicks(&CLICKS, from..from + 100);
                count.store(from + 100, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(50));
            }
        })
    };
    let follower = {
        let (kafka, output, stop) = (Kafka::brokers(&world.cluster.brokers), world.topic("views"), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut reader = live(&output).on(&kafka).unwrap();
            let mut seen = Vec::new();
            for round in 0.. {
                let rows = reader.read(Duration::from_millis(500)).unwrap();
                let last = rows.is_empty() && stop.load(Ordering::SeqCst);
                let parsed = rows
                    .iter()
                    .map(|row| (row.version, serde_json::from_slice::<Views>(row.value.as_deref().unwrap()).unwrap()));
                seen.extend(parsed);
                if last {
                    return seen;
                }
                if round % 10 == 9 {
                    let position = reader.position().to_string();
                    reader = live(&output).from(position.parse().unwrap()).on(&kafka).unwrap();
                }
            }
            seen
        })
    };
    let mut second = world.run(&["--job-version", "2"]);
    caught_up(&world, "2");
    let views = world.topic("views");
    assert_eq!(call(&world, "promote", &["2"]).status.code(), Some(4), "nobody has compared them");
    assert_eq!(call(&world, "compare", &["1", "2", "--only", &views]).status.code(), Some(2));
    let expect = world.state().join("expect.json");
    let meant =
        format!(r#"{{"{views}":{{"differing":{{"least":1}},"only_in_first":{{}},"columns":["views","max_dwell"]}}}}"#);
    fs::write(&expect, meant).unwrap();
    let compare = ["1", "2", "--only", &views, "--expect", expect.to_str().unwrap()];
    well(&world, "compare", &compare);
    for (step, live) in [("registry fenced:1", 1), ("registry decided:1", 1), ("registry appended:1", 2)] {
        let killed = world.page_views("promote", &["2"]).env("MILLPOND_FAILPOINT", step).output().unwrap();
        assert_eq!(killed.status.code(), None, "{killed:?}");
        assert_eq!(registry(&world)["live"], live, "killed at {step}");
    }
    well(&world, "promote", &["2"]);
    assert!(first.kill() && second.kill());
    let mut first = world.run(&[]);
    let second = world.run(&["--job-version", "2"]);
    passed(&world);
    // Each is asked for twice at once, and done once.
    at_once(&world, ["rollback", "2"]);
    assert_eq!(registry(&world)["live"], 1);
    passed(&world);
    caught_up(&world, "2");
    well(&world, "compare", &compare);
    at_once(&world, ["promote", "2"]);
    assert_eq!(registry(&world)["live"], 2);
    passed(&world);
    // The reader goes over as well, before what it reads is deleted.
    std::thread::sleep(Duration::from_secs(2));
    for step in ["retiring:1", "retire outputs:1", "retire state:1"] {
        let killed = world.page_views("retire", &["1", "--yes"]).env("MILLPOND_FAILPOINT", step).output().unwrap();
        assert_eq!(killed.status.code(), None, "{killed:?}");
    }
    well(&world, "retire", &["1", "--yes"]);
    first.wait();
    assert_eq!(world.cluster.partitions(&views), None);
    assert!(world.cluster.groups().iter().all(|group| !group.contains(&format!("{}@1", world.name))));
    caught_up(&world, "2");
    stop.store(true, Ordering::SeqCst);
    load.join().unwrap();
    let seen: Vec<(u32, Views)> = follower.join().unwrap();
    drop(second);
    let models = BTreeMap::from([(1, model(&world, true)), (2, model(&world, false))]);
    let mut windows: BTreeMap<i64, BTreeMap<u32, BTreeMap<String, u64>>> = BTreeMap::new();
    for (version, Views { page, start, views }) in seen {
        let twice = windows.entry(start).or_default().entry(version).or_default().insert(page.clone(), views);
        assert_eq!(twice, None, "page {page} of the minute from {start} was seen twice");
    }
    assert!(windows.len() > 8, "the line went on: {} minutes", windows.len());
    let (begin, end) = (*windows.keys().next().unwrap(), *windows.keys().last().unwrap());
    for start in (begin..=end).step_by(MINUTE as usize) {
        let versions = windows.get(&start).unwrap_or_else(|| panic!("nothing was seen of the minute from {start}"));
        assert_eq!(versions.len(), 1, "the minute from {start} was seen of two versions");
        let (version, pages) = versions.iter().next().unwrap();
        let want = models[version].iter().filter(|((of, _), _)| *of == start);
        let want: BTreeMap<String, u64> = want.map(|((_, page), views)| (page.clone(), *views)).collect();
        assert_eq!(*pages, want, "the minute from {start}, of version {version}");
    }
}

/// Both versions at the end of their input, and the second one promoted.
fn finished_and_promoted(world: &World) {
    world.feed(3_000);
    for version in ["1", "2"] {
        world.finish(&["--job-version", version]);
    }
    well(world, "promote", &["2", "--uncompared"]);
}

#[test]
fn a_topic_that_somebody_makes_again_while_a_retirement_is_broken_off_is_let_alone() {
    let world = World::new("made-again", 1);
    finished_and_promoted(&world);
    let killed = world.page_views("retire", &["1", "--yes"]).env("MILLPOND_FAILPOINT", "retiring:1").output().unwrap();
    assert_eq!(killed.status.code(), None, "{killed:?}");
    let (views, late) = (world.topic("views"), world.topic("late"));
    world.cluster.delete(&late);
    world.cluster.create(&late, 3);
    well(&world, "retire", &["1", "--yes"]);
    assert_eq!((world.cluster.partitions(&views), world.cluster.partitions(&late)), (None, Some(3)));
}

/// The newest value of the job's key in the control topic, as any consumer reads it.
fn looked_up(world: &World) -> Value {
    let records = read(&world.cluster, "millpond-registry").into_iter().flatten();
    let mut own = records.filter(|record| record.key.as_deref() == Some(world.name.as_bytes()));
    serde_json::from_slice(own.next_back().unwrap().value.as_deref().unwrap()).unwrap()
}

#[test]
fn at_live_event_time_others_find_in_the_control_topic_who_is_live_and_since_when_and_read_no_more_than_they_need() {
    let world = World::new("looked-up", 2);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    // A click each 20 ms: two minutes from now on, so that the switch lies beyond the present however long this takes.
    let clicks = Clicks { start_ms: now, out_of_order_ms: 1_000, ..CLICKS };
    world.writer().clicks(&clicks, 0..6_000);
    let first = world.run(&[]);
    caught_up(&world, "1");
    let second = world.run(&["--job-version", "2"]);
    caught_up(&world, "2");
    let live = |entry: &Value| entry["line"].as_array().unwrap().last().unwrap()["version"].as_u64().unwrap();
    assert_eq!(live(&looked_up(&world)), 1);
    well(&world, "promote", &["2", "--uncompared"]);
    let (entry, views) = (looked_up(&world), world.topic("views"));
    assert_eq!((entry["format"].as_u64(), live(&entry)), (Some(1), 2));
    let turn = &entry["line"][1]["outputs"][&views];
    let from = turn["from"].as_i64().unwrap();
    assert!(from > now * 1_000, "the switch lies beyond the present: {turn}");
    let starts: Vec<u64> = turn["starts"].as_array().unwrap().iter().map(|start| start.as_u64().unwrap()).collect();
    let outputs = entry["versions"]["2"]["outputs"].as_array().unwrap();
    let topic = outputs.iter().find(|output| output["name"] == *views).unwrap()["at"].as_str().unwrap();
    let written = read(&world.cluster, topic);
    assert!(written.iter().flatten().count() > 100 && starts.iter().sum::<u64>() > 100, "{starts:?}");
    // Two minutes more, which lie behind the switch.
    world.writer().clicks(&clicks, 6_000..15_000);
    caught_up(&world, "2");
    passed(&world);
    let complete = |registry: &Value| {
        registry["versions"]["2"]["standing"]["reached"]["outputs"]["views"]["complete"].as_i64().unwrap_or(i64::MIN)
    };
    when(&world, "version 2 is past the switch", |registry| complete(registry) > from + 2 * MINUTE * 1_000);
    let complete = complete(&registry(&world));
    let whole = |start: i64| (start + MINUTE - 1) * 1_000 >= from && (start + MINUTE) * 1_000 <= complete;
    // The simpler way of docs/registry-format.md: from the starts on, and nothing of before the switch.
    let mut found = BTreeMap::new();
    for (records, start) in read(&world.cluster, topic).into_iter().zip(&starts) {
        let rest = records.iter().filter(|record| record.offset >= *start && record.timestamp * 1_000 >= from);
        for Views { page, start, views } in rest.map(|record| serde_json::from_str(&record.text()).unwrap()) {
            assert_eq!(found.insert((start, page), views), None, "each once");
        }
    }
    found.retain(|(start, _), _| whole(*start));
    let mut want = model(&world, false);
    want.retain(|(start, _), _| whole(*start));
    assert!(found == want && want.len() > 100, "{} of {}", found.len(), want.len());
    drop((first, second));
}

#[test]
fn a_replay_that_retention_will_overtake_is_warned_before_anything_is_deleted() {
    let world = World::new("overtaken", 1);
    world.cluster.delete(&world.input());
    world.cluster.create_with(&world.input(), 1, &[("retention.ms", "3000000")]);
    world.feed(20_000);
    // In an hour it has read a few thousand, and then all of this is older than fifty minutes.
    let mut replay = world.start(world.page_views("replay", &["2", "--throttle", "1"]));
    let begun = Instant::now();
    let said = loop {
        let said = replay.said();
        if said.contains("warning: retention nears the replay") {
            break said;
        }
        assert!(!replay.ended() && begun.elapsed() < PATIENCE, "no warning: {said}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(said.contains("takes offsets before 20000 within 3600s"), "{said}");
    replay.stop();
    replay.succeed();
}

#[test]
fn a_topic_that_others_write_too_outlives_the_version_that_is_retired() {
    let world = World::new("shared", 2);
    world.feed(3_000);
    for version in ["1", "2"] {
        well(&world, "run", &["--until-end", "--job-version", version]);
    }
    let [views, late] = ["views", "late"].map(|name| format!("{}.v2", world.topic(name)));
    let theirs = Writer::plain(&world.cluster, &views);
    theirs.record(1, Some(b"theirs"), Some(b"theirs"));
    theirs.flush();
    let said = call(&world, "retire", &["2", "--yes"]);
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.contains("it is let alone"), "{said:?}");
    assert_eq!((world.cluster.partitions(&views), world.cluster.partitions(&late)), (Some(2), None));
}
