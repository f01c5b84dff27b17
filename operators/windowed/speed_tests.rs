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

/// Nanoseconds a record, and panes with a checksum.
#[derive(Clone, Copy, Debug)]
struct Cost {
    ns: f64,
    panes: u64,
    sum: u64,
}

fn hosted<K: Key, O: Operator<Key = K, In = u64, Out = Pane<K, (u64, u64)>>>(
    mut operator: O,
    records: u64,
    a_minute: u64,
    key: impl Fn(u64) -> K,
) -> Cost {
    let (mut load, mut spent, mut panes, mut sum) = (Load::new(a_minute), Duration::ZERO, 0, 0);
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
        loop {
            let firing = operator.advance(watermark, BATCH, &mut cx);
            let (out, _) = cx.take();
            panes += out.len() as u64;
            sum += out.iter().map(|record| record.value.value.0 * 31 + record.value.value.1).sum::<u64>();
            drop(black_box(out));
            if firing == Firing::Done {
                break;
            }
        }
        spent += start.elapsed();
    }
    Cost { ns: spent.as_nanos() as f64 / records as f64, panes, sum }
}

/// A map for each window, by start; `windows` names those of a time.
fn by_hand<K: Key + std::hash::Hash>(
    records: u64,
    a_minute: u64,
    key: impl Fn(u64) -> K,
    size: i64,
    slide: i64,
) -> Cost {
    let (mut load, mut spent, mut panes, mut sum) = (Load::new(a_minute), Duration::ZERO, 0, 0);
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
        spent += start.elapsed();
    }
    Cost { ns: spent.as_nanos() as f64 / records as f64, panes, sum }
}

/// A session or more for each key, and a look at all keys whenever a second of watermark has passed.
fn sessions_by_hand<K: Key + std::hash::Hash>(records: u64, a_minute: u64, key: impl Fn(u64) -> K, gap: i64) -> Cost {
    let (mut load, mut spent, mut panes, mut sum) = (Load::new(a_minute), Duration::ZERO, 0, 0);
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
        spent += start.elapsed();
    }
    Cost { ns: spent.as_nanos() as f64 / records as f64, panes, sum }
}

fn rules<K>() -> Rules<K> {
    Rules { lateness: Lateness::NONE, split: false, order: None }
}

fn count_and_max() -> impl Aggregate<u64, Output = (u64, u64)> {
    let w = Over::<u64>::new();
    (w.count(), w.max(|dwell| *dwell))
}

/// Three rounds of each in turn; the median of the ratios.
fn compare(name: &str, mut hosted: impl FnMut() -> Cost, mut hand: impl FnMut() -> Cost) {
    let mut ratios: Vec<(f64, f64, f64)> = (0..3)
        .map(|_| {
            let (hand, hosted) = (hand(), hosted());
            assert_eq!((hosted.panes, hosted.sum), (hand.panes, hand.sum), "{name}");
            (hosted.ns / hand.ns, hosted.ns, hand.ns)
        })
        .collect();
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, hosted, hand) = ratios[1];
    println!("{name}: {hosted:.1} ns a record, by hand {hand:.1}, ratio {ratio:.2}");
}

fn text(key: u64) -> String {
    format!("k{key:05}")
}

#[test]
#[ignore = "measures"]
fn speed() {
    let (records, a_minute) = (8_000_000, 330_000);
    let (minute, ten) = (60 * SECOND, 10 * SECOND);
    let tumbling = Tumbling::of(Duration::from_secs(60)).aligned().unwrap();
    let sliding = Sliding::of(Duration::from_secs(60)).every(Duration::from_secs(10)).aligned().unwrap();
    compare(
        "tumbling u64",
        || hosted(Disjoint::new(tumbling, rules(), count_and_max()), records, a_minute, |key| key),
        || by_hand(records, a_minute, |key| key, minute, minute),
    );
    compare(
        "tumbling String",
        || hosted(Disjoint::new(tumbling, rules(), count_and_max()), records, a_minute, text),
        || by_hand(records, a_minute, text, minute, minute),
    );
    let records = 3_000_000;
    compare(
        "sliding u64",
        || hosted(Overlapping::new(sliding, rules(), count_and_max()), records, a_minute, |key| key),
        || by_hand(records, a_minute, |key| key, minute, ten),
    );
    compare(
        "sliding String",
        || hosted(Overlapping::new(sliding, rules(), count_and_max()), records, a_minute, text),
        || by_hand(records, a_minute, text, minute, ten),
    );
    let gap = Session::gap(Duration::from_secs(20));
    compare(
        "session u64",
        || hosted(Sessions::new(gap, rules(), count_and_max()), records, a_minute, |key| key),
        || sessions_by_hand(records, a_minute, |key| key, 20 * SECOND),
    );
    compare(
        "session String",
        || hosted(Sessions::new(gap, rules(), count_and_max()), records, a_minute, text),
        || sessions_by_hand(records, a_minute, text, 20 * SECOND),
    );
}
