//! What lies twice, or lies where something else lay: letters of a run that died, requests of another life of the job, a topic made anew.

use std::time::{Duration, Instant};

use millpond::Lines as _;
use millpond::engine::ledger::{Added, Own};

use crate::job::{COPIES, DEAD, bad, reading};
use crate::world::{World, right, same};

const READINGS: u64 = 1_000;

/// Letters that were seen and never committed: at least once, of a run that dies before its first commit.
fn seen_and_not_committed(world: &World) -> u64 {
    let letters = bad(READINGS) as u64;
    let running = world.start_with("broken, at least once", "60s", "");
    let begun = Instant::now();
    while (world.records(DEAD).len() as u64) < letters {
        assert!(begun.elapsed().as_secs() < 60, "{} are seen", world.records(DEAD).len());
        std::thread::sleep(Duration::from_millis(10));
    }
    running.kill();
    letters
}

#[test]
fn at_least_once_a_letter_that_a_crash_had_written_twice_counts_and_goes_again_once() {
    let world = World::new(READINGS);
    let letters = seen_and_not_committed(&world);
    let running = world.start("broken, at least once", "");
    world.when("all are committed", |[open, ..]| open >= letters);
    running.stop();
    assert_eq!(world.records(DEAD).len() as u64, 2 * letters, "each lies there twice");
    assert_eq!(world.counts(), [letters, 0, 0, 0, 0]);
    let asked = world.well("mended", "dead-letters redrive --all --yes");
    assert!(asked.contains(&format!("asked for {letters} of {letters} dead letters")), "{asked}");
    world.well("mended", "run --until-end");
    assert_eq!(world.counts(), [0, 0, letters, 0, 0]);
    let (copies, right) = (world.written().remove(COPIES).unwrap(), right(READINGS).remove(COPIES).unwrap());
    let times = |copy: &String| copies.iter().filter(|other| *other == copy).count();
    let (once, twice): (Vec<_>, Vec<_>) = right.iter().partition(|copy| times(copy) == 1);
    assert!(
        once.len() as u64 >= letters && once.len() + 2 * twice.len() == copies.len(),
        "as often as the runs wrote it"
    );
    let again = |copy: &&String| {
        let copy: serde_json::Value = serde_json::from_str(copy).unwrap();
        copy["sensor"] == 99 || reading(copy["number"].as_u64().unwrap())["number"].is_string()
    };
    assert_eq!(once.into_iter().filter(again).count() as u64, letters, "what was sent again, once");
}

#[test]
fn at_least_once_what_was_a_letter_before_a_crash_and_is_read_well_after_it_is_none() {
    let world = World::new(READINGS);
    seen_and_not_committed(&world);
    world.well("mended, at least once", "run --until-end");
    assert_eq!(world.counts(), [0; 5], "sent again they would count twice");
}

#[test]
fn what_was_asked_of_the_life_before_is_not_taken_however_late_it_comes_and_that_is_said() {
    let world = World::new(READINGS);
    let letters = bad(READINGS) as u64;
    world.refuse(letters);
    world.well("mended", "dead-letters redrive --all --yes");
    let running = world.start("broken", "--new");
    world.when("they are letters anew", |counts| counts == [letters, 0, 0, 0, 0]);
    running.stop();
    // A tool that had looked before the job was begun again, and asks only now.
    let asked = world.records("readings-redrive").into_iter().map(|(value, headers)| {
        let headers =
            ["millpond", "trace", "millpond-redrive"].map(|name| (name.to_owned(), headers[name].clone().into()));
        Added { key: None, value: Some(value.into()), headers: headers.into() }
    });
    let asked: Vec<_> = asked.collect();
    let own = Own { topic: "readings-redrive", writer: "readings@1.redrive", compacted: false };
    world.log().ledger().append(own, &mut || Ok(asked.clone())).unwrap();
    assert_eq!(world.counts(), [letters, 0, 0, 0, 0], "nothing was asked of these");
    let said = world.call("mended", "run --until-end");
    assert!(said.code == Some(0) && said.err.contains("begun again with --new"), "{said:?}");
    assert!(said.err.contains(&format!("count={letters}")) && said.err.contains("letter=\"0:0\""), "{said:?}");
    assert_eq!(world.counts(), [letters, 0, 0, 0, 0]);
    assert_eq!(world.records(COPIES).len() as u64, 2 * (READINGS - letters), "each life has copied what it could read");
}

#[test]
fn where_the_topic_of_letters_is_made_anew_what_was_asked_before_says_nothing_of_those_that_come() {
    let world = World::new(READINGS);
    let letters = bad(READINGS) as u64;
    world.refuse(letters);
    world.well("mended", "dead-letters redrive --all --yes");
    let running = world.start("mended", "");
    world.when("all are done", |counts| counts == [0, 0, letters, 0, 0]);
    running.stop();
    world.log().delete_topic(DEAD).unwrap();
    let fed = READINGS + 100;
    world.feed((READINGS..fed).map(|number| (number, reading(number))));
    let fresh = bad(fed) as u64 - letters;
    world.refuse(fresh);
    let listed = world.letters("list");
    let note = listed["note"].as_str().unwrap();
    assert!(note.contains("for letter 0:0 of readings/") && note.contains("mark none"), "{note}");
    assert_eq!(listed["letters"][0]["id"], "0:0");
    let asked = world.well("mended", "dead-letters redrive --all --yes");
    assert!(asked.contains(&format!("asked for {fresh} of {fresh} dead letters")), "{asked}");
    world.well("mended", "run --until-end");
    assert_eq!(world.counts(), [0, 0, fresh, 0, 0]);
    same(&world.written(), &right(fed));
}

#[test]
fn a_run_that_is_to_end_takes_nothing_after_its_start_and_says_so_before_its_first_commit() {
    let world = World::new(READINGS);
    let letters = bad(READINGS) as u64;
    world.refuse(letters);
    let fed = READINGS + 4_000;
    world.feed((READINGS..fed).map(|number| (number, reading(number))));
    let ending = world.start_with("mended", "60s", "--until-end --throttle 40");
    world.until_it_runs();
    let said = world.call("mended", "dead-letters redrive --all --yes");
    assert!(said.code == Some(4) && said.err.contains("runs to where its input ended"), "{said:?}");
    assert_eq!(world.counts(), [letters, 0, 0, 0, 0]);
    ending.kill();
    // It has committed no end, so that it can go on without one, and then it takes them.
    let running = world.start("mended", "");
    world.until_it_runs();
    world.well("mended", "dead-letters redrive --all --yes");
    world.when("all are done", |counts| counts == [0, 0, letters, 0, 0]);
    running.stop();
    world.well("mended", "run --until-end");
    same(&world.written(), &right(fed));
}
