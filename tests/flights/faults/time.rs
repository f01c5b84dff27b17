//! Event times that are far away: before 1970, in the far future, at the ends of time.

use std::path::Path;
use std::time::Duration;

use millpond::log::{Log, Record, Settings};
use millpond::{Collected, Flow, Job, Json, Run, Session, Sliding, Timestamp, Tumbling, Untimed, vec};

const MIN: i64 = i64::MIN + 1;
const MAX: i64 = i64::MAX - 1;

fn finished(draw: impl for<'s> Fn(&Flow<'s>) + Send + Sync + 'static) {
    let state = tempfile::tempdir().unwrap();
    run_on(state.path(), draw);
}

fn run_on(state: &Path, draw: impl for<'s> Fn(&Flow<'s>) + Send + Sync + 'static) {
    let run = Run { until_end: true, interval: Duration::from_millis(10), ..Run::new("time", 1, state) };
    assert!(Job::new("time").run(run, draw).unwrap().finished);
}

#[test]
fn windows_before_1970_and_at_the_ends_of_time_hold_what_is_in_them() {
    let times = vec![MIN, MIN + 1, -3_600_000_001, -1, 0, 1, MAX - 1, MAX];
    let (out, tumbling) = (Collected::new(), times.clone());
    let kept = out.clone();
    finished(move |flow| {
        let times = vec(vec![tumbling.clone()]).event_time(|at: &i64| Timestamp::from_micros(*at));
        let counts = flow.source("times", times).key_by(|_| 0_u8).window(Tumbling::of(Duration::from_secs(3_600)));
        let counts = counts.aggregate(|w| (w.count(), w.min(|at| *at), w.max(|at| *at)));
        counts.map(|pane| (pane.start.micros(), pane.end.micros(), pane.value)).sink("counts", out.sink());
    });
    let found: Vec<(i64, i64, (u64, i64, i64))> = kept.take();
    for (start, end, (count, least, greatest)) in &found {
        let inside = times.iter().filter(|at| (start..end).contains(at)).count() as u64;
        assert_eq!(inside, *count, "{start} {end}");
        assert!(start <= least && greatest < end, "{start} {least} {greatest} {end}");
    }
    assert_eq!(found.iter().map(|pane| pane.2.0).sum::<u64>(), 8, "each in one window");
    assert!(found.contains(&(-3_600_000_000, 0, (1, -1, -1))) && found.contains(&(0, 3_600_000_000, (2, 0, 1))));
}

#[test]
fn sliding_and_session_windows_reach_the_ends_of_time() {
    let out = Collected::new();
    let kept = out.clone();
    finished(move |flow| {
        let times = vec(vec![vec![MIN, 0, MAX]]).event_time(|at: &i64| Timestamp::from_micros(*at));
        let times = flow.source("times", times);
        let slides =
            times.clone().key_by(|_| 0_u8).window(Sliding::of(Duration::from_secs(20)).every(Duration::from_secs(10)));
        slides.aggregate(|w| w.count()).map(|pane| (0_u8, pane.value)).sink("slides", out.sink());
        let sessions = times.key_by(|_| 0_u8).window(Session::gap(Duration::from_secs(60))).named("by gap");
        sessions.aggregate(|w| w.count()).map(|pane| (1_u8, pane.value)).sink("sessions", out.sink());
    });
    let found: Vec<(u8, u64)> = kept.take();
    assert_eq!(found.iter().filter(|(kind, _)| *kind == 1).count(), 3, "{found:?}");
    let slides: u64 = found.iter().filter(|(kind, _)| *kind == 0).map(|(_, count)| count).sum();
    assert!(
        (4..=6).contains(&slides),
        "a window that would begin before time or end after it may be cut away: {found:?}"
    );
}

#[test]
fn a_record_from_the_far_future_does_not_make_the_others_late() {
    let state = tempfile::tempdir().unwrap();
    let log = Log::open(state.path().join("log")).unwrap();
    let mut writer = log.writer("feeder").unwrap();
    log.create_topic("times", Settings::partitions(1)).unwrap();
    let claim = writer.claim("times").unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let year = 365 * 24 * 3_600;
    let times = [now - 10, now + 100 * year, now - 9, i64::MAX / 1_000_000, now - 8];
    for at in times {
        let value = serde_json::to_vec(&at).unwrap();
        writer.append(claim, 0, &Record::new(Timestamp::from_secs(at), &value)).unwrap();
    }
    writer.commit(1, b"").unwrap();
    let (out, late) = (Collected::new(), Collected::<i64>::new());
    let (kept, kept_late) = (out.clone(), late.clone());
    run_on(state.path(), move |flow| {
        let log = Log::at(flow.state_dir().join("log"));
        let times = log.read::<i64>("times", Json).event_time(|at| Timestamp::from_secs(*at));
        let windows = flow.source("times", times).key_by(|_| 0_u8).window(Tumbling::of(Duration::from_secs(1)));
        let (counts, too_late) = windows.split_late().aggregate(|w| w.count());
        counts.map(|pane| pane.start.secs()).sink("counts", out.sink());
        too_late.sink("late", late.sink());
    });
    assert!(kept_late.is_empty(), "nothing is late because of a clock that was wrong");
    let mut found: Vec<i64> = kept.take();
    found.sort_unstable();
    let mut want = times.to_vec();
    want.sort_unstable();
    assert_eq!(found, want);
}
