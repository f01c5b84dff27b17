//! Retention and compaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use millpond_state::Timestamp;

use super::faults::scratch;
use super::log_tests::rest;
use super::{Log, LogError, Record, Settings, Start, Writer};

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn segments(log: &Log, topic: &str) -> usize {
    let names = std::fs::read_dir(log.dir().join("topics").join(topic).join("0")).unwrap();
    names.filter(|name| name.as_ref().unwrap().path().extension().is_some_and(|ext| ext == "log")).count()
}

/// One record of 100 bytes a commit.
fn fill(writer: &mut Writer, topic: &str, count: u64) {
    let claim = writer.claim(topic).unwrap();
    for _ in 0..count {
        let epoch = writer.last_commit().map_or(0, |commit| commit.epoch) + 1;
        writer.append(claim, 0, &Record::new(at(0), &[b'r'; 100])).unwrap();
        writer.commit(epoch, b"").unwrap();
    }
}

#[test]
fn retention_by_bytes_keeps_the_newest_segments() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(1).segment_bytes(1_000).keep_bytes(4_000)).unwrap();
    let mut writer = log.writer("w").unwrap();
    fill(&mut writer, "t", 100);
    let before = segments(&log, "t");
    let mut slow = log.reader("t", 0, Start::Earliest).unwrap();
    slow.read_block(100).unwrap().unwrap();
    writer.retain(at(0)).unwrap();
    assert!(segments(&log, "t") < before / 2);
    let kept = log.offsets("t").unwrap()[0].clone();
    assert!(kept.start > 50 && kept.end == 100, "{kept:?}");
    let bytes: u64 =
        std::fs::read_dir(dir.path().join("topics/t/0")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes > 4_000, "{bytes}");
    assert_eq!(rest(&mut log.reader("t", 0, Start::Earliest).unwrap()).len() as u64, kept.end - kept.start);
    assert!(
        matches!(log.reader("t", 0, Start::Offset(0)), Err(LogError::Expired { earliest, .. }) if earliest == kept.start)
    );
    let overtaken = loop {
        match slow.read_block(100) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("records are missing and nobody says so"),
            Err(error) => break error,
        }
    };
    assert!(matches!(overtaken, LogError::Expired { earliest, .. } if earliest == kept.start), "{overtaken}");
    drop(writer);
    let mut writer = log.writer("w").unwrap();
    fill(&mut writer, "t", 1);
    assert_eq!(log.offsets("t").unwrap()[0], kept.start..101);
}

#[test]
fn retention_by_age_counts_append_time_and_never_takes_the_growing_segment() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(1).segment_bytes(1_000).keep_for(Duration::from_micros(100))).unwrap();
    let now = Arc::new(AtomicI64::new(0));
    let clock = now.clone();
    let mut writer = log.writer_with_clock("w", move || at(clock.load(Ordering::Relaxed))).unwrap();
    for time in 0..60 {
        now.store(time * 10, Ordering::Relaxed);
        fill(&mut writer, "t", 1);
    }
    writer.retain(at(600)).unwrap();
    let kept = log.offsets("t").unwrap()[0].clone();
    assert!((40..=50).contains(&kept.start), "{kept:?}");
    writer.retain(at(1_000_000)).unwrap();
    let kept = log.offsets("t").unwrap()[0].clone();
    assert!(kept.start < 60);
    assert_eq!(segments(&log, "t"), 1);
    now.store(1_000_000, Ordering::Relaxed);
    fill(&mut writer, "t", 1);
    writer.retain(at(1_000_000)).unwrap();
    assert_eq!(log.offsets("t").unwrap()[0], 60..61, "an old segment is complete once a newer record comes");
}

#[test]
fn compaction_keeps_the_newest_record_of_each_key_at_its_offset() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(1).segment_bytes(2_000).compacted()).unwrap();
    let mut writer = log.writer("w").unwrap();
    let t = writer.claim("t").unwrap();
    assert!(matches!(writer.append(t, 0, &Record::new(at(0), b"no key")), Err(LogError::Invalid(_))));
    let key = |i: u64| format!("key {}", i * i % 23);
    for i in 0..400_u64 {
        let headers: &[(&str, &[u8])] = &[("i", &i.to_le_bytes())];
        writer
            .append(
                t,
                0,
                &Record::new(at(i.cast_signed()), format!("{i}").as_bytes()).key(key(i).as_bytes()).headers(headers),
            )
            .unwrap();
        if i % 10 == 9 {
            writer.commit(i, b"").unwrap();
        }
    }
    let mut holding = log.reader("t", 0, Start::Earliest).unwrap();
    holding.read_block(10).unwrap().unwrap();
    let size = |log: &Log| rest(&mut log.reader("t", 0, Start::Earliest).unwrap()).len();
    assert_eq!(size(&log), 400);
    writer.compact().unwrap();
    let kept = size(&log);
    assert!(kept < 100, "{kept}");
    let mut reader = log.reader("t", 0, Start::Earliest).unwrap();
    let mut table = BTreeMap::new();
    while let Some(block) = reader.read_block(10).unwrap() {
        for record in block.records() {
            assert_eq!(record.value.unwrap(), record.offset.to_string().as_bytes(), "offsets keep their numbers");
            assert_eq!(record.event_time.micros(), record.offset.cast_signed());
            assert_eq!(record.headers.collect::<Vec<_>>(), [("i", &record.offset.to_le_bytes()[..])]);
            table.insert(record.key.unwrap().to_vec(), record.offset);
        }
    }
    let want: BTreeMap<_, _> = (0..400).map(|i| (key(i).into_bytes(), i)).collect();
    assert_eq!(table, want);
    let held = rest(&mut holding);
    assert_eq!(held.last().unwrap().0, 399);
    for offset in [0, 100, 250, 399, 400] {
        let found = rest(&mut log.reader("t", 0, Start::Offset(offset)).unwrap());
        assert!(found.iter().all(|(at, _)| *at >= offset));
    }
    writer.compact().unwrap();
    assert_eq!(size(&log), kept);
}

