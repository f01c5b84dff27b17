//! A topic as source: every position, growth, messages, damage.

use std::time::{Duration, Instant};

use millpond_engine::source::{Assigned, From, Read, Reader as _, Waker};
use millpond_engine::{Exit, Untimed as _};
use millpond_state::Timestamp;
use tempfile::TempDir;

use crate::log::{Log, Record, Settings, Writer};
use crate::trial::{self, Taken};
use crate::{Json, Message, Raw};

fn filled(dir: &TempDir, partitions: u32, each: u64) -> (Log, Writer) {
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(partitions)).unwrap();
    let mut writer = log.writer_with_clock("feeder", || Timestamp::from_secs(1_000)).unwrap();
    append(&mut writer, partitions, 0..each);
    (log, writer)
}

/// Appends the numbers of `range` to each partition, a commit.
fn append(writer: &mut Writer, partitions: u32, range: std::ops::Range<u64>) {
    let claim = writer.claim("t").unwrap();
    for n in range.clone() {
        for partition in 0..partitions {
            let value = n.to_string();
            let record = Record::new(Timestamp::from_millis(n as i64 * 10), value.as_bytes());
            let headers: &[(&str, &[u8])] = &[("h", b"1"), ("h", b"2")];
            writer.append(claim, partition, &record.key(b"key").headers(headers)).unwrap();
        }
    }
    writer.commit(range.end, b"").unwrap();
}

fn assigned(partition: u32, next: u64, end: Option<u64>) -> Assigned {
    Assigned { partition, next, end }
}

#[test]
fn every_position_is_a_place_to_go_on_from_and_ends_hold() {
    let dir = tempfile::tempdir().unwrap();
    // Some twelve blocks.
    let (log, _writer) = filled(&dir, 1, 100_000);
    let source = log.read::<u64>("t", Json);
    for (next, most) in [(0, 2_048), (1, 7_777), (8_191, 1_000), (50_000, 100), (99_999, 1), (100_000, 5)] {
        let mut reader = source.open(&trial::env(), &[assigned(0, next, None)], trial::waker()).unwrap();
        let taken = trial::read_until(&mut reader, 0, most, Read::AtEnd);
        assert_eq!(taken.offsets(), (next..100_000).collect::<Vec<_>>());
        assert_eq!(taken.values(), taken.offsets());
        assert_eq!(reader.end(0), Some(100_000));
    }
    for (next, end) in [(0, 1), (0, 40_000), (39_999, 40_000), (70_000, 100_000)] {
        let mut reader = source.open(&trial::env(), &[assigned(0, next, Some(end))], trial::waker()).unwrap();
        assert_eq!(trial::read_until(&mut reader, 0, 3_000, Read::Finished).offsets(), (next..end).collect::<Vec<_>>());
    }
    let beyond = source.open(&trial::env(), &[assigned(0, 100_001, None)], trial::waker()).unwrap_err();
    assert_eq!(beyond.exit(), Exit::Restore);
}

#[test]
fn arrivals_have_both_times_and_originals_all_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _writer) = filled(&dir, 1, 10);
    let source = log.read::<String>("t", Json);
    let mut reader = source.open(&trial::env(), &[assigned(0, 3, None)], trial::waker()).unwrap();
    let mut taken: Taken<String> = Taken::default();
    while taken.refused.len() < 6 {
        let before = taken.refused.len();
        reader.read(0, 3, &mut taken).unwrap();
        for (arrival, reason) in &taken.refused[before..] {
            assert_eq!((arrival.stamp.millis(), arrival.logged.secs()), (arrival.offset as i64 * 10, 1_000));
            assert!(reason.contains("invalid type: integer"), "{reason}");
            let original = reader.original(0, arrival.offset).unwrap();
            assert_eq!((original.key.as_deref(), original.stamp), (Some(&b"key"[..]), Some(arrival.stamp)));
            assert_eq!(original.value, Some(arrival.offset.to_string().into_bytes()));
            assert_eq!(original.headers, [("h".to_owned(), b"1".to_vec()), ("h".to_owned(), b"2".to_vec())]);
        }
    }
    assert_eq!(reader.original(0, 99), None);
}

