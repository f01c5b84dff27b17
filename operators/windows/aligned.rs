//! Windows of one size at equal distances, and the slices that overlapping ones share.
//!
//! Windows `[o + k s, o + k s + size)` for every integer k, where s is the slide and o the offset. Their starts and ends cut time into
//! *slices*: one per slide when the size is a multiple of it, else two in turn, `size mod slide` and the rest of the slide long. No
//! window begins or ends within a slice, so a partial per slice is enough, and a window's is the merge of its slices'. (Equal slices
//! of the greatest common divisor would do as well, but a second and a microsecond, each second, would make a million of them.)
//!
//! Slices hide who they count for: a row that came too late for the oldest window of its slice, but not for the newest, must not
//! enter the slice, or it would change nothing in one window and something in another by luck of the order in which they fire.
//! [`Aligned::admit`] tells these rows from the others.

use std::time::Duration;

use millpond_state::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Lateness, Span};

/// A layout of windows: size, slide and offset in microseconds. [`super::Tumbling`] and [`super::Sliding`] make it.
///
/// No window begins or ends within a slice, so a partial per slice is enough, and a window's is the merge of its slices'. There are
/// at most two slices per slide.
///
/// ```
/// use std::time::Duration;
/// use millpond_operators::windows::{Assign, Sliding};
/// use millpond_state::Timestamp;
///
/// let layout = Sliding::of(Duration::from_secs(25)).every(Duration::from_secs(10)).aligned().unwrap();
/// let starts: Vec<i64> = layout.windows(Timestamp::from_secs(7)).map(|window| window.start.secs()).collect();
/// assert_eq!(starts, [-10, 0]);
/// let slices: Vec<i64> = layout.slices(layout.windows(Timestamp::from_secs(7)).next().unwrap()).map(|s| s.start.secs()).collect();
/// assert_eq!(slices, [-10, -5, 0, 5, 10]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Aligned {
    size: i64,
    slide: i64,
    /// Not negative and less than `slide`.
    offset: i64,
    /// `size mod slide`, kept so that no row pays for the division: where in a slide windows end.
    inner: i64,
}

/// What becomes of a row. *Late* and *unassigned* are counts of their own; only late rows go to the late stream.
#[derive(Clone, Copy, Debug)]
pub enum Admit {
    /// No window contains its time, which lies in the gap between two.
    Unassigned,
    /// All its windows are closed.
    Late,
    /// All its windows are open: it goes into its slice, once.
    Whole,
    /// These of its windows are open, older ones are not: it goes into each of these by itself, never into the slice.
    Partly(Windows),
}

impl Aligned {
    /// Windows of `size` every `slide`, both above 0; one starts at 1970.
    pub(super) fn new(size: i64, slide: i64) -> Self {
        Aligned { size, slide, offset: 0, inner: size % slide }
    }

    /// Moved later, modulo the slide.
    pub(super) fn later(self, by: Duration) -> Self {
        let (by, room) = (self.reduced(by), self.slide - self.offset);
        Aligned { offset: if by < room { self.offset + by } else { by - room }, ..self }
    }

    /// Moved earlier, modulo the slide.
    pub(super) fn earlier(self, by: Duration) -> Self {
        let by = self.reduced(by);
        Aligned { offset: if by <= self.offset { self.offset - by } else { self.slide - (by - self.offset) }, ..self }
    }

    fn reduced(&self, by: Duration) -> i64 {
        let by = by.as_micros() % u128::from(self.slide.unsigned_abs());
        i64::try_from(by).expect("a remainder is less than the slide")
    }

    /// Microseconds from the start of a window to its end.
    #[must_use]
    pub const fn size(&self) -> i64 {
        self.size
    }

    /// Microseconds from the start of a window to the start of the next.
    #[must_use]
    pub const fn slide(&self) -> i64 {
        self.slide
    }

    /// Microseconds from 1970 to the start of the next window.
    #[must_use]
    pub const fn offset(&self) -> i64 {
        self.offset
    }

    /// Whether a time can belong to more than one window.
    #[must_use]
    pub const fn overlap(&self) -> bool {
        self.size > self.slide
    }

