//! The examples when nothing happens to them: their answers, their records, their restarts.

use millpond::Exit;

use crate::model;
use crate::reader::read;
use crate::world::World;

#[test]
fn page_views_gives_what_the_model_gives() {
    for workers in ["1", "2"] {
        let world = World::new("answers", 3);
        world.feed(10_000);
        world.finish(&["--workers", workers]);
        world.check();
        // Finished: nothing is written twice, and late clicks keep every byte.
        world.finish(&["--workers", "1"]);
        world.check();
        late_clicks_are_untouched(&world);
    }
}

fn late_clicks_are_untouched(world: &World) {
    let input = read(&world.cluster, &world.input());
    let late = read(&world.cluster, &world.topic("late"));
    assert!(late.iter().flatten().count() > 10);
    for late in late.iter().flatten() {
        let (key, value, headers) = (&late.key, &late.value, &late.headers);
        let was = input.iter().flatten().find(|click| (&click.key, &click.value) == (key, value));
        let was = was.unwrap_or_else(|| panic!("{late:?} was no click"));
        assert_eq!(late.timestamp, was.timestamp, "the time it came with");
        let own: Vec<_> = headers.iter().filter(|(name, _)| name != "millpond").collect();
        assert_eq!(own, was.headers.iter().collect::<Vec<_>>(), "the headers it came with");
    }
}

#[test]
fn relay_gives_what_the_model_gives_in_the_order_of_each_input_partition() {
    let world = World::new("relayed", 1);
    world.feed(10_000);
    let mut job = world.relay_process(&["--until-end"]);
    job.succeed();
    world.check_relay();
    let (input, output) = (read(&world.cluster, &world.input()), read(&world.cluster, &world.topic("relayed")));
    let want: Vec<_> = input[0].iter().filter_map(model::relayed).collect();
    assert_eq!(output[0].iter().map(model::line).collect::<Vec<_>>(), want);
}

#[test]
fn records_may_be_as_large_as_their_topics_take_and_batches_are_no_larger() {
    let large = format!(r#"{{"user":"u","page":"{}","at":1700000000000,"dwell":1}}"#, "p".repeat(2_000_000));
    for limit in ["5000", "5000000"] {
        let world = World::new("sizes", 1);
        let output = world.topic("relayed");
        world.cluster.delete(&world.input());
        world.cluster.create_with(&world.input(), 1, &[("max.message.bytes", "5000000")]);
        // Before the first start, which must know of the limit when it makes its producer.
        world.cluster.create_with(&output, 1, &[("max.message.bytes", limit)]);
        world.feed(2_000);
        let mut job = world.relay_process(&[]);
        job.until("small clicks relayed", || world.relayed_all());
        let writer = world.writer();
        writer.record(0, Some(b"p"), Some(large.as_bytes()));
        writer.flush();
        if limit == "5000" {
            let said = job.fail(Exit::FixJob);
            assert!(said.contains(&output) && said.contains("takes 5000"), "{said}");
        } else {
            job.until("the large click relayed", || world.relayed_all());
            job.stop();
            job.succeed();
            world.check_relay();
        }
    }
}

#[test]
fn a_job_is_stopped_and_goes_on_with_its_open_windows() {
    let world = World::new("goes-on", 2);
    world.feed(6_000);
    for _ in 0..3 {
        let mut job = world.run(&[]);
        std::thread::sleep(std::time::Duration::from_millis(700));
        job.stop();
        job.succeed();
    }
    world.finish(&["--workers", "2"]);
    world.check();
}

#[test]
fn wrong_options_and_missing_topics_are_told_with_the_way_out() {
    let world = World::new("wrong", 1);
    let said = world.run(&["--input", "nowhere"]).fail(Exit::Usage);
    assert!(said.contains("nowhere"), "{said}");
    let said = world.run(&["--kafka", "no.such.setting=1"]).fail(Exit::Usage);
    assert!(said.contains("no.such.setting"), "{said}");
    let said = world.run(&["--kafka", "transactional.id=mine"]).fail(Exit::Usage);
    assert!(said.contains("transactional.id"), "{said}");
}
