//! Windows of rows.

use millpond_state::Timestamp;

/// Windows of so many rows of a key, in order of event time and then log position.
///
/// A row's place is certain once the watermark has passed its time, so it is late iff its own time is before its limit; an allowed
/// lateness does not apply. A pane has its last row's time. What remains leaves, as a smaller pane, with the final watermark.
/// ```
/// use millpond_operators::windows::Count;
/// use millpond_state::Timestamp;
///
/// let hundreds = Count::of(100);
/// assert_eq!(hundreds.rows(), 100);
/// assert!(hundreds.is_late(Timestamp::from_secs(9), Timestamp::from_secs(10)));
/// assert!(!hundreds.by_arrival().is_late(Timestamp::from_secs(9), Timestamp::from_secs(10)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    rows: u64,
    by_arrival: bool,
}

impl Count {
    /// A pane for each `rows` rows.
    ///
    /// # Panics
    /// When `rows` is 0.
    #[must_use]
    pub fn of(rows: u64) -> Self {
        assert!(rows > 0, "a window of rows holds at least one");
        Count { rows, by_arrival: false }
    }

    /// Takes rows as they arrive, at once, and none is late. Which rows make a pane then depends on how partitions interleave: the
    /// plan flags it as not repeatable.
    #[must_use]
    pub fn by_arrival(self) -> Self {
        Count { by_arrival: true, ..self }
    }

    /// How many rows fill a window.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether rows are taken as they arrive, which the log does not determine.
    #[must_use]
    pub const fn order_dependent(&self) -> bool {
        self.by_arrival
    }

    /// Whether a row at `at` is late, where `limit` is the greater of `seen` and `fired`.
    #[inline]
    #[must_use]
    pub fn is_late(&self, at: Timestamp, limit: Timestamp) -> bool {
        !self.by_arrival && at < limit
    }

    /// What the plan calls it.
    #[must_use]
    pub fn describe(&self) -> String {
        match (self.rows, self.by_arrival) {
            (u64::MAX, false) => "global".to_owned(),
            (rows, false) => format!("count {rows}"),
            (rows, true) => format!("count {rows} by arrival (not repeatable)"),
        }
    }
}

/// One window of all rows of a key, which fires with the final watermark; [`Global::every`] makes it fire in between.
///
/// ```
/// use millpond_operators::windows::{Count, Global};
/// assert_eq!(Count::from(Global).describe(), "global");
/// assert_eq!(Global.every(100), Count::of(100));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Global;

impl Global {
    /// A pane for each `rows` rows: the same as [`Count::of`].
    ///
    /// # Panics
    /// When `rows` is 0.
    #[must_use]
    pub fn every(self, rows: u64) -> Count {
        Count::of(rows)
    }
}

impl From<Global> for Count {
    fn from(_: Global) -> Self {
        Count::of(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_at_the_limit_is_not_late() {
        let (earlier, limit) = (Timestamp::from_micros(-1), Timestamp::EPOCH);
        assert!(!Count::of(3).is_late(limit, limit));
        assert!(Count::of(3).is_late(earlier, limit));
    }

    #[test]
    #[should_panic(expected = "a window of rows holds at least one")]
    fn a_window_of_no_rows_is_refused() {
        let _ = Count::of(0);
    }
}
