//! External sorting: rows beyond the memory they may take are written as sorted runs to a file without a name, and merged when read.
//!
//! The file is unlinked as soon as it is open: whatever ends the process, nothing of it stays.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::rows::{self, Row, Rows};
use crate::{Exit, Fault};

/// Runs are read in pieces of at least this many bytes.
const PIECE_LEAST: usize = 16 << 10;
const PIECE_MOST: usize = 1 << 20;
/// Bytes written at a time.
const WRITE: usize = 1 << 20;

/// Takes rows in any order.
#[derive(Debug)]
pub(super) struct Sorter {
    scratch: PathBuf,
    memory: usize,
    rows: Rows,
    file: Option<File>,
    written: u64,
    /// Where each run ends in the file.
    ends: Vec<u64>,
}

impl Sorter {
    /// Sorts in about `memory` bytes, with files in `scratch`.
    pub(super) fn new(scratch: &Path, memory: usize) -> Self {
        let scratch = scratch.to_owned();
        Sorter { scratch, memory, rows: Rows::default(), file: None, written: 0, ends: Vec::new() }
    }

    pub(super) fn push(&mut self, row: Row<'_>) -> Result<(), Fault> {
        self.rows.push(row);
        if self.rows.weight() >= self.memory { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), Fault> {
        self.rows.sort();
        self.write_run().map_err(|error| {
            let text = format!(
                "cannot write {} rows aside in {}; free some space there, or name another directory with --scratch; nothing was changed",
                self.rows.len(),
                self.scratch.display()
            );
            Fault::new(Exit::Retry, text).because(error)
        })?;
        self.rows.clear();
        Ok(())
    }

    fn write_run(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(unnamed(&self.scratch)?),
        };
        let mut bytes = Vec::with_capacity(WRITE + (WRITE >> 2));
        for index in 0..self.rows.len() {
            rows::encode(self.rows.get(index), &mut bytes);
            if bytes.len() >= WRITE || index + 1 == self.rows.len() {
                file.write_all(&bytes)?;
                self.written += bytes.len() as u64;
                bytes.clear();
            }
        }
        self.ends.push(self.written);
        Ok(())
    }

    /// All rows in order.
    pub(super) fn sorted(mut self) -> Result<Sorted, Fault> {
        self.rows.sort();
        let count = self.ends.len();
        let piece = (self.memory / count.max(1)).clamp(PIECE_LEAST, PIECE_MOST);
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let runs = starts.zip(&self.ends).map(|(start, end)| Run {
            next: start,
            end: *end,
            piece,
            bytes: Vec::new(),
            at: 0,
            len: 0,
        });
        let mut sorted = Sorted {
            file: self.file,
            runs: runs.collect(),
            rows: self.rows,
            row: 0,
            heap: Vec::with_capacity(count + 1),
        };
        for run in 0..=count {
            if sorted.has_more(run)? {
                sorted.heap.push(run);
            }
        }
        (0..sorted.heap.len() / 2).rev().for_each(|at| sorted.sink(at));
        Ok(sorted)
    }
}

