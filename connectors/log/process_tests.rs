//! Several processes on one log: the test binary starts itself again as a writer, reads while that writes, and kills it.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use millpond_state::Timestamp;

use super::{Log, LogError, Record, Settings, Start};

const DIR: &str = "MILLPOND_TEST_LOG";

/// Not a test by itself: what the other process does.
#[test]
fn another_process_writes() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let mut writer = Log::at(dir).writer("child").unwrap();
    let t = writer.claim("t").unwrap();
    let mut epoch = writer.last_commit().map_or(0, |commit| commit.epoch);
    loop {
        epoch += 1;
        for i in 0..10 {
            let value = format!("{} {}", epoch, "x".repeat((epoch + i) as usize % 300));
            writer.append(t, (i % 2) as u32, &Record::new(Timestamp::EPOCH, value.as_bytes())).unwrap();
        }
        writer.commit(epoch, &epoch.to_le_bytes()).unwrap();
    }
}

struct Other(Child);

impl Other {
    fn start(dir: &std::path::Path) -> Other {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "log::process_tests::another_process_writes", "--nocapture"]).env(DIR, dir);
        Other(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_reader_follows_a_writer_that_is_killed_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("t", Settings::partitions(2).segment_bytes(20_000)).unwrap();
    let mut readers = [0, 1].map(|partition| log.reader("t", partition, Start::Earliest).unwrap());
    let mut read = [0_u64; 2];
    for round in 0..8_u64 {
        let before = log.last_commit("child").unwrap().map_or(0, |commit| commit.epoch);
        let other = Other::start(dir.path());
        let patience = Instant::now() + Duration::from_secs(60);
        while log.last_commit("child").unwrap().map_or(0, |commit| commit.epoch) < before + 5 + round * 3 {
            assert!(Instant::now() < patience, "the other process writes nothing");
            for (reader, read) in readers.iter_mut().zip(&mut read) {
                while let Some(block) = reader.read_block(10_000).unwrap() {
                    for record in block.records() {
                        assert_eq!(record.offset, *read);
                        let epoch = *read / 5 + 1;
                        assert!(record.value.unwrap().starts_with(format!("{epoch} ").as_bytes()), "offset {read}");
                        *read += 1;
                    }
                    assert_eq!(*read % 5, 0, "an epoch is seen whole");
                }
            }
            if log.last_commit("child").unwrap().is_some_and(|commit| commit.epoch > before) {
                assert!(
                    matches!(log.writer("child"), Err(LogError::Locked { pid, .. }) if pid == other.0.id().to_string())
                );
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    let writer = log.writer("child").unwrap();
    let epoch = writer.last_commit().unwrap().epoch;
    assert_eq!(writer.last_commit().unwrap().payload, epoch.to_le_bytes());
    assert_eq!(log.offsets("t").unwrap(), [0..epoch * 5, 0..epoch * 5]);
}
