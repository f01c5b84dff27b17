//! When a window is closed, and when a row is late.

use std::fmt;
use std::time::Duration;

use millpond_state::{Timestamp, span_micros};
use serde::{Deserialize, Serialize};

/// How long after its end a window stays open for rows that are late. Its result waits as long, and is final.
///
/// *Limit* is the greater of `seen` and `fired`, see [the module](super).
/// ```
/// use std::time::Duration;
/// use millpond_operators::windows::Lateness;
/// use millpond_state::Timestamp;
///
/// let lateness = Lateness::of(Duration::from_secs(30));
/// let end = Timestamp::from_secs(60);
/// assert_eq!(lateness.closes(end), Timestamp::from_secs(90));
/// assert!(lateness.is_closed(end, Timestamp::from_secs(90)));
/// assert!(!lateness.is_closed(end, Timestamp::from_secs(89)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lateness {
    micros: i64,
}

impl Lateness {
    /// A window closes at its end.
    pub const NONE: Lateness = Lateness { micros: 0 };

    /// This long.
    #[must_use]
    pub fn of(lateness: Duration) -> Self {
        Lateness { micros: span_micros(lateness) }
    }

    /// In whole microseconds.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.micros
    }

    /// The watermark at which a window with this end fires; the final one, where the sum is beyond the end of time.
    #[inline]
    #[must_use]
    pub const fn closes(self, end: Timestamp) -> Timestamp {
        end.plus_micros(self.micros)
    }

    /// Whether a row with this limit is late for a window that ends at `end`: tumbling, sliding and one's own.
    #[inline]
    #[must_use]
    pub fn is_closed(self, end: Timestamp, limit: Timestamp) -> bool {
        self.closes(end) <= limit
    }

    /// Whether a row at `at` with this limit is late by its own time, as in sessions and joins. A row that is not always finds its
    /// session open, since that ends after the row; judging by the merged session would depend on what came first.
    #[inline]
    #[must_use]
    pub fn is_past(self, at: Timestamp, limit: Timestamp) -> bool {
        self.closes(at) < limit
    }
}

impl fmt::Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.micros {
            0 => f.write_str("none"),
            micros => f.write_str(&super::in_words(micros)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_late_where_the_sum_is_beyond_the_end_of_time_until_the_final_watermark() {
        let forever = Lateness::of(Duration::MAX);
        assert_eq!(forever.closes(Timestamp::EPOCH), Timestamp::MAX);
        assert!(!forever.is_closed(Timestamp::EPOCH, Timestamp::LAST));
        assert!(forever.is_closed(Timestamp::EPOCH, Timestamp::MAX));
    }

    #[test]
    fn a_row_at_the_limit_is_not_past_it() {
        let limit = Timestamp::from_secs(10);
        assert!(!Lateness::NONE.is_past(limit, limit));
        assert!(Lateness::NONE.is_past(limit.plus_micros(-1), limit));
    }
}
