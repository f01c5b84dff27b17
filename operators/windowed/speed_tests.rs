//! What a record costs in the operators alone, beside a loop written by hand over the same records in the same run. Run with
//! `cargo test --release -p millpond-operators -- --ignored --nocapture speed`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use millpond_engine::{Context, Firing, Operator, Row, Shipment};
use millpond_state::{Key, Timestamp, stable_hash};

use super::Pane;
use super::disjoint::Disjoint;
use super::overlapping::Overlapping;
use super::rules::Rules;
use super::session::Sessions;
use crate::aggregate::trial::Dice;
use crate::aggregate::{Aggregate, Over};
use crate::windows::{Assign, Lateness, Session, Sliding, Tumbling};

const KEYS: u64 = 100_000;
const BATCH: usize = 2_048;
const ROUNDS: usize = 7;
const PARTITIONS: usize = 4;
const SECOND: i64 = 1_000_000;
const BOUND: i64 = 5 * SECOND;

type Map<K, V> = HashMap<K, V, FixedState>;

/// Batches of one partition after the other: time goes on by a minute for `a_minute` records, out of order by up to five seconds, every
/// thousandth record further. Keys are skewed (Zipf, 0.6).
struct Load {
    dice: Dice,
    read: u64,
    a_minute: u64,
    newest: [i64; PARTITIONS],
}

struct Click<K> {
    key: K,
    at: i64,
    seen: i64,
    dwell: u64,
}

impl Load {
    fn new(a_minute: u64) -> Self {
        Load { dice: Dice::new(7), read: 0, a_minute, newest: [0; PARTITIONS] }
    }

    fn batch<K>(&mut self, key: impl Fn(u64) -> K) -> Vec<Click<K>> {
        let partition = (self.read as usize / BATCH) % PARTITIONS;
        (0..BATCH)
            .map(|_| {
                self.read += 1;
                let now = (self.read as i64).saturating_mul(60 * SECOND) / self.a_minute as i64;
                let back = if self.dice.below(1_000) == 0 { 30 * SECOND } else { 0 } + self.dice.between(0, BOUND);
                let at = (now - back).max(0);
                self.newest[partition] = self.newest[partition].max(at);
                let unit = self.dice.below(1 << 30) as f64 / (1u64 << 30) as f64;
                let key = key((unit.powf(2.5) * KEYS as f64) as u64);
                Click { key, at, seen: self.newest[partition] - BOUND, dwell: self.dice.below(1_000) }
            })
            .collect()
    }

    fn watermark(&self) -> i64 {
        self.newest.iter().min().expect("there are partitions") - BOUND
    }
}

/// What each batch took, and panes with a checksum.
#[derive(Debug)]
struct Cost {
    batches: Vec<Duration>,
    /// Of which was firing.
    firing: Vec<Duration>,
    panes: u64,
    sum: u64,
}

fn hosted<K: Key, O: Operator<Key = K, In = u64, Out = Pane<K, (u64, u64)>>>(
    mut operator: O,
    records: u64,
    a_minute: u64,
    key: impl Fn(u64) -> K,
) -> Cost {
    let (mut load, mut batches, mut firing, mut panes, mut sum) = (Load::new(a_minute), Vec::new(), Vec::new(), 0, 0);
    let mut cx = Context::new(false);
    while load.read < records {
        let clicks = load.batch(&key);
        let row = |click: Click<K>| Row {
            hash: stable_hash(&click.key),
            at: Timestamp::from_micros(click.at),
            seen: Timestamp::from_micros(click.seen),
            key: click.key,
            value: click.dwell,
        };
        let mut shipment = Shipment { rows: clicks.into_iter().map(row).collect(), ..Shipment::default() };
        let watermark = if load.read < records { Timestamp::from_micros(load.watermark()) } else { Timestamp::MAX };
        let start = Instant::now();
        operator.apply(&mut shipment, &mut cx);
        let fires = Instant::now();
        loop {
            let more = operator.advance(watermark, BATCH, &mut cx);
            let (out, _) = cx.take();
            panes += out.len() as u64;
            sum += out.iter().map(|record| record.value.value.0 * 31 + record.value.value.1).sum::<u64>();
            drop(black_box(out));
            if more == Firing::Done {
                break;
            }
        }
        batches.push(start.elapsed());
        firing.push(fires.elapsed());
    }
    Cost { batches, firing, panes, sum }
}

