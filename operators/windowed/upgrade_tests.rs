//! Every window operator goes on with what another aggregate had kept, however it stores it.

use std::time::Duration;

use millpond_engine::{Context, Operator, Row, Shipment, Upgrade};
use millpond_state::{Entry, Section, Timestamp, stable_hash};

use super::Pane;
use super::count::{InRows, Rows};
use super::disjoint::Disjoint;
use super::empty::OrEmpty;
use super::ends::InEnds;
use super::overlapping::{InSlices, Overlapping};
use super::own::Own;
use super::session::{InSessions, Sessions};
use super::tests::{micros, rules};
use crate::aggregate::{Aggregate, Bare, Over, Stored};
use crate::windows::{Assign, Count, Session, Sliding, Span, Tumbling};

type Old = crate::aggregate::Count;

fn old() -> Old {
    Over::<u64>::new().count()
}

fn new() -> impl Aggregate<u64, Partial = (u64, Option<u64>), Output = (u64, u64)> {
    let w = Over::<u64>::new();
    w.upgrade_state((w.count(), w.max(|n| *n)), |count: u64| (count, Some(0)))
}

fn rows(rows: &[(i64, i64)]) -> Shipment<String, u64> {
    let row = |&(at, seen): &(i64, i64)| {
        let key = format!("k{}", at % 3);
        let (at, seen) = (Timestamp::from_micros(at), Timestamp::from_micros(seen));
        Row { hash: stable_hash(&key), at, seen, key, value: 7 }
    };
    Shipment { rows: rows.iter().map(row).collect(), ..Shipment::default() }
}

type Seen = (String, Timestamp, Timestamp, u64);

fn seen<V>(pane: &Pane<String, V>, count: u64) -> Seen {
    (pane.key.clone(), pane.start, pane.end, count)
}

/// What it answers to the end, with more rows.
fn rest<O: Operator<Key = String, In = u64>>(operator: &mut O, each: impl Fn(&O::Out) -> Seen) -> Vec<Seen> {
    let mut cx = Context::new(false);
    operator.apply(&mut rows(&[(26, 20), (41, 20), (64, 20)]), &mut cx);
    let _ = operator.advance(Timestamp::MAX, usize::MAX, &mut cx);
    let mut seen: Vec<_> = cx.take().0.iter().map(|record| each(&record.value)).collect();
    seen.sort();
    seen
}

/// `second` takes the state of `first` in the middle, and answers what that goes on to answer.
fn goes_on<O, N>(
    mut first: O,
    mut second: N,
    upgrades: &[Upgrade],
    before: impl Fn(&O::Out) -> Seen,
    after: impl Fn(&N::Out) -> Seen,
) where
    O: Operator<Key = String, In = u64>,
    N: Operator<Key = String, In = u64>,
{
    let mut cx = Context::new(false);
    first.apply(&mut rows(&[(1, 0), (2, 0), (7, 0), (12, 0), (19, 0), (25, 0), (31, 0)]), &mut cx);
    let _ = first.advance(Timestamp::from_micros(20), usize::MAX, &mut cx);
    // Late for some of the windows that overlap, for none of all.
    first.apply(&mut rows(&[(18, 20), (22, 20)]), &mut cx);
    let mut section = Section::new("step");
    assert!(first.snapshot(&mut { usize::MAX }, &mut section).unwrap());
    let [upgrade] = upgrades else { panic!("{upgrades:?}") };
    let mut entries = 0;
    for Entry { group, key, value } in section.entries() {
        let Some(value) = value else { continue };
        let mut out = Vec::new();
        upgrade.convert(key, value, &mut out).unwrap();
        second.restore(Entry { group, key, value: Some(&out) }).unwrap();
        entries += 1;
    }
    second.restore_fired(0..1024, &first.fired(0..1024));
    assert!(entries > 1, "{entries}");
    let want = rest(&mut first, before);
    assert!(want.iter().any(|seen| seen.3 > 1), "rows of before and after are in one window: {want:?}");
    assert_eq!(rest(&mut second, after), want);
}

fn taken<S: Stored>() -> Vec<Upgrade> {
    new().upgrades::<S>().all
}

fn counted(pane: &Pane<String, u64>) -> Seen {
    seen(pane, pane.value)
}

fn both(pane: &Pane<String, (u64, u64)>) -> Seen {
    assert!(pane.value.1 == 7 || pane.value.1 == 0, "the greatest of what came since");
    seen(pane, pane.value.0)
}

#[test]
fn windows_side_by_side_and_overlapping_ones_go_on() {
    let layout = Tumbling::of(micros(30)).aligned().unwrap();
    let (first, second) = (Disjoint::new(layout, rules(0), old()), Disjoint::new(layout, rules(0), new()));
    goes_on(first, second, &taken::<Bare>(), counted, both);
    let layout = Sliding::of(micros(30)).every(micros(10)).aligned().unwrap();
    let (first, second) = (Overlapping::new(layout, rules(0), old()), Overlapping::new(layout, rules(0), new()));
    goes_on(first, second, &taken::<InSlices>(), counted, both);
}

#[test]
fn windows_that_may_be_empty_go_on() {
    let layout = Sliding::of(micros(30)).every(micros(10)).aligned().unwrap();
    let first = Overlapping::new(layout, rules(0), OrEmpty { aggregate: old(), empty: 2 });
    let second = OrEmpty { aggregate: new(), empty: 2 };
    let upgrades = Aggregate::<u64>::upgrades::<InSlices>(&second).all;
    assert!(upgrades[0].from().to_string().contains("partial: u64?"), "{}", upgrades[0].from());
    let second = Overlapping::new(layout, rules(0), second);
    let before = |pane: &Pane<String, Option<u64>>| seen(pane, pane.value.unwrap_or(0));
    let after = |pane: &Pane<String, Option<(u64, u64)>>| seen(pane, pane.value.map_or(0, |value| value.0));
    goes_on(first, second, &upgrades, before, after);
}

#[test]
fn sessions_go_on() {
    let session = Session::gap(Duration::from_micros(12));
    let (first, second) = (Sessions::new(session, rules(0), old()), Sessions::new(session, rules(0), new()));
    goes_on(first, second, &taken::<InSessions>(), counted, both);
}

#[test]
fn windows_of_rows_go_on() {
    let count = Count::of(4);
    let (first, second) = (Rows::new(count, rules(0), old()), Rows::new(count, rules(0), new()));
    goes_on(first, second, &taken::<InRows<u64>>(), counted, both);
}

#[test]
fn windows_of_ones_own_go_on() {
    #[derive(Clone, Copy, Debug)]
    struct Wide;
    impl Assign for Wide {
        fn assign(&self, at: Timestamp, into: &mut Vec<Span>) {
            let start = Timestamp::from_micros(at.micros().div_euclid(40) * 40);
            into.push(Span { start, end: start.plus_micros(40) });
        }
        fn describe(&self) -> String {
            "wide".to_owned()
        }
    }
    let (first, second) = (Own::new(Wide, rules(0), old()), Own::new(Wide, rules(0), new()));
    goes_on(first, second, &taken::<InEnds>(), counted, both);
}
