//! Every window operator passes the kit, against a model that knows nothing of watermarks but `seen`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use millpond_engine::Record;
use millpond_state::{Timestamp, stable_hash};

use super::Pane;
use super::count::Rows;
use super::disjoint::Disjoint;
use super::overlapping::Overlapping;
use super::own::Own;
use super::rules::Rules;
use super::session::Sessions;
use crate::aggregate::trial::Dice;
use crate::aggregate::{Aggregate, Over};
use crate::kit::{self, Log, Output, Read, Told};
use crate::windows::{Assign, Count, Global, Lateness, Session, Sliding, Span, Tumbling, windows_of};

pub(super) type Key = String;
pub(super) type Logged = Log<Key, i64>;
pub(super) type Panes<V> = Told<Pane<Key, V>, i64>;

pub(super) fn roll(start: i64) -> impl Fn(&mut Dice) -> Logged {
    move |dice| Log::roll(dice, start, 6, |dice| (format!("key {}", dice.below(5)), dice.between(-50, 50)))
}

pub(super) fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

pub(super) fn rules(lateness: u64) -> Rules<Key> {
    Rules { lateness: Lateness::of(micros(lateness)), split: true, order: None }
}

fn pane<V>(told: &mut Panes<V>, key: &Key, window: Span, value: V) {
    let value = Pane { key: key.clone(), start: window.start, end: window.end, value };
    told.out.push(Record { at: window.last(), seen: window.last(), value });
}

fn late<V>(told: &mut Panes<V>, read: &Read<Key, i64>) {
    told.late.push(Record { at: read.at, seen: read.seen, value: read.value });
    told.late_count += 1;
}

/// What `answer` says of each key's rows in each window, in which a row counts unless its end plus the lateness is not beyond `seen`.
pub(super) fn model<V>(
    log: &Logged,
    assign: &impl Assign,
    lateness: u64,
    answer: impl Fn(&[&Read<Key, i64>]) -> V,
) -> Panes<V> {
    let (mut told, mut rows, mut windows) = (Told::default(), BTreeMap::<_, Vec<_>>::new(), Vec::new());
    for read in log.sorted() {
        windows_of(assign, read.at, &mut windows);
        told.unassigned += u64::from(windows.is_empty());
        let closes = |window: &Span| window.end.saturating_add(micros(lateness));
        let open: Vec<_> = windows.iter().filter(|window| closes(window) > read.seen).collect();
        if open.is_empty() && !windows.is_empty() {
            late(&mut told, read);
        }
        open.into_iter().for_each(|window| rows.entry((*window, &read.key)).or_default().push(read));
    }
    rows.iter().for_each(|((window, key), rows)| pane(&mut told, key, *window, answer(rows)));
    told
}

pub(super) fn sum(rows: &[&Read<Key, i64>]) -> (u64, i64) {
    (rows.len() as u64, rows.iter().map(|read| read.value).sum())
}

pub(super) fn summing() -> impl Aggregate<i64, Output = (u64, i64)> {
    let w = Over::<i64>::new();
    (w.count(), w.sum(|n| *n))
}

fn tumbling_passes<V: Debug + millpond_state::Data, A: Aggregate<i64, Output = V>>(
    start: i64,
    lateness: u64,
    aggregate: impl Fn() -> A,
    answer: impl Fn(&[&Read<Key, i64>]) -> V + Copy,
) {
    let tumbling = Tumbling::of(micros(10)).offset(micros(3));
    let layout = tumbling.aligned().unwrap();
    kit::passes(
        Output::Panes,
        || Disjoint::new(layout, rules(lateness), aggregate()),
        roll(start),
        |log| model(log, &tumbling, lateness, answer),
    );
}

#[test]
fn a_tumbling_window_fires_once_at_end_plus_lateness_and_a_row_is_late_by_seen() {
    tumbling_passes(-100, 0, summing, sum);
    tumbling_passes(0, 7, summing, sum);
    tumbling_passes(0, u64::MAX, summing, sum);
}

#[test]
fn tumbling_windows_at_the_ends_of_time_are_cut_there() {
    tumbling_passes(i64::MIN, 3, summing, sum);
    tumbling_passes(i64::MAX - 60, 3, summing, sum);
}

