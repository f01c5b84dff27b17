//! A run is stopped at every single change it makes to the disk, in several ways, and opened again: what is there is the work up to some
//! commit, and that commit is no older than what a reader had seen.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use millpond_state::Timestamp;

use super::disk::{Disk, Fault};
use super::faults::{Faults, copy, scratch};
use super::{Log, LogError, Record, Settings, Start, Writer};

const TOPICS: [&str; 2] = ["rows", "newest"];
const EPOCHS: u64 = 7;

fn prepare(dir: &Path) {
    let log = Log::open(dir).unwrap();
    log.create_topic("rows", Settings::partitions(2).segment_bytes(700).keep_bytes(2_500)).unwrap();
    log.create_topic("newest", Settings::partitions(1).segment_bytes(300).compacted()).unwrap();
}

fn open(dir: &Path, disk: Disk) -> Result<Writer, LogError> {
    Writer::open(&Log::at(dir), "job@1", Box::new(|| Timestamp::EPOCH), disk)
}

/// What epoch `epoch` adds to a partition: (key, value).
fn rows(topic: &str, partition: u32, epoch: u64) -> Vec<(String, Option<String>)> {
    let count = if (epoch + u64::from(partition)) % 4 == 3 { 0 } else { 6 };
    let row = |i: u64| {
        let key = if topic == "newest" { (i * epoch) % 5 } else { i };
        let value = format!("value {epoch} {i} {}", "x".repeat(20 * (i as usize)));
        (format!("key {key}"), (topic == "rows" || i != 4).then_some(value))
    };
    (0..count).map(row).collect()
}

/// How a run lays out what it writes, so that a second one does not by chance write the bytes of the first again.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    /// Small batches, and epochs that are begun, aborted and done again.
    Restless,
    /// One batch an epoch.
    Calm,
}

/// The job: goes on after the last commit, with retention and compaction on its way.
fn work(dir: &Path, disk: Disk, style: Style) -> Result<(), LogError> {
    let mut writer = open(dir, disk)?;
    let done = writer.last_commit().map_or(0, |commit| commit.epoch);
    let claims = [writer.claim("rows")?, writer.claim("newest")?];
    for epoch in done + 1..=EPOCHS {
        if epoch % 3 == 2 && style == Style::Restless {
            for i in 0..9 {
                writer.append(claims[0], 0, &Record::new(Timestamp::EPOCH, &[b'?'; 200][i..]))?;
                if i % 4 == 3 {
                    writer.write_out()?;
                }
            }
            writer.abort()?;
        }
        for (claim, topic) in claims.iter().zip(TOPICS) {
            for partition in 0..writer.topic(*claim).settings.partition_count() {
                for (i, (key, value)) in rows(topic, partition, epoch).into_iter().enumerate() {
                    if i % 2 == 1 && style == Style::Restless {
                        writer.write_out()?;
                    }
                    let at = Timestamp::from_micros((epoch * 10).cast_signed());
                    let record = Record {
                        event_time: at,
                        key: Some(key.as_bytes()),
                        value: value.as_deref().map(str::as_bytes),
                        headers: &[],
                    };
                    writer.append(*claim, partition, &record)?;
                }
            }
        }
        writer.commit(epoch, format!("payload {epoch}").as_bytes())?;
        if epoch % 2 == 0 {
            writer.retain(Timestamp::EPOCH)?;
            writer.compact()?;
        }
    }
    Ok(())
}

type Row = (u64, String, Option<String>);

fn read(log: &Log, topic: &str, partition: u32) -> Vec<Row> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut reader = log.reader(topic, partition, Start::Earliest).unwrap();
    let mut rows = Vec::new();
    while let Some(block) = reader.read_block(100).unwrap() {
        rows.extend(block.records().map(|r| (r.offset, text(r.key.unwrap()), r.value.map(text))));
        reader.reuse(block);
    }
    assert_eq!(reader.next_offset(), reader.end().unwrap());
    rows
}

