//! Fail points: named steps of checkpoint and commit at which a test can have the process killed, as `kill -9` would, or held up.
//!
//! `MILLPOND_FAILPOINT=<name>:<n>` aborts the process when the step is reached for the n-th time; `<name>:<n>:<span>` holds the thread up for
//! so long instead (`manifest:2:8s`), `<name>:*:<span>` each time. Unset, a step costs one load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

struct Armed {
    name: String,
    /// Each time without.
    at: Option<u64>,
    /// Instead of a kill.
    pause: Option<Duration>,
    seen: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// The steps there are, in the order in which an epoch passes them.
pub const STEPS: [&str; 8] = ["cut", "part", "vote", "sealed", "manifest", "staged", "committed", "released"];

/// The step `name` is reached.
pub fn hit(name: &str) {
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("MILLPOND_FAILPOINT").ok()?;
        let mut parts = text.splitn(3, ':');
        let (name, at) = (parts.next()?.to_owned(), parts.next()?);
        let at = if at == "*" { None } else { Some(at.parse().ok()?) };
        let pause = parts.next().and_then(|span| crate::cli::parse_span(span).ok());
        Some(Armed { name, at, pause, seen: AtomicU64::new(0) })
    });
    if let Some(armed) = armed
        && armed.name == name
        && armed.at.is_none_or(|at| armed.seen.fetch_add(1, Ordering::SeqCst) + 1 == at)
    {
        if let Some(pause) = armed.pause {
            return std::thread::sleep(pause);
        }
        // As a kill would: no unwinding, no flushing, nothing cleaned up.
        std::process::abort();
    }
}
