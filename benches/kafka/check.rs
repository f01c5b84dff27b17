//! What outputs must hold: computed from the input once, compared after every run.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::loops::{Seen, Views, Work, consumer};
use crate::raw::{Event, Queue};
use crate::windows::{BOUND, MINUTE};

/// A multiset of records, as their number and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) records: u64,
    sum: u64,
}

impl Digest {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.records += 1;
        self.sum = self.sum.wrapping_add(FixedState::with_seed(1).hash_one((key, value)));
    }
}

/// Both outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) output: Digest,
    pub(crate) late: Digest,
}

fn each(brokers: &str, topic: &str, mut look: impl FnMut(usize, &[u8], &[u8])) {
    let consumer = consumer(brokers, topic);
    let (mut queue, mut ended) = (Queue::of(&consumer), 0);
    while ended < 4 {
        queue.take(|event| match event {
            Event::Record { partition, key, value } => look(partition, key, value),
            Event::End(_) => ended += 1,
        });
    }
}

/// What is committed in a topic.
pub(crate) fn digest(brokers: &str, topic: &str) -> Digest {
    let mut digest = Digest::default();
    each(brokers, topic, |_, key, value| digest.add(key, value));
    digest
}

/// What must come of the input: no windows that open and close, one table for all.
pub(crate) fn model(brokers: &str, input: &str, work: Work) -> Answer {
    let mut answer = Answer::default();
    let mut counts: HashMap<(String, i64), (u64, u64)> = HashMap::new();
    let mut newest = [i64::MIN / 2; 4];
    each(brokers, input, |partition, key, value| {
        let click: Seen<'_> = serde_json::from_slice(value).expect("it is a click");
        if work == Work::Relay {
            if click.dwell % 10 < 9 {
                answer.output.add(click.page.as_bytes(), &json(&click));
            }
            return;
        }
        newest[partition] = newest[partition].max(click.at);
        let start = click.at - click.at.rem_euclid(MINUTE);
        if start + MINUTE <= newest[partition] - BOUND {
            answer.late.add(key, value);
        } else {
            let (views, max) = counts.entry((click.page.to_owned(), start)).or_default();
            (*views, *max) = (*views + 1, click.dwell.max(*max));
        }
    });
    for ((page, start), (views, max_dwell)) in &counts {
        let views = Views { page, start: *start, views: *views, max_dwell: *max_dwell };
        answer.output.add(page.as_bytes(), &json(&views));
    }
    answer
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("it is JSON")
}
