//! A partial for each window and key, where windows are none that a number could name: found by their ends.

use millpond_engine::Context;
use millpond_state::{CodecError, Data, Key, Panes, Timestamp, decode, encode_into};

use super::leaving::Leaving;
use super::pane::{self, Pane};
use crate::aggregate::{Aggregate, Logged, Stored};
use crate::windows::Span;

/// The windows of a key that share an end, by their starts: mostly one.
type Starts<P> = Vec<(Timestamp, P)>;

/// Partials by the end of the window, key and start of the window. So the order of ends, in which windows fire, is that of the state.
#[derive(Debug)]
pub(super) struct Ends<K, P> {
    pub(super) panes: Panes<K, Starts<P>>,
}

impl<K: Key, P: Data> Ends<K, P> {
    pub(super) fn new(tag: u8) -> Self {
        Ends { panes: Panes::new(tag) }
    }

    pub(super) fn add<T, A: Aggregate<T, Partial = P>>(
        &mut self,
        window: Span,
        hash: u64,
        key: K,
        aggregate: &A,
        record: &Logged<'_, T>,
    ) {
        self.panes.upsert(window.end.micros(), hash, key, Vec::new, |starts| {
            let place = starts.binary_search_by_key(&window.start, |(start, _)| *start).unwrap_or_else(|place| {
                starts.insert(place, (window.start, aggregate.init()));
                place
            });
            aggregate.add(&mut starts[place].1, record);
        });
    }

    /// The end of the windows to fire first.
    pub(super) fn first_end(&self) -> Option<Timestamp> {
        self.panes.first_window().map(Timestamp::from_micros)
    }

    /// Takes everything out whose windows end at `end`.
    pub(super) fn take(&mut self, end: Timestamp, mut each: impl FnMut(Span, K, u64, P)) {
        self.panes.drain(end.micros(), usize::MAX, |key, hash, starts| {
            for (start, partial) in starts {
                each(Span { start, end }, key.clone(), hash, partial);
            }
        });
    }

    /// Emits about `budget` panes of the windows that end at `end`; how many it were.
    pub(super) fn leave<T, A: Aggregate<T, Partial = P>>(
        &mut self,
        end: Timestamp,
        budget: usize,
        leaving: &mut Leaving<K>,
        aggregate: &A,
        cx: &mut Context<Pane<K, A::Output>, T>,
    ) -> usize {
        let mut count = 0;
        leaving.drain(&mut self.panes, end.micros(), budget, |key, hash, starts| {
            count += starts.len();
            for ((start, partial), nth) in starts.into_iter().zip(0..) {
                pane::emit(cx, Span { start, end }, nth, hash, key.clone(), aggregate.finish(partial));
            }
        });
        count
    }
}

/// Partials stored with the start of their window.
pub(super) struct InEnds;

impl Stored for InEnds {
    fn upgrade<Old: Data, New: Data>(
        _: &[u8],
        value: &[u8],
        with: &dyn Fn(Old) -> New,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let starts: Vec<(Timestamp, Old)> = decode(value)?;
        let starts: Vec<(Timestamp, New)> = starts.into_iter().map(|(start, old)| (start, with(old))).collect();
        encode_into(&starts, out)
    }
}
