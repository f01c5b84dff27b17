//! One run of the engine: a fresh state directory on disk, a checkpoint each second, credits on.

use std::time::Duration;

use millpond::{Ended, Flow, Job, Run};

use super::clock::{Spent, timed};

/// What a run was like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    pub(crate) spent: Spent,
    /// How many epochs it closed.
    pub(crate) epochs: u64,
    /// Late records.
    pub(crate) late: u64,
    /// The most bytes in flight.
    pub(crate) in_flight: i64,
}

/// Runs a flow to its end.
pub(crate) fn run(workers: usize, draw: impl for<'s> Fn(&Flow<'s>) + Send + Sync + 'static) -> Ran {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo made this directory");
    let mut run = Run::new("bench", 1, dir.path());
    run.workers = workers;
    run.interval = Duration::from_secs(1);
    run.until_end = true;
    // Each second, not each 256 MiB, which in-memory input reaches several times a second.
    run.tuning.epoch_input_bytes = u64::MAX;
    let ((ended, status), spent) = timed(|| {
        let running = Job::new("bench").start(run, draw).expect("the job starts");
        let report = running.reporter();
        (running.join().expect("the job ends"), report())
    });
    let Ended { finished, epoch, .. } = ended;
    assert!(finished, "the run read all of its input");
    Ran { spent, epochs: epoch, late: status.late, in_flight: status.in_flight_peak }
}