#[test]
fn every_aggregate_answers_in_a_window_what_it_answers_of_a_vec() {
    let w = Over::<i64>::new();
    tumbling_passes(0, 2, move || w.max(|n| *n), |rows| rows.iter().map(|read| read.value).max().unwrap());
    tumbling_passes(0, 2, move || w.min(|n| *n), |rows| rows.iter().map(|read| read.value).min().unwrap());
    tumbling_passes(0, 2, move || w.first(|n| *n), |rows| rows[0].value);
    tumbling_passes(0, 2, move || w.last(|n| *n), |rows| rows[rows.len() - 1].value);
    tumbling_passes(0, 2, move || w.collect(|n| *n), |rows| rows.iter().map(|read| read.value).collect::<Vec<_>>());
    tumbling_passes(0, 2, move || w.mean(|n| *n), |rows| sum(rows).1 as f64 / rows.len() as f64);
    let different =
        |rows: &[&Read<Key, i64>]| rows.iter().map(|read| read.value).collect::<std::collections::BTreeSet<_>>();
    tumbling_passes(0, 2, move || w.distinct(|n| *n), |rows| different(rows).len() as u64);
    let tenth = |n: i64| n as f64 / 10.0;
    tumbling_passes(
        0,
        2,
        move || {
            (w.max_f64(move |n| tenth(*n)), w.min_f64(move |n| tenth(*n)), w.quantiles([0.0, 1.0], move |n| tenth(*n)))
        },
        |rows| {
            let (least, most) = (rows.iter().map(|read| read.value).min(), rows.iter().map(|read| read.value).max());
            let (least, most) = (tenth(least.unwrap()), tenth(most.unwrap()));
            (most, least, [least, most])
        },
    );
    tumbling_passes(
        0,
        2,
        move || w.fold(0i64, |all, n| *all ^= n, |all, other| *all ^= other).commutes(),
        |rows| rows.iter().fold(0, |all, read| all ^ read.value),
    );
}

#[test]
fn rows_in_a_gap_between_windows_are_counted_as_unassigned() {
    let gaps = Sliding::of(micros(7)).every(micros(11));
    let layout = gaps.aligned().unwrap();
    let make = || Disjoint::new(layout, rules(3), summing());
    kit::passes(Output::Panes, make, roll(-20), |log| model(log, &gaps, 3, sum));
}

fn sliding_passes(start: i64, size: u64, slide: u64, lateness: u64) {
    let sliding = Sliding::of(micros(size)).every(micros(slide)).offset(micros(1));
    let layout = sliding.aligned().unwrap();
    kit::passes(
        Output::Panes,
        || Overlapping::new(layout, rules(lateness), summing()),
        roll(start),
        |log| model(log, &sliding, lateness, sum),
    );
}

#[test]
fn a_row_late_for_some_sliding_windows_counts_in_the_others_and_is_late_only_if_for_all() {
    sliding_passes(-40, 12, 4, 0);
    sliding_passes(0, 25, 10, 3);
    sliding_passes(0, 9, 8, 5);
    sliding_passes(0, 30, 7, u64::MAX);
}

#[test]
fn sliding_windows_at_the_ends_of_time_are_cut_there_and_stay_apart() {
    sliding_passes(i64::MIN, 5, 1, 0);
    sliding_passes(i64::MAX - 60, 12, 4, 2);
    sliding_passes(i64::MAX - 60, 4, 1, u64::MAX);
}

#[test]
fn slices_are_merged_in_order_so_that_first_and_last_hold() {
    let sliding = Sliding::of(micros(20)).every(micros(6));
    let layout = sliding.aligned().unwrap();
    let w = Over::<i64>::new();
    kit::passes(
        Output::Panes,
        || Overlapping::new(layout, rules(4), (w.first(|n| *n), w.last(|n| *n), w.max(|n| *n))),
        roll(0),
        |log| {
            model(log, &sliding, 4, |rows| {
                (rows[0].value, rows[rows.len() - 1].value, rows.iter().map(|read| read.value).max().unwrap())
            })
        },
    );
}