/// Checks that the log holds exactly the work of the epochs up to its last commit, and returns that epoch.
fn check(dir: &Path, what: &str) -> u64 {
    let log = Log::at(dir);
    let commit = log.last_commit("job@1").unwrap();
    let epoch = commit.as_ref().map_or(0, |commit| commit.epoch);
    if let Some(commit) = commit {
        assert_eq!(commit.payload, format!("payload {epoch}").into_bytes(), "{what}");
    }
    for topic in TOPICS {
        let offsets = log.offsets(topic).unwrap();
        for (partition, offsets) in (0..).zip(offsets) {
            let all = (1..=epoch).flat_map(|epoch| rows(topic, partition, epoch));
            let all: Vec<Row> = (0..).zip(all).map(|(offset, (key, value))| (offset, key, value)).collect();
            let found = read(&log, topic, partition);
            assert_eq!(offsets.end, all.len() as u64, "{what}: end of {topic}/{partition} at epoch {epoch}");
            if topic == "rows" {
                assert_eq!(found, all[offsets.start as usize..], "{what}: {topic}/{partition} at epoch {epoch}");
            } else {
                assert!(
                    found.iter().all(|row| all[row.0 as usize] == *row),
                    "{what}: {topic} holds what was never written"
                );
                assert_eq!(table(&found), table(&all), "{what}: {topic} at epoch {epoch}");
            }
        }
    }
    epoch
}

fn table(rows: &[Row]) -> std::collections::BTreeMap<&str, &str> {
    let mut table = std::collections::BTreeMap::new();
    for (_, key, value) in rows {
        match value {
            Some(value) => drop(table.insert(key.as_str(), value.as_str())),
            None => drop(table.remove(key.as_str())),
        }
    }
    table
}

/// Opens again, checks, goes on to the end, checks again. Returns the epoch found.
fn recover(dir: &Path, seen: u64, what: &str) -> u64 {
    drop(open(dir, Disk::default()).unwrap_or_else(|error| panic!("{what}: {error}")));
    let found = check(dir, what);
    assert!(found >= seen, "{what}: a reader had seen epoch {seen}, now it is {found}");
    work(dir, Disk::default(), Style::Calm).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(check(dir, what), EPOCHS, "{what}");
    found
}

fn changes_in_a_run() -> usize {
    let dir = scratch();
    prepare(dir.path());
    let faults = Arc::new(Faults::none(dir.path()));
    work(dir.path(), Disk::watched(faults.clone()), Style::Restless).unwrap();
    assert_eq!(check(dir.path(), "no fault"), EPOCHS);
    faults.count()
}

fn at_every_change(fault: Fault, dead: bool, power_losses: &[u64]) {
    let total = changes_in_a_run();
    assert!(total > 200, "{total}");
    let mut found = std::collections::BTreeSet::new();
    for at in 0..total {
        let what = format!("{fault:?} at change {at}, dead {dead}");
        let dir = scratch();
        prepare(dir.path());
        let faults = Arc::new(Faults::new(dir.path(), at, fault, dead));
        let error = work(dir.path(), Disk::watched(faults.clone()), Style::Restless).expect_err(&what);
        assert!(matches!(error, LogError::Io { .. }), "{what}: {error}");
        let seen = check(dir.path(), &what);
        for seed in power_losses {
            let left = scratch();
            faults.after_power_loss(left.path(), *seed);
            recover(left.path(), seen, &format!("{what}, power lost, seed {seed}"));
        }
        found.insert(recover(dir.path(), seen, &what));
    }
    assert_eq!(found.len() as u64, EPOCHS + 1, "each epoch was the last one somewhere: {found:?}");
}

#[test]
fn a_full_disk_at_any_change_leaves_a_prefix_of_the_commits() {
    at_every_change(Fault { arrived: 0, kind: ErrorKind::StorageFull }, false, &[]);
}

#[test]
fn a_torn_write_at_any_change_leaves_a_prefix_of_the_commits() {
    at_every_change(Fault { arrived: 70, kind: ErrorKind::StorageFull }, false, &[]);
}

#[test]
fn a_kill_or_a_loss_of_power_at_any_change_takes_nothing_back_that_a_reader_saw() {
    at_every_change(Fault { arrived: 7, kind: ErrorKind::Other }, true, &[0, 2]);
}

#[test]
fn what_a_failed_sync_dropped_is_written_again_before_it_counts() {
    for at in 0..changes_in_a_run() {
        let what = format!("change {at} failed");
        let dir = scratch();
        prepare(dir.path());
        let faults = Arc::new(Faults::new(dir.path(), at, Fault { arrived: 0, kind: ErrorKind::Other }, false));
        assert!(work(dir.path(), Disk::watched(faults.clone()), Style::Restless).is_err(), "{what}");
        drop(open(dir.path(), Disk::watched(faults.clone())).unwrap());
        let seen = check(dir.path(), &what);
        let left = scratch();
        faults.after_power_loss(left.path(), 0);
        assert_eq!(recover(left.path(), seen, &what), seen, "{what}");
        work(dir.path(), Disk::watched(faults.clone()), Style::Calm).unwrap();
        let left = scratch();
        faults.after_power_loss(left.path(), 0);
        assert_eq!(recover(left.path(), EPOCHS, &what), EPOCHS, "{what}");
    }
}

