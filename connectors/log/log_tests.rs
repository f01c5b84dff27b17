//! What the log promises, through its public interface.

use std::thread;
use std::time::{Duration, Instant};

use millpond_state::Timestamp;

use super::faults::scratch;
use super::{Log, LogError, Reader, Record, Settings, Start};

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// Everything that is left to read: offset and value.
pub(super) fn rest(reader: &mut Reader) -> Vec<(u64, Vec<u8>)> {
    let mut rows = Vec::new();
    while let Some(block) = reader.read_block(64).unwrap() {
        rows.extend(block.records().map(|record| (record.offset, record.value.unwrap_or_default().to_vec())));
        assert_eq!(block.next_offset(), reader.next_offset());
        reader.reuse(block);
    }
    rows
}

fn offsets(reader: &mut Reader) -> Vec<u64> {
    rest(reader).into_iter().map(|(offset, _)| offset).collect()
}

#[test]
fn handles_go_to_other_threads() {
    fn send<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    send::<super::Writer>();
    send::<Reader>();
    shared::<super::Block>();
    shared::<Log>();
}

#[test]
fn a_record_comes_back_with_all_it_had() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(2)).unwrap();
    let mut writer = log.writer_with_clock("w", || at(777)).unwrap();
    let t = writer.claim("t").unwrap();
    let headers: &[(&str, &[u8])] = &[("millpond", b"job@1"), ("empty", b"")];
    assert_eq!(writer.append(t, 1, &Record::new(at(-5), b"value").key(b"key").headers(headers)).unwrap(), 0);
    assert_eq!(writer.append(t, 1, &Record { event_time: Timestamp::MAX, ..Record::default() }).unwrap(), 1);
    writer.commit(3, b"payload").unwrap();
    let mut reader = log.reader("t", 1, Start::Earliest).unwrap();
    let block = reader.read_block(1 << 20).unwrap().unwrap();
    let read: Vec<_> = block.records().collect();
    assert_eq!(read.len(), 2);
    assert_eq!((read[0].offset, read[0].event_time, read[0].append_time), (0, at(-5), at(777)));
    assert_eq!((read[0].key, read[0].value), (Some(&b"key"[..]), Some(&b"value"[..])));
    assert_eq!(read[0].headers.collect::<Vec<_>>(), headers);
    assert_eq!((read[1].event_time, read[1].key, read[1].value), (Timestamp::MAX, None, None));
    let mut records = block.records();
    records.next();
    assert_eq!(block.resume(records.cursor()).map(|r| r.offset).collect::<Vec<_>>(), [1]);
    assert_eq!(log.offsets("t").unwrap(), [0..0, 0..2]);
    let commit = log.last_commit("w").unwrap().unwrap();
    assert_eq!((commit.epoch, commit.payload.as_slice(), commit.clock), (3, &b"payload"[..], at(777)));
}

#[test]
fn only_what_is_committed_is_read_and_what_is_aborted_never_was() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(1).segment_bytes(2_000)).unwrap();
    let mut early = log.reader("t", 0, Start::Latest).unwrap();
    let mut writer = log.writer("w").unwrap();
    let t = writer.claim("t").unwrap();
    let mut want = Vec::new();
    for round in 0..20_u64 {
        for i in 0..round % 7 {
            writer.append(t, 0, &Record::new(at(0), &vec![0; 100 * i as usize])).unwrap();
            writer.write_out().unwrap();
        }
        writer.abort().unwrap();
        let value = format!("round {round}").into_bytes();
        assert_eq!(writer.append(t, 0, &Record::new(at(0), &value)).unwrap(), round);
        assert_eq!(early.end().unwrap(), round);
        assert_eq!(early.read_block(100).unwrap().map(|block| block.size()), None);
        writer.commit(round, b"").unwrap();
        want.push((round, value));
        assert_eq!(rest(&mut early), want[round as usize..]);
    }
    drop(writer);
    let mut writer = log.writer("w").unwrap();
    assert_eq!(writer.last_commit().unwrap().epoch, 19);
    writer.commit(20, b"idle").unwrap();
    assert_eq!(rest(&mut log.reader("t", 0, Start::Earliest).unwrap()), want);
}

