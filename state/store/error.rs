//! Why the store could not do what it was asked for: a coarse kind for the caller, a sentence for the reader.

use std::fmt;
use std::io;
use std::path::Path;

/// What a caller does about a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Bytes are not what was written. Put the file back from a copy, or restore another checkpoint into a new version.
    Corrupt,
    /// A file that is needed is not there. As for `Corrupt`.
    Missing,
    /// A newer Millpond wrote it. Run that one.
    Newer,
    /// The disk is full. Make room and start again.
    Full,
    /// A file exists that must not: something of this name was written before. A bug, or a copied run id.
    Taken,
    /// The system refused an operation. Stop; recovery is the only way on.
    Io,
}

/// Why the store could not do what it was asked for. The message names the file, the offset where there is one, and the way out.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    source: Option<io::Error>,
}

const WAY_OUT: &str = "put the file back from a copy, or start a new version of the job from the log";

impl StoreError {
    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    pub(crate) fn corrupt(path: &Path, offset: u64, what: impl fmt::Display) -> Self {
        let message = format!("{}, offset {offset}: {what}; {WAY_OUT}", path.display());
        StoreError { kind: StoreErrorKind::Corrupt, message, source: None }
    }

    pub(crate) fn missing(path: &Path, needed_by: impl fmt::Display) -> Self {
        let message = format!("{} is missing, {needed_by} needs it; {WAY_OUT}", path.display());
        StoreError { kind: StoreErrorKind::Missing, message, source: None }
    }

    pub(crate) fn no_store(folder: &Path) -> Self {
        let message = format!(
            "{} is missing: no job version has its state here; look at the state directory and at the job's name and version",
            folder.display()
        );
        StoreError { kind: StoreErrorKind::Missing, message, source: None }
    }

    pub(crate) fn newer(path: &Path, offset: u64, found: u32, known: u32) -> Self {
        let message = format!(
            "{}, offset {offset}: format version {found} is newer than version {known}, the newest this program reads; run the Millpond that wrote it",
            path.display()
        );
        StoreError { kind: StoreErrorKind::Newer, message, source: None }
    }

    pub(crate) fn taken(path: &Path) -> Self {
        let message = format!(
            "{} exists already and is never written over; start the job again, which draws a new run id",
            path.display()
        );
        StoreError { kind: StoreErrorKind::Taken, message, source: None }
    }

    pub(crate) fn io(doing: &str, path: &Path, source: io::Error) -> Self {
        let full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        let (kind, way_out) = if full {
            (StoreErrorKind::Full, "make room on that disk and start the job again")
        } else {
            (StoreErrorKind::Io, "look at the disk and the permissions and start the job again")
        };
        StoreError {
            kind,
            message: format!("cannot {doing} {}: {source}; {way_out}", path.display()),
            source: Some(source),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
