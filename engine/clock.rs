//! The one place where the engine looks at clocks and draws random numbers.

use std::time::{Instant, SystemTime};

use millpond_state::Timestamp;

/// Now, for spans.
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// Now, for people and for the log.
pub(crate) fn wall() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// A number that no other run has: the run id.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Seeded by the operating system for each `RandomState` of a process, mixed with the time and the process.
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_i64(wall().micros());
    hasher.write_u32(std::process::id());
    hasher.finish()
}
