//! kill -9 at random moments and at every step of checkpoint and commit: the output is that of a run without kills.

use std::time::{Duration, Instant};

use crate::model::{answer, month};
use crate::runs::{done, finished, flights, killed_after, text};
use crate::seeded::Seeded;

#[test]
fn a_hundred_kills_at_random_moments_lose_and_double_nothing() {
    let want = answer(&month(), 30, 120);
    let mut random = Seeded::new();
    let probe = tempfile::tempdir().unwrap();
    let began = Instant::now();
    assert_eq!(finished(probe.path(), &["--workers", "2"]), want);
    let whole = began.elapsed().as_micros() as u64;
    let mut kills = 0;
    while kills < 100 {
        let state = tempfile::tempdir().unwrap();
        // Not every restart has as many workers as the start before it.
        for _ in 0..10 {
            let workers = ["1", "2"][random.below(2) as usize];
            let delay = Duration::from_micros(random.below(whole));
            if !killed_after(flights(state.path(), &["--workers", workers]), delay) {
                break;
            }
            kills += 1;
        }
        assert_eq!(finished(state.path(), &["--workers", "2"]), want, "after {kills} kills");
    }
}

#[test]
fn a_kill_at_any_step_of_checkpoint_and_commit_loses_and_doubles_nothing() {
    let want = answer(&month(), 30, 120);
    for step in millpond::failpoint::STEPS {
        for (time, workers) in [(1, "1"), (1, "2"), (2, "1")] {
            let state = tempfile::tempdir().unwrap();
            let mut command = flights(state.path(), &["--workers", workers, "--checkpoint-interval", "1ms"]);
            command.env("MILLPOND_FAILPOINT", format!("{step}:{time}"));
            let output = done(command);
            // How many epochs there are depends on the disk; one there always is.
            let reached = !output.status.success();
            assert!(reached || time > 1, "the step {step} is reached {time} times: {}", text(&output));
            assert_eq!(finished(state.path(), &["--workers", "2"]), want, "killed at {step}, time {time}");
        }
    }
}
