//! Comparing against a model over maps, in any memory.

use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::Exit;
use crate::ledger::{Added, Committed, CommittedRecord, Decide, Own};

type Record = (i64, Option<String>, String);

/// Outputs in memory, a partition each.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Vec<Record>>>);

struct Reading(Vec<Record>, usize);

impl Committed for Reading {
    fn read(&mut self, each: &mut dyn FnMut(CommittedRecord<'_>)) -> Result<bool, Fault> {
        let Some((at, key, value)) = self.0.get(self.1) else { return Ok(false) };
        let key = key.as_ref().map(String::as_bytes);
        each(CommittedRecord {
            offset: self.1 as u64,
            at: Timestamp::from_secs(*at),
            key,
            value: (value != "-").then_some(value.as_bytes()),
        });
        self.1 += 1;
        Ok(true)
    }
    fn next(&self) -> u64 {
        self.1 as u64
    }
}

impl Ledger for Memory {
    fn name(&self) -> String {
        "memory".into()
    }
    fn entries(&self) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        Ok(Vec::new())
    }
    fn decide(&self, _: &str, _: Decide<'_>) -> Result<(), Fault> {
        Err(Fault::new(Exit::Usage, "not kept here"))
    }
    fn append(&self, _: Own<'_>, _: &mut dyn FnMut() -> Result<Vec<Added>, Fault>) -> Result<(), Fault> {
        Err(Fault::new(Exit::Usage, "not kept here"))
    }
    fn kept(&self, output: &str) -> Result<Option<Vec<Range<u64>>>, Fault> {
        Ok(self.0.lock().unwrap().get(output).map(|rows| std::iter::once(0..rows.len() as u64).collect()))
    }
    fn find(&self, _: &str, _: Timestamp) -> Result<Vec<u64>, Fault> {
        Ok(vec![0])
    }
    fn read(&self, output: &str, _: u32, from: u64) -> Result<Box<dyn Committed>, Fault> {
        Ok(Box::new(Reading(self.0.lock().unwrap()[output].clone(), from as usize)))
    }
    fn wait(&self, _: Duration) {}
    fn delete(&self, _: &str, _: &[crate::ledger::Doomed]) -> Result<(), Fault> {
        Ok(())
    }
}

fn settings(memory: usize, dir: &std::path::Path) -> Settings {
    Settings {
        times: Timestamp::MIN..Timestamp::from_secs(100),
        table: false,
        tolerances: Tolerances::default(),
        scratch: dir.to_owned(),
        memory,
        samples: 3,
    }
}

fn report(left: &[Record], right: &[Record], settings: &Settings) -> OutputReport {
    let memory = Memory::default();
    memory.0.lock().unwrap().extend([("a".to_owned(), left.to_vec()), ("b".to_owned(), right.to_vec())]);
    compare(&memory, "out", ["a", "b"], settings).unwrap()
}

fn counts(report: &OutputReport) -> [u64; 5] {
    [report.equal, report.tolerated, report.only_in_first, report.only_in_second, report.differing]
}

fn row(at: i64, key: &str, value: &str) -> Record {
    (at, Some(key.to_owned()), value.to_owned())
}

#[test]
fn rows_are_the_same_by_time_and_key_wherever_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    let left = [row(1, "a", "{\"n\":1}"), row(1, "b", "{\"n\":2}"), row(2, "a", "{\"n\":3}"), row(200, "a", "later")];
    let right = [row(2, "a", "{\"n\":4}"), row(1, "b", "{\"n\":2}"), row(2, "c", "{\"n\":5}")];
    let report = report(&left, &right, &settings(1 << 20, dir.path()));
    assert_eq!((report.first, report.second), (3, 3), "what lies beyond the stretch does not count");
    assert_eq!(counts(&report), [1, 0, 1, 1, 1]);
    assert_eq!(report.columns, BTreeMap::from([("n".to_owned(), 1)]));
    let samples: Vec<_> = report.samples.iter().map(|sample| (sample.key.as_deref(), sample.columns.len())).collect();
    assert_eq!(samples, [(Some("a"), 0), (Some("a"), 1), (Some("c"), 0)]);
}

