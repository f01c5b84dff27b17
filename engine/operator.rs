//! A keyed operator: a pure state machine that the engine hosts.
//!
//! The host calls, per worker and operator: [`Operator::apply`] with the rows of the open epoch; [`Operator::advance`] whenever the
//! watermark moves, again and again while it answers [`Firing::More`]; [`Operator::close`] and then [`Operator::snapshot`] when nothing
//! of the epoch can come any more, each again and again until it is done, with nothing but the other worker's calls in between. Before the first of these, [`Operator::restore`] for each entry of the checkpoint. An operator has no
//! clock, no thread and no I/O; it may not keep state outside its handles.

use std::ops::Range;

use millpond_state::{CodecError, Data, Entry, Key, Position, Section, Timestamp};

use crate::{Batch, Record, Shipment};

/// What a call of [`Operator::advance`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firing {
    /// Everything due has left.
    Done,
    /// The budget is used up and more is due.
    More,
}

/// Runs of key groups and the watermark up to which they have fired: (from, to exclusive, watermark).
pub type Fires = Vec<(u16, u16, Timestamp)>;

/// A keyed operator.
pub trait Operator: 'static {
    /// The key its rows are shuffled by.
    type Key: Key;
    /// The rows' value.
    type In: Data;
    /// What it emits.
    type Out: Data;
    /// What goes to the side output: late records.
    type Side: Data;

    /// Applies rows of the open epoch; leaves `rows` empty or not, it is not looked at again.
    fn apply(&mut self, rows: &mut Shipment<Self::Key, Self::In>, cx: &mut Context<Self::Out, Self::Side>);

    /// The watermark is now `watermark`: emits what is due, at most about `budget` records a call, none when
    /// it is 0.
    fn advance(&mut self, watermark: Timestamp, budget: usize, cx: &mut Context<Self::Out, Self::Side>) -> Firing;

    /// What may be promised downstream once everything due at `watermark` has left.
    fn output_watermark(&self, watermark: Timestamp) -> Timestamp {
        watermark
    }

    /// The epoch closes: emits what leaves once an epoch (changes), about `budget` records a call.
    fn close(&mut self, budget: usize, cx: &mut Context<Self::Out, Self::Side>) -> Firing {
        let _ = (budget, cx);
        Firing::Done
    }

    /// Writes what the epoch touched, about `most` entries a call, which it takes off `most`. Says whether that was all.
    ///
    /// # Errors
    /// When a value has no encoding; the job stops.
    fn snapshot(&mut self, most: &mut usize, section: &mut Section) -> Result<bool, CodecError>;

    /// The watermark up to which each key group has fired; nothing when it does not matter to the operator. `groups` are its worker's.
    fn fired(&self, groups: Range<u16>) -> Fires {
        let _ = groups;
        Fires::new()
    }

    /// One entry of the checkpoint, of a key group this worker owns.
    ///
    /// # Errors
    /// When the bytes are not what this operator wrote.
    fn restore(&mut self, entry: Entry<'_>) -> Result<(), CodecError>;

    /// What [`Operator::fired`] gave, of all workers; `groups` are this worker's now.
    fn restore_fired(&mut self, groups: Range<u16>, fires: &Fires) {
        let _ = (groups, fires);
    }
}

/// What an operator may do: emit, send aside, count.
#[derive(Debug)]
pub struct Context<O, S> {
    pub(crate) out: Batch<O>,
    pub(crate) side: Batch<S>,
    pub(crate) late: u64,
    pub(crate) unassigned: u64,
    keep_positions: bool,
}

impl<O, S> Context<O, S> {
    /// An empty context. `keep_positions`: whether emitted records carry positions.
    #[must_use]
    pub fn new(keep_positions: bool) -> Self {
        Context { out: Batch::default(), side: Batch::default(), late: 0, unassigned: 0, keep_positions }
    }

    /// Emits a record that was made here; its `seen` is its own time, so that it is never late for a window it belongs to. `position`
    /// orders it among records of the same time; it is only asked for when somebody downstream needs it.
    #[inline]
    pub fn emit(&mut self, at: Timestamp, position: impl FnOnce() -> Position, value: O) {
        self.out.rows.push(Record { at, seen: at, value });
        if self.keep_positions {
            self.out.positions.push(position());
        }
    }

    /// Makes room for so many records more: what was emitted leaves with the memory it lies in, so that it would grow from nothing
    /// again and again.
    pub fn reserve(&mut self, records: usize) {
        self.out.rows.reserve(records);
    }

    /// Sends a late record aside and counts it.
    pub fn late(&mut self, record: Record<S>, position: Option<Position>) {
        self.late += 1;
        self.side.rows.push(record);
        if self.keep_positions {
            self.side.positions.push(position.unwrap_or_default());
        }
    }

    /// Counts a late record that nobody takes.
    #[inline]
    pub fn drop_late(&mut self) {
        self.late += 1;
    }

    /// Counts a record that belongs to no window.
    #[inline]
    pub fn unassigned(&mut self) {
        self.unassigned += 1;
    }

    /// How many records wait to leave.
    #[must_use]
    pub fn emitted(&self) -> usize {
        self.out.rows.len() + self.side.rows.len()
    }

    /// How many records were late, and how many belonged to no window: for kits that run an operator without a host.
    #[must_use]
    pub fn counted(&self) -> (u64, u64) {
        (self.late, self.unassigned)
    }

    /// Takes what was emitted: for kits that run an operator without a host.
    pub fn take(&mut self) -> (Vec<Record<O>>, Vec<Record<S>>) {
        (std::mem::take(&mut self.out.rows), std::mem::take(&mut self.side.rows))
    }
}
