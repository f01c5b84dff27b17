//! Dead letters on Kafka: sent again to a mended build by several people at once, with kill -9 of tool and job, while partitions are added to
//! the input. Each record comes out once.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use millpond::engine::ledger::Doomed;
use millpond::engine::redrive::Request;
use millpond::{Flow, Job, Json, Kafka, Lines, Timestamp, Untimed};
use serde_json::{Value, json};

use crate::producers::Writer;
use crate::reader::read;
use crate::world::World;

/// The arguments with which this program is the job, the topics' prefix, and whether it is the mended build.
const ARGS: &str = "MILLPOND_TEST_ARGS";
const PREFIX: &str = "MILLPOND_TEST_PREFIX";
const MENDED: &str = "MILLPOND_TEST_MENDED";

fn draw(flow: &Flow<'_>) {
    let prefix = std::env::var(PREFIX).unwrap();
    let kafka = Kafka::brokers(std::env::var("MILLPOND_BROKERS").unwrap());
    let mended = std::env::var(MENDED).is_ok_and(|mended| mended == "yes");
    let numbers = kafka.read::<Vec<u64>>(&format!("{prefix}-clicks"), Json).messages().no_event_time();
    flow.dead_letters("dead", kafka.dead_letters(&format!("{prefix}-dead")));
    flow.source("numbers", numbers)
        .try_map(move |message| match message.value.as_deref() {
            Some([number]) if number % 10 != 7 || mended => Ok((*number, message.headers.len())),
            other => Err(format!("{other:?} is not usable")),
        })
        .sink("out", kafka.write(&format!("{prefix}-out"), Json));
}

/// Not a test of its own: what the test starts.
#[test]
fn be_the_job() {
    let Ok(args) = std::env::var(ARGS) else { return };
    let args = std::iter::once("letters").chain(args.split(' ')).map(Into::into);
    std::process::exit(Job::new("letters").main_with(args, draw).code().into());
}

fn command(world: &World, mended: &str, words: &str) -> Command {
    command_on(world, mended, &format!("{words} --state {}", world.state().display()))
}

/// With a state directory that `words` name.
fn command_on(world: &World, mended: &str, words: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = world.topic("job");
    command.args(["--exact", "letters::be_the_job", "--nocapture"]).env(MENDED, mended);
    command.env(ARGS, format!("{words} --job {name}")).env(PREFIX, world.topic("clicks").replace("-clicks", ""));
    command.env("MILLPOND_BROKERS", &world.cluster.brokers).env("MILLPOND_CHECKPOINT_INTERVAL", "50ms");
    command
}

