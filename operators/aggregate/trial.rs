//! Tries an aggregate on random records, 100 seeds: added in any order, split in any way, merged in any order, with every partial
//! written and read back in between, it must answer what a plain function of the sorted rows answers.

use std::fmt::Debug;

use millpond_state::{Position, Timestamp};

use super::{Aggregate, Logged};

/// One record of a trial.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) at: Timestamp,
    pub(super) position: Position,
    pub(super) value: i64,
}

/// A small generator; the same numbers on every machine.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }
    pub(crate) fn between(&mut self, from: i64, to: i64) -> i64 {
        from.wrapping_add(self.below(to.wrapping_sub(from) as u64 + 1) as i64)
    }
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in (1..items.len()).rev() {
            items.swap(place, self.below(place as u64 + 1) as usize);
        }
    }
}

fn rows(dice: &mut Dice) -> Vec<Row> {
    let count = 1 + dice.below(60);
    (0..count)
        .map(|offset| Row {
            at: Timestamp::from_secs(dice.between(-5, 5)),
            position: Position { partition: dice.below(3) as u32, offset, ..Position::default() },
            value: dice.between(-50, 50),
        })
        .collect()
}

fn stored<P: millpond_state::Data>(partial: P) -> P {
    let mut bytes = Vec::new();
    millpond_state::encode_into(&partial, &mut bytes).unwrap();
    millpond_state::decode(&bytes).unwrap()
}

/// See the module; `model` sees the rows in order of (event time, position).
pub(super) fn agrees<A: Aggregate<i64>>(make: impl Fn() -> A, model: impl Fn(&[Row]) -> A::Output)
where
    A::Output: Debug + PartialEq,
{
    agrees_as(make, model, |output| format!("{output:?}"));
}

/// The same, comparing what `as_seen` makes of the outputs.
pub(super) fn agrees_as<A: Aggregate<i64>, C: Debug + PartialEq>(
    make: impl Fn() -> A,
    model: impl Fn(&[Row]) -> A::Output,
    as_seen: impl Fn(A::Output) -> C,
) {
    for seed in 0..100 {
        let dice = &mut Dice::new(seed);
        let mut rows = rows(dice);
        rows.sort_by_key(|row| (row.at, row.position));
        let expected = as_seen(model(&rows));
        for round in 0..4 {
            dice.shuffle(&mut rows);
            let aggregate = make();
            let mut parts: Vec<A::Partial> = (0..=dice.below(5)).map(|_| aggregate.init()).collect();
            for row in &rows {
                let part = dice.below(parts.len() as u64) as usize;
                aggregate.add(&mut parts[part], &Logged { value: &row.value, at: row.at, position: row.position });
            }
            while parts.len() > 1 {
                let other = parts.swap_remove(dice.below(parts.len() as u64) as usize);
                let into = dice.below(parts.len() as u64) as usize;
                aggregate.merge(&mut parts[into], stored(other));
            }
            let whole = stored(parts.pop().expect("one part is left"));
            assert_eq!(as_seen(aggregate.finish(whole)), expected, "seed {seed}, round {round}");
        }
    }
}
