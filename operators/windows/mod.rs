//! Windows: which spans of event time a record belongs to, and when it is too late for them. Everything here is a pure function.
//!
//! - A window is a [`Span`] with an excluded end. [`Tumbling`] and [`Sliding`] windows are [`Aligned`]: of one size, at equal
//!   distances, counted from 1970, also before it. A [`Session`] lasts until a key is silent for its gap. [`Count`] and [`Global`]
//!   windows are of rows, not of time. Any other kind is one's own [`Assign`].
//! - A window fires when the watermark reaches its end plus the allowed [`Lateness`], once, and the result is final. A row is late
//!   for a window iff that time is not beyond its *limit*: the greater of `seen`, the watermark of the row's own partition when it was
//!   read, and `fired`, up to where the windows of its key group have fired. `seen` makes the decision a function of the log;
//!   `fired` makes sure that what was published is never opened again.
//! - Time saturates: a window that would begin before the least time or end after the greatest is cut there. One that is cut at the
//!   end fires with the final watermark.

mod aligned;
mod count;
mod lateness;
mod session;
mod sliding;
mod span;
mod tumbling;

use std::time::Duration;

use millpond_state::Timestamp;

pub use aligned::{Admit, Aligned, Slices, Windows};
pub use count::{Count, Global};
pub use lateness::Lateness;
pub use session::{Absorbed, Session};
pub use sliding::{Sliding, SlidingSize};
pub use span::Span;
pub use tumbling::Tumbling;

/// Which windows a time belongs to: implement it for windows of one's own. It must be a function of `at` alone.
///
/// ```
/// use millpond_operators::windows::{Assign, Span, windows_of};
/// use millpond_state::Timestamp;
///
/// /// The hours in which the exchange is open, each day from 14:30 to 21:00 UTC.
/// struct Trading;
/// impl Assign for Trading {
///     fn assign(&self, at: Timestamp, into: &mut Vec<Span>) {
///         let day = at.secs().div_euclid(86_400) * 86_400;
///         let open = Span::new(Timestamp::from_secs(day + 52_200), Timestamp::from_secs(day + 75_600));
///         if open.contains(at) {
///             into.push(open);
///         }
///     }
///     fn describe(&self) -> String {
///         "trading hours".to_owned()
///     }
/// }
///
/// let mut spans = Vec::new();
/// windows_of(&Trading, Timestamp::parse("2013-01-02T15:00:00Z").unwrap(), &mut spans);
/// assert_eq!(spans[0].to_string(), "[2013-01-02T14:30:00Z, 2013-01-02T21:00:00Z)");
/// ```
pub trait Assign: 'static {
    /// Appends the windows that `at` belongs to, each of which contains it. None: the row is counted as unassigned.
    fn assign(&self, at: Timestamp, into: &mut Vec<Span>);

    /// What the plan calls it. Name all that decides which windows there are: state is not carried over to windows of another name.
    fn describe(&self) -> String;

    /// The layout, where windows lie at equal distances: then those that overlap share their slices.
    fn aligned(&self) -> Option<Aligned> {
        None
    }
}

/// Puts the windows that `at` belongs to into `into`, in order of their end and each once, whatever [`Assign::assign`] did.
///
/// # Panics
/// When a window does not contain `at`.
pub fn windows_of<A: Assign>(assign: &A, at: Timestamp, into: &mut Vec<Span>) {
    into.clear();
    assign.assign(at, into);
    for span in into.iter() {
        assert!(
            span.contains(at),
            "{} put the time {at} into the window {span}, which does not contain it",
            assign.describe()
        );
    }
    into.sort_unstable();
    into.dedup();
}

/// A size in whole microseconds. `what` begins the sentence of the panic.
fn whole_micros(what: &str, size: Duration) -> i64 {
    let micros = millpond_state::span_micros(size);
    assert!(
        micros > 0 && size.subsec_nanos().is_multiple_of(1_000),
        "{what} is whole microseconds and not zero, {size:?} is not"
    );
    micros
}

/// A length of time in the largest unit that it is a multiple of, such as `90m`.
fn in_words(micros: i64) -> String {
    let units = [(3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")];
    match units.into_iter().find(|(unit, _)| micros % unit == 0) {
        Some((unit, name)) => format!("{}{name}", micros / unit),
        None => format!("{micros}us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Wrong(Vec<Span>);
    impl Assign for Wrong {
        fn assign(&self, _: Timestamp, into: &mut Vec<Span>) {
            into.extend(&self.0);
        }
        fn describe(&self) -> String {
            "wrong windows".to_owned()
        }
    }

    fn span(start: i64, end: i64) -> Span {
        Span::new(Timestamp::from_secs(start), Timestamp::from_secs(end))
    }

    #[test]
    fn windows_of_ones_own_are_sorted_and_each_counts_once() {
        let mut spans = vec![span(100, 200)];
        windows_of(&Wrong(vec![span(0, 9), span(3, 5), span(0, 9)]), Timestamp::from_secs(4), &mut spans);
        assert_eq!(spans, [span(3, 5), span(0, 9)]);
    }

    #[test]
    #[should_panic(expected = "which does not contain it")]
    fn a_window_beside_its_row_is_refused() {
        windows_of(&Wrong(vec![span(0, 4)]), Timestamp::from_secs(4), &mut Vec::new());
    }
}
