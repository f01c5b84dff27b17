//! The tools of these tests, tested: what is written is read, and what is not committed is not.

use crate::model;
use crate::producers::{CLICKS, Writer};
use crate::reader::read;
use crate::world::World;

#[test]
fn a_reader_of_committed_records_sees_what_was_committed() {
    let world = World::new("smoke", 3);
    world.feed(1_000);
    let stranger = Writer::transactional(&world.cluster, &world.input(), &world.topic("stranger"));
    stranger.begin();
    stranger.clicks(&CLICKS, 1_000..1_100);
    stranger.abort();
    stranger.begin();
    stranger.clicks(&CLICKS, 1_100..1_200);
    stranger.commit();
    stranger.begin();
    stranger.clicks(&CLICKS, 1_200..1_300);
    let input = read(&world.cluster, &world.input());
    assert_eq!(input.len(), 3);
    assert_eq!(input.iter().map(Vec::len).sum::<usize>(), 1_100);
    let views = model::page_views(&input);
    assert!(!views.late.is_empty(), "one in two hundred is late");
    stranger.abort();
}