/// A map for each window, by start.
fn by_hand<K: Key + std::hash::Hash>(
    records: u64,
    a_minute: u64,
    key: impl Fn(u64) -> K,
    size: i64,
    slide: i64,
) -> Cost {
    let (mut load, mut batches, mut firing, mut panes, mut sum) = (Load::new(a_minute), Vec::new(), Vec::new(), 0, 0);
    let mut windows: BTreeMap<i64, Map<K, (u64, u64)>> = BTreeMap::new();
    let mut out: Vec<(K, i64, (u64, u64))> = Vec::new();
    while load.read < records {
        let clicks = load.batch(&key);
        let watermark = if load.read < records { load.watermark() } else { i64::MAX };
        let start = Instant::now();
        for click in clicks {
            let newest = click.at.div_euclid(slide) * slide;
            let mut window = newest;
            while window > newest - size + slide {
                if window + size > click.seen {
                    let map = windows.entry(window).or_default();
                    let kept = map.entry(click.key.clone()).or_insert((0, 0));
                    *kept = (kept.0 + 1, kept.1.max(click.dwell));
                }
                window -= slide;
            }
            if window + size > click.seen {
                let kept = windows.entry(window).or_default().entry(click.key).or_insert((0, 0));
                *kept = (kept.0 + 1, kept.1.max(click.dwell));
            }
        }
        let fires = Instant::now();
        while let Some(first) = windows.first_entry() {
            let window = *first.key();
            if window + size > watermark {
                break;
            }
            out.extend(first.remove().into_iter().map(|(key, value)| (key, window, value)));
            panes += out.len() as u64;
            sum += out.iter().map(|(_, _, value)| value.0 * 31 + value.1).sum::<u64>();
            black_box(&mut out).clear();
        }
        batches.push(start.elapsed());
        firing.push(fires.elapsed());
    }
    Cost { batches, firing, panes, sum }
}

/// A session or more for each key, and a look at all keys whenever a second of watermark has passed.
fn sessions_by_hand<K: Key + std::hash::Hash>(records: u64, a_minute: u64, key: impl Fn(u64) -> K, gap: i64) -> Cost {
    let (mut load, mut batches, mut firing, mut panes, mut sum) = (Load::new(a_minute), Vec::new(), Vec::new(), 0, 0);
    let mut open: Map<K, Vec<(i64, i64, u64, u64)>> = Map::default();
    let (mut looked, mut out) = (i64::MIN, Vec::new());
    while load.read < records {
        let clicks = load.batch(&key);
        let watermark = if load.read < records { load.watermark() } else { i64::MAX };
        let start = Instant::now();
        for click in clicks {
            if click.at < click.seen {
                continue;
            }
            let sessions = open.entry(click.key).or_default();
            let mut whole = (click.at, click.at + gap, 1, click.dwell);
            sessions.retain(|session| {
                let joins = session.0 < whole.1 && whole.0 < session.1;
                if joins {
                    whole =
                        (whole.0.min(session.0), whole.1.max(session.1), whole.2 + session.2, whole.3.max(session.3));
                }
                !joins
            });
            sessions.push(whole);
        }
        let fires = Instant::now();
        if watermark.saturating_sub(looked) >= SECOND {
            looked = watermark;
            open.retain(|key, sessions| {
                sessions.retain(|session| {
                    if session.1 <= watermark {
                        out.push((key.clone(), *session));
                    }
                    session.1 > watermark
                });
                !sessions.is_empty()
            });
            panes += out.len() as u64;
            sum += out.iter().map(|(_, session)| session.2 * 31 + session.3).sum::<u64>();
            black_box(&mut out).clear();
        }
        batches.push(start.elapsed());
        firing.push(fires.elapsed());
    }
    Cost { batches, firing, panes, sum }
}