/// Windows no layout describes: two that begin together and two that end together.
pub(super) struct Odd;
impl Assign for Odd {
    fn assign(&self, at: Timestamp, into: &mut Vec<Span>) {
        let start = at.micros().div_euclid(20) * 20;
        let all = [(0, 5), (0, 13), (4, 13), (10, 16)];
        let spans = all.map(|(from, to)| Span {
            start: at.plus_micros(start + from - at.micros()),
            end: at.plus_micros(start + to - at.micros()),
        });
        into.extend(spans.into_iter().filter(|span| span.contains(at)));
    }
    fn describe(&self) -> String {
        "odd".to_owned()
    }
}

#[test]
fn windows_of_ones_own_may_share_starts_and_ends() {
    for lateness in [0, 6, u64::MAX] {
        let make = || Own::new(Odd, rules(lateness), summing());
        kit::passes(Output::Panes, make, roll(-30), |log| model(log, &Odd, lateness, sum));
    }
}

/// Rows in order, cut where neighbours are a gap or more apart. Late iff the row's own time plus the lateness is before `seen`.
fn sessions(log: &Logged, gap: u64, lateness: u64) -> Panes<(u64, i64)> {
    let (mut told, mut keys) = (Told::default(), BTreeMap::<_, Vec<&Read<_, _>>>::new());
    for read in log.sorted() {
        if read.at.saturating_add(micros(lateness)) < read.seen {
            late(&mut told, read);
        } else {
            keys.entry(&read.key).or_default().push(read);
        }
    }
    for (key, rows) in keys {
        for rows in rows.chunk_by(|a, b| b.at < a.at.saturating_add(micros(gap))) {
            let window = Span::new(rows[0].at, rows[rows.len() - 1].at.saturating_add(micros(gap)));
            pane(&mut told, key, window, sum(rows));
        }
    }
    told
}

#[test]
fn a_session_ends_a_gap_after_its_last_row_and_touching_ones_do_not_merge() {
    for (gap, lateness, start) in [(3, 0, -100), (8, 5, i64::MAX - 60), (20, 2, i64::MIN), (4, u64::MAX, 0)] {
        let make = || Sessions::new(Session::gap(micros(gap)), rules(lateness), summing());
        kit::passes(Output::Panes, make, roll(start), |log| sessions(log, gap, lateness));
    }
}

/// Rows of a key in order of event time, then position, so many at a time. Late iff the row's own time is before `seen`.
fn counted<V>(log: &Logged, rows: u64, answer: impl Fn(&[&Read<Key, i64>]) -> V) -> Panes<V> {
    let (mut told, mut keys) = (Told::default(), BTreeMap::<_, Vec<&Read<_, _>>>::new());
    for read in log.sorted() {
        if read.at < read.seen {
            late(&mut told, read);
        } else {
            keys.entry(&read.key).or_default().push(read);
        }
    }
    for (key, all) in keys {
        for rows in all.chunks(usize::try_from(rows).unwrap_or(usize::MAX)) {
            pane(&mut told, key, Span::new(rows[0].at, rows[rows.len() - 1].at.plus_micros(1)), answer(rows));
        }
    }
    told
}

#[test]
fn count_windows_take_rows_by_event_time_then_position_and_the_remainder_leaves_at_the_end() {
    let w = Over::<i64>::new();
    for (rows, start) in [(1, 0), (3, -100), (7, i64::MAX - 60), (4, i64::MIN)] {
        let make = || Rows::new(Count::of(rows), rules(0), w.collect(|n| *n));
        let all = |rows: &[&Read<Key, i64>]| rows.iter().map(|read| read.value).collect::<Vec<_>>();
        kit::passes(Output::Promised, make, roll(start), |log| counted(log, rows, all));
    }
}

#[test]
fn in_a_count_window_even_a_fold_that_depends_on_order_is_a_function_of_the_log() {
    let w = Over::<i64>::new();
    for rows in [5, u64::MAX] {
        let fold = move || w.fold(0i64, |all, n| *all = all.wrapping_mul(31).wrapping_add(*n), |_, _| ());
        let make = || Rows::new(Count::of(rows), rules(0), fold());
        let answer = |rows: &[&Read<Key, i64>]| {
            rows.iter().fold(0i64, |all, read| all.wrapping_mul(31).wrapping_add(read.value))
        };
        kit::passes(Output::Promised, make, roll(0), |log| counted(log, rows, answer));
    }
}

