//! What is asked for again of a source: how its reader is opened, and where its records lay first.

use std::rc::Rc;

use super::slot::Slot;
use crate::Fault;
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

/// Where the record at this offset among the requests lay first.
pub(super) fn first_of(firsts: &[(u64, (u32, u64))], offset: u64) -> Option<(u32, u64)> {
    firsts.iter().find(|(of, _)| *of == offset).map(|(_, first)| *first)
}
