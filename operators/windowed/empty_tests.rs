//! Empty windows pass the kit: which there are is a function of the log.

use std::collections::BTreeSet;
use std::time::Duration;

use millpond_engine::Record;
use millpond_state::Timestamp;

use super::Pane;
use super::disjoint::Disjoint;
use super::empty::OrEmpty;
use super::overlapping::Overlapping;
use super::rules::Rules;
use super::tests::{Logged, Panes, micros, model, roll, rules, sum, summing};
use crate::kit::{self, Output, planned};
use crate::windows::{Aligned, Assign, Sliding, Tumbling};
use crate::{Job, Stream};

/// The panes of a model, and after each, for its key, as many empty windows as are not there.
fn filled(told: Panes<(u64, i64)>, layout: Aligned, empty: u32) -> Panes<Option<(u64, i64)>> {
    let of = |pane: &Pane<String, (u64, i64)>| (pane.key.clone(), pane.end);
    let there: BTreeSet<_> = told.out.iter().map(|record| of(&record.value)).collect();
    let mut missing = BTreeSet::new();
    for (key, end) in &there {
        let ends = (1..=i64::from(empty)).map(|nth| end.plus_micros(nth * layout.slide()));
        missing.extend(ends.filter(|end| *end < Timestamp::MAX).map(|end| (key.clone(), end)));
    }
    let record = |value: Pane<String, Option<(u64, i64)>>| Record {
        at: value.end.plus_micros(-1),
        seen: value.end.plus_micros(-1),
        value,
    };
    let empty = missing.difference(&there).map(|(key, end)| {
        record(Pane { key: key.clone(), start: end.plus_micros(-layout.size()), end: *end, value: None })
    });
    let out = told.out.iter().map(|known| record(known.value.clone().map(Some))).chain(empty).collect();
    Panes { out, late: told.late, late_count: told.late_count, unassigned: told.unassigned }
}

fn passes(windows: impl Assign, start: i64, lateness: u64, empty: u32, order: Rules<String>) {
    let layout = windows.aligned().unwrap();
    let model = |log: &Logged| filled(model(log, &windows, lateness, sum), layout, empty);
    let rules = Rules { order: order.order, ..rules(lateness) };
    let aggregate = || OrEmpty { aggregate: summing(), empty };
    if layout.overlap() {
        kit::passes(Output::Panes, || Overlapping::new(layout, rules, aggregate()), roll(start), model);
    } else {
        kit::passes(Output::Panes, || Disjoint::new(layout, rules, aggregate()), roll(start), model);
    }
}

#[test]
fn a_key_that_had_rows_has_panes_in_the_next_windows_without_any() {
    let tumbling = Tumbling::of(micros(10)).offset(micros(3));
    for empty in [0, 1, 4] {
        passes(tumbling, -100, 0, empty, rules(0));
        passes(tumbling, 0, 7, empty, rules(0));
    }
    passes(Sliding::of(micros(7)).every(micros(11)), -20, 3, 2, rules(0));
    passes(tumbling, 0, 5, 3, Rules { order: Some(String::cmp), ..rules(0) });
}

#[test]
fn sliding_windows_have_empty_ones_too() {
    for (size, slide, lateness, empty) in [(12, 4, 0, 1), (25, 10, 3, 3), (9, 8, 5, 2)] {
        passes(Sliding::of(micros(size)).every(micros(slide)), -40, lateness, empty, rules(0));
    }
    passes(Sliding::of(micros(12)).every(micros(5)), 0, 2, 2, Rules { order: Some(String::cmp), ..rules(0) });
}

#[test]
fn no_window_that_is_cut_at_the_end_of_time_is_empty() {
    passes(Tumbling::of(micros(10)), i64::MAX - 60, 3, 3, rules(0));
    passes(Sliding::of(micros(12)).every(micros(4)), i64::MAX - 60, 2, 3, rules(0));
    passes(Tumbling::of(micros(10)), i64::MIN, 3, 3, rules(0));
}

#[test]
fn a_silent_key_counts_nothing_for_a_while_in_a_running_job() {
    let mut test = Job::test(|words: Stream<'_, String>| {
        let minutes = words.key_by(|word: &String| word.clone()).window(Tumbling::of(Duration::from_secs(60)));
        let counts = minutes.with_empty(2).allowed_lateness(Duration::from_secs(1)).ordered().aggregate(|w| w.count());
        counts.map(|pane| format!("{} {} until {}", pane.key, pane.value.unwrap_or(0), pane.end.secs()))
    });
    test.push(Timestamp::from_secs(1), "pond".to_owned());
    test.push(Timestamp::from_secs(61), "mill".to_owned());
    test.watermark(Timestamp::from_secs(121));
    assert_eq!(test.output(), ["pond 1 until 60", "mill 1 until 120", "pond 0 until 120"]);
    let rest = ["mill 0 until 180", "pond 0 until 180", "mill 0 until 240"];
    assert_eq!(test.finish(), rest);
}

#[test]
fn the_plan_says_how_many_windows_may_be_empty() {
    let plan = |empty| {
        planned(move |numbers| {
            let windows = numbers.key_by(|n| n % 7).window(Tumbling::of(Duration::from_secs(60)));
            windows.with_empty(empty).aggregate(|w| w.count()).sink("out", kit::Drawn);
        })
        .unwrap()
    };
    let (was, is) = (plan(2), plan(3));
    let conflict = is.conflict(&was.stateful()).unwrap();
    assert!(conflict.contains("window was tumbling 1m, 2 empty and is now tumbling 1m, 3 empty"), "{conflict}");
}