fn rules<K>() -> Rules<K> {
    Rules { lateness: Lateness::NONE, split: false, order: None }
}

fn count_and_max() -> impl Aggregate<u64, Output = (u64, u64)> {
    let w = Over::<u64>::new();
    (w.count(), w.max(|dwell| *dwell))
}

/// Rounds of each in turn. The machine may be busy, and every round does the same: of each batch the quickest counts.
fn compare(name: &str, hosted: impl Fn() -> Cost, hand: impl Fn() -> Cost) {
    let quickest = |best: &mut Cost, cost: Cost| {
        assert_eq!((best.panes, best.sum), (cost.panes, cost.sum), "{name}");
        best.batches.iter_mut().zip(cost.batches).for_each(|(best, took)| *best = took.min(*best));
        best.firing.iter_mut().zip(cost.firing).for_each(|(best, took)| *best = took.min(*best));
    };
    let (mut by_hand, mut operator) = (hand(), hosted());
    for _ in 1..ROUNDS {
        quickest(&mut by_hand, hand());
        quickest(&mut operator, hosted());
    }
    assert_eq!((operator.panes, operator.sum), (by_hand.panes, by_hand.sum), "{name}");
    let ns = |batches: &[Duration]| batches.iter().sum::<Duration>().as_nanos() as f64 / (batches.len() * BATCH) as f64;
    let [of_operator, of_firing] = [&operator.batches, &operator.firing].map(|batches| ns(batches));
    let [by_hand, fired_by_hand] = [&by_hand.batches, &by_hand.firing].map(|batches| ns(batches));
    println!(
        "{name}: {of_operator:.1} ns a record ({of_firing:.1} of it firing), by hand {by_hand:.1} ({fired_by_hand:.1}), ratio {:.2}",
        of_operator / by_hand
    );
}

fn text(key: u64) -> String {
    format!("k{key:05}")
}

const A_MINUTE: u64 = 330_000;
const MINUTE: i64 = 60 * SECOND;

#[test]
#[ignore = "measures"]
fn speed_of_tumbling_windows() {
    let records = 2_000_000;
    let layout = Tumbling::of(Duration::from_secs(60)).aligned().unwrap();
    compare(
        "tumbling u64",
        || hosted(Disjoint::new(layout, rules(), count_and_max()), records, A_MINUTE, |key| key),
        || by_hand(records, A_MINUTE, |key| key, MINUTE, MINUTE),
    );
    compare(
        "tumbling String",
        || hosted(Disjoint::new(layout, rules(), count_and_max()), records, A_MINUTE, text),
        || by_hand(records, A_MINUTE, text, MINUTE, MINUTE),
    );
}

#[test]
#[ignore = "measures"]
fn speed_of_sliding_windows() {
    let records = 1_000_000;
    let layout = Sliding::of(Duration::from_secs(60)).every(Duration::from_secs(10)).aligned().unwrap();
    compare(
        "sliding u64",
        || hosted(Overlapping::new(layout, rules(), count_and_max()), records, A_MINUTE, |key| key),
        || by_hand(records, A_MINUTE, |key| key, MINUTE, 10 * SECOND),
    );
    compare(
        "sliding String",
        || hosted(Overlapping::new(layout, rules(), count_and_max()), records, A_MINUTE, text),
        || by_hand(records, A_MINUTE, text, MINUTE, 10 * SECOND),
    );
}

#[test]
#[ignore = "measures"]
fn speed_of_sessions() {
    let records = 1_000_000;
    let (gap, session) = (20 * SECOND, Session::gap(Duration::from_secs(20)));
    compare(
        "session u64",
        || hosted(Sessions::new(session, rules(), count_and_max()), records, A_MINUTE, |key| key),
        || sessions_by_hand(records, A_MINUTE, |key| key, gap),
    );
    compare(
        "session String",
        || hosted(Sessions::new(session, rules(), count_and_max()), records, A_MINUTE, text),
        || sessions_by_hand(records, A_MINUTE, text, gap),
    );
}
