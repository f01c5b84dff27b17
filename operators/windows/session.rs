//! Windows that last until a key falls silent.

use std::ops::Range;
use std::time::Duration;

use millpond_state::Timestamp;

use super::{Span, in_words, whole_micros};

/// Sessions of a key: rows less than a gap apart, from the first until a gap after the last, end excluded.
///
/// Two rows exactly one gap apart make two sessions, that touch. A row is late iff its own time plus the lateness is before its limit
/// ([`super::Lateness::is_past`]).
/// ```
/// use std::time::Duration;
/// use millpond_operators::windows::{Session, Span};
/// use millpond_state::Timestamp;
///
/// let session = Session::gap(Duration::from_secs(10));
/// let mut open: Vec<Span> = Vec::new();
/// for second in [0, 10, 25, 5] {
///     let row = session.absorb(&open, |span| *span, Timestamp::from_secs(second));
///     open.splice(row.places, [row.span]);
/// }
/// let seconds: Vec<_> = open.iter().map(|span| (span.start.secs(), span.end.secs())).collect();
/// assert_eq!(seconds, [(0, 20), (25, 35)]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    gap: i64,
}

/// What a row does to the open sessions of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absorbed {
    /// The sessions that it joins together; empty where it begins one of its own, at that place.
    pub places: Range<usize>,
    /// The session it belongs to, then.
    pub span: Span,
}

impl Session {
    /// Sessions that end when nothing comes for `gap`.
    ///
    /// # Panics
    /// When `gap` is zero or not a number of microseconds.
    #[must_use]
    pub fn gap(gap: Duration) -> Self {
        Session { gap: whole_micros("the gap of a session", gap) }
    }

    /// The session of one row alone.
    #[inline]
    #[must_use]
    pub fn window(&self, at: Timestamp) -> Span {
        Span { start: at, end: at.plus_micros(self.gap) }
    }

    /// Finds the session of a row at `at` among the `open` ones of its key, which are sorted by time and do not overlap: put one with
    /// [`Absorbed::span`] in the place of [`Absorbed::places`], and they are so again.
    #[inline]
    pub fn absorb<S>(&self, open: &[S], span: impl Fn(&S) -> Span, at: Timestamp) -> Absorbed {
        let alone = self.window(at);
        let from = open.partition_point(|session| span(session).end <= alone.start);
        let joined = open[from..].iter().take_while(|session| span(session).start < alone.end);
        let (count, whole) =
            joined.fold((0, alone), |(count, whole), session| (count + 1, whole.around(&span(session))));
        Absorbed { places: from..from + count, span: whole }
    }

    /// What the plan calls it.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("session gap {}", in_words(self.gap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::trial::Dice;

    fn sessions(gap: i64, times: &[i64]) -> Vec<Span> {
        let session = Session::gap(Duration::from_micros(gap as u64));
        let mut open = Vec::new();
        for at in times {
            let row = session.absorb(&open, |span| *span, Timestamp::from_micros(*at));
            open.splice(row.places, [row.span]);
        }
        open
    }

    /// Sorted rows, cut where two neighbours are a gap or more apart.
    fn model(gap: i64, times: &[i64]) -> Vec<Span> {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let apart = |a: &i64, b: &i64| i128::from(*b) - i128::from(*a) < i128::from(gap);
        let cut = sorted.chunk_by(apart);
        cut.map(|rows| {
            Span::new(Timestamp::from_micros(rows[0]), Timestamp::from_micros(rows[rows.len() - 1].saturating_add(gap)))
        })
        .collect()
    }

    #[test]
    fn sessions_do_not_depend_on_the_order_of_rows() {
        for seed in 0..300 {
            let dice = &mut Dice::new(seed);
            let gap = dice.between(1, 12);
            let base = [i64::MIN, -20, 0, i64::MAX - 61][dice.below(4) as usize];
            let times: Vec<i64> = (0..dice.below(20)).map(|_| base + dice.between(0, 60)).collect();
            assert_eq!(sessions(gap, &times), model(gap, &times), "seed {seed}: gap {gap}, {times:?}");
        }
    }

    #[test]
    fn two_rows_exactly_one_gap_apart_are_two_sessions() {
        assert_eq!(sessions(10, &[0, 10]).len(), 2);
        assert_eq!(sessions(10, &[0, 9]).len(), 1);
    }

    #[test]
    fn a_session_at_the_end_of_time_is_cut_there() {
        let last = Timestamp::LAST.micros();
        assert_eq!(sessions(10, &[last, last - 3]), [Span::new(Timestamp::from_micros(last - 3), Timestamp::MAX)]);
        assert_eq!(sessions(i64::MAX, &[i64::MIN, last]).len(), 2);
    }
}
