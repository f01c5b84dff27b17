//! Random operations with a snapshot every few, beside a `BTreeMap`; what was restored must be what lives.

use std::collections::BTreeMap;

use super::*;
use crate::{Key, KeyGroup, Section, Timestamp, stable_hash};

/// Pseudo-random numbers: the seed decides.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What a checkpoint store holds of one operator.
#[derive(Clone, Default)]
struct Stored(BTreeMap<(KeyGroup, Vec<u8>), Vec<u8>>);

impl Stored {
    /// Takes a snapshot of `handle`, a few entries at a time; says how many it had.
    fn take(&mut self, handle: &mut dyn Handle) -> usize {
        let mut section = Section::new("test");
        let most = 1 + self.0.len() % 70;
        loop {
            let (mut left, before) = (most, section.entries().count());
            let all = handle.snapshot(&mut left, &mut section).unwrap();
            let wrote = section.entries().count() - before;
            assert!(wrote <= most - left, "{wrote} entries count for {} of {most}", most - left);
            if all {
                break;
            }
            assert_eq!(left, 0, "stopped before it had to");
        }
        let entries = section.entries().count();
        assert!(handle.snapshot(&mut { 1 }, &mut section).unwrap(), "what is done stays done");
        assert_eq!(section.entries().count(), entries);
        for prefix in section.dropped() {
            let before = self.0.len();
            self.0.retain(|(_, key), _| !key.starts_with(prefix));
            assert_ne!(before, self.0.len(), "a prefix was dropped that nothing was stored under");
        }
        for entry in section.entries() {
            let place = (entry.group, entry.key.to_vec());
            match entry.value {
                Some(value) => drop(self.0.insert(place, value.to_vec())),
                None => assert!(self.0.remove(&place).is_some(), "what was deleted had not been stored"),
            }
        }
        section.entries().count()
    }

    fn restore(&self, handle: &mut dyn Handle) {
        for ((group, key), value) in &self.0 {
            restore_entry(&mut [&mut *handle], *group, key, value).unwrap();
        }
        assert_eq!(self.clone().take(handle), 0, "what was just restored is not written again");
    }
}

fn text(n: u64) -> String {
    format!("key-{n}")
}

fn panes_content<K: Key + Ord>(panes: &Panes<K, u64>) -> BTreeMap<(i64, K), u64> {
    let mut content = BTreeMap::new();
    for window in panes.windows() {
        panes.for_each(window, |key, hash, value| {
            assert_eq!(hash, stable_hash(key));
            assert!(content.insert((window, key.clone()), *value).is_none());
        });
    }
    assert_eq!(content.len(), panes.len());
    content
}

fn panes_agree<K: Key + Ord + std::fmt::Debug>(seed: u64, make: impl Fn(u64) -> K) {
    let mut dice = Dice(seed);
    let mut live = Panes::<K, u64>::new(3);
    let mut model = BTreeMap::<(i64, K), u64>::new();
    let mut stored = Stored::default();
    let keys = [3, 40, 400, 3000][dice.roll(4) as usize];
    let every = 1 + dice.roll(400);
    for step in 0..1_500u64 {
        let window = dice.roll(5) as i64 * 10 - 20;
        let key = make(dice.roll(keys));
        let hash = stable_hash(&key);
        match dice.roll(if step % 500 < 400 { 40 } else { 8 }) {
            0 => assert_eq!(live.remove(window, hash, &key), model.remove(&(window, key))),
            1 => {
                let Some(first) = live.first_window() else { continue };
                assert_eq!(first, model.first_key_value().unwrap().0.0);
                let budget = 1 + dice.roll(50) as usize;
                let mut taken = 0;
                let done = live.drain(first, budget, |key, hash, value| {
                    assert_eq!(hash, stable_hash(&key));
                    assert_eq!(model.remove(&(first, key)), Some(value));
                    taken += 1;
                });
                assert!(taken == budget || done);
                assert_eq!(done, live.first_window() != Some(first));
            }
            2 if dice.roll(8) == 0 => {
                live.discard(window);
                model.retain(|(of, _), _| *of != window);
            }
            _ => {
                let entry = model.entry((window, key.clone())).or_insert(1_000);
                *entry += step;
                assert_eq!(
                    *entry,
                    live.upsert(
                        window,
                        hash,
                        key.clone(),
                        || 1_000,
                        |v| {
                            *v += step;
                            *v
                        }
                    )
                );
                assert_eq!(live.peek(window, hash, &key), Some(&*entry));
            }
        }
        if step % every == every - 1 {
            stored.take(&mut live);
            assert_eq!(stored.0.len(), model.len());
            let mut restored = Panes::new(3);
            stored.restore(&mut restored);
            assert_eq!(panes_content(&restored), model);
            if dice.roll(3) == 0 {
                live = restored;
            }
        }
    }
    assert_eq!(panes_content(&live), model);
}