#[test]
fn messages_bring_keys_headers_times_and_tombstones() {
    let dir = tempfile::tempdir().unwrap();
    let (log, mut writer) = filled(&dir, 1, 1);
    let claim = writer.claim("t").unwrap();
    writer.append(claim, 0, &Record { key: Some(b"gone"), ..Record::default() }).unwrap();
    writer.commit(2, b"").unwrap();
    let open = |source: &super::LogSource<Message<u64>, _>| {
        source.open(&trial::env(), &[assigned(0, 0, None)], trial::waker())
    };
    let taken =
        trial::read_until(&mut open(&log.read::<u64>("t", Json).messages()).unwrap(), 0, 10, Read::AtEnd).values();
    assert_eq!((taken[0].value, taken[0].headers.len(), taken[0].timestamp), (Some(0), 2, Timestamp::EPOCH));
    assert_eq!((taken[1].value, taken[1].key.as_deref()), (None, Some(&b"gone"[..])));
    let mut values =
        log.read::<Vec<u8>>("t", Raw).open(&trial::env(), &[assigned(0, 0, None)], trial::waker()).unwrap();
    let taken = trial::read_until(&mut values, 0, 10, Read::AtEnd);
    assert_eq!((taken.values(), taken.refused[0].0.offset), (vec![b"0".to_vec()], 1));
    assert!(taken.refused[0].1.contains("tombstone"));
}

#[test]
fn a_first_start_begins_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (log, mut writer) = filled(&dir, 2, 10);
    let claim = writer.claim("t").unwrap();
    writer.append(claim, 1, &Record::new(Timestamp::from_secs(9), b"7")).unwrap();
    writer.commit(2, b"").unwrap();
    let source = log.read::<u64>("t", Json);
    let starts = |from: From| -> Vec<_> {
        let found = source.connect(&trial::env(), &from).unwrap();
        found.iter().map(|found| (found.start, found.end)).collect()
    };
    assert_eq!(starts(From::Earliest), [(0, 10), (0, 11)]);
    assert_eq!(starts(From::Latest), [(10, 10), (11, 11)]);
    assert_eq!(starts(From::Time(Timestamp::from_millis(41))), [(5, 10), (5, 11)]);
    assert_eq!(starts(From::Time(Timestamp::from_secs(5))), [(10, 10), (10, 11)]);
    assert_eq!(starts(From::Offsets(vec![(1, 11)])), [(0, 10), (11, 11)]);
    let fault = source.connect(&trial::env(), &From::Offsets(vec![(0, 11)])).unwrap_err();
    assert_eq!(fault.exit(), Exit::Usage);
    assert!(fault.to_string().contains("from 0 up to 10, and reading cannot begin at 11"), "{fault}");
}

#[test]
fn a_missing_topic_is_named_with_the_way_out_and_a_new_one_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let (log, writer) = filled(&dir, 1, 10);
    let nothing = log.read::<u64>("nothing", Json).connect(&trial::env(), &From::Earliest).unwrap_err();
    assert_eq!(nothing.exit(), Exit::Usage);
    for part in ["no topic nothing", &dir.path().display().to_string(), "log create nothing"] {
        assert!(nothing.to_string().contains(part), "{nothing}");
    }
    let print = || log.read::<u64>("t", Json).connect(&trial::env(), &From::Earliest).unwrap().remove(0).fingerprint;
    let first = print();
    assert_eq!(first, print());
    drop(writer);
    log.delete_topic("t").unwrap();
    log.create_topic("t", Settings::partitions(1)).unwrap();
    assert_ne!(first, print());
}

