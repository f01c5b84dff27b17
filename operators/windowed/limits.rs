//! `seen` and `fired`, as every row is judged by them.

use std::ops::Range;

use millpond_engine::Fires;
use millpond_state::{Fired, Timestamp};

/// How far each key group has fired, and the furthest of them, so that hardly a row needs to look its group up.
#[derive(Debug)]
pub(super) struct Limits {
    fired: Fired,
    furthest: Timestamp,
}

impl Limits {
    pub(super) fn new() -> Self {
        Limits { fired: Fired::new(), furthest: Timestamp::MIN }
    }

    /// Whether `closes` has come for a row of this hash and `seen`.
    #[inline]
    pub(super) fn reached(&self, closes: Timestamp, seen: Timestamp, hash: u64) -> bool {
        closes <= seen || closes <= self.furthest && closes <= self.fired.get(hash)
    }

    /// Whether `time` lies before what this row, or its group, has come to.
    #[inline]
    pub(super) fn passed(&self, time: Timestamp, seen: Timestamp, hash: u64) -> bool {
        time < seen || time < self.furthest && time < self.fired.get(hash)
    }

    /// How far the group of this hash has fired.
    #[inline]
    pub(super) fn get(&self, hash: u64) -> Timestamp {
        self.fired.get(hash)
    }

    /// How far every group has fired at least.
    pub(super) fn floor(&self) -> Timestamp {
        self.fired.floor()
    }

    /// Everything up to `to` has fired, or is about to. Never goes back.
    pub(super) fn advance(&mut self, to: Timestamp) {
        self.fired.advance(to);
        self.furthest = self.furthest.max(to);
    }

    pub(super) fn runs(&self, groups: Range<u16>) -> Fires {
        self.fired.runs(groups)
    }

    pub(super) fn restore(&mut self, groups: Range<u16>, fires: &Fires) {
        self.fired.restore(groups, fires);
        self.furthest = fires.iter().map(|(_, _, at)| *at).max().unwrap_or(Timestamp::MIN);
    }
}