#[test]
fn panes_are_what_was_put_into_them_after_every_restore() {
    for seed in 0..50 {
        panes_agree(seed, |n| n);
        panes_agree(seed + 1_000, text);
    }
}

#[test]
fn keyed_is_what_was_put_into_it_after_every_restore() {
    for seed in 0..50 {
        let mut dice = Dice(seed);
        let mut live = Keyed::<String, u64>::new(9);
        let mut model = BTreeMap::<String, u64>::new();
        let mut touched = BTreeMap::<String, ()>::new();
        let mut stored = Stored::default();
        let keys = [3, 40, 400, 3000][dice.roll(4) as usize];
        let every = 1 + dice.roll(400);
        for step in 0..2_000u64 {
            let key = text(dice.roll(keys));
            let hash = stable_hash(&key);
            match dice.roll(6) {
                0 | 1 if step % 1_000 > 500 => {
                    touched.remove(&key);
                    assert_eq!(live.remove(hash, key.as_str()), model.remove(&key));
                }
                2 => {
                    let (in_live, in_model) = (live.get_mut(hash, key.as_str()), model.get_mut(&key));
                    assert_eq!(in_live, in_model);
                    if let (Some(in_live), Some(in_model)) = (in_live, in_model) {
                        *in_live = step;
                        *in_model = step;
                        touched.insert(key, ());
                    }
                }
                _ => {
                    *model.entry(key.clone()).or_insert(7) += step;
                    live.upsert(hash, key.clone(), || 7, |v| *v += step);
                    touched.insert(key, ());
                }
            }
            if step % every == every - 1 {
                let mut seen = BTreeMap::new();
                let most = 1 + dice.roll(60) as usize;
                while !live.for_each_touched(most, |key, _, _| {
                    assert!(seen.insert(key.clone(), ()).is_none(), "{key} twice");
                }) {}
                assert_eq!(seen, touched);
                assert!(stored.take(&mut live) >= touched.len());
                touched.clear();
                let mut restored = Keyed::<String, u64>::new(9);
                stored.restore(&mut restored);
                let content: BTreeMap<String, u64> = restored.iter().map(|(k, _, v)| (k.clone(), *v)).collect();
                assert_eq!(content, model);
                assert_eq!(restored.len(), model.len());
                if dice.roll(3) == 0 {
                    live = restored;
                }
            }
        }
    }
}

#[test]
fn timers_are_those_set_after_every_restore() {
    for seed in 0..50 {
        let mut dice = Dice(seed);
        let mut live = Timers::<String>::new(1);
        let mut model = BTreeMap::<(Timestamp, String), ()>::new();
        let mut stored = Stored::default();
        let every = 1 + dice.roll(200);
        let mut now = -20;
        for step in 0..3_000u64 {
            let at = Timestamp::from_micros(now + dice.roll(30) as i64);
            let key = text(dice.roll(6));
            // Keys whose hashes collide: the handle must tell them apart all the same, though it cannot restore them.
            let hash = stable_hash(&key);
            match dice.roll(8) {
                0 | 1 => assert_eq!(live.delete(at, hash, &key), model.remove(&(at, key)).is_some()),
                2 => {
                    now += 3;
                    let budget = dice.roll(5) as usize;
                    let (watermark, mut popped) = (Timestamp::from_micros(now), Vec::new());
                    let all = live.pop_due(watermark, budget, |at, _, key| popped.push((at, key)));
                    assert!(popped.is_sorted_by_key(|(at, _)| *at) && popped.len() <= budget);
                    for timer in popped {
                        assert!(timer.0 <= watermark);
                        assert!(model.remove(&timer).is_some());
                    }
                    assert_eq!(all, live.next_due().is_none_or(|next| next > watermark));
                }
                _ => assert_eq!(live.set(at, hash, key.clone()), model.insert((at, key), ()).is_none()),
            }
            if step % every == every - 1 {
                stored.take(&mut live);
                let mut restored = Timers::<String>::new(1);
                stored.restore(&mut restored);
                let content: BTreeMap<_, _> = restored.iter().map(|(at, _, key)| ((at, key.clone()), ())).collect();
                assert_eq!(content, model);
                if dice.roll(3) == 0 {
                    live = restored;
                }
            }
        }
        assert_eq!(live.len(), model.len());
    }
}

#[test]
fn timers_of_keys_with_one_hash_are_two() {
    let mut timers = Timers::<u64>::new(0);
    let at = Timestamp::EPOCH;
    assert!(timers.set(at, 5, 1) && timers.set(at, 5, 2) && timers.set(at, 5, 3));
    assert!(!timers.set(at, 5, 2));
    assert!(timers.delete(at, 5, &1) && !timers.delete(at, 5, &1));
    assert!(timers.set(at, 5, 1) && timers.delete(at, 5, &3) && timers.set(at, 5, 3));
    let mut popped = Vec::new();
    timers.pop_due(at, 10, |_, _, key| popped.push(key));
    popped.sort_unstable();
    assert_eq!(popped, [1, 2, 3]);
}

