//! A log written by the first release of format 1 stays loadable.

use std::path::Path;

use millpond_state::Timestamp;

use super::faults::{copy, scratch};
use super::{Log, Record, Settings, Start};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/log/fixtures/v1");

/// How the fixture was made.
fn make(dir: &Path) {
    let log = Log::open(dir).unwrap();
    log.create_topic("events", Settings::partitions(2).segment_bytes(300)).unwrap();
    log.create_topic("newest", Settings::partitions(1).segment_bytes(200).compacted()).unwrap();
    let mut writer = log.writer_with_clock("fixture@1", || Timestamp::from_secs(1_356_998_400)).unwrap();
    let [events, newest] = ["events", "newest"].map(|topic| writer.claim(topic).unwrap());
    for epoch in 0..6_u64 {
        let at = Timestamp::from_secs(1_356_998_400 + 60 * epoch.cast_signed());
        let (text, key) = (format!("event {epoch}"), format!("key {}", epoch % 2));
        let headers: &[(&str, &[u8])] = &[("epoch", text.as_bytes())];
        for partition in 0..2 {
            writer.append(events, partition, &Record::new(at, text.as_bytes()).headers(headers)).unwrap();
            writer
                .append(events, partition, &Record { event_time: at, key: Some(key.as_bytes()), ..Record::default() })
                .unwrap();
        }
        writer.append(newest, 0, &Record::new(at, text.as_bytes()).key(key.as_bytes())).unwrap();
        writer.append(newest, 0, &Record::new(at, &[b'.'; 60]).key(b"pad")).unwrap();
        writer.commit(epoch, text.as_bytes()).unwrap();
    }
    writer.compact().unwrap();
}

#[test]
#[ignore = "makes the fixture anew, which a release that reads format 1 never needs"]
fn make_the_fixture() {
    make(Path::new(FIXTURE));
}

fn read(log: &Log, topic: &str, partition: u32) -> Vec<String> {
    let mut reader = log.reader(topic, partition, Start::Earliest).unwrap();
    let mut rows = Vec::new();
    while let Some(block) = reader.read_block(100).unwrap() {
        for record in block.records() {
            let text =
                |bytes: Option<&[u8]>| bytes.map_or("-".to_owned(), |bytes| String::from_utf8(bytes.to_vec()).unwrap());
            let headers: Vec<_> =
                record.headers.map(|(name, value)| format!(" {name}={}", text(Some(value)))).collect();
            let (key, value) = (text(record.key), text(record.value));
            rows.push(format!(
                "{} {} {} {key} {value}{}",
                record.offset,
                record.event_time,
                record.append_time,
                headers.concat()
            ));
        }
    }
    rows
}

#[test]
fn the_first_format_stays_loadable() {
    let dir = scratch();
    copy(Path::new(FIXTURE), dir.path());
    let log = Log::at(dir.path());
    let check = || {
        for partition in 0..2 {
            let rows = read(&log, "events", partition);
            assert_eq!(rows.len(), 12);
            assert_eq!(rows[0], "0 2013-01-01T00:00:00Z 2013-01-01T00:00:00Z - event 0 epoch=event 0");
            assert_eq!(rows[11], "11 2013-01-01T00:05:00Z 2013-01-01T00:00:00Z key 1 -");
        }
        let newest = read(&log, "newest", 0);
        assert!(newest.len() < 12 && newest.iter().any(|row| row.ends_with("key 1 event 5")), "{newest:?}");
        let commit = log.last_commit("fixture@1").unwrap().unwrap();
        assert_eq!((commit.epoch, commit.payload.as_slice()), (5, &b"event 5"[..]));
    };
    check();
    let mut writer = log.writer("fixture@1").unwrap();
    check();
    let events = writer.claim("events").unwrap();
    assert_eq!(writer.append(events, 1, &Record::new(Timestamp::EPOCH, b"more")).unwrap(), 12);
    writer.commit(6, b"").unwrap();
    assert_eq!(read(&log, "events", 1).len(), 13);
}
