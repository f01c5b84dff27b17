//! The thread's side of reading files: opens, decompresses, frames, and skips to where the job stands.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use csv::ByteRecord;
use millpond_engine::{Exit, Fault};

use super::frame::{Framer, Framing, LONGEST, Place};
use crate::ahead::{Fetch, Fetched};
use crate::format::Row;

/// How much is read at a time.
const CHUNK: usize = 256 << 10;

/// Whole records of one file.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    pub(super) places: Vec<Place>,
    /// The number of the first record.
    pub(super) first: u64,
    /// The header of a CSV file.
    pub(super) header: Option<Arc<ByteRecord>>,
}

/// One file, or standard input.
pub(super) struct Input {
    pub(super) name: String,
    from: Source,
    /// The number of the record to hand over next.
    next: u64,
    open: Option<Open>,
}

enum Source {
    File(PathBuf),
    /// Read once; taken when it is opened.
    Stream(Option<Box<dyn Read + Send>>),
}

struct Open {
    read: Box<dyn Read + Send>,
    framer: Framer,
    /// The number of the first record not taken from the framer.
    number: u64,
    header: Option<Arc<ByteRecord>>,
    ended: bool,
}

impl Input {
    /// A file, from record `next` on.
    pub(super) fn file(path: &Path, next: u64) -> Self {
        Input { name: path.display().to_string(), from: Source::File(path.to_owned()), next, open: None }
    }

    /// What cannot be read again; its first record has the number `next`.
    pub(super) fn stream(name: &str, read: Box<dyn Read + Send>, next: u64) -> Self {
        Input { name: name.to_owned(), from: Source::Stream(Some(read)), next, open: None }
    }

    fn open(&mut self, framing: Framing) -> Result<Open, Fault> {
        let (read, number) = match &mut self.from {
            Source::File(path) => (decompressed(path)?, 0),
            Source::Stream(read) => match read.take() {
                Some(read) => (read, self.next),
                None => return Err(Fault::new(Exit::Retry, format!("{} cannot be read again", self.name))),
            },
        };
        Ok(Open { read, framer: Framer::new(framing), number, header: None, ended: false })
    }

    fn fetch(&mut self, framing: Framing, mut spent: Block) -> Result<Fetched<Block>, Fault> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open(framing)?,
        };
        loop {
            let Some(mut block) = open.block(framing, &self.name, std::mem::take(&mut spent.bytes))? else {
                if open.number < self.next {
                    let text = format!("{} has {} records and the job stands at {}", self.name, open.number, self.next);
                    return Err(Fault::new(Exit::Restore, text + ": the file has lost records"));
                }
                return Ok(Fetched::Finished);
            };
            let passed = usize::try_from(self.next - block.first).unwrap_or(usize::MAX).min(block.places.len());
            if passed == block.places.len() {
                spent = block;
                continue;
            }
            block.places.drain(..passed);
            block.first = self.next;
            self.next += block.places.len() as u64;
            self.open = Some(open);
            return Ok(Fetched::Block(block));
        }
    }
}

impl Open {
    /// The next records, at least one; `None` at the end.
    fn block(&mut self, framing: Framing, name: &str, mut spare: Vec<u8>) -> Result<Option<Block>, Fault> {
        loop {
            while !self.framer.any() && !self.ended {
                self.more(name)?;
            }
            if !self.framer.any() {
                return Ok(None);
            }
            let (bytes, mut places) = self.framer.take(std::mem::take(&mut spare));
            if framing == Framing::Csv && self.header.is_none() {
                let place = places.remove(0);
                if place.open_quote {
                    return Err(Fault::new(
                        Exit::Usage,
                        format!("{name} line {}: the header opens a quote and never closes it", place.line),
                    ));
                }
                let mut row = Row::default();
                let (header, _) = row.read(&bytes[place.start as usize..place.end as usize]);
                self.header = Some(Arc::new(header.clone()));
                if places.is_empty() {
                    continue;
                }
            }
            let first = self.number;
            self.number += places.len() as u64;
            return Ok(Some(Block { bytes, places, first, header: self.header.clone() }));
        }
    }

    fn more(&mut self, name: &str) -> Result<(), Fault> {
        if self.framer.unfinished() > LONGEST {
            let place = format!("{name} line {}", self.framer.begin_line());
            return Err(Fault::new(Exit::Usage, format!("{place}: a record is longer than {} MiB", LONGEST >> 20)));
        }
        let bytes = &mut self.framer.bytes;
        let len = bytes.len();
        bytes.resize(len + CHUNK, 0);
        let read = loop {
            match self.read.read(&mut bytes[len..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let filled = read.as_ref().map_or(0, |read| *read);
        bytes.truncate(len + filled);
        if let Err(error) = read {
            let place = format!("{name} line {}", self.framer.begin_line());
            // What has no number of the system's is said by the decompressor.
            return Err(match error.raw_os_error() {
                Some(_) => Fault::new(Exit::Retry, format!("{place}: cannot read on")).because(error),
                None => Fault::new(Exit::Usage, format!("{place}: the file is damaged or cut short here; get it anew"))
                    .because(error),
            });
        }
        self.ended = filled == 0;
        self.framer.scan(self.ended);
        Ok(())
    }
}

/// Opens a file, decompressing by the end of its name.
fn decompressed(path: &Path) -> Result<Box<dyn Read + Send>, Fault> {
    let file = super::open(path)?;
    if file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
        return Ok(Box::new(io::empty()));
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    Ok(match extension.as_str() {
        "gz" => Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(CHUNK / 4, file))),
        "zst" => Box::new(zstd(file).map_err(|error| super::unreadable(path, &error))?),
        _ => Box::new(file),
    })
}

fn zstd(file: fs::File) -> io::Result<impl Read + Send> {
    zstd::stream::read::Decoder::new(file)
}

/// The files of one reader.
pub(super) struct Fetching {
    framing: Framing,
    pub(super) inputs: Vec<Input>,
}

impl Fetching {
    pub(super) fn new(framing: Framing, inputs: Vec<Input>) -> Self {
        Fetching { framing, inputs }
    }
}

impl Fetch for Fetching {
    type Block = Block;

    fn fetch(&mut self, slot: usize, spent: Option<Block>) -> Result<Fetched<Block>, Fault> {
        self.inputs[slot].fetch(self.framing, spent.unwrap_or_default())
    }

    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault> {
        let input = &mut self.inputs[slot];
        (input.open, input.next) = (None, offset);
        Ok(())
    }

    fn wait(&mut self) {
        // Files end, they do not wait: nothing asks for this.
        std::thread::sleep(Duration::from_millis(5));
    }
}
