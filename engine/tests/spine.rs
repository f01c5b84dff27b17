//! The engine with the smallest source, operator and sink there can be: what it promises, without connectors.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond_engine::sink::{Encode, Follower, Opened, Outgoing, Outlet, Sink, SinkPlan, System};
use millpond_engine::source::{Arrival, Assigned, Collect, From, Original, Partition, Read, Reader, SourcePlan, Waker};
use millpond_engine::{
    Batch, Context, Draw, Ended, Env, Exit, Fault, Fires, Firing, KeyStep, Line, Operator, Record, Row, Run, Shipment,
    Stateful, Untimed,
};
use millpond_state::{CodecError, Entry, Fired, Handle, Panes, Section, Timestamp, stable_hash};

type Item = (i64, u64);

/// Partitions of (seconds, key); `open` ones never end.
#[derive(Clone)]
struct Partitions {
    parts: Arc<Vec<Vec<Item>>>,
    bounded: bool,
}

impl Untimed for Partitions {
    type Item = Item;
    type Reader = PartReader;
    fn plan(&self) -> SourcePlan {
        SourcePlan { kind: "vec".into(), from: "memory".into(), bounded: self.bounded, bound_micros: 0 }
    }
    fn connect(&self, _: &Env, _: &From) -> Result<Vec<Partition>, Fault> {
        let part = |(p, part): (usize, &Vec<Item>)| Partition {
            partition: p as u32,
            start: 0,
            end: part.len() as u64,
            fingerprint: String::new(),
        };
        Ok(self.parts.iter().enumerate().map(part).collect())
    }
    fn open(&self, _: &Env, assigned: &[Assigned], _: Waker) -> Result<PartReader, Fault> {
        let slots = assigned.iter().map(|a| (a.partition as usize, a.next)).collect();
        Ok(PartReader { parts: Arc::clone(&self.parts), slots, bounded: self.bounded })
    }
}

struct PartReader {
    parts: Arc<Vec<Vec<Item>>>,
    slots: Vec<(usize, u64)>,
    bounded: bool,
}

impl Reader<Item> for PartReader {
    fn read<C: Collect<Item>>(&mut self, slot: usize, most: usize, into: &mut C) -> Result<Read, Fault> {
        let (part, next) = &mut self.slots[slot];
        let rows = &self.parts[*part];
        for row in rows.iter().skip(*next as usize).take(most) {
            into.take(Arrival { offset: *next, stamp: Timestamp::MIN, logged: Timestamp::MAX, bytes: 16 }, *row);
            *next += 1;
        }
        Ok(match (*next as usize) < rows.len() {
            true => Read::More,
            false if self.bounded => Read::Finished,
            false => Read::AtEnd,
        })
    }
    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault> {
        self.slots[slot].1 = offset;
        Ok(())
    }
    fn original(&mut self, _: usize, _: u64) -> Option<Original> {
        None
    }
    fn end(&mut self, slot: usize) -> Option<u64> {
        Some(self.parts[self.slots[slot].0].len() as u64)
    }
}

/// Counts per key and minute.
struct Minutes {
    open: Panes<u64, u64>,
    fired: Fired,
}

const MINUTE: i64 = 60_000_000;