fn well(world: &World, words: &str) -> String {
    let output = command(world, "yes", words).output().unwrap();
    assert!(output.status.success(), "{words}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn counts(world: &World) -> BTreeMap<String, u64> {
    let out = well(world, "dead-letters list --limit 0 --json");
    let value: Value = serde_json::from_str(&out[out.find('{').unwrap()..=out.rfind('}').unwrap()]).unwrap();
    serde_json::from_value(value["counts"].clone()).unwrap()
}

fn count(world: &World, topic: &str) -> usize {
    read(&world.cluster, &world.topic(topic)).iter().map(Vec::len).sum()
}

/// One number a record; every tenth is one that the first build refuses, or, further on, cannot decode.
fn feed(world: &World, numbers: std::ops::Range<u64>) {
    let writer = Writer::plain(&world.cluster, &world.input());
    let partitions = world.cluster.partitions(&world.input()).unwrap();
    for number in numbers {
        let value = json!([number]).to_string();
        writer.record((number / 3 % u64::from(partitions)) as u32, Some(b"key"), Some(value.as_bytes()));
    }
    writer.flush();
}

#[test]
fn a_record_that_another_job_wrote_keeps_its_own_time_and_headers_when_it_goes_again() {
    let world = World::new("letter-time", 1);
    let (writer, secs) = (Writer::plain(&world.cluster, &world.input()), 1_700_000_000);
    // As that job writes what a topic would refuse: the record's timestamp is the broker's, and it says its own.
    let others = [("millpond", "other@1 run 3"), ("millpond-time", "2001-01-01T00:00:00Z")];
    writer.whole(0, b"[7]", secs * 1_000, &others);
    writer.flush();
    let mut job = world.start(command(&world, "no", "run"));
    job.until("its letter written", || counts(&world)["open"] == 1);
    assert!(job.kill());
    let out = well(&world, "dead-letters list --json");
    let listed: Value = serde_json::from_str(&out[out.find('{').unwrap()..=out.rfind('}').unwrap()]).unwrap();
    assert_eq!(listed["letters"][0]["timestamp"], Timestamp::from_secs(secs).to_string());
    well(&world, "dead-letters redrive --all --yes");
    let requests = read(&world.cluster, &format!("{}-redrive", world.topic("job")));
    let request: Request = serde_json::from_slice(&requests[0][0].headers.last().unwrap().1).unwrap();
    assert_eq!(request.stamp, Timestamp::from_secs(secs), "that is its event time when it is read again");
    well(&world, "run --until-end");
    // Elsewhere it is known by what it said last which letters are of this life of the job.
    let elsewhere = || {
        let state = world.state().join("elsewhere").display().to_string();
        let words = format!("dead-letters list --json --state {state}");
        let out = command_on(&world, "yes", &words).output().unwrap();
        let out = String::from_utf8(out.stdout).unwrap();
        let listed: Value = serde_json::from_str(&out[out.find('{').unwrap()..=out.rfind('}').unwrap()]).unwrap();
        assert!(listed["note"].as_str().unwrap().contains("its state is not here"), "{listed}");
        ["open", "done"].map(|name| listed["counts"][name].as_u64().unwrap())
    };
    assert_eq!(elsewhere(), [0, 1]);
    let out = command(&world, "no", "run --new --until-end").output().unwrap();
    assert!(out.status.success(), "{out:?}");
    assert_eq!(
        (counts(&world)["open"], elsewhere()),
        (1, [1, 0]),
        "the record is a letter anew, and the other one is no more"
    );
    let written = read(&world.cluster, &world.topic("out"));
    let written: Vec<_> = written.iter().flatten().map(|record| record.value.clone().unwrap()).collect();
    assert_eq!(written, [b"[7,2]"], "with both of its own headers");
}

#[test]
fn what_a_mended_build_can_use_comes_out_once_whoever_asks_and_whatever_is_killed() {
    let world = World::new("letters", 2);
    feed(&world, 0..300);
    let mut job = world.start(command(&world, "no", "run"));
    job.until("all letters written", || count(&world, "dead") == 30);
    assert!(job.kill());
    for step in ["redrive fenced:1", "redrive decided:1"] {
        let mut tool = command(&world, "yes", "dead-letters redrive --all --yes");
        assert_eq!(tool.env("MILLPOND_FAILPOINT", step).output().unwrap().status.code(), None, "killed at {step}");
        assert_eq!(counts(&world)["open"], 30, "nothing was asked at {step}");
    }
    // Some are asked for before the job is there, the others while it runs.
    well(&world, "dead-letters redrive --partition 0 --yes");
    let asked = counts(&world)["asked"];
    assert!(asked > 5 && asked < 25, "{asked}");
    let mut job = world.start(command(&world, "yes", "run"));
    job.until("what was asked is done", || counts(&world)["done"] == asked);
    world.cluster.grow(&world.input(), 4);
    feed(&world, 300..400);
    let tool = || command(&world, "yes", "dead-letters redrive --all --yes").stdout(Stdio::null()).spawn().unwrap();
    for mut tool in [tool(), tool()] {
        assert!(tool.wait().unwrap().success());
    }
    assert!(job.kill());
    let mut job = world.start(command(&world, "yes", "run --workers 2"));
    job.until("everything written", || count(&world, "out") >= 400);
    job.until("all letters are done", || counts(&world)["done"] == 30);
    job.stop();
    job.succeed();
    let mut out: Vec<(u64, usize)> = read(&world.cluster, &world.topic("out"))
        .iter()
        .flatten()
        .map(|record| serde_json::from_slice(record.value.as_deref().unwrap()).unwrap())
        .collect();
    out.sort_unstable();
    assert_eq!(out, (0..400).map(|number| (number, 0)).collect::<Vec<_>>(), "each once, with no header of ours");
    let requests = format!("{}-redrive", world.topic("job"));
    let records = read(&world.cluster, &requests);
    let mut letters: Vec<String> = records[0]
        .iter()
        .map(|record| serde_json::from_slice::<Request>(&record.headers.last().unwrap().1).unwrap().letter)
        .collect();
    letters.sort_unstable();
    letters.dedup();
    assert_eq!((records.len(), records[0].len(), letters.len()), (1, 30, 30), "each letter was asked for once");
    // What `retire` does: it deletes what is the version's own, and nothing that others wrote.
    let ledger = Kafka::brokers(&world.cluster.brokers).ledger();
    let owner = format!("{}@1", world.topic("job"));
    let doomed = [Doomed { topic: requests.clone(), id: None }];
    ledger.delete(&owner, &doomed).unwrap();
    assert!(world.cluster.partitions(&requests).is_some(), "the job itself did not write it");
    ledger.delete(&format!("{owner}.redrive"), &doomed).unwrap();
    assert!(world.cluster.partitions(&requests).is_none());
}
