//! Topics that are deleted, and rights that are withdrawn, while a job runs: what was not taken is never committed as if it had been, and the
//! job stops with its exit code and the topic's name.

use std::process::Command;
use std::time::Duration;

use millpond::Exit;

use crate::broker;
use crate::model::{self, Line};
use crate::processes::example;
use crate::producers::CLICKS;
use crate::reader::read;
use crate::runs::Process;
use crate::world::{World, same};

/// `page_views` that has written everything there is to write of the first clicks. Its clients look at their topics every second, so that a
/// test need not wait for that.
fn running(name: &str) -> (World, Process, Vec<Line>) {
    let mut world = World::new(name, 2);
    world.more = ["--kafka", "topic.metadata.refresh.interval.ms=1000"].map(str::to_owned).into();
    world.feed(6_000);
    let late = late(&world);
    let mut job = world.run(&[]);
    job.until("all late clicks committed", || world.seen().late == late);
    (world, job, late)
}

/// All late clicks of the input so far.
fn late(world: &World) -> Vec<Line> {
    model::page_views(&read(&world.cluster, &world.input())).late
}

#[test]
fn records_for_an_output_that_was_deleted_are_never_committed_as_if_they_were_there() {
    let (world, mut job, before) = running("unwritten");
    world.cluster.delete(&world.topic("late"));
    // The client learns of it before there is more to write.
    std::thread::sleep(Duration::from_secs(3));
    world.writer().clicks(&CLICKS, 6_000..20_000);
    let said = job.fail(Exit::Restore);
    assert!(said.contains(&world.topic("late")) && said.contains("no longer there"), "{said}");
    // Once a person has decided: the topic is made again, and has everything that the old one had not.
    world.finish(&[]);
    let mut want = late(&world);
    before.iter().for_each(|line| drop(want.remove(want.binary_search(line).unwrap())));
    same("late clicks", &world.seen().late, &want);
    same("views", &world.seen().views, &model::page_views(&read(&world.cluster, &world.input())).views);
}

#[test]
fn names_and_settings_that_no_restart_makes_right_are_refused_as_such() {
    let world = World::new("names", 2);
    world.feed(10);
    let input = world.input();
    for (exit, words, part) in [
        (Exit::Usage, ["--input", "two words"], "\"two words\" cannot name a topic"),
        (Exit::Usage, ["--output", "p@q"], "\"p@q\" cannot name a topic"),
        (Exit::Usage, ["--from", "0:0,7:0"], "no input has such a partition"),
        (Exit::Usage, ["--kafka", "transaction.timeout.ms=99999999"], "timeout"),
        (Exit::FixJob, ["--output", &input], "which source"),
        (Exit::Usage, ["--brokers", ""], "no Kafka brokers are named"),
    ] {
        // By environment, so that it can be said otherwise by option.
        let mut run = Command::new(example("relay"));
        run.args(["run", "--until-end", "--job", &world.name, "--state"]).arg(world.state()).args(words);
        run.env("MILLPOND_BROKERS", &world.cluster.brokers).env("MILLPOND_INPUT", &input);
        let said = world.start(run).fail(exit);
        assert!(said.contains(part), "{words:?}: {said}");
    }
}

#[test]
fn an_output_that_is_missing_for_a_while_costs_time_only() {
    let (world, mut job, before) = running("flickers");
    world.cluster.delete(&world.topic("late"));
    std::thread::sleep(Duration::from_secs(2));
    world.writer().clicks(&CLICKS, 6_000..20_000);
    std::thread::sleep(Duration::from_secs(2));
    world.cluster.create(&world.topic("late"), 2);
    let mut want = late(&world);
    before.iter().for_each(|line| drop(want.remove(want.binary_search(line).unwrap())));
    job.until("all that the old topic had not", || world.seen().late.len() >= want.len());
    job.stop();
    job.succeed();
    same("late clicks", &world.seen().late, &want);
}

#[test]
fn a_right_that_is_withdrawn_stops_the_job_before_it_commits_without_it() {
    for right in ["read", "alter"] {
        let (world, mut job, before) = running(&format!("only-{right}"));
        broker::shared().only(&world.topic("late"), right);
        std::thread::sleep(Duration::from_secs(3));
        world.writer().clicks(&CLICKS, 6_000..20_000);
        let said = job.fail(Exit::Usage);
        assert!(said.contains(&world.topic("late")), "{said}");
        broker::shared().allow(&world.topic("late"));
        assert_eq!(world.seen().late, before, "only {right}: nothing was written");
        world.finish(&[]);
        world.check();
    }
}

#[test]
fn an_input_that_is_deleted_while_the_job_commits_is_told_as_gone() {
    let (world, mut job, _) = running("unread");
    // So that there is something to commit, with the positions beside it, once the topic is gone.
    world.writer().clicks(&CLICKS, 6_000..60_000);
    world.cluster.delete(&world.input());
    let said = job.fail(Exit::Restore);
    assert!(said.contains(&world.input()) && said.contains("no longer there"), "{said}");
}