impl Operator for Minutes {
    type Key = u64;
    type In = Item;
    type Out = (i64, u64, u64);
    type Side = Item;
    fn apply(&mut self, rows: &mut Shipment<u64, Item>, cx: &mut Context<Self::Out, Item>) {
        for row in rows.rows.drain(..) {
            assert!(row.key != 666, "a key nobody wants");
            let start = row.at.micros().div_euclid(MINUTE) * MINUTE;
            if Timestamp::from_micros(start + MINUTE) <= row.seen.max(self.fired.get(row.hash)) {
                cx.late(Record { at: row.at, seen: row.seen, value: row.value }, None);
            } else {
                self.open.upsert(start, row.hash, row.key, || 0, |n| *n += 1);
            }
        }
    }
    fn advance(&mut self, watermark: Timestamp, budget: usize, cx: &mut Context<Self::Out, Item>) -> Firing {
        self.fired.advance(watermark);
        while let Some(start) = self.open.first_window() {
            let end = Timestamp::from_micros(start + MINUTE);
            if end > watermark {
                break;
            }
            let left = budget.saturating_sub(cx.emitted());
            let at = end.plus_micros(-1);
            if left == 0
                || !self.open.drain(start, left, |key, _, n| cx.emit(at, Default::default, (start / MINUTE, key, n)))
            {
                return Firing::More;
            }
        }
        Firing::Done
    }
    fn snapshot(&mut self, most: &mut usize, section: &mut Section) -> Result<bool, CodecError> {
        self.open.snapshot(most, section)
    }
    fn fired(&self, groups: Range<u16>) -> Fires {
        self.fired.runs(groups)
    }
    fn restore(&mut self, entry: Entry<'_>) -> Result<(), CodecError> {
        millpond_state::restore_entry(&mut [&mut self.open], entry.group, entry.key, entry.value.unwrap_or_default())
    }
    fn restore_fired(&mut self, groups: Range<u16>, fires: &Fires) {
        self.fired.restore(groups, fires);
    }
}

/// Keeps JSON lines in memory once they are decided.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn sorted(&self) -> Vec<String> {
        let mut lines = self.0.lock().unwrap().clone();
        lines.sort();
        lines
    }
}
impl<T: millpond_state::Data> Sink<T> for Lines {
    fn plan(&self) -> SinkPlan {
        SinkPlan { kind: "lines".into(), to: "memory".into() }
    }
    fn system(&self) -> Rc<dyn System> {
        Rc::new(self.clone())
    }
    fn encoder(&self, _: u32) -> Box<dyn Encode<T>> {
        Box::new(self.clone())
    }
}
impl<T: millpond_state::Data> Encode<T> for Lines {
    fn encode(&mut self, batch: &mut Batch<T>, out: &mut Outgoing) -> Result<(), Fault> {
        for row in batch.rows.drain(..) {
            let value = |bytes: &mut Vec<u8>| serde_json::to_writer(bytes, &row.value).map(|()| true);
            out.push(row.at, |_| Ok(false), value, |_, _| 0)
                .map_err(|e| Fault::new(Exit::FixJob, "json").because(e))?;
        }
        Ok(())
    }
}
impl System for Lines {
    fn identity(&self) -> String {
        format!("lines:{:p}", Arc::as_ptr(&self.0))
    }
    fn open(&self, _: &Env, _: &[Outlet]) -> Result<Opened, Fault> {
        Ok(Opened::Follower(Box::new(self.clone())))
    }
}
impl Follower for Lines {
    fn deliver(&mut self, outgoing: &Outgoing) -> Result<(), Fault> {
        let text = |r: millpond_engine::sink::OutRecord<'_>| String::from_utf8(r.value.unwrap().to_vec()).unwrap();
        self.0.lock().unwrap().extend(outgoing.records().map(text));
        Ok(())
    }
}

fn counting(source: Partitions, out: Lines, late: Lines, bound: u64) -> Arc<Draw> {
    Arc::new(move |graph, _| {
        let source = source.clone().event_time(|(at, _): &Item| Timestamp::from_secs(*at));
        let line = Line::source(graph, "in", source.out_of_order(Duration::from_secs(bound)));
        let key: KeyStep<Item, u64, Item> = Box::new(|batch, rows| {
            for r in batch.rows.drain(..) {
                let key = r.value.1;
                rows.push(Row { hash: stable_hash(&key), at: r.at, seen: r.seen, key, value: r.value }, None);
            }
        });
        let what = Stateful {
            kind: "minutes".into(),
            name: None,
            settings: vec![],
            shapes: vec![],
            notes: vec![],
            positions: false,
            upgrades: Vec::new(),
            size: Some(60_000_000),
            time: true,
        };
        let operator = || Minutes { open: Panes::new(0), fired: Fired::new() };
        let (panes, lates) = line.step("pass", std::mem::swap).key(key, std::mem::swap).operate(what, operator);
        panes.sink("out", out.clone());
        lates.sink("late", late.clone());
        Ok(())
    })
}

