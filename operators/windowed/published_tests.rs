//! What was published stays published: `fired` is state, kept for each key group.

use millpond_engine::{Context, Firing, Operator, Row, Shipment};
use millpond_state::{KeyGroup, Position, Section, Timestamp, stable_hash};

use super::count::Rows;
use super::disjoint::Disjoint;
use super::overlapping::Overlapping;
use super::own::Own;
use super::session::Sessions;
use super::tests::{Key, Odd, micros, rules, summing};
use crate::windows::{Assign, Count, Session, Sliding, Tumbling};

/// Runs an operator whose source fell silent and was passed by, crashed, and came back with a row that is on time by its partition.
fn comes_back_late<O>(name: &str, make: impl Fn() -> O)
where
    O: Operator<Key = Key, In = i64, Side = i64>,
{
    let row = |key: &str, at| Row {
        hash: stable_hash(key),
        at: Timestamp::from_micros(at),
        seen: Timestamp::MIN,
        key: key.to_owned(),
        value: 1,
    };
    let apply = |operator: &mut O, rows: Vec<Row<Key, i64>>, cx: &mut Context<O::Out, i64>| {
        let positions = (0..).map(|offset| Position { offset, ..Position::default() }).take(rows.len()).collect();
        operator.apply(&mut Shipment { rows, positions, ..Shipment::default() }, cx);
    };
    let (mut operator, mut cx) = (make(), Context::new(false));
    apply(&mut operator, vec![row("pond", 5)], &mut cx);
    assert_eq!(operator.advance(Timestamp::from_micros(100), 10, &mut cx), Firing::Done);
    // Of the other keys' group nothing is known, as after a rescale with one worker that stood elsewhere.
    let group = KeyGroup::of(stable_hash("pond")).index() as u16;
    let fires = operator.fired(group..group + 1);
    let mut section = Section::new("kit");
    assert!(operator.snapshot(&mut { usize::MAX }, &mut section).unwrap());
    let (published, _) = cx.take();
    let mut operator = make();
    operator.restore_fired(0..KeyGroup::COUNT as u16, &fires);
    for entry in section.entries().filter(|entry| entry.value.is_some()) {
        operator.restore(entry).unwrap();
    }
    let mut cx = Context::new(false);
    apply(&mut operator, vec![row("pond", 6), row("mill", 6)], &mut cx);
    assert_eq!(operator.advance(Timestamp::from_micros(50), 10, &mut cx), Firing::Done);
    assert_eq!(cx.counted().0, 1, "{name}: the row of the group that had fired is late, the other is not");
    let (again, late) = cx.take();
    assert_eq!((published.is_empty(), again.is_empty(), late.len()), (false, false, 1), "{name}");
}

#[test]
fn a_window_that_was_published_is_not_opened_again_after_a_crash() {
    let (tumbling, sliding) = (Tumbling::of(micros(10)), Sliding::of(micros(12)).every(micros(4)));
    let layout = tumbling.aligned().unwrap();
    comes_back_late("tumbling", || Disjoint::new(layout, rules(0), summing()));
    let layout = sliding.aligned().unwrap();
    comes_back_late("sliding", || Overlapping::new(layout, rules(0), summing()));
    comes_back_late("own", || Own::new(Odd, rules(0), summing()));
    comes_back_late("session", || Sessions::new(Session::gap(micros(10)), rules(0), summing()));
    comes_back_late("count", || Rows::new(Count::of(1), rules(0), summing()));
}