#[test]
fn reading_begins_at_an_offset_a_time_or_an_end() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(1).segment_bytes(600)).unwrap();
    assert_eq!(log.reader("t", 0, Start::Time(at(5))).unwrap().next_offset(), 0);
    let mut writer = log.writer("w").unwrap();
    let t = writer.claim("t").unwrap();
    // Out of order: the greatest event time up to an offset is what a search by time goes by.
    let times: Vec<i64> = (0..300).map(|i| i * 10 - (i % 4) * 25).collect();
    for (i, time) in times.iter().enumerate() {
        writer.append(t, 0, &Record::new(at(*time), &[0; 20])).unwrap();
        if i % 9 == 4 {
            writer.commit(i as u64, b"").unwrap();
        }
    }
    writer.commit(1_000, b"").unwrap();
    for start in [0, 1, 7, 150, 299, 300] {
        let mut reader = log.reader("t", 0, Start::Offset(start)).unwrap();
        assert_eq!(offsets(&mut reader), (start..300).collect::<Vec<_>>());
    }
    for time in (-100..3_100).step_by(7) {
        let first = times.iter().position(|t| *t >= time).unwrap_or(300) as u64;
        assert_eq!(log.reader("t", 0, Start::Time(at(time))).unwrap().next_offset(), first, "time {time}");
    }
    assert_eq!(log.reader("t", 0, Start::Latest).unwrap().next_offset(), 300);
    let beyond = log.reader("t", 0, Start::Offset(301));
    assert!(matches!(beyond, Err(LogError::BeyondEnd { offset: 301, end: 300, .. })));
    let mut reader = log.reader("t", 0, Start::Latest).unwrap();
    reader.seek(298).unwrap();
    assert!(reader.seek(999).is_err());
    assert_eq!(offsets(&mut reader), [298, 299], "a refused seek leaves the reader where it was");
    assert!(matches!(log.reader("t", 1, Start::Earliest), Err(LogError::Invalid(_))));
}

#[test]
fn a_topic_has_one_writer_and_a_writer_one_instance() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(1)).unwrap();
    let mut one = log.writer("job@1").unwrap();
    one.claim("t").unwrap();
    assert!(matches!(log.writer("job@1"), Err(LogError::Locked { pid, .. }) if pid == std::process::id().to_string()));
    let mut two = log.writer("job@2").unwrap();
    assert!(matches!(two.claim("t"), Err(LogError::OwnedByOther { owner, .. }) if owner == "job@1"));
    assert!(matches!(two.claim("none"), Err(LogError::NoSuchTopic { .. })));
    assert!(matches!(log.delete_topic("t"), Err(LogError::Locked { .. })));
    drop(one);
    assert!(matches!(two.claim("t"), Err(LogError::OwnedByOther { .. })), "for its whole life");
    assert!(matches!(log.delete_writer("job@1"), Err(LogError::Invalid(_))));
    assert_eq!(log.topic("t").unwrap().writer.as_deref(), Some("job@1"));
    assert_eq!(log.writers().unwrap(), ["job@1", "job@2"]);
    log.delete_topic("t").unwrap();
    log.delete_writer("job@1").unwrap();
    assert_eq!(log.writers().unwrap(), ["job@2"]);
}

#[test]
fn many_writers_and_readers_share_a_log() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    thread::scope(|scope| {
        for number in 0..4 {
            let (log, topic) = (log.clone(), format!("topic-{number}"));
            log.create_topic(&topic, Settings::partitions(1).segment_bytes(3_000)).unwrap();
            let mut reader = log.reader(&topic, 0, Start::Earliest).unwrap();
            scope.spawn(move || {
                let mut writer = log.writer(&format!("writer@{number}")).unwrap();
                let claim = writer.claim(&topic).unwrap();
                for epoch in 0..100_u64 {
                    for i in 0..10 {
                        writer.append(claim, 0, &Record::new(at(0), format!("{epoch} {i}").as_bytes())).unwrap();
                    }
                    writer.commit(epoch, b"").unwrap();
                }
            });
            scope.spawn(move || {
                let (mut read, mut seen) = (0, 0);
                let patience = Instant::now() + Duration::from_secs(60);
                while read < 1_000 {
                    let rows = rest(&mut reader);
                    for (offset, value) in rows {
                        assert_eq!((offset, value), (read, format!("{} {}", read / 10, read % 10).into_bytes()));
                        read += 1;
                    }
                    assert_eq!(read % 10, 0, "an epoch is seen whole");
                    assert!(Instant::now() < patience);
                    seen = reader.log().wait(seen, Duration::from_millis(20));
                }
            });
        }
    });
}