fn unnamed(scratch: &Path) -> io::Result<File> {
    fs::create_dir_all(scratch)?;
    let path = scratch.join(format!("compare-{}-{:016x}", std::process::id(), crate::clock::random()));
    let file = File::options().create_new(true).read(true).write(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

#[derive(Debug)]
struct Run {
    /// Where the next piece is read.
    next: u64,
    end: u64,
    piece: usize,
    bytes: Vec<u8>,
    at: usize,
    /// The current row's length.
    len: usize,
}

impl Run {
    /// Makes the next row the current one; false at the end.
    fn advance(&mut self, file: &File) -> io::Result<bool> {
        self.at += std::mem::take(&mut self.len);
        loop {
            let need = match rows::decode(&self.bytes[self.at..]) {
                Ok((_, len)) => {
                    self.len = len;
                    return Ok(true);
                }
                Err(need) => need,
            };
            let rest = self.bytes.len() - self.at;
            if rest == 0 && self.next == self.end {
                return Ok(false);
            }
            self.bytes.drain(..self.at);
            self.at = 0;
            let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
            let more = self.piece.max(need - rest).min(left);
            self.bytes.resize(rest + more, 0);
            file.read_exact_at(&mut self.bytes[rest..], self.next)?;
            self.next += more as u64;
        }
    }

    fn row(&self) -> Row<'_> {
        rows::decode(&self.bytes[self.at..]).expect("the current row is whole").0
    }
}

/// Rows in order, one at a time.
#[derive(Debug)]
pub(super) struct Sorted {
    file: Option<File>,
    runs: Vec<Run>,
    /// The last rows, which never left memory: the run after all others.
    rows: Rows,
    row: usize,
    /// The runs that have a row, as a heap: the least row's on top. Rows are compared where they lie.
    heap: Vec<usize>,
}

impl Sorted {
    /// The current row; `None` at the end.
    pub(super) fn current(&self) -> Option<Row<'_>> {
        self.heap.first().map(|run| self.head(*run))
    }

    fn head(&self, run: usize) -> Row<'_> {
        match self.runs.get(run) {
            Some(run) => run.row(),
            None => self.rows.get(self.row),
        }
    }

    /// Goes on to the next row.
    pub(super) fn next(&mut self) -> Result<(), Fault> {
        let Some(&run) = self.heap.first() else { return Ok(()) };
        if run == self.runs.len() {
            self.row += 1;
        }
        if !self.has_more(run)? {
            self.heap.swap_remove(0);
        }
        self.sink(0);
        Ok(())
    }

    /// Reads on in a run where that is needed; whether it has a row.
    fn has_more(&mut self, run: usize) -> Result<bool, Fault> {
        match (self.runs.get_mut(run), &self.file) {
            (Some(run), Some(file)) => run
                .advance(file)
                .map_err(|error| Fault::new(Exit::Retry, "rows that were written aside cannot be read").because(error)),
            _ => Ok(self.row < self.rows.len()),
        }
    }

    /// Moves a run down the heap until no lesser row is below it. Outputs are nearly in order, so it mostly stays.
    fn sink(&mut self, mut at: usize) {
        loop {
            let below = [2 * at + 1, 2 * at + 2].into_iter().filter(|below| *below < self.heap.len());
            let order = |a: &usize, b: &usize| self.head(self.heap[*a]).order(&self.head(self.heap[*b]));
            let Some(least) = below.min_by(order).filter(|least| order(least, &at).is_lt()) else { return };
            self.heap.swap(at, least);
            at = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use millpond_state::Timestamp;

    use super::*;

    #[test]
    fn rows_that_do_not_fit_come_back_in_order_and_leave_no_file() {
        let dir = tempfile::tempdir().unwrap();
        for memory in [1, 200, 5_000, 1 << 20] {
            let mut sorter = Sorter::new(dir.path(), memory);
            let mut state = 7u64;
            let mut want = Vec::new();
            for _ in 0..500 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (at, key) = ((state >> 60) as i64, ((state >> 40) % 50).to_string());
                let value = "v".repeat((state >> 33) as usize % 40);
                sorter
                    .push(Row {
                        at: Timestamp::from_secs(at),
                        key: Some(key.as_bytes()),
                        value: Some(value.as_bytes()),
                    })
                    .unwrap();
                want.push((at, key, value));
            }
            want.sort();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a killed comparison leaves nothing");
            let mut sorted = sorter.sorted().unwrap();
            let mut found = Vec::new();
            while let Some(row) = sorted.current() {
                let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_owned()).unwrap();
                found.push((row.at.secs(), text(row.key), text(row.value)));
                sorted.next().unwrap();
            }
            assert_eq!(found, want, "in {memory} bytes");
        }
    }

    #[test]
    fn a_full_disk_is_named_with_the_way_out() {
        let mut sorter = Sorter::new(Path::new("/proc/no-such-place"), 1);
        let row = Row { at: Timestamp::EPOCH, key: None, value: Some(b"x") };
        let fault = sorter.push(row).unwrap_err();
        assert_eq!(fault.exit(), Exit::Retry);
        assert!(fault.to_string().contains("--scratch"), "{fault}");
    }
}