#[test]
fn compaction_goes_on_beside_appends_and_commits_and_ends_with_the_writer() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(2).segment_bytes(2_000).compacted()).unwrap();
    let (mut number, mut compactions) = (0_u64, 0);
    let table = || {
        let mut table = BTreeMap::new();
        for partition in 0..2 {
            let mut reader = log.reader("t", partition, Start::Earliest).unwrap();
            while let Some(block) = reader.read_block(1_000).unwrap() {
                for record in block.records() {
                    let value = u64::from_le_bytes(record.value.unwrap().try_into().unwrap());
                    table.insert(record.key.unwrap().to_vec(), value);
                }
            }
        }
        table
    };
    for _ in 0..5 {
        let mut writer = log.writer("w").unwrap();
        let claim = writer.claim("t").unwrap();
        for _ in 0..100 {
            for _ in 0..20 {
                number += 1;
                let (key, value) = ((number % 30).to_le_bytes(), number.to_le_bytes());
                let record = Record { key: Some(&key), value: Some(&value), ..Record::default() };
                writer.append(claim, (number % 2) as u32, &record).unwrap();
            }
            writer.commit(number, b"").unwrap();
            writer.retain(at(0)).unwrap();
            compactions += u64::from(writer.compaction.is_none());
            writer.begin_compaction().unwrap();
        }
        // The next one takes the lock at once, with a compaction perhaps in the middle.
        drop(writer);
        let want: BTreeMap<_, _> = (number - 29..=number).map(|n| ((n % 30).to_le_bytes().to_vec(), n)).collect();
        assert_eq!(table(), want);
    }
    assert!(compactions > 5, "{compactions}");
    let before = segments(&log, "t");
    let mut writer = log.writer("w").unwrap();
    writer.compact().unwrap();
    let mut reader = log.reader("t", 0, Start::Earliest).unwrap();
    let kept = rest(&mut reader).len();
    assert!(kept < 300 && segments(&log, "t") == before, "{kept} of {} records are kept", number / 2);
    assert_eq!(table().len(), 30);
}

#[test]
fn a_compaction_that_fails_is_told_to_the_next_call_and_the_writer_stops() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(1).segment_bytes(200).compacted()).unwrap();
    let mut writer = log.writer("w").unwrap();
    let claim = writer.claim("t").unwrap();
    for n in 0..20_u8 {
        writer.append(claim, 0, &Record { key: Some(&[n % 3]), value: Some(&[n; 100]), ..Record::default() }).unwrap();
        writer.commit(1, b"").unwrap();
    }
    // Where the first segment would be written aside there is a directory.
    let first = std::fs::read_dir(dir.path().join("topics/t/0")).unwrap().map(|entry| entry.unwrap().path());
    let first = first.filter(|path| path.extension().is_some_and(|ext| ext == "log")).min().unwrap();
    std::fs::create_dir(super::disk::aside(&first)).unwrap();
    writer.begin_compaction().unwrap();
    let error = loop {
        match writer.retain(at(0)) {
            Ok(()) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::Io { doing: "create", .. }), "{error}");
    assert!(matches!(writer.commit(2, b""), Err(LogError::Poisoned { .. })));
}

#[test]
fn a_tombstone_outlives_one_compaction() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(1).segment_bytes(200).compacted()).unwrap();
    let mut writer = log.writer("w").unwrap();
    let t = writer.claim("t").unwrap();
    let append = |writer: &mut Writer, key: &[u8], value: Option<&[u8]>| {
        writer.append(t, 0, &Record { key: Some(key), value, ..Record::default() }).unwrap();
        writer.commit(1, b"").unwrap();
    };
    append(&mut writer, b"gone", Some(b"1"));
    append(&mut writer, b"stays", Some(b"2"));
    append(&mut writer, b"gone", None);
    for i in 0..5_u8 {
        append(&mut writer, &[i], Some(&[b'x'; 100]));
    }
    let keys = || {
        let mut reader = log.reader("t", 0, Start::Earliest).unwrap();
        let mut keys = Vec::new();
        while let Some(block) = reader.read_block(1_000).unwrap() {
            keys.extend(block.records().map(|r| (r.key.unwrap().to_vec(), r.value.is_some())));
        }
        keys.truncate(2);
        keys
    };
    writer.compact().unwrap();
    assert_eq!(keys(), [(b"stays".to_vec(), true), (b"gone".to_vec(), false)]);
    writer.compact().unwrap();
    assert_eq!(keys(), [(b"stays".to_vec(), true), (vec![0], true)]);
}
