//! Unwindowed aggregates pass the kit: what they emit adds up to the table a plain function makes of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use millpond_engine::{Change, Record};
use millpond_state::Data;

use super::total::{Reduce, Total};
use crate::Stream;
use crate::aggregate::trial::Dice;
use crate::aggregate::{Aggregate, Over};
use crate::kit::{self, Drawn, Log, Manner, Output, Read, planned};

type Key = String;

fn log(seed: u64) -> Log<Key, i64> {
    Log::roll(&mut Dice::new(seed), 0, 6, |dice| (format!("key {}", dice.below(7)), dice.between(-50, 50)))
}

/// Checks that changes follow each other, and gives the table with the time of each key's last change.
fn table<V: Clone + Debug + PartialEq>(changes: &[Record<Change<Key, V>>]) -> BTreeMap<Key, (V, i64)> {
    let mut table: BTreeMap<Key, (V, i64)> = BTreeMap::new();
    for Record { at, value, .. } in changes {
        let was = table.get(value.key()).map(|(value, _)| value);
        assert_eq!(value.old(), was, "an update says what was there before");
        match value.clone().into_new() {
            (key, Some(new)) => table.insert(key, (new, at.micros())),
            (key, None) => table.remove(&key),
        };
    }
    table
}

fn adds_up<V: Data + Debug + PartialEq, A: Aggregate<i64, Output = V>>(
    make: impl Fn() -> A,
    model: impl Fn(&[&Read<Key, i64>]) -> V,
) {
    for seed in 0..20 {
        let log = log(seed);
        let mut keys = BTreeMap::<Key, Vec<&Read<_, _>>>::new();
        log.sorted().into_iter().for_each(|read| keys.entry(read.key.clone()).or_default().push(read));
        let newest = |rows: &[&Read<_, _>]| rows[rows.len() - 1].at.micros();
        let expected: BTreeMap<_, _> =
            keys.iter().map(|(key, rows)| (key.clone(), (model(rows), newest(rows)))).collect();
        for (restore, workers, close, batch) in [(0, 1, 9, 4), (1, 1, 1, 1), (1, 3, 1, 1), (2, 3, 6, 30)] {
            let manner = Manner { batch, close, restore, workers, budget: 4 };
            let told = kit::run(Output::Untimed, || Total::new(make()), &log, manner, seed);
            assert_eq!(table(&told.out), expected, "seed {seed}, {manner:?}");
            assert_eq!(told.late_count, 0, "nothing is late where nothing is final");
        }
    }
}

#[test]
fn changes_add_up_to_the_table_whatever_the_epochs_were() {
    let w = Over::<i64>::new();
    adds_up(
        move || (w.count(), w.sum(|n| *n), w.last(|n| *n)),
        |rows| (rows.len() as u64, rows.iter().map(|read| read.value).sum(), rows[rows.len() - 1].value),
    );
    adds_up(|| Reduce(|sum: &mut i64, n: &i64| *sum += n), |rows| rows.iter().map(|read| read.value).sum());
}

#[test]
fn a_key_changes_at_most_once_an_epoch() {
    let manner = Manner { batch: 500, close: 1_000_000, restore: 0, workers: 2, budget: 4 };
    for seed in 0..20 {
        let log = log(seed);
        let told = kit::run(Output::Untimed, || Total::new(Over::<i64>::new().count()), &log, manner, seed);
        let keys: BTreeSet<_> = told.out.iter().map(|record| record.value.key()).collect();
        assert_eq!(keys.len(), told.out.len(), "one epoch, one change a key");
        assert!(told.out.iter().all(|record| record.value.old().is_none()), "a first value is an insert");
    }
}

#[test]
fn changes_are_steps_of_the_plan_under_their_kind_or_name() {
    let plan = planned(|numbers: Stream<'static, i64>| {
        numbers.clone().key_by(|n| n % 7).count().sink("counts", Drawn);
        numbers.clone().key_by(|n| n % 7).count().named("again").sink("again and again", Drawn);
        numbers
            .key_by(|n| n % 7)
            .reduce(|sum, n| *sum += n)
            .changelog()
            .map(|change| *change.key())
            .sink("keys", Drawn);
    });
    let plan = plan.unwrap();
    let find = |uid: &str| plan.nodes.iter().find(|node| node.uid == uid).unwrap_or_else(|| panic!("no {uid}"));
    assert_eq!((find("numbers/count").kind.as_str(), find("again").kind.as_str()), ("count", "count"));
    assert_eq!(find("numbers/reduce").notes, ["order-dependent: reduce"]);
}

#[test]
fn changes_that_go_nowhere_are_refused() {
    let refused = planned(|numbers| drop(numbers.key_by(|n| n % 7).count()));
    assert!(refused.unwrap_err().contains("goes nowhere"));
}
