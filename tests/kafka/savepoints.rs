//! A savepoint on Kafka: a version goes on from the offsets of another one, and never on a topic that was made anew under its name.

use millpond::Exit;
use serde_json::Value;

use crate::reader::read;
use crate::world::World;

/// What is committed in `topic`, each row with its key and time, of epochs up to `last`.
fn rows(world: &World, topic: &str, last: u64) -> Vec<(Option<Vec<u8>>, String, i64)> {
    let records = read(&world.cluster, topic).into_iter().flatten().filter(|record| record.origin().2 <= last);
    let mut rows: Vec<_> = records.map(|record| (record.key.clone(), record.text(), record.timestamp)).collect();
    rows.sort();
    rows
}

#[test]
fn a_version_goes_on_from_the_savepoint_of_one_that_runs_and_not_on_another_topic_of_that_name() {
    let world = World::new("saved", 3);
    world.feed(20_000);
    let mut first = world.run(&["--job-version", "2", "--throttle", "5000"]);
    first.until("some minutes are written", || {
        rows(&world, &format!("{}.v2", world.topic("views")), u64::MAX).len() > 50
    });
    let dir = world.state().join("saved");
    let dir = dir.to_str().unwrap();
    let saved = world.page_views("savepoint", &[dir, "--json", "--job-version", "2"]).output().unwrap();
    assert!(saved.status.success(), "{saved:?}");
    let saved: Value = serde_json::from_slice(&saved.stdout).unwrap();
    let id = saved["savepoint"]["checkpoint"].as_str().unwrap().to_owned();
    let epoch: u64 = id.rsplit_once('-').unwrap().1.parse().unwrap();
    let partitions = saved["savepoint"]["sources"]["clicks"]["partitions"].as_array().unwrap();
    assert!(partitions.iter().all(|slot| !slot["fingerprint"].as_str().unwrap().is_empty()), "{partitions:?}");
    // It goes on meanwhile, and is not waited for.
    let mut killed = world.page_views("replay", &["3", "--from-savepoint", dir, "--until-end", "--workers", "2"]);
    let killed = killed.env("MILLPOND_FAILPOINT", "imported:1").output().unwrap();
    assert_eq!(killed.status.code(), None, "{killed:?}");
    let mut second =
        world.start(world.page_views("replay", &["3", "--from-savepoint", dir, "--until-end", "--workers", "2"]));
    second.succeed();
    first.stop();
    first.succeed();
    world.finish(&["--job-version", "2"]);
    for output in ["views", "late"] {
        let [before, after, all] = [("v2", epoch), ("v3", u64::MAX), ("v2", u64::MAX)]
            .map(|(version, last)| rows(&world, &format!("{}.{version}", world.topic(output)), last));
        let mut both = [&before[..], &after[..]].concat();
        both.sort();
        assert!(both == all, "{output}: {} and {}, {} in all", before.len(), after.len(), all.len());
        assert!(output == "late" || !before.is_empty() && !after.is_empty(), "{output}");
    }
    world.cluster.delete(&world.input());
    world.cluster.create(&world.input(), 3);
    let mut other = world.start(world.page_views("replay", &["4", "--from-savepoint", dir, "--until-end"]));
    let said = other.fail(Exit::Restore);
    assert!(said.contains("made again under the same name"), "{said}");
}
