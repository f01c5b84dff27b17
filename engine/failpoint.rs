//! Fail points: named steps of checkpoint and commit at which a test can have the process killed, as `kill -9` would.
//!
//! `MILLPOND_FAILPOINT=<name>:<n>` aborts the process when the step is reached for the n-th time. Unset, a step costs one load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

struct Armed {
    name: String,
    at: u64,
    seen: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// The steps there are, in the order in which an epoch passes them.
pub const STEPS: [&str; 8] = ["cut", "part", "vote", "sealed", "manifest", "staged", "committed", "released"];

/// The step `name` is reached.
pub fn hit(name: &str) {
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("MILLPOND_FAILPOINT").ok()?;
        let (name, at) = text.rsplit_once(':')?;
        Some(Armed { name: name.to_owned(), at: at.parse().ok()?, seen: AtomicU64::new(0) })
    });
    if let Some(armed) = armed
        && armed.name == name
        && armed.seen.fetch_add(1, Ordering::SeqCst) + 1 == armed.at
    {
        // As a kill would: no unwinding, no flushing, nothing cleaned up.
        std::process::abort();
    }
}