#[test]
fn rows_without_keys_are_a_multiset() {
    let dir = tempfile::tempdir().unwrap();
    let bare = |value: &str| (5, None, value.to_owned());
    let left = [bare("x"), bare("x"), bare("y"), bare("z")];
    let right = [bare("y"), bare("x"), bare("z"), bare("z")];
    assert_eq!(counts(&report(&left, &right, &settings(64, dir.path()))), [3, 0, 0, 0, 1]);
}

#[test]
fn every_memory_gives_what_a_map_gives() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = 11u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..30 {
        let mut sides: [BTreeMap<(i64, String), u64>; 2] = Default::default();
        for _ in 0..300 {
            let place = (next(20) as i64, next(30).to_string());
            let value = next(1_000);
            match next(10) {
                0 => drop(sides[0].insert(place, value)),
                1 => drop(sides[1].insert(place, value)),
                2 => drop((sides[0].insert(place.clone(), value), sides[1].insert(place, value + 1))),
                _ => drop((sides[0].insert(place.clone(), value), sides[1].insert(place, value))),
            }
        }
        let [left, right] = &sides;
        let both = left.iter().filter(|(place, _)| right.contains_key(*place));
        let differing = both.clone().filter(|(place, value)| right[*place] != **value).count() as u64;
        let both = both.count() as u64;
        let want = [both - differing, 0, left.len() as u64 - both, right.len() as u64 - both, differing];
        let mut lists = sides.map(|side| -> Vec<Record> {
            side.into_iter().map(|((at, key), value)| (at, Some(key), value.to_string())).collect()
        });
        for list in &mut lists {
            for index in (1..list.len()).rev() {
                list.swap(index, next(index as u64 + 1) as usize);
            }
        }
        for memory in [1, 2_000, 1 << 20] {
            let report = report(&lists[0], &lists[1], &settings(memory, dir.path()));
            assert_eq!(counts(&report), want, "round {round}, {memory} bytes");
        }
    }
}

#[test]
fn what_is_equal_within_a_tolerance_is_no_difference() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(1 << 20, dir.path());
    settings.tolerances.add("mean=0.1").unwrap();
    let (left, right) = ([row(1, "a", "{\"mean\":1.00}")], [row(1, "a", "{\"mean\":1.05}")]);
    let report = report(&left, &right, &settings);
    assert_eq!((counts(&report), report.differences()), ([0, 1, 0, 0, 0], 0));
}

#[test]
fn tables_are_what_their_changes_add_up_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = 5u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..20 {
        // Changes in any order of event time; "-" is a tombstone.
        let mut side = || -> Vec<Record> {
            let change = |next: &mut dyn FnMut(u64) -> u64| {
                let value = if next(4) == 0 { "-".to_owned() } else { next(3).to_string() };
                row(next(200) as i64, &next(40).to_string(), &value)
            };
            (0..200).map(|_| change(&mut next)).collect()
        };
        let (left, right) = (side(), side());
        let table = |changes: &[Record]| {
            let mut table = BTreeMap::new();
            changes.iter().for_each(|(_, key, value)| drop(table.insert(key.clone(), value.clone())));
            table.retain(|_, value| value != "-");
            table
        };
        let (before, after) = (table(&left), table(&right));
        let both = before.iter().filter_map(|(key, value)| Some((value, after.get(key)?)));
        let equal = both.clone().filter(|(left, right)| left == right).count() as u64;
        let both = both.count() as u64;
        let want = [equal, 0, before.len() as u64 - both, after.len() as u64 - both, both - equal];
        for memory in [1, 2_000, 1 << 20] {
            let settings = Settings { table: true, ..settings(memory, dir.path()) };
            let report = report(&left, &right, &settings);
            assert_eq!(counts(&report), want, "round {round}, {memory} bytes");
            assert_eq!((report.first, report.second), (before.len() as u64, after.len() as u64));
            assert!(report.samples.iter().all(|sample| sample.at.is_none() && sample.key.is_some()));
        }
    }
}
