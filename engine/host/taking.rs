//! The loop that reads: event time, the partition's watermark and `seen`, record by record, inlined into the reader's own loop.

use millpond_state::store::PartitionState;
use millpond_state::{Data, Position, Timestamp};

use crate::redrive::Request;
use crate::source::{Arrival, Collect, Pace};
use crate::{Batch, Record};

/// Takes records from a reader: event time, watermark and `seen` in the loop that decodes.
pub(super) struct Taking<'a, T> {
    pub(super) saved: &'a mut PartitionState,
    pub(super) pace: Pace,
    pub(super) batch: &'a mut Batch<T>,
    pub(super) tracked: bool,
    pub(super) source: u32,
    pub(super) refused: &'a mut Vec<(Arrival, String)>,
    pub(super) bytes: &'a mut u64,
    pub(super) beyond: &'a mut u64,
    /// Where the record that comes next lay first, when it is asked for again.
    pub(super) again: Option<(u32, u64)>,
    /// Where those of this batch did that are asked for again, by their offsets.
    pub(super) firsts: &'a mut Vec<(u64, (u32, u64))>,
    /// What this life of the job is called.
    pub(super) life: &'a str,
    /// Requests that were made of another one, by their offsets, each with its letter.
    pub(super) others: &'a mut Vec<(u64, String)>,
}

impl<T: Data> Collect<T> for Taking<'_, T> {
    #[inline]
    fn take(&mut self, arrival: Arrival, value: T) {
        let at = arrival.stamp.min(Timestamp::LAST);
        if at > self.saved.newest {
            if at.micros() <= arrival.logged.micros().saturating_add(self.pace.guard_micros) {
                self.saved.newest = at;
                let watermark = at.micros().saturating_sub(self.pace.bound_micros);
                self.saved.watermark = self.saved.watermark.max(Timestamp::from_micros(watermark));
            } else {
                *self.beyond += 1;
            }
        }
        self.saved.next = arrival.offset + 1;
        *self.bytes += u64::from(arrival.bytes);
        if self.tracked {
            let (partition, offset) = self.again.unwrap_or((self.saved.partition, arrival.offset));
            self.batch.positions.push(Position { source: self.source, partition, offset, index: 0 });
        }
        self.batch.rows.push(Record { at, seen: self.saved.watermark, value });
    }

    fn promise(&mut self, watermark: Timestamp) {
        self.saved.watermark = self.saved.watermark.max(watermark.min(Timestamp::LAST));
    }

    fn again(&mut self, offset: u64, request: &Request) -> bool {
        if !request.is_of(self.life) {
            self.others.push((offset, request.letter.clone()));
            return false;
        }
        let first = (request.partition, request.offset);
        self.again = Some(first);
        self.firsts.push((offset, first));
        true
    }

    fn passed(&mut self, next: u64) {
        self.saved.next = self.saved.next.max(next);
    }

    fn refuse(&mut self, arrival: Arrival, reason: String) {
        self.saved.next = arrival.offset + 1;
        *self.bytes += u64::from(arrival.bytes);
        self.refused.push((arrival, reason));
    }
}
