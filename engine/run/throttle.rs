//! A bound on how fast a run reads: so many records or bytes a second, by choice. For replays beside a live version.
//!
//! What was read is a debt that time pays off; sources read on once it is paid. A thread wakes them then.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::shared::Shared;
use crate::clock;

/// How fast a run may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// Records a second.
    Records(u64),
    /// Bytes a second.
    Bytes(u64),
}

/// Between two looks whether the debt is paid.
const TICK: Duration = Duration::from_millis(5);

/// The debt of a run.
#[derive(Debug)]
pub(crate) struct Debt {
    throttle: Throttle,
    /// When it is paid.
    paid: Mutex<Instant>,
}

impl Debt {
    pub(crate) fn new(throttle: Throttle) -> Self {
        Debt { throttle, paid: Mutex::new(clock::instant()) }
    }

    /// So much was read.
    pub(crate) fn add(&self, records: u64, bytes: u64) {
        let (read, rate) = match self.throttle {
            Throttle::Records(rate) => (records, rate),
            Throttle::Bytes(rate) => (bytes, rate),
        };
        let costs = Duration::from_secs_f64(read as f64 / rate.max(1) as f64);
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        // What was not used up to now is gone: a pause earns no burst.
        *paid = (*paid).max(clock::instant()) + costs;
    }

    pub(crate) fn is_paid(&self) -> bool {
        *self.paid.lock().unwrap_or_else(PoisonError::into_inner) <= clock::instant()
    }
}

/// Wakes sources whenever the debt has been paid, until the run is over.
pub(crate) fn wake(shared: &Arc<Shared>) {
    let mut waited = false;
    while !shared.aborted() {
        std::thread::sleep(TICK);
        let paid = shared.debt.as_ref().is_none_or(Debt::is_paid);
        if paid && waited {
            shared.wake();
        }
        waited = !paid;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_paid_by_time_and_a_pause_earns_nothing() {
        let debt = Debt::new(Throttle::Records(1_000));
        assert!(debt.is_paid());
        debt.add(50, 1 << 30);
        assert!(!debt.is_paid());
        std::thread::sleep(Duration::from_millis(60));
        assert!(debt.is_paid());
        let begun = Instant::now();
        debt.add(20, 0);
        while !debt.is_paid() {
            std::thread::yield_now();
        }
        assert!(begun.elapsed() >= Duration::from_millis(19), "{:?}", begun.elapsed());
    }
}
