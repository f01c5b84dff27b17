//! Speed beside a hand-written loop: `cargo test --release -p millpond-state -- --ignored --nocapture --test-threads 1 speed`.
//! Ratios, since times say more about the machine; nothing is asserted about them.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::*;
use crate::{Key, Section, stable_hash};

const RECORDS: u64 = 20_000_000;
const KEYS: u64 = 100_000;
const MINUTE: i64 = 60_000_000;
const BOUND: i64 = 5_000_000;
/// Records between two snapshots: with a few of them a run, as when epochs last a second.
const EPOCH: u64 = 4_000_000;

struct Record<K> {
    key: K,
    at: i64,
    dwell: i64,
}

/// An hour of records, up to five seconds out of order, made in batches as a source makes them.
fn records<K>(make: impl Fn(u64) -> K) -> impl Iterator<Item = Record<K>> {
    let mut dice = 88_172_645_463_325_252_u64;
    let mut roll = move || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice
    };
    (0..RECORDS / 4_000).flat_map(move |batch| {
        let record = |n: u64| {
            let skewed = roll() % KEYS * (roll() % KEYS) / KEYS;
            let at = (n * 3_600 * 1_000_000 / RECORDS) as i64 - (roll() % BOUND as u64) as i64;
            Record { key: make(skewed), at, dwell: (roll() % 100_000) as i64 }
        };
        (batch * 4_000..(batch + 1) * 4_000).map(record).collect::<Vec<_>>()
    })
}

fn checksum(sum: u64, window: i64, count: u64, longest: i64) -> u64 {
    sum.wrapping_add((window as u64 ^ count).wrapping_mul(31) ^ longest as u64)
}

fn by_hand<K: Key + std::hash::Hash>(records: impl Iterator<Item = Record<K>>) -> u64 {
    let mut windows = BTreeMap::<i64, HashMap<K, (u64, i64), foldhash::fast::FixedState>>::new();
    let (mut watermark, mut sum) = (i64::MIN, 0);
    for record in records {
        let window = record.at - record.at.rem_euclid(MINUTE);
        if window + MINUTE <= watermark {
            continue;
        }
        let value = windows.entry(window).or_default().entry(record.key).or_insert((0, i64::MIN));
        *value = (value.0 + 1, value.1.max(record.dwell));
        watermark = watermark.max(record.at - BOUND);
        while let Some(first) = windows.first_entry().filter(|first| first.key() + MINUTE <= watermark) {
            let (window, values) = first.remove_entry();
            sum = values.into_values().fold(sum, |sum, (count, longest)| checksum(sum, window, count, longest));
        }
    }
    sum
}

fn by_handle<K: Key>(records: impl Iterator<Item = Record<K>>, epoch: u64, budget: usize) -> u64 {
    let mut panes = Panes::<K, (u64, i64)>::new(0);
    let (mut watermark, mut sum) = (i64::MIN, 0);
    for (n, record) in (1..).zip(records) {
        let window = record.at - record.at.rem_euclid(MINUTE);
        if window + MINUTE <= watermark {
            continue;
        }
        let hash = stable_hash(&record.key);
        panes.upsert(
            window,
            hash,
            record.key,
            || (0, i64::MIN),
            |value| *value = (value.0 + 1, value.1.max(record.dwell)),
        );
        watermark = watermark.max(record.at - BOUND);
        while let Some(window) = panes.first_window().filter(|first| first + MINUTE <= watermark) {
            while !panes.drain(window, budget, |_, _, (count, longest)| sum = checksum(sum, window, count, longest)) {}
        }
        if n % epoch == 0 {
            panes.snapshot(&mut Section::new("speed")).unwrap();
        }
    }
    sum
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn compare<K: Key + std::hash::Hash>(name: &str, make: impl Fn(u64) -> K + Copy) {
    let timed = |run: &dyn Fn() -> u64| {
        let start = Instant::now();
        let sum = std::hint::black_box(run());
        (start.elapsed().as_secs_f64() * 1e9 / RECORDS as f64, sum)
    };
    let mut times = [const { Vec::new() }; 5];
    for _ in 0..3 {
        let source = timed(&|| records(make).fold(0, |sum, record| checksum(sum, record.at, 0, record.dwell)));
        let hand = timed(&|| by_hand(records(make)));
        let runs = [
            timed(&|| by_handle(records(make), u64::MAX, usize::MAX)),
            timed(&|| by_handle(records(make), EPOCH, usize::MAX)),
            timed(&|| by_handle(records(make), EPOCH, 4_096)),
        ];
        assert!(runs.iter().all(|run| run.1 == hand.1), "the same panes");
        for (times, run) in times.iter_mut().zip([hand].into_iter().chain(runs).chain([source])) {
            times.push(run.0);
        }
    }
    let [hand, plain, epochs, budget, source] = times.map(median);
    println!("{name}: source {source:.1} ns a record, hand {:.1} without it", hand - source);
    for (what, time) in [("no epochs", plain), ("epochs", epochs), ("epochs, 4096 rows a firing", budget)] {
        println!(
            "ratio panes-{name} ({what}) {:.2}, with source {:.2}",
            (time - source) / (hand - source),
            time / hand
        );
    }
}

#[test]
#[ignore = "takes a minute in release mode"]
fn speed_of_panes() {
    compare("u64", |n| n);
    compare("string", |n| format!("{n:06}"));
}

#[test]
#[ignore = "takes seconds in release mode"]
fn speed_of_snapshots() {
    let mut keyed = Keyed::<u64, (u64, i64)>::new(0);
    let touch = |keyed: &mut Keyed<u64, (u64, i64)>, key: u64| {
        keyed.upsert(stable_hash(&key), key, || (0, 0), |value| value.0 += 1);
    };
    (0..1_000_000).for_each(|key| touch(&mut keyed, key));
    keyed.snapshot(&mut Section::new("speed")).unwrap();
    for touched in [10_000, 100_000, 300_000, 1_000_000] {
        let mut dice = 1_u64;
        let start = Instant::now();
        for _ in 0..touched {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            touch(&mut keyed, (dice >> 33) % 1_000_000);
        }
        let updates = start.elapsed();
        let mut section = Section::new("speed");
        let start = Instant::now();
        keyed.snapshot(&mut section).unwrap();
        println!(
            "{touched} updates: {:.1} ns each, {} entries, stall {:.2} ms",
            updates.as_nanos() as f64 / touched as f64,
            section.entries().count(),
            start.elapsed().as_secs_f64() * 1e3
        );
    }
}
