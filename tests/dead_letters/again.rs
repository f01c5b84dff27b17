//! Letters that are sent again, each once, and how they stand meanwhile.

use crate::job::{COUNTS, DEAD, LATE, bad, reading};
use crate::world::{World, right, same};

const READINGS: u64 = 1_000;

/// A world whose first build has written its letters and stopped.
fn broken() -> (World, u64) {
    let world = World::new(READINGS);
    let letters = bad(READINGS) as u64;
    let running = world.start("broken", "--workers 2");
    world.when("all letters are written", |[open, ..]| open == letters);
    running.stop();
    (world, letters)
}

#[test]
fn a_mended_build_takes_what_was_asked_while_nothing_ran_and_ends_as_if_it_had_been_right_from_the_start() {
    let (world, letters) = broken();
    let dry = world.well("mended", "dead-letters redrive --all --dry-run");
    assert!(dry.contains("nothing is changed") && dry.contains(&format!("{letters} dead letters")), "{dry}");
    assert!(dry.contains("have earlier timestamps"), "{dry}");
    assert_eq!(world.counts(), [letters, 0, 0, 0, 0]);
    let asked = world.well("mended", "dead-letters redrive --all --yes");
    assert!(asked.contains(&format!("asked for {letters} of {letters} dead letters")), "{asked}");
    assert!(asked.contains("does not run here"), "{asked}");
    assert_eq!(world.counts(), [0, letters, 0, 0, 0]);
    let again = world.well("mended", "dead-letters redrive --all --yes");
    assert!(again.contains("nothing to redrive") && again.contains(&format!("{letters} more are asked")), "{again}");
    // With another number of workers than wrote them, and once more with another.
    let running = world.start("mended", "--workers 3");
    world.when("all are taken", |[.., done, _, _]| done == letters);
    running.kill();
    let shown = world.letters("list --status done --limit 1");
    let epoch = shown["letters"][0]["done_in_epoch"].as_u64().unwrap();
    assert!(epoch > 0 && shown["letters"].as_array().unwrap().len() == 1, "{shown}");
    let again = world.well("mended", "dead-letters redrive --all --yes");
    assert!(again.contains(&format!("{letters} more are done")), "{again}");
    world.well("mended", "run --until-end --workers 1");
    same(&world.written(), &right(READINGS));
    let refused = world.call("mended", "dead-letters redrive --all --yes");
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.err.contains("has finished") && refused.err.contains("`replay 2`"), "{refused:?}");
}

#[test]
fn a_run_that_ends_takes_what_was_asked_before_and_a_copy_has_the_headers_it_would_have_had() {
    let (world, letters) = broken();
    world.well("mended", "dead-letters redrive --all --yes");
    world.well("mended", "run --until-end --workers 2");
    assert_eq!(world.counts(), [0, 0, letters, 0, 0]);
    same(&world.written(), &right(READINGS));
}

#[test]
fn what_fails_again_is_a_letter_anew_with_its_first_place_and_error() {
    let (world, letters) = broken();
    let first = world.letters("list --error sensor --limit 1")["letters"][0].clone();
    let id = first["id"].as_str().unwrap();
    world.well("broken", &format!("dead-letters redrive {id} --yes"));
    let running = world.start("broken", "");
    world.when("it failed again", |counts| counts == [letters, 0, 0, 1, 0]);
    let shown = world.letters(&format!("show {id}"));
    let next = shown["followed_by"].as_str().unwrap().to_owned();
    assert_eq!((shown["status"].as_str(), shown["hindered"].as_str()), (Some("failed-again"), None), "{shown}");
    let newer = world.letters(&format!("show {next}"));
    for (name, was) in [
        ("source", "source"),
        ("partition", "partition"),
        ("offset", "offset"),
        ("timestamp", "timestamp"),
        ("value", "value"),
        ("key", "key"),
        ("headers", "headers"),
        ("first_error", "error"),
    ] {
        assert_eq!(newer[name], shown[was], "{name}");
    }
    assert_eq!((newer["attempt"].as_u64(), newer["was"].as_str()), (Some(2), Some(id)));
    assert_eq!(newer["headers"].as_array().unwrap().len(), 1, "none of ours has got in: {newer}");
    let text = world.well("mended", &format!("dead-letters show {next}"));
    assert!(text.contains("tried        2 times") && text.contains("first error"), "{text}");
    // By where the record lay: of the two letters only the newer one is open.
    let record = format!("readings/{}/{}", shown["partition"], shown["offset"]);
    running.kill();
    let running = world.start("mended", "");
    world.until_it_runs();
    let asked = world.well("mended", &format!("dead-letters redrive {record} --yes"));
    assert!(asked.contains("asked for 1 of 1 dead letter") && asked.contains("it runs"), "{asked}");
    world.when("the third try is done", |counts| counts == [letters - 1, 0, 1, 1, 0]);
    running.stop();
    let copies = &world.written()["copies"];
    assert_eq!(copies.iter().filter(|copy| copy.contains("\"sensor\":99")).count(), 1);
}

