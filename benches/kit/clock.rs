//! What a piece of work took: processor time of the whole process, and wall time.
//!
//! Processor time counts every thread, so that what the engine does beside its worker (writing checkpoints, committing) is in the price.
//! It is what one worker is judged by, since another program on the machine hardly changes it; two workers are judged by wall time.

use std::time::Instant;

use cpu_time::ProcessTime;

/// Seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) cpu: f64,
    pub(crate) wall: f64,
}

/// Does `work` and says what it took.
pub(crate) fn timed<R>(work: impl FnOnce() -> R) -> (R, Spent) {
    let (wall, cpu) = (Instant::now(), ProcessTime::now());
    let result = work();
    (result, Spent { cpu: cpu.elapsed().as_secs_f64(), wall: wall.elapsed().as_secs_f64() })
}

/// Does `work` on a thread of its own, as the engine does: the allocator treats the main thread better.
pub(crate) fn timed_apart<R: Send>(work: impl FnOnce() -> R + Send) -> (R, Spent) {
    std::thread::scope(|scope| scope.spawn(|| timed(work)).join().expect("the hand loop does not panic"))
}
