//! The load: page visits of 100,000 users in four partitions, an hour of event time, gone over again and again.
//!
//! Users are drawn by Zipf's law with exponent 0.6. Records lie up to 5 seconds out of order, one in a thousand up to a minute and a half
//! further back, so that some are late. Each pass over the input is an hour later than the one before.

use std::hash::Hash;

use millpond::Key;
use serde::{Deserialize, Serialize};

pub(crate) const PARTITIONS: usize = 4;
pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
/// How far out of order records come.
pub(crate) const BOUND: i64 = 5 * SECOND;
/// Event time of one pass.
pub(crate) const SPAN: i64 = 60 * MINUTE;

const RECORDS: usize = 20_000_000;
const KEYS: usize = 100_000;
const EXPONENT: f64 = 0.6;
/// 2013-01-01.
const START: i64 = 1_356_998_400 * SECOND;

/// A record as it lies in memory. The key is six digits, as ASCII.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw {
    key: u64,
    at: i64,
    dwell: u64,
}

/// A record as a job sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Visit<K> {
    pub(crate) key: K,
    pub(crate) at: i64,
    pub(crate) dwell: u64,
}

impl Raw {
    /// "Decodes" it: an owned key, the event time of this pass.
    #[inline]
    pub(crate) fn visit<K: User>(&self, shift: i64) -> Visit<K> {
        Visit { key: K::of(self.key), at: self.at + shift, dwell: self.dwell }
    }
}

/// A user as key.
pub(crate) trait User: Key + Hash + Sync {
    fn of(word: u64) -> Self;
    /// What it was made of, for checksums.
    fn word(&self) -> u64;
}

impl User for u64 {
    #[inline]
    fn of(word: u64) -> u64 {
        word
    }
    #[inline]
    fn word(&self) -> u64 {
        *self
    }
}

impl User for String {
    #[inline]
    fn of(word: u64) -> String {
        std::str::from_utf8(&word.to_le_bytes()[..6]).expect("digits").to_owned()
    }
    #[inline]
    fn word(&self) -> u64 {
        let mut word = [0; 8];
        word[..6].copy_from_slice(self.as_bytes());
        u64::from_le_bytes(word)
    }
}

/// The partitions.
pub(crate) type Load = Vec<Vec<Raw>>;

/// Makes the input: the same one each time.
pub(crate) fn load() -> Load {
    let users = Users::new();
    (0..PARTITIONS as u64).map(|partition| one(&users, Dice(0x9e37_79b9_7f4a_7c15 + partition))).collect()
}

fn one(users: &Users, mut dice: Dice) -> Vec<Raw> {
    let count = RECORDS / PARTITIONS;
    let record = |n: usize| {
        let back = if dice.below(1_000) == 0 { dice.below(90 * SECOND as u64) } else { 0 };
        let at = START + n as i64 * SPAN / count as i64 - dice.below(BOUND as u64) as i64 - back as i64;
        Raw { key: users.draw(&mut dice), at, dwell: dice.below(100_000) }
    };
    (0..count).map(record).collect()
}

/// Users by Zipf's law: as many slots of a table as their share.
struct Users {
    slots: Vec<u32>,
}

impl Users {
    const SLOTS: usize = 1 << 22;

    fn new() -> Self {
        let share = |rank: usize| (rank as f64).powf(-EXPONENT);
        let all: f64 = (1..=KEYS).map(share).sum();
        let (mut slots, mut sum) = (Vec::with_capacity(Self::SLOTS), 0.0);
        for rank in 1..=KEYS {
            sum += share(rank);
            slots.resize((sum / all * Self::SLOTS as f64) as usize, rank as u32 - 1);
        }
        Users { slots }
    }

    fn draw(&self, dice: &mut Dice) -> u64 {
        let rank = u64::from(self.slots[dice.below(self.slots.len() as u64) as usize]);
        // Scattered, so that popular users are not neighbours. Coprime to the number of keys.
        let user = rank * 61_803 % KEYS as u64;
        (0..6).fold(0, |word, digit| word | (u64::from(b'0') + user / 10_u64.pow(5 - digit) % 10) << (8 * digit))
    }
}

/// Xorshift: the same numbers each time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * u128::from(end)) >> 64) as u64
    }
}
