//! The log as decider: fence, evidence, atomic commits, what is refused.

use std::time::Duration;

use millpond_engine::sink::{Begin, Commit, Decider, Opened, Outgoing, Outlet, Patience};
use millpond_engine::{Delivery, Env, Exit, Fault};
use millpond_state::Timestamp;
use tempfile::TempDir;

use crate::log::{Log, Record, Settings, Start};
use crate::topic::Topics;
use crate::trial;

const RUN: &str = "00000000000000aa";

fn env(dir: &TempDir, version: u32) -> Env {
    Env { version, ..trial::env_in(dir.path()) }
}

/// The decider for two outputs, `a` (sink 3) and `b` (sink 5).
fn decider(log: &Log, env: &Env) -> Box<dyn Decider> {
    let outlet = |sink, to: &str| Outlet { sink, to: to.to_owned(), upsert: false };
    let outlets = [outlet(3, "a"), outlet(5, "b")];
    match log.system().open(env, &outlets).unwrap() {
        Opened::Decider(decider) => decider,
        Opened::Follower(_) => panic!("a log decides"),
    }
}

fn begin() -> Begin {
    Begin { run: RUN.to_owned(), delivery: Delivery::ExactlyOnce, patience: Patience::default() }
}

fn begun(log: &Log, env: &Env) -> Box<dyn Decider> {
    let mut decider = decider(log, env);
    assert_eq!(decider.fence().unwrap(), None);
    assert_eq!(decider.evidence().unwrap(), None);
    decider.create(2).unwrap();
    decider.begin(&begin());
    decider
}

fn outgoing(sink: u32, epoch: u64, values: &[&str]) -> Outgoing {
    let mut out = Outgoing::new(sink, epoch);
    for value in values {
        let put = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(value.as_bytes());
            Ok::<_, Fault>(true)
        };
        out.push(Timestamp::from_secs(epoch as i64), |_| Ok(false), put, |_, _| 1).unwrap();
        out.header("own", b"x");
    }
    out
}

/// Commits epoch 1.
fn commit(decider: &mut dyn Decider, record: &str, output: &[Outgoing]) {
    decider.commit(&Commit { epoch: 1, record, output, mirror: &[], period: Duration::from_secs(2) }).unwrap();
}

/// Values and `millpond` headers of partition 1.
fn written(log: &Log, topic: &str) -> Vec<(String, String)> {
    let mut reader = log.reader(topic, 1, Start::Earliest).unwrap();
    let mut found = Vec::new();
    while let Some(block) = reader.read_block(1 << 20).unwrap() {
        found.extend(block.records().map(|record| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
            let headers: Vec<_> = record.headers.collect();
            assert_eq!((headers[0].0, headers[1]), ("millpond", ("own", &b"x"[..])));
            (text(record.value.unwrap()), text(headers[0].1))
        }));
    }
    found
}

#[test]
fn output_and_record_become_real_together() {
    let dir = tempfile::tempdir().unwrap();
    let (log, env) = (Log::at(dir.path().join("log")), env(&dir, 1));
    let mut decider = begun(&log, &env);
    assert_eq!((decider.partitions(3), decider.partitions(5)), (2, 2));
    assert!(written(&log, "a").is_empty());
    commit(&mut *decider, "record one", &[outgoing(3, 1, &["x", "y"]), outgoing(5, 1, &["z"])]);
    let mark = |epoch| format!("trial@1 {RUN} {epoch}");
    assert_eq!(written(&log, "a"), [("x".to_owned(), mark(1)), ("y".to_owned(), mark(1))]);
    assert_eq!(written(&log, "b"), [("z".to_owned(), mark(1))]);
    decider.stage(&outgoing(3, 2, &["never"])).unwrap();
    assert_eq!(log.system().peek(&env, &[]).unwrap().as_deref(), Some("record one"));
    drop(decider);
    let mut decider = super::decider_tests::decider(&log, &env);
    assert_eq!(decider.fence().unwrap().as_deref(), Some("record one"));
    decider.create(7).unwrap();
    assert_eq!(decider.partitions(3), 2, "a topic that is there keeps its partitions");
    decider.begin(&begin());
    decider.stage(&outgoing(3, 2, &["again"])).unwrap();
    decider.publish().unwrap();
    assert_eq!(written(&log, "a")[2], ("again".to_owned(), mark(2)));
    assert_eq!(log.system().peek(&env, &[]).unwrap().as_deref(), Some("record one"), "publishing is no commit");
}

