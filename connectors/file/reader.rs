//! The worker's side of reading files: decodes records in place.

use std::marker::PhantomData;

use millpond_engine::Fault;
use millpond_engine::source::{Arrival, Assigned, Collect, Original, Read, Reader, Waker};
use millpond_state::{Data, Timestamp};

use super::fetch::{Block, Fetching};
use super::rows::Rows;
use crate::ahead::{Ahead, Next};

/// Reads files, or lines of standard input.
#[derive(Debug)]
pub struct FileReader<T, R> {
    ahead: Ahead<Block>,
    slots: Vec<Slot>,
    rows: R,
    of: PhantomData<fn() -> T>,
}

#[derive(Debug)]
struct Slot {
    name: String,
    block: Option<Block>,
    /// The next record of the block.
    at: usize,
    end: u64,
}

impl<T, R> FileReader<T, R> {
    pub(super) fn start(
        thread: &str,
        fetching: Fetching,
        rows: R,
        assigned: &[Assigned],
        waker: Waker,
    ) -> Result<Self, Fault> {
        let slots = fetching.inputs.iter().zip(assigned).map(|(input, assigned)| Slot {
            name: input.name.clone(),
            block: None,
            at: 0,
            end: assigned.end.unwrap_or(u64::MAX),
        });
        let slots: Vec<_> = slots.collect();
        let ahead = Ahead::start(thread, slots.len(), fetching, waker)?;
        Ok(FileReader { ahead, slots, rows, of: PhantomData })
    }
}

impl<T: Data, R: Rows<T>> Reader<T> for FileReader<T, R> {
    fn read<C: Collect<T>>(&mut self, slot: usize, most: usize, into: &mut C) -> Result<Read, Fault> {
        let Slot { name, block, at, end } = &mut self.slots[slot];
        loop {
            if let Some(current) = block {
                let first = current.first + *at as u64;
                if first >= *end {
                    return Ok(Read::Finished);
                }
                let most = most.min(usize::try_from(*end - first).unwrap_or(usize::MAX));
                let to = current.places.len().min(at.saturating_add(most));
                for (place, offset) in current.places[*at..to].iter().zip(first..) {
                    let bytes = &current.bytes[place.start as usize..place.end as usize];
                    let arrival = Arrival {
                        offset,
                        stamp: Timestamp::MIN,
                        logged: Timestamp::MAX,
                        bytes: place.end - place.start,
                    };
                    if place.open_quote {
                        into.refuse(arrival, format!("{name} line {}: a quote is opened and never closed", place.line));
                        continue;
                    }
                    match self.rows.row(current.header.as_deref(), bytes) {
                        Ok(value) => into.take(arrival, value),
                        Err(error) => into.refuse(arrival, format!("{name} line {}: {error}", place.line)),
                    }
                }
                // The block stays until the next call: the bytes of what was just read may be asked for.
                if to > *at {
                    *at = to;
                    return Ok(Read::More);
                }
                if let Some(spent) = block.take() {
                    self.ahead.spent(slot, spent);
                }
            }
            match self.ahead.next(slot)? {
                Next::Block(next) => (*block, *at) = (Some(next), 0),
                Next::Later | Next::AtEnd => return Ok(Read::Later),
                Next::Finished => return Ok(Read::Finished),
            }
        }
    }

    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault> {
        let Slot { block, at, .. } = &mut self.slots[slot];
        if let Some(index) = block.as_ref().and_then(|block| index(block, offset)) {
            *at = index;
            return Ok(());
        }
        *block = None;
        self.ahead.seek(slot, offset);
        Ok(())
    }

    fn original(&mut self, slot: usize, offset: u64) -> Option<Original> {
        let block = self.slots[slot].block.as_ref()?;
        let place = block.places[index(block, offset)?];
        let bytes = &block.bytes[place.start as usize..place.end as usize];
        Some(Original { value: Some(bytes.to_owned()), ..Original::default() })
    }

    fn end(&mut self, _: usize) -> Option<u64> {
        None
    }
}

fn index(block: &Block, offset: u64) -> Option<usize> {
    let index = usize::try_from(offset.checked_sub(block.first)?).ok()?;
    (index < block.places.len()).then_some(index)
}
