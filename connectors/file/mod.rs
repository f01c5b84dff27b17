//! Files as sources: CSV with a header, JSON lines, plain lines; plain, `.gz` or `.zst` by their names.
//!
//! Each file is a partition, in the order in which they are given, and a position is a record's number in its file, from 0. A job that
//! starts again reads the file from its beginning up to its position, since compressed files have no other way; what it reads there is not
//! decoded. The source ends with the file: what is appended to it later is not followed.
//!
//! A thread reads, decompresses and finds where records end (`frame`, `fetch`); the worker decodes them in place (`rows`, `reader`).

mod fetch;
mod frame;
mod reader;
mod rows;
mod stdin;

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use millpond_engine::source::{Assigned, Env, From, Partition, SourcePlan, Waker};
use millpond_engine::{Exit, Fault, Untimed};
use millpond_state::Data;

use crate::{Format, Json, Text, begin};

pub use frame::Framing;
pub use reader::FileReader;
pub use rows::{Columns, Lined, Rows};
pub use stdin::{Stdin, stdin_lines};

use fetch::{Fetching, Input};

/// How much of a file's beginning its fingerprint covers.
const PRINTED: u64 = 4 << 10;

/// Files to read.
///
/// ```
/// use millpond_connectors::File;
/// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// # struct Departure { origin: String }
/// let one = File::csv::<Departure>("departures.csv.gz");
/// let two_partitions = File::json_lines::<Departure>("january.jsonl").and("february.jsonl");
/// let lines = File::lines("notes.txt");
/// # let _ = (one, two_partitions, lines);
/// ```
#[derive(Debug)]
pub struct File;

impl File {
    /// Reads CSV records by the names in the file's header. A record that has more or fewer fields than the header is a bad record, and so
    /// is a line that opens a quote which is never closed.
    pub fn csv<T: Data>(path: impl AsRef<Path>) -> FileSource<T, Columns> {
        FileSource::new(path.as_ref(), Columns::default())
    }

    /// Reads a JSON value from each line. Blank lines are no records.
    pub fn json_lines<T: Data>(path: impl AsRef<Path>) -> FileSource<T, Lined<Json>> {
        FileSource::new(path.as_ref(), Lined::skipping_blanks(Json))
    }

    /// Reads each line as text, without its line break. Blank lines are records too.
    pub fn lines(path: impl AsRef<Path>) -> FileSource<String, Lined<Text>> {
        FileSource::new(path.as_ref(), Lined::every(Text))
    }

    /// Reads each line with a format. Blank lines are records too.
    pub fn lines_of<T: Data, F: Format<T>>(path: impl AsRef<Path>, format: F) -> FileSource<T, Lined<F>> {
        FileSource::new(path.as_ref(), Lined::every(format))
    }
}

/// What [`File`]'s functions make.
#[derive(Debug)]
#[must_use = "a source is read when it is given to `flow.source(..)`"]
pub struct FileSource<T, R> {
    paths: Vec<PathBuf>,
    rows: R,
    of: PhantomData<fn() -> T>,
}

impl<T, R: Clone> Clone for FileSource<T, R> {
    fn clone(&self) -> Self {
        FileSource { paths: self.paths.clone(), rows: self.rows.clone(), of: PhantomData }
    }
}

impl<T, R> FileSource<T, R> {
    fn new(path: &Path, rows: R) -> Self {
        FileSource { paths: vec![path.to_owned()], rows, of: PhantomData }
    }

    /// Reads one more file of the same kind, as the next partition.
    pub fn and(mut self, path: impl AsRef<Path>) -> Self {
        self.paths.push(path.as_ref().to_owned());
        self
    }

    /// Reads these files too, each as a partition.
    pub fn and_all<P: AsRef<Path>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.paths.extend(paths.into_iter().map(|path| path.as_ref().to_owned()));
        self
    }
}

impl<T: Data, R: Rows<T>> Untimed for FileSource<T, R> {
    type Item = T;
    type Reader = FileReader<T, R>;

    fn plan(&self) -> SourcePlan {
        // Names without their folders: a job may be moved together with its files, and the fingerprint tells them from others.
        let names = self.paths.iter().map(|path| path.file_name().unwrap_or_default().to_string_lossy());
        let from = names.collect::<Vec<_>>().join(", ");
        SourcePlan { kind: "file".to_owned(), from, bounded: true, bound_micros: 0 }
    }

    fn connect(&self, _: &Env, from: &From) -> Result<Vec<Partition>, Fault> {
        let partitions = self.paths.iter().zip(0..).map(|(path, partition)| {
            let start = begin::at(from, partition, None, &format!("file {}", path.display()))?;
            // How many records it has shows when it has been read.
            Ok(Partition { partition, start, end: u64::MAX, fingerprint: fingerprint(path)? })
        });
        partitions.collect()
    }

    fn open(&self, _: &Env, assigned: &[Assigned], waker: Waker) -> Result<Self::Reader, Fault> {
        let inputs = assigned.iter().map(|assigned| {
            let path = self.paths.get(assigned.partition as usize).expect("partitions were made of paths");
            Input::file(path, assigned.next)
        });
        FileReader::start(
            "files",
            Fetching::new(self.rows.framing(), inputs.collect()),
            self.rows.clone(),
            assigned,
            waker,
        )
    }
}

/// Tells a file from another one of the same name, and not from itself grown longer: the checksum of its beginning.
fn fingerprint(path: &Path) -> Result<String, Fault> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    file.take(PRINTED).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    Ok(format!("{:08x} over {} bytes", crc32fast::hash(&bytes), bytes.len()))
}

fn open(path: &Path) -> Result<fs::File, Fault> {
    let file = fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if metadata.is_file() {
        return Ok(file);
    }
    let text = format!(
        "{} is no regular file, so that it cannot be read again; pipe it into a job that reads lines of stdin",
        path.display()
    );
    Err(Fault::new(Exit::Usage, text))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    let exit = match error.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied => Exit::Usage,
        _ => Exit::Retry,
    };
    Fault::new(exit, format!("cannot read the file {}", path.display())).because(error)
}

#[cfg(test)]
mod file_tests;
