//! A job that is not the one whose state it finds, and a job that runs already.

use std::fs;
use std::time::Duration;

use millpond::log::Log;
use millpond::{Exit, Fault, Flow, Job, Json, Pane, Run, Timestamp, Tumbling, Untimed};

use crate::trial::{answer, copy, draw, feed, finish, half_way, job, run, undisturbed};

/// How a job differs from the one that wrote the state.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    None,
    WindowSize,
    Lateness,
    OutOfOrder,
    Aggregate,
    KeyType,
    NoWindow,
    MoreStateless,
    MoreStateful,
}

type Hit = (u64, u64, i64);

/// The trial's flow, changed. What a window gives is written as text, so that every change has the same sinks.
fn changed(flow: &Flow<'_>, change: Change) {
    let log = Log::at(flow.state_dir().join("log"));
    let bound = if change == Change::OutOfOrder { 61 } else { 60 };
    let hits = log.read::<Hit>("hits", Json).event_time(|hit| Timestamp::from_secs(hit.2));
    let mut hits = flow.source("hits", hits.out_of_order(Duration::from_secs(bound))).inspect(|_, _| {});
    if change == Change::MoreStateless {
        hits = hits.map(|hit| hit).filter(|_| true);
    }
    let size = Tumbling::of(Duration::from_secs(if change == Change::WindowSize { 120 } else { 60 }));
    let lateness = Duration::from_secs(if change == Change::Lateness { 91 } else { 90 });
    let sums = log.write("sums", Json);
    let key = |hit: &Hit| hit.1;
    let late = match change {
        Change::KeyType => {
            let windows = hits.clone().key_by(|hit| hit.1.to_string()).window(size).allowed_lateness(lateness);
            let (panes, late) = windows.split_late().aggregate(|w| (w.count(), w.sum(|hit| hit.0)));
            panes.map(|pane| (pane.key, pane.start.micros(), pane.value)).sink("sums", sums);
            late
        }
        Change::Aggregate => {
            let windows = hits.clone().key_by(key).window(size).allowed_lateness(lateness);
            let (panes, late) = windows.split_late().aggregate(|w| (w.count(), w.max(|hit| hit.0)));
            panes.map(|pane| (pane.key, pane.start.micros(), pane.value)).sink("sums", sums);
            late
        }
        Change::NoWindow => {
            let (some, other) = hits.clone().split(|hit| hit.0 % 2 == 0);
            some.sink("sums", sums);
            other
        }
        Change::MoreStateful => {
            let windows = hits.clone().key_by(key).window(size).allowed_lateness(lateness);
            let (panes, late) = windows.split_late().aggregate(|w| (w.count(), w.sum(|hit| hit.0)));
            let hours = panes.key_by(|pane| pane.key).window(Tumbling::of(Duration::from_mins(60)));
            hours.aggregate(|w| w.count()).map(|pane| (pane.key, pane.value)).sink("sums", sums);
            late
        }
        _ => {
            let windows = hits.clone().key_by(key).window(size).allowed_lateness(lateness);
            let (panes, late) = windows.split_late().aggregate(|w| (w.count(), w.sum(|hit| hit.0)));
            panes.map(|pane: Pane<u64, (u64, u64)>| (pane.key, pane.start.micros(), pane.value)).sink("sums", sums);
            late
        }
    };
    hits.map(|hit| hit.0).sink("copies", log.write("copies", Json));
    late.map(|hit| hit.0).sink("late", log.write("late", Json));
}

#[test]
fn a_changed_job_is_refused_and_the_old_one_goes_on() {
    let want = undisturbed();
    let state = tempfile::tempdir().unwrap();
    feed(state.path());
    half_way(state.path());
    for (change, says) in [
        (Change::WindowSize, "was tumbling 1m and is now tumbling 2m"),
        (Change::Lateness, "allowed lateness was "),
        (Change::OutOfOrder, "1m behind and is now 1m 1s behind"),
        (Change::Aggregate, "is now count, max"),
        (Change::KeyType, "shape"),
        (Change::NoWindow, "no longer in the job"),
        (Change::MoreStateful, "is new"),
    ] {
        let fault = job().run(run(state.path()), move |flow| changed(flow, change)).unwrap_err();
        assert_eq!(fault.exit(), Exit::NewVersion, "{change:?}: {fault}");
        assert!(fault.to_string().contains(says) && fault.to_string().contains("hits"), "{change:?}: {fault}");
    }
    assert!(finish(state.path()).unwrap().finished);
    assert!(answer(state.path()).unwrap() == want, "nothing was lost by any of this");
}

#[test]
fn a_stateless_step_may_be_inserted() {
    let want = undisturbed();
    let state = tempfile::tempdir().unwrap();
    feed(state.path());
    half_way(state.path());
    for change in [Change::MoreStateless, Change::None] {
        assert!(job().run(run(state.path()), move |flow| changed(flow, change)).unwrap().finished);
    }
    assert!(answer(state.path()).unwrap() == want);
}

#[test]
fn a_job_of_another_name_cannot_write_the_topics_of_this_one() {
    let want = undisturbed();
    let state = tempfile::tempdir().unwrap();
    feed(state.path());
    half_way(state.path());
    let other = Run { until_end: true, ..Run::new("other", 1, state.path()) };
    let fault = Job::new("other").run(other, |flow| draw(flow, u64::MAX)).unwrap_err();
    assert_eq!(fault.exit(), Exit::Usage, "{fault}");
    let said = fault.to_string();
    assert!(said.contains("trial@1") && said.contains("other@1") && said.contains("topic"), "{said}");
    assert!(finish(state.path()).unwrap().finished);
    assert!(answer(state.path()).unwrap() == want);
}

#[test]
fn the_state_directory_of_another_job_is_refused() {
    let want = undisturbed();
    let state = tempfile::tempdir().unwrap();
    feed(state.path());
    half_way(state.path());
    let refused = |fault: Fault| {
        assert_eq!(fault.exit(), Exit::Restore, "{fault}");
        assert!(fault.to_string().contains("other@1"), "{fault}");
    };
    // Only the checkpoints were carried over, then the writer with its commits as well.
    copy(&state.path().join("trial@1"), &state.path().join("other@1"));
    let other = || Run { until_end: true, ..Run::new("other", 1, state.path()) };
    refused(Job::new("other").run(other(), |flow| draw(flow, u64::MAX)).unwrap_err());
    fs::remove_dir_all(state.path().join("log/writers/other@1")).unwrap();
    copy(&state.path().join("log/writers/trial@1"), &state.path().join("log/writers/other@1"));
    refused(Job::new("other").run(other(), |flow| draw(flow, u64::MAX)).unwrap_err());
    assert!(finish(state.path()).unwrap().finished);
    assert!(answer(state.path()).unwrap() == want);
}

#[test]
fn a_second_instance_is_refused_and_does_the_first_no_harm() {
    let want = undisturbed();
    let state = tempfile::tempdir().unwrap();
    feed(state.path());
    let first = job().start(run(state.path()), |flow| draw(flow, 2_500)).unwrap();
    for _ in 0..20 {
        let fault = finish(state.path()).unwrap_err();
        assert_eq!(fault.exit(), Exit::AlreadyRunning, "{fault}");
        let said = fault.to_string();
        assert!(said.contains(&std::process::id().to_string()) && said.contains("lock"), "{said}");
    }
    assert!(first.join().unwrap().finished);
    assert!(answer(state.path()).unwrap() == want);
}
