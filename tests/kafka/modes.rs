//! What a kill may do to output that is not committed in one transaction: at least once it may be doubled, at most once lost.

use std::collections::BTreeMap;
use std::process::Command;

use millpond::{Delivery, Flow, Job, Json, Kafka, Kept, Timestamp, Untimed};
use serde::{Deserialize, Serialize};

use crate::model::{self, Line};
use crate::reader::read;
use crate::world::World;

/// The arguments with which this program is the job, its mode, and where its topics are.
const ARGS: &str = "MILLPOND_TEST_ARGS";
const MODE: &str = "MILLPOND_TEST_MODE";
const PREFIX: &str = "MILLPOND_TEST_PREFIX";

#[derive(Clone, Serialize, Deserialize)]
struct Click {
    page: String,
    at: i64,
    dwell: u64,
}

fn draw(flow: &Flow<'_>) {
    let prefix = std::env::var(PREFIX).unwrap();
    let kafka = Kafka::brokers(std::env::var("MILLPOND_BROKERS").unwrap());
    let clicks = kafka.read::<Click>(&format!("{prefix}-clicks"), Json).kept();
    let clicks = clicks.event_time(|click: &Kept<Click>| Timestamp::from_millis(click.at));
    let kept = flow.source("clicks", clicks).filter(|click| click.dwell % 10 < 9).map(Kept::into_value);
    kept.sink("relayed", kafka.write(&format!("{prefix}-relayed"), Json).key(|click: &Click| click.page.clone()));
}

/// Not a test of its own: what the tests start.
#[test]
fn be_the_job() {
    let Ok(args) = std::env::var(ARGS) else { return };
    let args = std::iter::once("modes").chain(args.split(' ')).map(Into::into);
    let mode = match std::env::var(MODE).unwrap().as_str() {
        "at_most_once" => Delivery::AtMostOnce,
        "at_least_once" => Delivery::AtLeastOnce,
        mode => panic!("there is no mode {mode}"),
    };
    std::process::exit(Job::new("modes").delivery(mode).main_with(args, draw).code().into());
}

fn run(world: &World, mode: Delivery) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let state = world.state().display();
    command.args(["--exact", "modes::be_the_job", "--nocapture"]).env(MODE, mode.name()).env(PREFIX, &world.name);
    command.env(ARGS, format!("run --until-end --job {} --state {state}", world.name));
    command.env("MILLPOND_BROKERS", &world.cluster.brokers).env("MILLPOND_CHECKPOINT_INTERVAL", "5ms");
    command
}

/// Kills the job at a step, finishes it, and counts what is missing and what is too much; nothing when it never came to that step.
fn lost_and_doubled(mode: Delivery, step: &str) -> Option<(u64, u64)> {
    let world = World::new(mode.name(), 2);
    world.feed(6_000);
    let mut killed = run(&world, mode);
    killed.env("MILLPOND_FAILPOINT", step);
    let reached = !world.start(killed).wait().success();
    world.start(run(&world, mode)).succeed();
    let counts = |lines: Vec<Line>| {
        lines.into_iter().fold(BTreeMap::<_, u64>::new(), |mut counts, line| {
            *counts.entry(line).or_default() += 1;
            counts
        })
    };
    let want = counts(model::relay(&read(&world.cluster, &world.input())));
    let got = counts(model::lines(&read(&world.cluster, &world.topic("relayed"))));
    assert!(got.keys().all(|line| want.contains_key(line)), "nothing comes out that nobody wrote");
    let more = |than: &BTreeMap<Line, u64>, of: &BTreeMap<Line, u64>| {
        of.iter().map(|(line, count)| count.saturating_sub(than.get(line).copied().unwrap_or(0))).sum()
    };
    reached.then(|| (more(&got, &want), more(&want, &got)))
}

#[test]
fn at_least_once_doubles_what_was_there_before_its_commit_and_loses_nothing() {
    let doubles = |step: String| {
        let (lost, doubled) = lost_and_doubled(Delivery::AtLeastOnce, &step)?;
        assert_eq!(lost, 0, "killed at {step}");
        Some(doubled > 0)
    };
    doubles("committed:2".to_owned()).unwrap();
    // Not every epoch has output.
    assert!(
        (1..).map_while(|time| doubles(format!("staged:{time}"))).any(|doubled| doubled),
        "a kill before a commit doubles"
    );
}

#[test]
fn at_most_once_loses_what_was_not_written_after_its_commit_and_doubles_nothing() {
    let loses = |step: String| {
        let (lost, doubled) = lost_and_doubled(Delivery::AtMostOnce, &step)?;
        assert_eq!(doubled, 0, "killed at {step}");
        Some(lost > 0)
    };
    loses("manifest:2".to_owned()).unwrap();
    assert!((1..).map_while(|time| loses(format!("between:{time}"))).any(|lost| lost), "a kill after a commit loses");
}
