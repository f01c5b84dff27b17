//! The sink: counts what arrives and folds it into a checksum, and keeps nothing.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millpond::engine::Batch;
use millpond::engine::sink::{Encode, Follower, Opened, Outgoing, Outlet, Sink, SinkPlan, System};
use millpond::{Data, Env, Fault, Pane};

use super::load::User;

/// What a run came to: how many results, and their checksum, which does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) results: u64,
    pub(crate) sum: u64,
}

impl Answer {
    #[inline]
    pub(crate) fn add(&mut self, digest: u64) {
        self.results += 1;
        self.sum = self.sum.wrapping_add(digest);
    }
}

/// The checksum of one result.
#[inline]
pub(crate) fn digest(words: [u64; 5]) -> u64 {
    let fold = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    words.into_iter().fold(0, fold)
}

/// The checksum of a pane.
#[inline]
pub(crate) fn of_pane<K: User>(key: &K, start: i64, end: i64, value: (u64, u64)) -> u64 {
    digest([key.word(), start as u64, end as u64, value.0, value.1])
}

/// Takes results of all workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Arc<(AtomicU64, AtomicU64)>);

impl Tally {
    pub(crate) fn answer(&self) -> Answer {
        Answer { results: self.0.0.load(Ordering::SeqCst), sum: self.0.1.load(Ordering::SeqCst) }
    }
}

/// What a tally can take.
pub(crate) trait Digest: Data {
    fn digest(&self) -> u64;
}

impl<K: User> Digest for Pane<K, (u64, u64)> {
    #[inline]
    fn digest(&self) -> u64 {
        of_pane(&self.key, self.start.micros(), self.end.micros(), self.value)
    }
}

impl<K: User> Digest for Pane<K, u64> {
    #[inline]
    fn digest(&self) -> u64 {
        of_pane(&self.key, self.start.micros(), self.end.micros(), (0, self.value))
    }
}

impl Digest for (u64, u64) {
    #[inline]
    fn digest(&self) -> u64 {
        self.0 ^ self.1
    }
}

impl<T: Digest> Sink<T> for Tally {
    fn plan(&self) -> SinkPlan {
        SinkPlan { kind: "tally".to_owned(), to: "nowhere".to_owned() }
    }
    fn system(&self) -> Rc<dyn System> {
        Rc::new(self.clone())
    }
    fn encoder(&self, _: u32) -> Box<dyn Encode<T>> {
        Box::new(self.clone())
    }
}

impl<T: Digest> Encode<T> for Tally {
    fn encode(&mut self, batch: &mut Batch<T>, _: &mut Outgoing) -> Result<(), Fault> {
        let mut answer = Answer::default();
        batch.rows.drain(..).for_each(|row| answer.add(row.value.digest()));
        self.0.0.fetch_add(answer.results, Ordering::SeqCst);
        self.0.1.fetch_add(answer.sum, Ordering::SeqCst);
        Ok(())
    }
}

impl System for Tally {
    fn identity(&self) -> String {
        "tally".to_owned()
    }
    fn open(&self, _: &Env, _: &[Outlet]) -> Result<Opened, Fault> {
        Ok(Opened::Follower(Box::new(self.clone())))
    }
}

impl Follower for Tally {
    fn deliver(&mut self, _: &Outgoing) -> Result<(), Fault> {
        Ok(())
    }
}