    /// Microseconds from the newest start of a window, not after `at`, to `at`.
    #[inline]
    fn phase(&self, at: Timestamp) -> i64 {
        let phase = at.micros().rem_euclid(self.slide) - self.offset;
        if phase < 0 { phase + self.slide } else { phase }
    }

    /// From `back` before `at` until before `ahead` after it, cut at the ends of time.
    #[inline]
    fn cut(at: Timestamp, back: i64, ahead: i64) -> Span {
        Span { start: at.plus_micros(-back), end: at.plus_micros(ahead) }
    }

    /// The windows that contain `at`, in order of their end.
    #[inline]
    #[must_use]
    pub fn windows(&self, at: Timestamp) -> Windows {
        let phase = self.phase(at);
        let back = if phase < self.size { phase + (self.size - 1 - phase) / self.slide * self.slide } else { -1 };
        Windows { at, back, size: self.size, slide: self.slide }
    }

    /// The newest window that contains `at`; the only one, where windows do not overlap.
    #[inline]
    #[must_use]
    pub fn newest(&self, at: Timestamp) -> Option<Span> {
        let phase = self.phase(at);
        (phase < self.size).then(|| Self::cut(at, phase, self.size - phase))
    }

    /// The slice that contains `at`. All its times belong to the same windows. It can be let go when the [newest](Aligned::newest)
    /// of these has fired.
    #[inline]
    #[must_use]
    pub fn slice(&self, at: Timestamp) -> Span {
        let phase = self.phase(at);
        if phase < self.inner {
            Self::cut(at, phase, self.inner - phase)
        } else {
            Self::cut(at, phase - self.inner, self.slide - phase)
        }
    }

    /// The slices of a window, in order.
    #[must_use]
    pub fn slices(&self, window: Span) -> Slices {
        Slices { layout: *self, from: window.start, end: window.end }
    }

    /// Decides what becomes of a row at `at` whose limit is the greater of `seen` and `fired`.
    #[inline]
    #[must_use]
    pub fn admit(&self, at: Timestamp, limit: Timestamp, lateness: Lateness) -> Admit {
        let mut windows = self.windows(at);
        let Some(oldest) = windows.peek() else { return Admit::Unassigned };
        if !lateness.is_closed(oldest.end, limit) {
            return Admit::Whole;
        }
        while let Some(window) = windows.peek() {
            if !lateness.is_closed(window.end, limit) {
                return Admit::Partly(windows);
            }
            windows.next();
        }
        Admit::Late
    }

    /// What the plan calls it: `kind`, size, slide and offset.
    pub(super) fn words(&self, kind: &str) -> String {
        let mut words = format!("{kind} {}", super::in_words(self.size));
        if self.slide != self.size {
            words += &format!(" every {}", super::in_words(self.slide));
        }
        if self.offset != 0 {
            words += &format!(" offset {}", super::in_words(self.offset));
        }
        words
    }
}

/// The windows of a time, in order of their end. Made by [`Aligned::windows`].
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    at: Timestamp,
    /// From the start of the next window to `at`; below 0 when there is none.
    back: i64,
    size: i64,
    slide: i64,
}

impl Windows {
    #[inline]
    fn peek(&self) -> Option<Span> {
        (self.back >= 0).then(|| Aligned::cut(self.at, self.back, self.size - self.back))
    }
}

impl Iterator for Windows {
    type Item = Span;

    #[inline]
    fn next(&mut self) -> Option<Span> {
        let next = self.peek()?;
        self.back -= self.slide;
        Some(next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = if self.back < 0 { 0 } else { usize::try_from(self.back / self.slide + 1).unwrap_or(usize::MAX) };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Windows {}

/// The slices of a window, in order. Made by [`Aligned::slices`].
#[derive(Clone, Copy, Debug)]
pub struct Slices {
    layout: Aligned,
    from: Timestamp,
    end: Timestamp,
}

impl Iterator for Slices {
    type Item = Span;

    #[inline]
    fn next(&mut self) -> Option<Span> {
        (self.from < self.end).then(|| {
            let slice = self.layout.slice(self.from);
            self.from = slice.end;
            slice
        })
    }
}

#[cfg(test)]
#[path = "aligned_tests.rs"]
mod tests;
