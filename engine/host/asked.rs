//! What is asked for again of a source: how its reader is opened, and where its records lay first.

use std::rc::Rc;

use super::graph::Lowering;
use super::slot::Slot;
use crate::Fault;
use crate::metrics::Counter;
use crate::redrive::Life;
use crate::run::local::Local;
use crate::source::{Env, Source, Waker};

/// How the reader of what is asked for again is opened.
pub(super) struct Asked<S> {
    pub(super) source: Rc<S>,
    pub(super) uid: String,
    pub(super) env: Env,
    pub(super) waker: Waker,
}

impl<S: Source> Asked<S> {
    pub(super) fn open(&self, slot: &Slot) -> Result<S::Reader, Fault> {
        let source = self.source.redriven(&self.uid, &self.env.redrive());
        let source = source.expect("only of sources that can be asked again the leader has partitions of requests");
        source.open(&self.env, &[slot.assigned()], self.waker.clone())
    }
}

/// What was asked of other lives of the job, and is passed: a tool may have looked before this one began, and asked after.
pub(super) struct Others {
    /// What this life is called.
    pub(super) life: String,
    /// Those of the batch that has just been read, by their offsets, each with its letter.
    pub(super) passed: Vec<(u64, String)>,
    count: Counter,
}

impl Others {
    pub(super) fn new(source: &str, lowering: &Lowering<'_>, local: &Local) -> Others {
        let count = local.shared.metrics.counter(
            "millpond_redriven_passed_total",
            "dead letters of an earlier life of the job that were asked for again, and were not read",
            &[("source", source)],
        );
        Others { life: Life::of(&lowering.resume.manifest).name, passed: Vec::new(), count }
    }

    /// Says of a batch what was passed.
    pub(super) fn told(&mut self, source: &str) {
        let (Some((first, letter)), Some((last, _))) = (self.passed.first(), self.passed.last()) else { return };
        let count = self.passed.len();
        tracing::warn!(
            source,
            count,
            first,
            last,
            letter,
            "requests (at these offsets; the first is of this letter) are not taken: they were made of letters from before the job was begun \
             again with --new. Ask again for what is a dead letter now"
        );
        self.count.add(count as u64);
        self.passed.clear();
    }
}

/// Where the record at this offset among the requests lay first.
pub(super) fn first_of(firsts: &[(u64, (u32, u64))], offset: u64) -> Option<(u32, u64)> {
    firsts.iter().find(|(of, _)| *of == offset).map(|(_, first)| *first)
}
