//! What is asked for and cannot be: each is a clear error, and nothing is asked of any letter.

use millpond::Exit;
use serde_json::json;

use crate::world::World;

fn told(world: &World, build: &str, words: &str, exit: Exit, part: &str) {
    let said = world.call(build, words);
    assert_eq!(said.code, Some(exit.code().into()), "{words}: {said:?}");
    assert!(said.err.contains(part) && said.err.contains("help: "), "{words}: {said:?}");
    assert!(world.log().topic("readings-redrive").is_err(), "{words} asked nothing");
}

#[test]
fn what_is_not_there_or_not_said_or_cannot_go_again_is_told() {
    let world = World::new(40);
    assert!(world.well("broken", "dead-letters list").contains("0 dead letters"));
    world.feed([(1_000, json!({ "sensor": 1, "number": 1, "at": -5 }))].into_iter());
    world.refuse(5);
    told(&world, "without", "dead-letters list", Exit::Usage, "does not keep dead letters");
    told(&world, "in memory", "dead-letters list", Exit::Usage, "cannot be read again");
    told(&world, "broken", "dead-letters show 7:99", Exit::Usage, "has no dead letter 7:99");
    told(&world, "broken", "dead-letters redrive 0:999 readings/1/77 --yes", Exit::Usage, "0:999, readings/1/77");
    told(&world, "broken", "dead-letters redrive --yes", Exit::Usage, "say which dead letters are meant");
    told(&world, "broken", "dead-letters redrive --all", Exit::Refused, "nobody said yes");
    told(&world, "broken", "dead-letters drop --all", Exit::Refused, "nobody said yes");
    let said = world.call("broken", "dead-letters redrive x --yes");
    assert!(said.code == Some(64) && said.err.contains("partition:offset"), "{said:?}");
    // Both halves were refused after the record itself had been copied.
    let parts = world.letters("list --error time");
    let id = parts["letters"][0]["id"].as_str().unwrap();
    assert_eq!((parts["counts"]["open"].as_u64(), parts["letters"][0]["whole"].as_bool()), (Some(2), Some(false)));
    told(&world, "mended", &format!("dead-letters redrive {id} --yes"), Exit::Refused, "would be there twice");
    let all = world.well("mended", "dead-letters redrive --all --yes");
    assert!(all.contains("asked for 3 of 3") && all.contains("2 more cannot be sent again"), "{all}");
    world.well("mended", "run --until-end");
    assert_eq!(world.counts(), [2, 0, 3, 0, 0]);
    // A letter that cannot be sent again can be dropped, of a job that has finished too.
    world.well("mended", "dead-letters drop --all --yes");
    assert_eq!(world.counts(), [0, 0, 3, 0, 2]);
}

#[test]
fn a_version_has_letters_and_requests_of_its_own_which_go_when_it_is_retired() {
    let world = World::two_versions();
    let asked = world.well("mended", "dead-letters redrive --all --yes --job-version 2");
    assert!(asked.contains("readings@2") && asked.contains("readings-redrive.v2"), "{asked}");
    assert_eq!(world.counts(), [7, 0, 0, 0, 0]);
    world.well("mended", "run --until-end --job-version 2");
    assert_eq!(world.letters("list --job-version 2")["counts"]["done"], 7);
    assert!(world.log().topic("readings-redrive").is_err());
    world.well("mended", "retire 2 --yes");
    assert!(world.log().topic("readings-redrive.v2").is_err() && world.log().topic("readings-dead").is_ok());
    assert!(world.log().writers().unwrap().iter().all(|writer| !writer.contains("@2")));
}

#[test]
fn a_function_that_panics_on_a_record_names_the_request_and_a_mended_one_goes_on() {
    let world = World::new(100);
    world.refuse(7);
    world.well("broken", "dead-letters redrive --all --yes");
    let requests = world.records("readings-redrive");
    let sensor = requests.iter().position(|(value, _)| value.contains("\"sensor\":99")).unwrap();
    for _ in 0..2 {
        let said = world.call("panics", "run --until-caught-up");
        assert_eq!(said.code, Some(Exit::FixJob.code().into()), "{said:?}");
        let place = format!("on readings/redrive offset {sensor}: what is sensor 99");
        assert!(said.err.contains(&place), "{place}: {said:?}");
    }
    world.well("mended", "run --until-end");
    assert_eq!((world.counts(), world.written()["copies"].len()), ([0, 0, 7, 0, 0], 100));
}

#[test]
fn requests_that_were_deleted_stop_the_job_and_the_tool_knows_no_more_than_before() {
    let world = World::new(100);
    world.refuse(7);
    world.well("mended", "dead-letters redrive 0:0 --yes");
    let running = world.start("mended", "");
    world.when("it is done", |[.., done, _, _]| done == 1);
    running.stop();
    world.log().delete_topic("readings-redrive").unwrap();
    let said = world.call("mended", "run --until-caught-up");
    assert_eq!(said.code, Some(Exit::Restore.code().into()), "{said:?}");
    assert!(said.err.contains("readings/redrive") && said.err.contains("no longer there"), "{said:?}");
    // Asked anew it would go through twice.
    let said = world.call("mended", "dead-letters redrive --all --yes");
    assert_eq!(said.code, Some(Exit::Restore.code().into()), "{said:?}");
    assert!(said.err.contains("is gone") && world.log().topic("readings-redrive").is_err(), "{said:?}");
}
