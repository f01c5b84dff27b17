//! The timestamp of the whole dataflow: which epoch, and what was promised.

use millpond_state::Timestamp;
use serde::{Deserialize, Serialize};
use timely::order::PartialOrder;
use timely::progress::timestamp::Refines;
use timely::progress::{PathSummary, Timestamp as TimelyTimestamp};

/// Ordered by product: (5, 100) and (6, 90) do not compare, so that neither hides the other. The open epoch is the least epoch of a
/// frontier, the watermark its least watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Time {
    pub(crate) epoch: u64,
    pub(crate) watermark: Timestamp,
}

impl Time {
    /// The least promise that covers both.
    pub(crate) fn meet(self, other: Time) -> Time {
        Time { epoch: self.epoch.min(other.epoch), watermark: self.watermark.min(other.watermark) }
    }
}

impl Default for Time {
    fn default() -> Self {
        Time { epoch: 0, watermark: Timestamp::MIN }
    }
}

impl PartialOrder for Time {
    fn less_equal(&self, other: &Self) -> bool {
        self.epoch <= other.epoch && self.watermark <= other.watermark
    }
}

impl TimelyTimestamp for Time {
    type Summary = ();
    fn minimum() -> Self {
        Time::default()
    }
}

impl PathSummary<Time> for () {
    fn results_in(&self, time: &Time) -> Option<Time> {
        Some(*time)
    }
    fn followed_by(&self, (): &()) -> Option<()> {
        Some(())
    }
}

impl Refines<()> for Time {
    fn to_inner((): ()) -> Self {
        Time::minimum()
    }
    fn to_outer(self) {}
    fn summarize((): ()) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_epoch_with_a_lower_watermark_hides_nothing() {
        let a = Time { epoch: 5, watermark: Timestamp::from_micros(100) };
        let b = Time { epoch: 6, watermark: Timestamp::from_micros(90) };
        assert!(!a.less_equal(&b) && !b.less_equal(&a));
        assert_eq!(a.meet(b), Time { epoch: 5, watermark: Timestamp::from_micros(90) });
    }
}
