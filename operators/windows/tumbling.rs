//! Windows side by side.

use std::time::Duration;

use millpond_state::Timestamp;

use super::{Aligned, Assign, Span, whole_micros};

/// Windows of one size, one after the other without a gap: every time belongs to exactly one.
///
/// They count from 1970-01-01T00:00:00Z, also before it, and move by an offset.
/// ```
/// use std::time::Duration;
/// use millpond_operators::windows::Tumbling;
/// use millpond_state::Timestamp;
///
/// let hours = Tumbling::of(Duration::from_hours(1));
/// assert_eq!(hours.window(Timestamp::from_secs(-1)).to_string(), "[1969-12-31T23:00:00Z, 1970-01-01T00:00:00Z)");
///
/// let days_in_new_york = Tumbling::of(Duration::from_hours(24)).offset(Duration::from_hours(5));
/// assert_eq!(days_in_new_york.window(Timestamp::EPOCH).start.to_string(), "1969-12-31T05:00:00Z");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling {
    layout: Aligned,
}

impl Tumbling {
    /// Windows of this size.
    ///
    /// # Panics
    /// When `size` is zero or not a number of microseconds.
    #[must_use]
    pub fn of(size: Duration) -> Self {
        let size = whole_micros("the size of a window", size);
        Tumbling { layout: Aligned::new(size, size) }
    }

    /// Moves all windows later by this much, modulo their size.
    #[must_use]
    pub fn offset(self, later: Duration) -> Self {
        Tumbling { layout: self.layout.later(later) }
    }

    /// Moves all windows earlier by this much, modulo their size.
    #[must_use]
    pub fn offset_back(self, earlier: Duration) -> Self {
        Tumbling { layout: self.layout.earlier(earlier) }
    }

    /// The window that `at` belongs to.
    #[inline]
    #[must_use]
    pub fn window(&self, at: Timestamp) -> Span {
        self.layout.slice(at)
    }
}

impl Assign for Tumbling {
    #[inline]
    fn assign(&self, at: Timestamp, into: &mut Vec<Span>) {
        into.push(self.window(at));
    }
    fn describe(&self) -> String {
        self.layout.words("tumbling")
    }
    fn aligned(&self) -> Option<Aligned> {
        Some(self.layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pane_lands_in_the_same_window_of_the_same_size() {
        let minutes = Tumbling::of(Duration::from_secs(60)).offset(Duration::from_secs(7));
        for at in
            [Timestamp::MIN, Timestamp::from_secs(-61), Timestamp::EPOCH, Timestamp::from_secs(66), Timestamp::LAST]
        {
            let window = minutes.window(at);
            assert_eq!(minutes.window(window.last()), window);
        }
    }

    #[test]
    fn the_plan_names_size_and_offset() {
        assert_eq!(Tumbling::of(Duration::from_secs(5_400)).describe(), "tumbling 90m");
        assert_eq!(
            Tumbling::of(Duration::from_millis(1_500)).offset_back(Duration::from_micros(1)).describe(),
            "tumbling 1500ms offset 1499999us"
        );
    }

    #[test]
    #[should_panic(expected = "the size of a window is whole microseconds and not zero, 0ns is not")]
    fn a_window_of_nothing_is_refused_when_the_flow_is_built() {
        let _ = Tumbling::of(Duration::ZERO);
    }

    #[test]
    #[should_panic(expected = "1.5µs is not")]
    fn a_fraction_of_a_microsecond_is_refused_rather_than_rounded() {
        let _ = Tumbling::of(Duration::from_nanos(1_500));
    }
}