#[test]
fn a_fired_window_is_one_deletion_and_one_never_stored_is_none() {
    let mut panes = Panes::<u64, u64>::new(0);
    let fill = |panes: &mut Panes<u64, u64>, window| {
        for key in 0..100u64 {
            panes.upsert(window, stable_hash(&key), key, || 0, |v| *v += 1);
        }
    };
    fill(&mut panes, 0);
    let mut section = Section::new("w");
    panes.snapshot(&mut { usize::MAX }, &mut section).unwrap();
    assert_eq!((section.entries().count(), section.dropped().count()), (100, 0));

    fill(&mut panes, 60);
    while !panes.drain(0, 30, |_, _, _| {}) {}
    assert!(panes.drain(60, 1_000, |_, _, _| {}));
    let mut section = Section::new("w");
    panes.snapshot(&mut { usize::MAX }, &mut section).unwrap();
    assert_eq!((section.entries().count(), section.dropped().count()), (0, 1));
}

#[test]
fn a_window_half_drained_at_a_snapshot_goes_on_after_a_restore() {
    let (mut panes, mut stored) = (Panes::<u64, u64>::new(0), Stored::default());
    for key in 0..100u64 {
        panes.upsert(0, stable_hash(&key), key, || key, |_| ());
    }
    stored.take(&mut panes);
    let mut seen = Vec::new();
    assert!(!panes.drain(0, 40, |key, _, _| seen.push(key)));
    assert_eq!(stored.take(&mut panes), 40, "one deletion for each that left");
    let mut restored = Panes::<u64, u64>::new(0);
    stored.restore(&mut restored);
    assert!(restored.drain(0, 60, |key, _, _| seen.push(key)));
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    stored.take(&mut restored);
    assert!(stored.0.is_empty());
}

#[test]
fn only_what_changed_is_written() {
    let mut keyed = Keyed::<u64, u64>::new(0);
    for key in 0..10_000u64 {
        keyed.upsert(stable_hash(&key), key, || 0, |_| ());
    }
    let mut stored = Stored::default();
    assert_eq!(stored.take(&mut keyed), 10_000);
    assert_eq!(stored.take(&mut keyed), 0);
    for key in [5u64, 6, 7, 6, 5] {
        keyed.upsert(stable_hash(&key), key, || 0, |v| *v += 1);
    }
    assert_eq!(stored.take(&mut keyed), 3);
    for key in 0..9_000u64 {
        *keyed.get_mut(stable_hash(&key), &key).unwrap() += 1;
    }
    assert_eq!(stored.take(&mut keyed), 9_000, "more than are listed");
    keyed.remove(stable_hash(&5u64), &5);
    assert_eq!(stored.take(&mut keyed), 1);
}

#[test]
fn damaged_entries_are_errors() {
    let mut panes = Panes::<u64, u64>::new(4);
    panes.upsert(0, stable_hash(&7u64), 7, || 0, |_| ());
    let mut section = Section::new("w");
    panes.snapshot(&mut { usize::MAX }, &mut section).unwrap();
    let entry = section.entries().next().unwrap();
    let (group, key, value) = (entry.group, entry.key, entry.value.unwrap());

    let mut fresh = Panes::<u64, u64>::new(4);
    for end in 0..key.len() {
        assert!(fresh.restore_entry(group, &key[..end], value).is_err());
    }
    for end in 0..value.len() {
        assert!(fresh.restore_entry(group, key, &value[..end]).is_err());
    }
    let other = KeyGroup::new((group.index() as u16 + 1) % 1024);
    let error = fresh.restore_entry(other, key, value).unwrap_err();
    assert_eq!(error, CodecError::Group { stored: other.index(), hashed: group.index() });
    assert!(fresh.is_empty(), "an entry that is an error leaves nothing behind");
    let error = restore_entry(&mut [&mut Keyed::<u64, u64>::new(0), &mut Timers::<u64>::new(1)], group, key, value);
    assert_eq!(error, Err(CodecError::Stray { len: 17, tag: Some(4) }));
    fresh.restore_entry(group, key, value).unwrap();
    assert_eq!(fresh.peek(0, stable_hash(&7u64), &7), Some(&0));
}

#[test]
fn a_value_that_cannot_be_encoded_is_an_error() {
    #[derive(Clone, serde::Deserialize)]
    struct Never;
    impl serde::Serialize for Never {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    let mut keyed = Keyed::<u64, Never>::new(0);
    keyed.upsert(stable_hash(&1u64), 1, || Never, |_| ());
    assert!(matches!(keyed.snapshot(&mut { usize::MAX }, &mut Section::new("w")), Err(CodecError::Encode { .. })));
}
