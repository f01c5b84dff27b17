//! kill -9 of the tool at every step, of the job at random moments, and several people at once: each letter goes through once.

use std::collections::BTreeMap;
use std::time::Duration;

use millpond::engine::redrive::Request;

use crate::job::{bad, reading};
use crate::seeded::Seeded;
use crate::world::{World, right, same};

const READINGS: u64 = 1_000;

/// How often each letter was asked for.
fn asked(world: &World) -> BTreeMap<String, usize> {
    let mut asked = BTreeMap::new();
    for (_, headers) in world.records("readings-redrive") {
        let request: Request = serde_json::from_str(&headers["millpond-redrive"]).unwrap();
        *asked.entry(request.letter).or_default() += 1;
    }
    asked
}

#[test]
fn while_the_job_runs_and_reads_and_is_killed_and_the_tool_too_each_letter_goes_through_once() {
    let mut random = Seeded::new();
    let world = World::new(READINGS);
    let letters = bad(READINGS) as u64;
    let running = world.start("broken", "");
    world.when("all letters are written", |[open, ..]| open == letters);
    running.kill();
    let mut running = world.start("mended", "--workers 2");
    let mut fed = READINGS;
    // Some first, so that the topic is there and the rest is found in it at once.
    world.well("mended", "dead-letters redrive --partition 0 --yes");
    for step in ["redrive fenced:1", "redrive decided:1", "redrive appended:1"] {
        let mut tool = world.command("mended", "dead-letters redrive --error sensor --yes");
        let killed = tool.env("MILLPOND_FAILPOINT", step).output().unwrap();
        assert_eq!(killed.status.code(), None, "the tool is killed at {step}: {killed:?}");
    }
    for _ in 0..6 {
        let mut tool = world.command("mended", "dead-letters redrive --all --yes").spawn().unwrap();
        world.feed((fed..fed + 100).map(|number| (number, reading(number))));
        fed += 100;
        std::thread::sleep(Duration::from_millis(random.below(120)));
        let _ = tool.kill();
        tool.wait().unwrap();
        running.kill();
        running = world.start("mended", &format!("--workers {}", 1 + random.below(3)));
        std::thread::sleep(Duration::from_millis(random.below(300)));
    }
    world.well("mended", "dead-letters redrive --all --yes");
    world.when("all are done", |counts| counts == [0, 0, letters, 0, 0]);
    running.stop();
    let asked = asked(&world);
    assert_eq!(asked.len() as u64, letters);
    assert!(asked.values().all(|count| *count == 1), "{asked:?}");
    world.well("mended", "run --until-end");
    same(&world.written(), &right(fed));
}

#[test]
fn of_several_people_who_send_the_same_letters_again_at_once_each_letter_has_one() {
    let world = World::new(READINGS);
    let letters = bad(READINGS) as u64;
    let running = world.start("broken", "");
    world.when("all letters are written", |[open, ..]| open == letters);
    running.kill();
    let tools: Vec<_> =
        (0..4).map(|_| world.command("mended", "dead-letters redrive --all --yes").spawn().unwrap()).collect();
    let said = tools.into_iter().map(|tool| tool.wait_with_output().unwrap());
    let counts = said.map(|output| {
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let asked = text.split("asked for ").nth(1).and_then(|rest| rest.split(' ').next());
        asked.map_or(0, |count| count.parse::<u64>().unwrap())
    });
    assert_eq!(counts.sum::<u64>(), letters);
    assert!(asked(&world).values().all(|count| *count == 1));
    assert_eq!(world.counts(), [0, letters, 0, 0, 0]);
}
