//! A source's batch on its way through the chain, and the search for the record on which that panicked.

use timely::dataflow::operators::Capability;

use super::bad::Found;
use super::chain::{Emit, Held};
use super::intake::Reading;
use super::taking::Taking;
use super::time::Time;
use crate::Origin;
use crate::run::local::reading;
use crate::source::{Read, Reader, Source};

impl<S: Source> Reading<S> {
    /// One batch through the whole chain. When a user's function panics in it, the batch is gone over again record by record, with
    /// nothing leaving, so that the fault can name the record.
    pub(super) fn drive(&mut self, index: usize, own: &[Capability<Time>], emit: Emit<'_, S::Item>) {
        let origin = self.batch.origin;
        reading(Some(origin));
        let batch = &mut self.batch;
        if let Err(text) = self.local.caught(|| emit(Held::Own(own), batch)) {
            let offset = self.search(index, origin, own, emit);
            self.local.fail(self.local.panicked(&text, offset));
            return;
        }
        let (of, within) = self.slots[index].of;
        let Some(reader) = self.readers.get_mut(of) else { return };
        let firsts = &self.firsts;
        self.bad.settle(self.epoch, self.node, |position| {
            let again = firsts.iter().find(|(_, first)| *first == (position.partition, position.offset));
            let offset = again.map_or(position.offset, |(offset, _)| *offset);
            reader.original(within, offset).map(|original| Found::of(original, again.is_some()))
        });
    }

    fn search(
        &mut self,
        index: usize,
        origin: Origin,
        own: &[Capability<Time>],
        emit: Emit<'_, S::Item>,
    ) -> Option<u64> {
        let (of, within) = self.slots[index].of;
        let reader = self.readers.get_mut(of)?;
        reader.seek(within, origin.first).ok()?;
        self.local.muted.set(true);
        let mut saved = self.slots[index].saved.clone();
        saved.next = origin.first;
        let mut patience = 1_000_000u32;
        while saved.next <= origin.last {
            let offset = saved.next;
            self.batch.clear();
            let mut taking = Taking {
                saved: &mut saved,
                pace: self.pace,
                batch: &mut self.batch,
                tracked: self.tracked,
                source: self.node,
                refused: &mut Vec::new(),
                bytes: &mut 0,
                beyond: &mut 0,
                again: None,
                firsts: &mut self.firsts,
                life: &self.others.life,
                others: &mut Vec::new(),
            };
            // A reader that has to fetch again answers `Later`; when that takes too long the range has to do.
            let read = reader.read(within, 1, &mut taking).ok()?;
            if saved.next == offset {
                patience = patience.checked_sub(1)?;
                if read != Read::Later {
                    return None;
                }
                std::thread::yield_now();
                continue;
            }
            self.batch.origin = Origin { first: saved.next - 1, last: saved.next - 1, ..origin };
            reading(Some(self.batch.origin));
            let batch = &mut self.batch;
            if self.local.caught(|| emit(Held::Own(own), batch)).is_err() {
                return Some(saved.next - 1);
            }
        }
        None
    }
}
