//! Letters that have not gone through again, where a version is saved, replayed or retired: each says how many there are.

use crate::world::World;

#[test]
fn what_has_not_gone_through_again_is_counted_where_it_would_be_left_behind() {
    let world = World::two_versions();
    // One is asked for, and not taken yet; another may lie.
    world.well("broken", "dead-letters redrive 0:0 --yes");
    world.well("broken", "dead-letters drop 0:1 --yes");
    let saved = world.dir.path().join("saved").display().to_string();
    let said = world.call("broken", &format!("savepoint {saved}"));
    assert_eq!(said.code, Some(0), "{said:?}");
    let left = "6 dead letters of readings@1 have not gone through again";
    assert!(said.err.contains(&format!("warning: {left}")) && said.err.contains("never reads them"), "{said:?}");
    let checked = world.well("mended", &format!("replay 3 --check --from-savepoint {saved}"));
    assert!(checked.contains(left) && checked.contains("missing"), "{checked}");
    let checked = world.well("mended", "replay 3 --check");
    assert!(checked.contains(left) && checked.contains("reads their records themselves"), "{checked}");
    let dry = world.well("mended", "retire 2 --dry-run");
    assert!(dry.contains("7 dead letters of readings@2 have not gone through again") && dry.contains("lost"), "{dry}");
    assert!(world.log().topic("readings-dead.v2").is_ok(), "nothing is changed");
    let asked = world.call("mended", "retire 2");
    assert!(asked.code == Some(4) && world.log().topic("readings-dead.v2").is_ok(), "{asked:?}");
    let retired = world.well("mended", "retire 2 --yes");
    assert!(retired.contains("7 dead letters of readings@2") && world.log().topic("readings-dead.v2").is_err());
    // Of what has gone through nobody is warned.
    world.well("mended", "dead-letters redrive --all --yes");
    let running = world.start("mended", "");
    world.when("all are done", |counts| counts == [0, 0, 6, 0, 1]);
    running.stop();
    let said = world.call("mended", &format!("savepoint {saved}-again"));
    assert!(said.code == Some(0) && !said.err.contains("warning"), "{said:?}");
}