/// Three partitions, out of order by up to 90 seconds, in a fixed disorder.
fn partitions(rows: i64) -> Vec<Vec<Item>> {
    let part = |p: i64| {
        (0..rows)
            .map(|i| {
                let jitter = (i * 7919 + p * 31) % 90;
                (i / 4 - jitter, ((i * 31 + p) % 17) as u64)
            })
            .collect()
    };
    (0..3).map(part).collect()
}

fn run(workers: usize, batch: usize, dir: &std::path::Path, draw: Arc<Draw>) -> Result<Ended, Fault> {
    let mut run = Run::new("spine", 1, dir);
    run.workers = workers;
    run.interval = Duration::from_millis(20);
    run.tuning.batch = batch;
    millpond_engine::start(run, draw)?.join()
}

fn answer(workers: usize, batch: usize) -> (Vec<String>, Vec<String>) {
    answer_of(4_000, workers, batch)
}

fn answer_of(rows: i64, workers: usize, batch: usize) -> (Vec<String>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let (out, late) = (Lines::default(), Lines::default());
    let source = Partitions { parts: Arc::new(partitions(rows)), bounded: true };
    let ended = run(workers, batch, dir.path(), counting(source, out.clone(), late.clone(), 30)).unwrap();
    assert!(ended.finished);
    (out.sorted(), late.sorted())
}

#[test]
fn the_answer_is_a_function_of_the_log() {
    let (out, late) = answer(1, 2048);
    assert!(out.len() > 200 && late.len() > 500, "{} panes, {} late", out.len(), late.len());
    for (workers, batch) in [(1, 1), (2, 7), (3, 100), (8, 1000)] {
        assert_eq!(
            (&out, &late),
            (&answer(workers, batch).0, &answer(workers, batch).1),
            "{workers} workers, {batch} a batch"
        );
    }
}

#[test]
fn a_stopped_job_goes_on_with_other_workers_and_a_finished_one_does_nothing() {
    let (want, want_late) = answer_of(40_000, 1, 2048);
    let dir = tempfile::tempdir().unwrap();
    let (out, late) = (Lines::default(), Lines::default());
    let source = Partitions { parts: Arc::new(partitions(40_000)), bounded: true };
    let draw = counting(source, out.clone(), late.clone(), 30);
    let mut rounds = 0;
    for workers in [1, 3, 2, 5].into_iter().cycle() {
        let mut run = Run::new("spine", 1, dir.path());
        run.workers = workers;
        run.interval = Duration::from_millis(2);
        run.tuning.batch = 10;
        let running = millpond_engine::start(run, Arc::clone(&draw)).unwrap();
        // However little the machine gives this test, each round gets on.
        let from = running.status().epoch;
        while running.status().epoch == from && !running.ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
        running.stop();
        rounds += 1;
        let ended = running.join().unwrap();
        if ended.finished {
            break;
        }
        assert!(rounds < 500, "the job gets on");
    }
    assert!(rounds > 1, "it was stopped at least once");
    assert_eq!((out.sorted(), late.sorted()), (want, want_late));
    let again = run(2, 100, dir.path(), draw).unwrap();
    assert!(again.before && again.finished);
}

#[test]
fn a_panic_in_an_operator_stops_the_job_and_names_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let source = Partitions { parts: Arc::new(vec![vec![(1, 1), (2, 666), (3, 1)]]), bounded: true };
    let draw = counting(source, Lines::default(), Lines::default(), 0);
    let fault = run(1, 10, dir.path(), draw).unwrap_err();
    assert_eq!(fault.exit(), Exit::FixJob);
    let text = fault.to_string();
    assert!(text.contains("in/minutes") && text.contains("partition 0") && text.contains("offsets 0 and 2"), "{text}");
}

#[test]
fn a_second_instance_is_refused_by_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let source = Partitions { parts: Arc::new(partitions(10)), bounded: false };
    let draw = counting(source, Lines::default(), Lines::default(), 0);
    let first = millpond_engine::start(Run::new("spine", 1, dir.path()), Arc::clone(&draw)).unwrap();
    let second = run(1, 10, dir.path(), draw).unwrap_err();
    assert_eq!(second.exit(), Exit::AlreadyRunning);
    first.stop();
    assert!(!first.join().unwrap().finished);
}
