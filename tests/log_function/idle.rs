//! The exception, told and counted: a partition that was silent for so long that the others went on without it.

use std::time::Duration;

use millpond::log::{Log, Record, Settings};
use millpond::{Job, Json, Pane, Run, Running, Timestamp, Tumbling, Untimed};

use crate::world::{lines, wait_until};

const WOKEN: &str = "millpond_idle_partitions_woken_total";

fn start(state: &std::path::Path, version: u32, until_end: bool) -> Running {
    let mut run = Run::new("idle", version, state);
    run.workers = 2;
    run.interval = Duration::from_millis(10);
    run.until_end = until_end;
    let job = Job::new("idle").version(version);
    let started = job.start(run, |flow| {
        let log = Log::at(flow.state_dir().join("log"));
        let ticks = log.read::<i64>("ticks", Json).event_time(|second| Timestamp::from_secs(*second));
        let (minutes, late) = flow
            .source("ticks", ticks.idle_after(Duration::from_millis(30)))
            .key_by(|_| 0u64)
            .window(Tumbling::of(Duration::from_mins(1)))
            .split_late()
            .aggregate(|w| w.count());
        minutes
            .map(|pane: Pane<u64, u64>| (pane.start.to_string(), pane.value))
            .sink("minutes", log.write("minutes", Json));
        late.sink("late", log.write("late", Json));
    });
    started.unwrap()
}

#[test]
fn what_a_partition_says_after_it_was_given_up_is_late_and_counted_and_on_time_in_a_replay() {
    let state = tempfile::tempdir().unwrap();
    let log = Log::open(state.path().join("log")).unwrap();
    log.create_topic("ticks", Settings::partitions(2)).unwrap();
    let mut feeder = log.writer("feeder").unwrap();
    let claim = feeder.claim("ticks").unwrap();
    let mut epoch = 0;
    let mut write = |rows: &[(u32, i64)]| {
        for (partition, second) in rows {
            let value = second.to_string();
            let record = Record::new(Timestamp::from_secs(*second), value.as_bytes());
            feeder.append(claim, *partition, &record).unwrap();
        }
        epoch += 1;
        feeder.commit(epoch, b"").unwrap();
    };
    write(&[(0, 10), (1, 20), (0, 130)]);
    let running = start(state.path(), 1, false);
    let minutes = || lines(&log, "minutes");
    wait_until("the first minute fires without partition 1", || log.topic("minutes").is_ok() && minutes().len() == 1);
    // It speaks again: the first minute is published, the second is not.
    write(&[(1, 30), (1, 125), (0, 200), (1, 200)]);
    wait_until("it goes on", || minutes().len() == 2);
    // Partition 0 may have been idle too.
    assert!((1..=2).contains(&running.metrics().total(WOKEN)), "that is counted");
    assert_eq!(running.metrics().total("millpond_late_records_total"), 1);
    running.stop();
    running.join().unwrap();
    assert_eq!(lines(&log, "late").len(), 1, "and the record is late, not lost: {:?}", lines(&log, "late"));
    assert!(minutes()[0].ends_with(r#"["1970-01-01T00:00:00Z",2]"#), "{:?}", minutes());
    assert!(minutes()[1].ends_with(r#"["1970-01-01T00:02:00Z",2]"#), "{:?}", minutes());

    let replayed = start(state.path(), 2, true);
    let woken = replayed.metrics().clone();
    assert!(replayed.join().unwrap().finished);
    assert_eq!(woken.total(WOKEN), 0, "idleness is off while there is something to read");
    assert!(lines(&log, "late.v2").is_empty());
    assert!(lines(&log, "minutes.v2")[0].ends_with(r#"["1970-01-01T00:00:00Z",3]"#), "{:?}", lines(&log, "minutes.v2"));
}
