//! Windows that overlap, or leave gaps.

use std::time::Duration;

use millpond_state::Timestamp;

use super::{Aligned, Assign, Span, whole_micros};

/// Windows of one size, a new one every slide.
///
/// The size need not be a multiple of the slide. A slide longer than the size leaves gaps: rows in them belong to no window and are
/// counted as unassigned. A row counts in those of its windows that are still open, and is late only when none is.
/// ```
/// use std::time::Duration;
/// use millpond_operators::windows::{Sliding, windows_of};
/// use millpond_state::Timestamp;
///
/// let minute_each_half = Sliding::of(Duration::from_secs(60)).every(Duration::from_secs(30));
/// let mut spans = Vec::new();
/// windows_of(&minute_each_half, Timestamp::from_secs(45), &mut spans);
/// assert_eq!(spans.iter().map(|span| (span.start.secs(), span.end.secs())).collect::<Vec<_>>(), [(0, 60), (30, 90)]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    layout: Aligned,
}

/// A size that waits for its slide.
#[derive(Clone, Copy, Debug)]
#[must_use = "say how often a window starts: `.every(slide)`"]
pub struct SlidingSize {
    size: i64,
}

impl SlidingSize {
    /// A window starts every `slide`.
    ///
    /// # Panics
    /// When `slide` is zero or not a number of microseconds.
    #[must_use]
    pub fn every(self, slide: Duration) -> Sliding {
        Sliding { layout: Aligned::new(self.size, whole_micros("the slide of a window", slide)) }
    }
}

impl Sliding {
    /// Windows of this size; [`SlidingSize::every`] says how often.
    ///
    /// # Panics
    /// When `size` is zero or not a number of microseconds.
    pub fn of(size: Duration) -> SlidingSize {
        SlidingSize { size: whole_micros("the size of a window", size) }
    }

    /// Moves all windows later by this much, modulo the slide.
    #[must_use]
    pub fn offset(self, later: Duration) -> Self {
        Sliding { layout: self.layout.later(later) }
    }

    /// Moves all windows earlier by this much, modulo the slide.
    #[must_use]
    pub fn offset_back(self, earlier: Duration) -> Self {
        Sliding { layout: self.layout.earlier(earlier) }
    }
}

impl Assign for Sliding {
    #[inline]
    fn assign(&self, at: Timestamp, into: &mut Vec<Span>) {
        into.extend(self.layout.windows(at));
    }
    fn describe(&self) -> String {
        self.layout.words("sliding")
    }
    fn aligned(&self) -> Option<Aligned> {
        Some(self.layout)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Admit, Lateness};
    use super::*;

    #[test]
    fn windows_that_start_before_1970_exist() {
        let mut spans = Vec::new();
        Sliding::of(Duration::from_secs(60)).every(Duration::from_secs(30)).assign(Timestamp::EPOCH, &mut spans);
        assert_eq!(spans.iter().map(|span| span.start.secs()).collect::<Vec<_>>(), [-30, 0]);
    }

    #[test]
    fn rows_in_a_gap_belong_to_no_window() {
        let layout = Sliding::of(Duration::from_secs(10)).every(Duration::from_secs(60)).aligned().unwrap();
        let admit = |secs| layout.admit(Timestamp::from_secs(secs), Timestamp::MIN, Lateness::NONE);
        assert!(matches!(
            (admit(9), admit(10), admit(59), admit(60)),
            (Admit::Whole, Admit::Unassigned, Admit::Unassigned, Admit::Whole)
        ));
    }

    #[test]
    fn the_plan_names_size_slide_and_offset() {
        let sliding = Sliding::of(Duration::from_secs(60)).every(Duration::from_secs(10));
        assert_eq!(sliding.describe(), "sliding 1m every 10s");
        assert_eq!(sliding.offset(Duration::from_secs(13)).describe(), "sliding 1m every 10s offset 3s");
    }

    #[test]
    #[should_panic(expected = "the slide of a window is whole microseconds and not zero")]
    fn a_slide_of_nothing_is_refused_when_the_flow_is_built() {
        let _ = Sliding::of(Duration::from_secs(1)).every(Duration::ZERO);
    }
}
