//! One window of event time.

use std::cmp::Ordering;
use std::fmt;

use millpond_state::Timestamp;
use serde::{Deserialize, Serialize};

/// A stretch of event time with an excluded end, never empty. Ordered as windows fire: by end, then by start.
///
/// ```
/// use millpond_operators::windows::Span;
/// use millpond_state::Timestamp;
/// let minute = Span::new(Timestamp::EPOCH, Timestamp::from_secs(60));
/// assert!(minute.contains(Timestamp::EPOCH) && !minute.contains(minute.end));
/// assert_eq!(minute.last(), Timestamp::from_micros(59_999_999));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The first time in it.
    pub start: Timestamp,
    /// The first time after it.
    pub end: Timestamp,
}

impl Span {
    /// From `start` until before `end`.
    ///
    /// # Panics
    /// When that is nothing.
    #[must_use]
    pub fn new(start: Timestamp, end: Timestamp) -> Self {
        assert!(start < end, "a window ends after it starts, [{start}, {end}) does not");
        Span { start, end }
    }

    /// Whether `at` lies in it.
    #[inline]
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// The last time in it, a microsecond before its end: the event time of its panes, so that a window over windows of the same
    /// size finds them in the same one.
    #[inline]
    #[must_use]
    pub fn last(&self) -> Timestamp {
        self.end.plus_micros(-1)
    }

    /// Whether there is a time in both. Spans that only touch do not overlap.
    #[inline]
    #[must_use]
    pub fn overlaps(&self, other: &Span) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The least span around both.
    #[inline]
    #[must_use]
    pub fn around(&self, other: &Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

impl Ord for Span {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        (self.end, self.start).cmp(&(other.end, other.start))
    }
}

impl PartialOrd for Span {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}