#[test]
fn a_second_instance_is_refused_and_another_version_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::at(dir.path().join("log"));
    let _one = begun(&log, &env(&dir, 1));
    let fault = decider(&log, &env(&dir, 1)).fence().unwrap_err();
    assert_eq!(fault.exit(), Exit::AlreadyRunning);
    let mut two = begun(&log, &env(&dir, 2));
    commit(&mut *two, "record", &[outgoing(3, 1, &["x"])]);
    assert_eq!((written(&log, "a").len(), written(&log, "a.v2").len()), (0, 1));
}

#[test]
fn topics_of_others_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path().join("log")).unwrap();
    log.create_topic("b", Settings::partitions(1)).unwrap();
    let mut feeder = log.writer("feeder").unwrap();
    feeder.claim("b").unwrap();
    let mut decider = decider(&log, &env(&dir, 1));
    decider.fence().unwrap();
    let fault = decider.create(1).unwrap_err();
    assert_eq!(fault.exit(), Exit::Usage);
    assert!(fault.to_string().contains("topic b belongs to writer feeder"), "{fault}");
}

#[test]
fn topics_are_created_only_when_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::at(dir.path().join("log"));
    let mut decider = decider(&log, &Env { create: false, ..env(&dir, 1) });
    decider.fence().unwrap();
    let fault = decider.create(1).unwrap_err();
    assert_eq!(fault.exit(), Exit::Usage);
    assert!(fault.to_string().contains("no topic a"), "{fault}");
    log.create_topic("a", Settings::partitions(1)).unwrap();
    log.create_topic("b", Settings::partitions(4)).unwrap();
    decider.create(1).unwrap();
    assert_eq!((decider.partitions(3), decider.partitions(5)), (1, 4));
}

#[test]
fn earlier_output_is_evidence_and_that_of_others_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path().join("log")).unwrap();
    log.create_topic("b", Settings::partitions(3)).unwrap();
    let mut writer = log.writer("copy").unwrap();
    let claim = writer.claim("b").unwrap();
    let mut append = |mark: &[u8]| {
        let headers: &[(&str, &[u8])] = &[("millpond", mark)];
        writer.append(claim, 2, &Record::new(Timestamp::EPOCH, b"x").headers(headers)).unwrap();
        writer.commit(1, b"").unwrap();
    };
    let evidence = || decider(&log, &env(&dir, 1)).evidence().unwrap();
    append(b"trial@1 aa 1");
    assert_eq!(evidence().unwrap(), "topic b partition 2 ends with a record that it wrote");
    append(b"trial@11 aa 1");
    assert_eq!(evidence(), None);
}

#[test]
fn a_lost_commit_log_stops_the_job_before_anything_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (log, env) = (Log::at(dir.path().join("log")), env(&dir, 1));
    let mut one = begun(&log, &env);
    commit(&mut *one, "record", &[outgoing(3, 1, &["x"])]);
    drop(one);
    let commits = log.dir().join("writers/trial@1/commits.log");
    let aside = dir.path().join("aside");
    std::fs::rename(&commits, &aside).unwrap();
    let fault = decider(&log, &env).fence().unwrap_err();
    assert_eq!(fault.exit(), Exit::Restore);
    assert!(fault.to_string().contains("commits.log"), "{fault}");
    std::fs::rename(&aside, &commits).unwrap();
    assert_eq!(decider(&log, &env).fence().unwrap().as_deref(), Some("record"));
    assert_eq!(written(&log, "a").len(), 1);
}

#[test]
fn a_log_has_one_identity_over_all_its_paths() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("x")).unwrap();
    let id = |path: &str| Log::at(dir.path().join(path)).system().identity();
    assert_eq!(id("log"), id("x/../log"));
    let missing = id("log");
    Log::open(dir.path().join("log")).unwrap();
    assert_eq!(missing, id("log"));
    std::os::unix::fs::symlink(dir.path().join("log"), dir.path().join("link")).unwrap();
    assert_eq!(id("link"), id("log"));
    assert_ne!(id("log"), id("other"));
}
