//! Speed beside a hand-written loop: `cargo test --release -p millpond-state -- --ignored --nocapture --test-threads 1 speed`.
//! Ratios, since times say more about the machine; nothing is asserted about them.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::*;
use crate::{Key, Section, stable_hash};

const KEYS: u64 = 100_000;
/// Event time of a block of records, and of a window.
const MINUTE: i64 = 60_000_000;
const BLOCK: u64 = 333_333;
const BLOCKS: i64 = 60;
const BOUND: i64 = 5_000_000;

#[derive(Clone)]
struct Record<K> {
    key: K,
    at: i64,
    dwell: i64,
}

/// A minute of records, up to five seconds out of order.
fn block<K>(nth: i64, make: impl Fn(u64) -> K) -> Vec<Record<K>> {
    let mut dice = 88_172_645_463_325_252_u64 + nth as u64;
    let mut roll = move || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice
    };
    let record = |n: u64| {
        let skewed = roll() % KEYS * (roll() % KEYS) / KEYS;
        let at = nth * MINUTE + (n * MINUTE as u64 / BLOCK) as i64 - (roll() % BOUND as u64) as i64;
        Record { key: make(skewed), at, dwell: (roll() % 100_000) as i64 }
    };
    (0..BLOCK).map(record).collect()
}

/// Count and longest dwell for each key and minute: what is kept, how a record is added, and a window fired.
trait Loop<K> {
    fn add(&mut self, window: i64, key: K, dwell: i64);
    fn fire(&mut self, watermark: i64, each: impl FnMut(i64, u64, i64));
    fn close_epoch(&mut self) {}
}

type ByHand<K> = BTreeMap<i64, HashMap<K, (u64, i64), foldhash::fast::FixedState>>;

impl<K: Key + std::hash::Hash> Loop<K> for ByHand<K> {
    fn add(&mut self, window: i64, key: K, dwell: i64) {
        let value = self.entry(window).or_default().entry(key).or_insert((0, i64::MIN));
        *value = (value.0 + 1, value.1.max(dwell));
    }
    fn fire(&mut self, watermark: i64, mut each: impl FnMut(i64, u64, i64)) {
        while let Some(first) = self.first_entry().filter(|first| first.key() + MINUTE <= watermark) {
            let (window, values) = first.remove_entry();
            values.into_values().for_each(|(count, longest)| each(window, count, longest));
        }
    }
}

struct ByHandle<K> {
    panes: Panes<K, (u64, i64)>,
    budget: usize,
    epochs: bool,
}

impl<K: Key> Loop<K> for ByHandle<K> {
    fn add(&mut self, window: i64, key: K, dwell: i64) {
        let hash = stable_hash(&key);
        let add = |value: &mut (u64, i64)| *value = (value.0 + 1, value.1.max(dwell));
        self.panes.upsert(window, hash, key, || (0, i64::MIN), add);
    }
    fn fire(&mut self, watermark: i64, mut each: impl FnMut(i64, u64, i64)) {
        while let Some(window) = self.panes.first_window().filter(|first| first + MINUTE <= watermark) {
            while !self.panes.drain(window, self.budget, |_, _, (count, longest)| each(window, count, longest)) {}
        }
    }
    fn close_epoch(&mut self) {
        if self.epochs {
            self.panes.snapshot(&mut { usize::MAX }, &mut Section::new("speed")).unwrap();
        }
    }
}

/// Nanoseconds a record, and a checksum.
fn run<K>(state: &mut impl Loop<K>, watermark: &mut i64, records: Vec<Record<K>>) -> (f64, u64) {
    let (start, mut sum) = (Instant::now(), 0_u64);
    for record in records {
        let window = record.at - record.at.rem_euclid(MINUTE);
        if window + MINUTE <= *watermark {
            continue;
        }
        state.add(window, record.key, record.dwell);
        if record.at - BOUND > *watermark {
            *watermark = record.at - BOUND;
            state.fire(*watermark, |window, count, longest| {
                sum = sum.wrapping_add((window as u64 ^ count).wrapping_mul(31) ^ longest as u64);
            });
        }
    }
    (start.elapsed().as_nanos() as f64 / BLOCK as f64, sum)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Both work through the same blocks in turn, so that whatever else the machine does slows both; the ratio is the median of blocks.
fn compare<K: Key + std::hash::Hash>(name: &str, make: impl Fn(u64) -> K, epochs: bool, budget: usize) {
    let (mut hand, mut hand_watermark) = (ByHand::<K>::new(), i64::MIN);
    let mut handle = ByHandle { panes: Panes::new(0), budget, epochs };
    let (mut handle_watermark, mut times, mut ratios) = (i64::MIN, Vec::new(), Vec::new());
    for nth in 0..BLOCKS {
        let records = block(nth, &make);
        let (by_hand, sum) = run(&mut hand, &mut hand_watermark, records.clone());
        let (by_handle, same) = run(&mut handle, &mut handle_watermark, records);
        assert_eq!(sum, same, "the same panes");
        if nth % 10 == 4 {
            handle.close_epoch();
        }
        times.push(by_hand);
        ratios.push(by_handle / by_hand);
    }
    println!("ratio panes-{name} {:.2} (hand {:.1} ns a record)", median(ratios), median(times));
}

#[test]
#[ignore = "takes half a minute in release mode"]
fn speed_of_panes() {
    compare("u64", |n| n, false, usize::MAX);
    compare("u64-epochs", |n| n, true, usize::MAX);
    compare("u64-epochs-budget", |n| n, true, 4_096);
    compare("string", |n| format!("{n:06}"), false, usize::MAX);
    compare("string-epochs", |n| format!("{n:06}"), true, usize::MAX);
    compare("string-epochs-budget", |n| format!("{n:06}"), true, 4_096);
}

#[test]
#[ignore = "takes seconds in release mode"]
fn speed_of_snapshots() {
    let mut keyed = Keyed::<u64, (u64, i64)>::new(0);
    let touch = |keyed: &mut Keyed<u64, (u64, i64)>, key: u64| {
        keyed.upsert(stable_hash(&key), key, || (0, 0), |value| value.0 += 1);
    };
    (0..1_000_000).for_each(|key| touch(&mut keyed, key));
    keyed.snapshot(&mut { usize::MAX }, &mut Section::new("speed")).unwrap();
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
        keyed.snapshot(&mut { usize::MAX }, &mut section).unwrap();
        println!(
            "{touched} updates: {:.1} ns each, {} entries, stall {:.2} ms",
            updates.as_nanos() as f64 / touched as f64,
            section.entries().count(),
            start.elapsed().as_secs_f64() * 1e3
        );
    }
}