#[test]
fn a_topic_made_again_is_another_one() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    let first = log.create_topic("t", Settings::partitions(1)).unwrap();
    assert!(matches!(log.create_topic("t", Settings::partitions(1)), Err(LogError::TopicExists { .. })));
    let mut writer = log.writer("w").unwrap();
    let claim = writer.claim("t").unwrap();
    writer.append(claim, 0, &Record::new(at(0), b"old")).unwrap();
    writer.commit(1, b"").unwrap();
    drop(writer);
    let mut reader = log.reader("t", 0, Start::Earliest).unwrap();
    log.delete_topic("t").unwrap();
    assert!(log.topics().unwrap().is_empty());
    assert!(matches!(reader.read_block(100), Err(LogError::NoSuchTopic { .. })));
    std::fs::create_dir(dir.path().join("topics/.new-left-by-a-crash")).unwrap();
    let second = log.create_topic("t", Settings::partitions(1)).unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(log.offsets("t").unwrap()[0], 0..0);
    let mut writer = log.writer("w").unwrap();
    assert_eq!(writer.last_commit().unwrap().epoch, 1);
    let claim = writer.claim("t").unwrap();
    assert!(matches!(reader.end(), Err(LogError::NoSuchTopic { .. })), "a reader of the first does not wait for ever");
    assert!(!dir.path().join("topics/.new-left-by-a-crash").exists());
    assert_eq!(writer.append(claim, 0, &Record::new(at(0), b"new")).unwrap(), 0);
    writer.commit(2, b"").unwrap();
    assert_eq!(rest(&mut log.reader("t", 0, Start::Earliest).unwrap()), [(0, b"new".to_vec())]);
}

#[test]
fn names_that_make_no_directory_are_refused() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    for name in ["", ".", "..", ".hidden", "a/b", "ä", "a b", "a@1", &"x".repeat(201)] {
        assert!(matches!(log.create_topic(name, Settings::partitions(1)), Err(LogError::Invalid(_))), "{name}");
    }
    log.create_topic("A-z_0.9.v2", Settings::partitions(1)).unwrap();
    assert!(matches!(log.create_topic("none", Settings::partitions(0)), Err(LogError::Invalid(_))));
    assert!(matches!(log.writer("a/b"), Err(LogError::Invalid(_))));
}

#[test]
fn records_larger_than_a_batch_and_blocks_smaller_than_one_work() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(1)).unwrap();
    let mut writer = log.writer("w").unwrap();
    let t = writer.claim("t").unwrap();
    let values: Vec<Vec<u8>> = [10, 3_000_000, 0, 200_000, 5].iter().map(|len| vec![b'x'; *len]).collect();
    for value in &values {
        writer.append(t, 0, &Record::new(at(0), value)).unwrap();
    }
    writer.commit(1, b"").unwrap();
    let mut reader = log.reader("t", 0, Start::Earliest).unwrap();
    assert_eq!(rest(&mut reader).into_iter().map(|(_, value)| value).collect::<Vec<_>>(), values);
    assert!(matches!(writer.append(t, 1, &Record::new(at(0), b"")), Err(LogError::Invalid(_))));
    writer.append(t, 0, &Record::new(at(0), b"still open")).unwrap();
}

#[test]
fn a_long_commit_log_is_begun_anew_and_readers_follow() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(1)).unwrap();
    let mut writer = log.writer("w").unwrap();
    let t = writer.claim("t").unwrap();
    // Another spelling of the path shares nothing with the first in this process, as another process does.
    let elsewhere = Log::at(dir.path().join("../").join(dir.path().file_name().unwrap()));
    let mut reader = elsewhere.reader("t", 0, Start::Earliest).unwrap();
    for epoch in 0..120_u64 {
        writer.append(t, 0, &Record::new(at(0), &epoch.to_le_bytes())).unwrap();
        writer.commit(epoch, &vec![epoch as u8; 100_000]).unwrap();
        if epoch % 3 == 0 {
            assert_eq!(reader.end().unwrap(), epoch + 1);
        }
        let size = dir.path().join("writers/w/commits.log").metadata().unwrap().len();
        assert!(size < 5 << 20, "{size}");
    }
    assert_eq!(rest(&mut reader).len(), 120);
    drop(writer);
    let writer = log.writer("w").unwrap();
    assert_eq!(writer.last_commit().unwrap().payload, vec![119; 100_000]);
    assert_eq!(elsewhere.last_commit("w").unwrap().unwrap().epoch, 119);
    assert_eq!(elsewhere.last_commit("nobody").unwrap(), None);
}

#[test]
fn a_waiting_reader_wakes_at_the_commit() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    let mut writer = log.writer("w").unwrap();
    let seen = log.commits_here();
    assert_eq!(log.wait(seen, Duration::from_millis(5)), seen);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| Log::at(dir.path()).wait(seen, Duration::from_secs(60)));
        writer.commit(1, b"").unwrap();
        assert_eq!(waiting.join().unwrap(), seen + 1);
    });
}
