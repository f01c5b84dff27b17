//! The k-way merge under restore and merge: several files, oldest first, seen as one.
//!
//! Of equal keys the newest file's entry counts, and it counts only when no newer file dropped a prefix of it. Deletions come out as
//! entries without a value; who reads decides whether they still mean something.

use std::cmp::Ordering;
use std::ops::Range;

use super::StoreError;
use super::drops::Drops;
use super::read::{Cursor, DataReader};
use crate::Entry;

/// Goes over files in the order of (uid, key group, key). Memory: one block a file.
pub(crate) struct Walk {
    readers: Vec<DataReader>,
    groups: Range<u16>,
    uids: std::vec::IntoIter<String>,
    uid: String,
    drops: Drops,
    cursors: Vec<Cursor>,
    /// Cursors that stand on an entry, least first, as a binary heap; `held` is not among them.
    heap: Vec<usize>,
    /// The cursor whose entry was given out last.
    held: Option<usize>,
}

impl Walk {
    /// Over the sections of `uid`, or all, and the entries in `groups`.
    pub(crate) fn new(readers: Vec<DataReader>, groups: Range<u16>, uid: Option<&str>) -> Self {
        let sections = readers.iter().flat_map(|reader| &reader.footer().sections);
        let mut uids: Vec<String> = sections.map(|section| section.uid.clone()).collect();
        uids.retain(|one| uid.is_none_or(|uid| uid == one));
        uids.sort();
        uids.dedup();
        let (uid, drops) = (String::new(), Drops::default());
        Walk { readers, groups, uids: uids.into_iter(), uid, drops, cursors: Vec::new(), heap: Vec::new(), held: None }
    }

    /// The operator whose entries come out at the moment.
    pub(crate) fn uid(&self) -> &str {
        &self.uid
    }

    /// What the files dropped of it.
    pub(crate) fn drops(&self) -> &Drops {
        &self.drops
    }

    /// Goes to the next operator, before its first entry; `false` behind the last one.
    pub(crate) fn next_uid(&mut self) -> Result<bool, StoreError> {
        let Some(uid) = self.uids.next() else { return Ok(false) };
        self.drops = Drops::default();
        self.cursors.clear();
        (self.held, self.heap) = (None, Vec::new());
        for (file, reader) in self.readers.iter().enumerate() {
            if let Some(section) = reader.footer().section(&uid) {
                self.drops.add(file, &section.drops);
            }
            if let Some(mut cursor) = Cursor::new(file, reader, &uid, &self.groups)
                && cursor.advance(reader)?
            {
                self.cursors.push(cursor);
            }
        }
        self.heap = (0..self.cursors.len()).collect();
        // Sorted is a heap.
        self.heap.sort_by(|a, b| order(&self.cursors[*a], &self.cursors[*b]));
        self.uid = uid;
        Ok(true)
    }

    /// Moves to the operator's next entry; `false` behind its last one.
    pub(crate) fn advance(&mut self) -> Result<bool, StoreError> {
        loop {
            let Some(held) = self.leave_held()? else { return Ok(false) };
            while let Some(&top) = self.heap.first()
                && same_key(&self.cursors[top], &self.cursors[held])
            {
                self.advance_top(top)?;
            }
            let cursor = &self.cursors[held];
            if !self.drops.after(cursor.file, cursor.group(), cursor.key()) {
                return Ok(true);
            }
        }
    }

    /// The entry it stands on; `None` before the first and behind the last one.
    #[inline]
    pub(crate) fn entry(&self) -> Option<Entry<'_>> {
        self.held.map(|held| self.cursors[held].entry())
    }

    /// Moves on from the entry given out last, and holds the least one that is left.
    fn leave_held(&mut self) -> Result<Option<usize>, StoreError> {
        if let Some(held) = self.held
            && self.step(held)?
        {
            // As a rule the same file goes on: one comparison, no move in the heap.
            if let Some(&top) = self.heap.first()
                && order(&self.cursors[top], &self.cursors[held]) == Ordering::Less
            {
                self.heap[0] = held;
                self.sink();
                self.held = Some(top);
            }
        } else if self.heap.is_empty() {
            self.held = None;
        } else {
            self.held = Some(self.heap.swap_remove(0));
            self.sink();
        }
        Ok(self.held)
    }

    fn step(&mut self, cursor: usize) -> Result<bool, StoreError> {
        let cursor = &mut self.cursors[cursor];
        cursor.advance(&self.readers[cursor.file])
    }

    fn advance_top(&mut self, top: usize) -> Result<(), StoreError> {
        if !self.step(top)? {
            self.heap.swap_remove(0);
        }
        self.sink();
        Ok(())
    }

    /// Restores the heap after its first place changed.
    fn sink(&mut self) {
        let mut at = 0;
        loop {
            let children = (2 * at + 1..=2 * at + 2).filter(|child| *child < self.heap.len());
            let least = children.min_by(|a, b| order(&self.cursors[self.heap[*a]], &self.cursors[self.heap[*b]]));
            match least {
                Some(child)
                    if order(&self.cursors[self.heap[child]], &self.cursors[self.heap[at]]) == Ordering::Less =>
                {
                    self.heap.swap(at, child);
                    at = child;
                }
                _ => return,
            }
        }
    }
}

/// By (key group, key), of equal ones the newest file first.
#[inline]
fn order(a: &Cursor, b: &Cursor) -> Ordering {
    a.rank.cmp(&b.rank).then_with(|| a.key().cmp(b.key())).then_with(|| b.file.cmp(&a.file))
}

#[inline]
fn same_key(a: &Cursor, b: &Cursor) -> bool {
    a.rank == b.rank && a.key() == b.key()
}
