//! A log for the kit: partitions of records with the watermark of their own partition.

use millpond_state::{Position, Timestamp};

use crate::aggregate::trial::Dice;

/// One record, as a source reads it.
#[derive(Clone, Debug)]
pub(crate) struct Read<K, T> {
    pub(crate) at: Timestamp,
    pub(crate) seen: Timestamp,
    pub(crate) position: Position,
    pub(crate) key: K,
    pub(crate) value: T,
}

/// A log: its partitions.
#[derive(Clone, Debug)]
pub(crate) struct Log<K, T>(pub(crate) Vec<Vec<Read<K, T>>>);

impl<K, T> Log<K, T> {
    /// One to three partitions of up to 30 records each. Event time goes on by a few microseconds a record, from `start`; records
    /// come up to `bound` out of order, some further back, a few far ahead.
    pub(crate) fn roll(dice: &mut Dice, start: i64, bound: i64, mut make: impl FnMut(&mut Dice) -> (K, T)) -> Self {
        let partitions = 1 + dice.below(3) as u32;
        let of = |partition: u32| {
            let (mut now, mut newest) = (start.saturating_add(dice.between(0, 30)), i64::MIN);
            let pace = dice.between(1, 6);
            let count = dice.below(31);
            let read = |offset| {
                now = now.saturating_add(dice.between(0, pace));
                let back = match dice.below(20) {
                    0 => dice.between(0, 8 * bound + 20),
                    1 => -dice.between(0, 20),
                    _ => dice.between(0, bound),
                };
                let at = now.saturating_sub(back).min(Timestamp::LAST.micros());
                newest = newest.max(at);
                let seen = Timestamp::from_micros(newest.saturating_sub(bound));
                let position = Position { partition, offset, ..Position::default() };
                let (key, value) = make(dice);
                Read { at: Timestamp::from_micros(at), seen, position, key, value }
            };
            (0..count).map(read).collect()
        };
        Log((0..partitions).map(of).collect())
    }

    /// All records, by event time, then position.
    pub(crate) fn sorted(&self) -> Vec<&Read<K, T>> {
        let mut all: Vec<_> = self.0.iter().flatten().collect();
        all.sort_by_key(|read| (read.at, read.position));
        all
    }
}