#[test]
fn a_log_is_followed_while_it_grows_within_milliseconds() {
    let dir = tempfile::tempdir().unwrap();
    let (log, mut writer) = filled(&dir, 2, 0);
    let (woken, waking) = crossbeam::channel::unbounded();
    let waker = Waker::new(move || woken.send(()).unwrap_or(()));
    let slots = [assigned(0, 0, None), assigned(1, 0, None)];
    let mut reader = log.read::<u64>("t", Json).open(&trial::env(), &slots, waker).unwrap();
    let mut spent = Vec::new();
    for n in 0..30 {
        for slot in 0..2 {
            assert!(trial::read_until(&mut reader, slot, 10, Read::AtEnd).taken.is_empty());
        }
        append(&mut writer, 2, n..n + 1);
        let since = Instant::now();
        let mut found = [Taken::default(), Taken::default()];
        while found.iter().any(|taken: &Taken<u64>| taken.taken.is_empty()) {
            waking.recv_timeout(Duration::from_secs(20)).expect("nobody wakes");
            for (slot, taken) in found.iter_mut().enumerate() {
                while reader.read(slot, 10, taken).unwrap() == Read::More {}
            }
        }
        spent.push(since.elapsed());
        assert_eq!([found[0].values(), found[1].values()], [[n], [n]]);
    }
    spent.sort_unstable();
    assert!(spent[15] < Duration::from_millis(100), "{spent:?}");
}

#[test]
fn a_seek_goes_back_within_a_block_and_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _writer) = filled(&dir, 1, 50_000);
    let mut reader = log.read::<u64>("t", Json).open(&trial::env(), &[assigned(0, 0, None)], trial::waker()).unwrap();
    trial::read_until(&mut reader, 0, 5_000, Read::AtEnd);
    for offset in [49_999, 49_000, 3, 25_000, 0] {
        reader.seek(0, offset).unwrap();
        assert_eq!(
            trial::read_until(&mut reader, 0, 1_000, Read::AtEnd).offsets(),
            (offset..50_000).collect::<Vec<_>>()
        );
    }
    reader.seek(0, 7).unwrap();
    let mut taken = Taken::default();
    while taken.taken.is_empty() {
        reader.read(0, 2, &mut taken).unwrap();
    }
    reader.seek(0, 8).unwrap();
    reader.read(0, 2, &mut taken).unwrap();
    assert_eq!(taken.offsets(), [7, 8, 8, 9], "within a block nothing is fetched again");
}

#[test]
fn damage_is_a_fault_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _writer) = filled(&dir, 1, 20_000);
    let segments = std::fs::read_dir(dir.path().join("topics/t/0")).unwrap();
    let path = segments
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ext| ext == "log"))
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut reader = log.read::<u64>("t", Json).open(&trial::env(), &[assigned(0, 0, None)], trial::waker()).unwrap();
    let mut taken = Taken::default();
    let fault = loop {
        match reader.read(0, 1_000, &mut taken) {
            Ok(Read::AtEnd) => panic!("the end is reached over damage"),
            Ok(_) => std::thread::yield_now(),
            Err(fault) => break fault,
        }
    };
    assert_eq!(fault.exit(), Exit::Restore);
    assert!(fault.to_string().contains(&path.display().to_string()), "{fault}");
}

#[test]
fn gaps_of_a_compacted_topic_hold_no_run_up() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(1).compacted().segment_bytes(10_000)).unwrap();
    let mut writer = log.writer("feeder").unwrap();
    let claim = writer.claim("t").unwrap();
    for n in 0..4_000_u64 {
        let (key, value) = ((n % 10).to_string(), n.to_string());
        writer.append(claim, 0, &Record::new(Timestamp::EPOCH, value.as_bytes()).key(key.as_bytes())).unwrap();
        if n % 100 == 99 {
            writer.commit(n, b"").unwrap();
        }
    }
    writer.compact().unwrap();
    let source = log.read::<u64>("t", Json);
    let read = |next, end, until| {
        let mut reader = source.open(&trial::env(), &[assigned(0, next, end)], trial::waker()).unwrap();
        trial::read_until(&mut reader, 0, 100, until).values()
    };
    let all = read(0, None, Read::AtEnd);
    assert!(all.len() < 2_000 && all.len() >= 10, "{} records are left", all.len());
    for next in (0..4_000).step_by(97) {
        let rest: Vec<_> = all.iter().copied().filter(|n| *n >= next).collect();
        assert_eq!(read(next, None, Read::AtEnd), rest);
        assert_eq!(read(next, Some(4_000), Read::Finished), rest);
        let some: Vec<_> = all.iter().copied().filter(|n| *n < next).collect();
        assert_eq!(read(0, Some(next), Read::Finished), some);
    }
}
