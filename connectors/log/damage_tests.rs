//! Files that are not what was written: noticed, named, never guessed.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use millpond_state::Timestamp;

use super::faults::{copy, scratch};
use super::{Log, LogError, Record, Settings, Start};

const COMMITS: &str = "writers/w/commits.log";

/// Three segments in one partition, and a commit log of a dozen records.
fn sample(dir: &Path) {
    let log = Log::open(dir).unwrap();
    log.create_topic("t", Settings::partitions(1).segment_bytes(500)).unwrap();
    let mut writer = log.writer("w").unwrap();
    let t = writer.claim("t").unwrap();
    for epoch in 1..=12_u64 {
        for i in 0..3 {
            let value = format!("epoch {epoch} row {i}");
            writer
                .append(t, 0, &Record::new(Timestamp::from_micros(epoch.cast_signed()), value.as_bytes()).key(b"k"))
                .unwrap();
        }
        writer.commit(epoch, format!("payload {epoch}").as_bytes()).unwrap();
    }
}

/// Reads everything: the values, and the epoch of the last commit.
fn read(dir: &Path) -> Result<(Vec<String>, u64), LogError> {
    let log = Log::at(dir);
    let epoch = log.last_commit("w")?.map_or(0, |commit| commit.epoch);
    let mut reader = log.reader("t", 0, Start::Earliest)?;
    let mut values = Vec::new();
    while let Some(block) = reader.read_block(256)? {
        values.extend(block.records().map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
    }
    Ok((values, epoch))
}

fn rows(epochs: u64) -> Vec<String> {
    (1..=epochs).flat_map(|epoch| (0..3).map(move |i| format!("epoch {epoch} row {i}"))).collect()
}

fn file_of(error: &LogError) -> &Path {
    match error {
        LogError::Corrupt { file, .. } | LogError::Newer { file, .. } => file,
        other => panic!("{other}"),
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn a_flipped_byte_in_any_file_is_an_error_that_names_it_or_changes_nothing() {
    let good = scratch();
    sample(good.path());
    let mut all = Vec::new();
    files(good.path(), &mut all);
    assert!(all.iter().filter(|file| file.extension().is_some_and(|ext| ext == "log")).count() > 3);
    let mut noticed = 0;
    for file in all {
        let relative = file.strip_prefix(good.path()).unwrap();
        let len = fs::metadata(&file).unwrap().len() as usize;
        for at in 0..len {
            flip(&file, at);
            let what = format!("byte {at} of {}", relative.display());
            match read(good.path()) {
                Ok((values, epoch)) => {
                    assert_eq!(values, rows(epoch), "{what}");
                    // Only the slot that says what is published can hide anything, and a writer brings it back.
                    let slot = relative == Path::new(COMMITS) && (512..524).contains(&at);
                    assert!(epoch == 12 || slot, "{what}: epoch {epoch}");
                    if slot || at % 20 == 0 {
                        let dir = scratch();
                        copy(good.path(), dir.path());
                        drop(Log::at(dir.path()).writer("w").unwrap_or_else(|error| panic!("{what}: {error}")));
                        assert_eq!(read(dir.path()).unwrap(), (rows(12), 12), "{what}");
                    }
                }
                Err(error) => {
                    noticed += 1;
                    assert_eq!(file_of(&error), file, "{what}: {error}");
                    if !relative.starts_with("topics/t/0") {
                        let error = Log::at(good.path()).writer("w").expect_err(&what);
                        assert_eq!(file_of(&error), file, "{what}: {error}");
                    }
                }
            }
            flip(&file, at);
        }
    }
    assert!(noticed > 2_500, "{noticed}");
}

#[test]
fn a_cut_file_is_an_error_or_the_commits_before() {
    let good = scratch();
    sample(good.path());
    let mut all = Vec::new();
    files(good.path(), &mut all);
    for file in all {
        let relative = file.strip_prefix(good.path()).unwrap();
        let bytes = fs::read(&file).unwrap();
        for len in 0..bytes.len() {
            fs::write(&file, &bytes[..len]).unwrap();
            match read(good.path()) {
                Ok(found) => assert_eq!(found, (rows(12), 12), "{} cut to {len}", relative.display()),
                Err(error) => assert_eq!(file_of(&error), file, "{len}: {error}"),
            }
            if len % 100 == 0 {
                let dir = scratch();
                copy(good.path(), dir.path());
                if let Err(error) = Log::at(dir.path()).writer("w") {
                    assert_eq!(file_of(&error), dir.path().join(relative), "{len}: {error}");
                }
            }
        }
        fs::write(&file, &bytes).unwrap();
    }
}

#[test]
fn a_missing_file_is_an_error() {
    let good = scratch();
    sample(good.path());
    let mut all = Vec::new();
    files(&good.path().join("topics/t/0"), &mut all);
    let segments = all.iter().filter(|file| file.extension().is_some_and(|ext| ext == "log"));
    for file in segments {
        let dir = scratch();
        copy(good.path(), dir.path());
        fs::remove_file(dir.path().join(file.strip_prefix(good.path()).unwrap())).unwrap();
        assert!(matches!(read(dir.path()), Err(LogError::Corrupt { .. })), "{}", file.display());
    }
    let newest = all.iter().filter(|file| file.extension().is_some_and(|ext| ext == "log")).max().unwrap();
    fs::remove_file(newest).unwrap();
    assert!(matches!(Log::at(good.path()).writer("w"), Err(LogError::Corrupt { file, .. }) if file == *newest));
}

/// Where the records of a commit log stand.
fn records(path: &Path) -> Vec<Range<usize>> {
    let bytes = fs::read(path).unwrap();
    let mut found = Vec::new();
    let mut at = 1_024;
    while let Some((_, len)) = super::commits::Record::parse(&bytes[at..]) {
        found.push(at..at + len);
        at += len;
    }
    found
}

/// As a machine that went down before the last record was published leaves it: another boot, a slot that lags behind.
fn age(path: &Path, published: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[16] ^= 1;
    let crc = crc32fast::hash(&bytes[..32]);
    bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    bytes[512..524].copy_from_slice(&super::commits::slot(published));
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_torn_last_record_is_cut_and_damage_before_it_is_not() {
    let good = scratch();
    sample(good.path());
    let found = records(&good.path().join(COMMITS));
    let last = found.last().unwrap().clone();
    for len in last.start..last.end {
        let dir = scratch();
        copy(good.path(), dir.path());
        let path = dir.path().join(COMMITS);
        age(&path, 3);
        fs::File::options().write(true).open(&path).unwrap().set_len(len as u64).unwrap();
        assert_eq!(read(dir.path()).unwrap(), (rows(11), 11));
        assert_eq!(Log::at(dir.path()).writer("w").unwrap().last_commit().unwrap().epoch, 11);
        assert_eq!(read(dir.path()).unwrap(), (rows(11), 11));
    }
    for record in &found[..found.len() - 1] {
        let dir = scratch();
        copy(good.path(), dir.path());
        let path = dir.path().join(COMMITS);
        age(&path, 0);
        flip(&path, record.start + 20);
        for error in [read(dir.path()).unwrap_err(), Log::at(dir.path()).writer("w").unwrap_err()] {
            assert!(matches!(&error, LogError::Corrupt { offset, .. } if *offset == record.start as u64), "{error}");
        }
    }
}

#[test]
fn what_a_slot_does_not_publish_waits_for_the_next_writer_unless_the_machine_was_started_since() {
    let good = scratch();
    sample(good.path());
    let path = good.path().join(COMMITS);
    let aged = scratch();
    copy(good.path(), aged.path());
    age(&aged.path().join(COMMITS), 11);
    assert_eq!(read(aged.path()).unwrap(), (rows(12), 12), "all of it was read from the disk");
    let mut bytes = fs::read(&path).unwrap();
    bytes[512..524].copy_from_slice(&super::commits::slot(11));
    fs::write(&path, bytes).unwrap();
    assert_eq!(read(good.path()).unwrap(), (rows(11), 11), "the last record may be in the page cache alone");
    assert_eq!(Log::at(good.path()).writer("w").unwrap().last_commit().unwrap().epoch, 12);
    assert_eq!(read(good.path()).unwrap(), (rows(12), 12));
}

#[test]
fn damaged_data_of_the_last_commit_is_noticed_when_the_writer_opens() {
    let dir = scratch();
    sample(dir.path());
    let mut all = Vec::new();
    files(&dir.path().join("topics/t/0"), &mut all);
    let newest = all.iter().filter(|file| file.extension().is_some_and(|ext| ext == "log")).max().unwrap();
    age(&dir.path().join(COMMITS), 0);
    flip(newest, fs::metadata(newest).unwrap().len() as usize - 3);
    let error = Log::at(dir.path()).writer("w").unwrap_err();
    assert_eq!(file_of(&error), newest);
    assert!(error.to_string().contains("restore"), "{error}");
}

#[test]
fn files_of_a_newer_release_are_told_from_damaged_ones() {
    let good = scratch();
    sample(good.path());
    let newer = |relative: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let dir = scratch();
        copy(good.path(), dir.path());
        let path = dir.path().join(relative);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let error = read(dir.path()).unwrap_err();
        assert!(matches!(&error, LogError::Newer { version: 2, known: 1, file } if *file == path), "{error}");
    };
    newer("topics/t/topic.json", &|bytes| {
        *bytes = br#"{"format": 2, "whatever": "that will be"}"#.to_vec();
    });
    newer(COMMITS, &|bytes| {
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..32]);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    });
    newer("topics/t/0/00000000000000000000.log", &|bytes| {
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    });
}

#[test]
fn a_writer_whose_commit_log_is_gone_is_refused_and_its_topics_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path()).unwrap();
    log.create_topic("clicks", Settings::partitions(1)).unwrap();
    let mut writer = log.writer("feeder").unwrap();
    let claim = writer.claim("clicks").unwrap();
    writer.append(claim, 0, &Record::new(Timestamp::EPOCH, b"kept")).unwrap();
    writer.commit(1, b"").unwrap();
    drop(writer);
    let commits = dir.path().join("writers/feeder/commits.log");
    let aside = dir.path().join("aside");
    std::fs::rename(&commits, &aside).unwrap();
    let Err(error) = log.writer("feeder") else { panic!("it is refused") };
    assert!(matches!(&error, LogError::Corrupt { file, .. } if *file == commits), "{error}");
    std::fs::rename(&aside, &commits).unwrap();
    drop(log.writer("feeder").unwrap());
    assert_eq!(log.offsets("clicks").unwrap()[0], 0..1, "nothing was cut");
}