#[test]
fn a_global_window_fires_with_the_final_watermark() {
    let make = || Rows::new(Count::from(Global), rules(0), summing());
    kit::passes(Output::Promised, make, roll(0), |log| counted(log, u64::MAX, sum));
}

#[test]
fn rows_taken_by_arrival_are_never_late_and_none_is_lost() {
    let manner = kit::Manner { batch: 5, close: 3, restore: 2, workers: 3, budget: 2 };
    for seed in 0..20 {
        let log = roll(0)(&mut Dice::new(seed));
        let make = || Rows::new(Count::of(4).by_arrival(), rules(0), summing());
        let told = kit::run(Output::Untimed, make, &log, manner, seed);
        assert_eq!((told.late_count, told.late.len()), (0, 0));
        let mut left = BTreeMap::<_, (u64, i64)>::new();
        for record in &told.out {
            let all = left.entry(&record.value.key).or_default();
            *all = (all.0 + record.value.value.0, all.1 + record.value.value.1);
            assert!(record.value.value.0 <= 4);
        }
        let mut rows = BTreeMap::<_, (u64, i64)>::new();
        for read in log.sorted() {
            let all = rows.entry(&read.key).or_default();
            *all = (all.0 + 1, all.1 + read.value);
        }
        assert_eq!(left, rows, "seed {seed}");
    }
}

#[test]
fn ordered_windows_give_their_keys_sorted() {
    let ordered = Rules { order: Some(String::cmp), ..rules(4) };
    let gap = Session::gap(micros(5));
    let (tumbling, sliding) = (Tumbling::of(micros(10)), Sliding::of(micros(12)).every(micros(5)));
    let one = kit::Manner { batch: 9, close: 1_000, restore: 0, workers: 1, budget: 3 };
    let sorted = |told: Panes<(u64, i64)>, expected: Panes<(u64, i64)>| {
        let places: Vec<_> = told.out.iter().map(|record| (record.at, &record.value.key)).collect();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(told.out.len(), expected.out.len());
    };
    for seed in 0..10 {
        let log = roll(0)(&mut Dice::new(seed));
        let layout = tumbling.aligned().unwrap();
        let told = kit::run(Output::Panes, || Disjoint::new(layout, ordered, summing()), &log, one, seed);
        sorted(told, model(&log, &tumbling, 4, sum));
        let layout = sliding.aligned().unwrap();
        let told = kit::run(Output::Panes, || Overlapping::new(layout, ordered, summing()), &log, one, seed);
        sorted(told, model(&log, &sliding, 4, sum));
        let told = kit::run(Output::Panes, || Own::new(Odd, ordered, summing()), &log, one, seed);
        sorted(told, model(&log, &Odd, 4, sum));
        let told = kit::run(Output::Panes, || Sessions::new(gap, ordered, summing()), &log, one, seed);
        sorted(told, sessions(&log, 5, 4));
        let ordered = Rules { lateness: Lateness::NONE, ..ordered };
        let told = kit::run(Output::Promised, || Rows::new(Count::of(3), ordered, summing()), &log, one, seed);
        // What remains leaves at the end, whatever its time.
        let full = |mut told: Panes<(u64, i64)>| {
            told.out.retain(|record| record.value.value.0 == 3);
            told
        };
        sorted(full(told), full(counted(&log, 3, sum)));
    }
    // And in the kit's manners, where a window is cut short by a restore and goes on, they are complete.
    let layout = sliding.aligned().unwrap();
    let make = || Overlapping::new(layout, ordered, summing());
    kit::passes(Output::Panes, make, roll(0), |log| model(log, &sliding, 4, sum));
    let layout = tumbling.aligned().unwrap();
    kit::passes(
        Output::Panes,
        || Disjoint::new(layout, ordered, summing()),
        roll(0),
        |log| model(log, &tumbling, 4, sum),
    );
}

#[test]
fn hashes_of_the_kits_keys_lie_in_several_groups() {
    let groups = (0..5).map(|n| millpond_state::KeyGroup::of(stable_hash(&format!("key {n}"))).worker(3));
    assert!(groups.collect::<std::collections::BTreeSet<_>>().len() > 1);
}