#[test]
fn what_the_last_syncs_only_claimed_to_write_is_written_by_the_next_writer() {
    let good = scratch();
    prepare(good.path());
    work(good.path(), Disk::default(), Style::Restless).unwrap();
    let one_more = |dir: &Path, disk: Disk| {
        let mut writer = open(dir, disk).unwrap();
        for topic in TOPICS {
            let claim = writer.claim(topic).unwrap();
            for value in [&[b'a'; 800][..], b"last"] {
                writer.append(claim, 0, &Record::new(Timestamp::EPOCH, value).key(b"key")).unwrap();
                writer.write_out().unwrap();
            }
        }
        writer.commit(EPOCHS + 1, b"").unwrap();
    };
    let faults = Arc::new(Faults::none(good.path()));
    drop(open(good.path(), Disk::watched(faults.clone())).unwrap());
    let before = faults.count();
    let total = before + 40;
    for at in before..total {
        let dir = scratch();
        copy(good.path(), dir.path());
        let faults = Arc::new(Faults::lying(dir.path(), at));
        one_more(dir.path(), Disk::watched(faults.clone()));
        assert!(faults.count() < total, "{} changes", faults.count());
        drop(open(dir.path(), Disk::watched(faults.clone())).unwrap());
        let left = scratch();
        faults.after_power_loss(left.path(), 0);
        let log = Log::at(left.path());
        assert_eq!(log.last_commit("job@1").unwrap().unwrap().epoch, EPOCHS + 1, "change {at} was a lie");
        for topic in TOPICS {
            assert_eq!(read(&log, topic, 0).last().unwrap().2.as_deref(), Some("last"), "change {at} was a lie");
        }
    }
}

#[test]
fn a_crash_at_any_change_of_recovery_itself_loses_nothing() {
    let dir = scratch();
    prepare(dir.path());
    work(dir.path(), Disk::default(), Style::Restless).unwrap();
    let mut writer = open(dir.path(), Disk::default()).unwrap();
    let claim = writer.claim("rows").unwrap();
    writer.append(claim, 0, &Record::new(Timestamp::EPOCH, &[1; 500])).unwrap();
    writer.write_out().unwrap();
    drop(writer);
    for at in 0..1_000 {
        let here = scratch();
        copy(dir.path(), here.path());
        let faults = Arc::new(Faults::new(here.path(), at, Fault { arrived: 5, kind: ErrorKind::Other }, true));
        let Err(_) = open(here.path(), Disk::watched(faults.clone())) else { return };
        let what = format!("recovery stopped at change {at}");
        assert_eq!(check(here.path(), &what), EPOCHS, "{what}");
        for seed in 0..3 {
            let left = scratch();
            faults.after_power_loss(left.path(), seed);
            assert_eq!(recover(left.path(), EPOCHS, &what), EPOCHS, "{what}");
        }
        assert_eq!(recover(here.path(), EPOCHS, &what), EPOCHS, "{what}");
    }
    panic!("recovery takes more changes than were tried");
}

#[test]
fn a_writer_that_met_a_fault_refuses_every_further_call() {
    let dir = scratch();
    prepare(dir.path());
    let faults = Arc::new(Faults::none(dir.path()));
    drop(open(dir.path(), Disk::watched(faults.clone())).unwrap());
    let opening = faults.count();
    let fault = Fault { arrived: 0, kind: ErrorKind::StorageFull };
    let faults = Arc::new(Faults::new(dir.path(), opening + 6, fault, false));
    let mut writer = open(dir.path(), Disk::watched(faults)).unwrap();
    let claim = writer.claim("rows").unwrap();
    let record = Record::new(Timestamp::EPOCH, b"v");
    writer.append(claim, 0, &record).unwrap();
    assert!(matches!(writer.commit(1, b""), Err(LogError::Io { .. })));
    assert!(matches!(writer.append(claim, 0, &record), Err(LogError::Poisoned { .. })));
    assert!(matches!(writer.commit(1, b""), Err(LogError::Poisoned { .. })));
    assert!(matches!(writer.abort(), Err(LogError::Poisoned { .. })));
    assert!(matches!(writer.retain(Timestamp::EPOCH), Err(LogError::Poisoned { .. })));
    assert!(matches!(writer.compact(), Err(LogError::Poisoned { .. })));
    drop(writer);
    assert!(fs::exists(dir.path().join("writers/job@1/commits.log")).unwrap());
    open(dir.path(), Disk::default()).unwrap().commit(1, b"").unwrap();
}