#[test]
fn letters_that_are_dropped_are_left_alone_until_somebody_names_one() {
    let (world, letters) = broken();
    let texts = world.letters("list --topic readings --error invalid")["counts"]["open"].as_u64().unwrap();
    assert!(texts > 0 && texts < letters);
    let dropped = world.well("mended", "dead-letters drop --error invalid --yes");
    assert!(dropped.contains(&format!("dropped {texts} of {texts} dead letters")), "{dropped}");
    assert_eq!(world.counts(), [letters - texts, 0, 0, 0, texts]);
    assert!(world.well("mended", "dead-letters drop --error invalid --yes").contains("are dropped already"));
    world.well("mended", "dead-letters redrive --all --yes");
    assert_eq!(world.counts(), [0, letters - texts, 0, 0, texts]);
    let one = world.letters("list --status dropped --limit 1")["letters"][0].clone();
    world.well("mended", &format!("dead-letters redrive {} --yes", one["id"].as_str().unwrap()));
    assert_eq!(world.counts(), [0, letters - texts + 1, 0, 0, texts - 1]);
    world.well("mended", "run --until-end");
    assert_eq!(world.counts(), [0, 0, letters - texts + 1, 0, texts - 1]);
    let written = world.written();
    assert_eq!(written["copies"].len() as u64, READINGS - texts + 1);
    assert_eq!(world.records(DEAD).len() as u64, letters, "a letter is never changed");
}

#[test]
fn the_first_request_is_found_by_a_job_that_runs_and_status_says_what_it_took() {
    let (world, letters) = broken();
    let running = world.start("mended", "--workers 2");
    world.until_it_runs();
    world.well("mended", "dead-letters redrive --all --yes");
    world.when("all are taken", |[.., done, _, _]| done == letters);
    let out = world.well("mended", "status --json");
    let status: serde_json::Value =
        serde_json::from_str(&out[out.find('{').unwrap()..=out.rfind('}').unwrap()]).unwrap();
    assert_eq!(status["redriven"], serde_json::json!([letters, 0]));
    let requests = status["partitions"].as_array().unwrap().iter().find(|place| place["source"] == "readings/redrive");
    assert_eq!((&requests.unwrap()["next"], &requests.unwrap()["lag"]), (&letters.into(), &0.into()));
    assert!(status["watermark"] != "-infinity", "what is asked for again never holds the watermark: {status}");
    running.stop();
    world.well("mended", "run --until-end");
    same(&world.written(), &right(READINGS));
}

#[test]
fn what_comes_too_late_for_its_window_goes_the_way_of_late_records_with_the_bytes_it_had() {
    let (world, letters) = broken();
    world.well("mended", "dead-letters redrive --all --yes");
    let running = world.start("mended", "--workers 2");
    world.when("all are taken", |[.., done, _, _]| done == letters);
    running.stop();
    world.well("mended", "run --until-end");
    let late = world.records(LATE);
    let counted = world.records(COUNTS).into_iter().map(|(pane, _)| {
        let pane: serde_json::Value = serde_json::from_str(&pane).unwrap();
        pane["value"].as_u64().unwrap()
    });
    assert_eq!(counted.sum::<u64>() + late.len() as u64, READINGS, "each is counted or late");
    assert!(late.len() as u64 > letters / 2 && late.len() as u64 <= letters, "{} are late", late.len());
    for (value, headers) in late {
        let names: Vec<_> = headers.keys().map(String::as_str).collect();
        assert_eq!(names, ["millpond", "trace"], "{value}");
    }
}

#[test]
fn a_run_that_ends_refuses_what_is_asked_later_and_when_it_goes_on_without_an_end_takes_it() {
    let (world, letters) = broken();
    world.well("mended", "dead-letters redrive --error sensor --yes");
    let fed = READINGS + 1_200;
    world.feed((READINGS..fed).map(|number| (number, reading(number))));
    // Slow enough to be far from its end when it is killed.
    let ending = world.start("mended", "--until-end --throttle 40");
    world.when("what was asked is done", |[_, asked, done, ..]| asked == 0 && done > 0);
    let done = world.counts()[2];
    let refused = world.call("mended", "dead-letters redrive --all --yes");
    assert!(refused.code == Some(4) && refused.err.contains("--until-end"), "{refused:?}");
    ending.kill();
    assert_eq!(world.counts(), [letters - done, 0, done, 0, 0]);
    let running = world.start("mended", "");
    let begun = std::time::Instant::now();
    while world.call("mended", "dead-letters redrive --all --yes").code != Some(0) {
        assert!(begun.elapsed().as_secs() < 60, "with its first commit it has no end any more");
    }
    world.when("all are taken", |counts| counts == [0, 0, letters, 0, 0]);
    running.stop();
    world.well("mended", "run --until-end");
    same(&world.written(), &right(fed));
}
