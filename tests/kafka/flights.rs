//! The month of flights over Kafka: the same results as over the embedded log, whatever is killed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::processes::example;
use crate::runs::Process;
use crate::world::World;

/// `flights` to the end, its results written to `state/out`.
fn flights(state: &Path, kafka: &[&str]) -> Command {
    let mut job = Command::new(example("flights"));
    job.args(["run", "--until-end", "--checkpoint-interval", "5ms", "--state"]).arg(state);
    job.arg("--out").arg(state.join("out")).args(kafka);
    job
}

/// The results and the late flights, sorted.
fn results(state: &Path) -> [Vec<String>; 2] {
    ["departures-per-hour", "late-departures"].map(|name| {
        let text = fs::read_to_string(state.join("out").join(format!("{name}.jsonl"))).unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    })
}

#[test]
fn the_flights_have_the_same_results_as_on_the_embedded_log_after_kills_while_feeding_and_counting() {
    let world = World::new("flights", 1);
    let beside = world.state().join("log");
    Process::start(flights(&beside, &[]), world.state()).succeed();
    let prefix = world.topic("");
    let kafka = ["--brokers", &world.cluster.brokers, "--topic-prefix", &prefix, "--job", &world.name];
    let on_kafka = world.state().join("kafka");
    // The first kills fall into feeding, the later ones into counting.
    for millis in [150, 400, 700, 1_000, 1_300] {
        let mut job = Process::start(flights(&on_kafka, &kafka), world.state());
        std::thread::sleep(Duration::from_millis(millis));
        job.kill();
    }
    Process::start(flights(&on_kafka, &kafka), world.state()).succeed();
    let want = results(&beside);
    assert_eq!(want[0].len(), 1_642, "a month of hours");
    assert_eq!(results(&on_kafka), want);
    // Finished is finished, and the files are written again.
    fs::remove_dir_all(on_kafka.join("out")).unwrap();
    let mut again = Process::start(flights(&on_kafka, &kafka), world.state());
    again.succeed();
    assert!(again.said().contains("was finished before"), "{}", again.said());
    assert_eq!(results(&on_kafka), want);
}
