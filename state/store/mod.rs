//! The checkpoint store: a job's state as immutable files, and the manifests that say which of them are a checkpoint.
//!
//! **Contract.** Each epoch, every worker's I/O thread hands its [`crate::Delta`] to [`Store::write_part`]; the leader gathers the
//! [`FileRef`]s, writes a [`Manifest`] with [`Store::write_manifest`], and has a commit record name its checksum. What either call
//! returned is durable. Recovery asks for exactly the manifest a commit record names ([`Store::manifest_checked`]) and reads it with
//! [`Store::restore`], for whatever key groups a worker owns now. Bytes that are not what was written are an error that names file and
//! offset; nothing is guessed, nothing is skipped.
//!
//! The store has no threads and no clock of its own. Its calls block on the disk, so they belong on I/O threads, never on a worker.
//! After an error of a writing call the process stops (a file may or may not be there); recovery is the only way on.
//!
//! ```text
//! <dir>/checkpoints/<run>-<epoch>.manifest       a checkpoint
//!                   <run>-<epoch>-<worker>.part  what one worker changed in one epoch
//!                   <run>-<epoch>-<n>.merge      several files in one
//!                   <run>-<epoch>-<n>.base       several files in one, with nothing older below
//! <dir>/index/<run>/                             sled: an index, rebuilt from the manifests at every start
//! ```
//!
//! Modules: `id` and `name` (what things are called), `manifest`, `write` and `read` (data files; `footer`, `wire`: their bytes),
//! `walk` (several files as one; `drops`: dropped prefixes), `restore`, `disk` (what changes the disk), `error`.

mod disk;
mod drops;
mod error;
mod footer;
mod id;
mod manifest;
mod name;
mod read;
mod restore;
mod walk;
mod wire;
mod write;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use error::{StoreError, StoreErrorKind};
pub use id::{CheckpointId, IdError, RunId};
pub use manifest::{FiredRun, Manifest, PartitionState, SourceState};
pub use restore::{Restore, Restored};
pub use write::{FileKind, FileRef, SectionRef};

use disk::{Disk, Local};
use name::Name;
use write::DataFile;

use crate::Delta;

/// The checkpoints of one version of a job.
///
/// ```
/// use millpond_state::store::{CheckpointId, Manifest, RunId, Store};
/// use millpond_state::{Delta, KeyGroup, Section};
///
/// # let dir = tempfile::tempdir().unwrap();
/// let store = Store::open(dir.path(), RunId::new(0x5eed))?;
/// let id = CheckpointId { epoch: 1, run: RunId::new(0x5eed) };
/// let mut section = Section::new("views/window");
/// section.put(KeyGroup::new(3), |key| key.extend_from_slice(b"k"), |value| value.extend_from_slice(b"v"));
/// let part = store.write_part(id, 0, 0..1024, &Delta { sections: vec![section] })?;
/// let checksum = store.write_manifest(&Manifest { files: part.into_iter().collect(), ..Manifest::new(id) })?;
///
/// let manifest = store.manifest_checked(id, checksum)?;
/// let mut restore = store.restore(&manifest, 0..1024, None)?;
/// while let Some(entry) = restore.next_entry()? {
///     assert_eq!((entry.uid, entry.key, entry.value), ("views/window", &b"k"[..], &b"v"[..]));
/// }
/// # Ok::<(), millpond_state::store::StoreError>(())
/// ```
pub struct Store {
    run: RunId,
    files: PathBuf,
    disk: Box<dyn Disk>,
}

impl Store {
    /// Opens the store in `dir` for a run that begins, and makes its folders. Every process of the run may do so.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn open(dir: &Path, run: RunId) -> Result<Self, StoreError> {
        Self::open_on(dir, run, Box::new(Local))
    }

    fn open_on(dir: &Path, run: RunId, disk: Box<dyn Disk>) -> Result<Self, StoreError> {
        let files = dir.join("checkpoints");
        fs::create_dir_all(&files).map_err(|error| StoreError::io("create", &files, error))?;
        disk.sync_dir(dir).map_err(|error| StoreError::io("fsync", dir, error))?;
        Ok(Store { run, files, disk })
    }

    /// The run it was opened for.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Writes what a worker that owns the key groups `groups` changed in the epoch of `id`. Durable when this returns; `None` when
    /// the delta is empty.
    ///
    /// # Errors
    /// A full or failing disk, or a part of this name that exists.
    ///
    /// # Panics
    /// When an entry lies outside `groups`: files of one epoch must not overlap.
    pub fn write_part(
        &self,
        id: CheckpointId,
        worker: u32,
        groups: Range<u16>,
        delta: &Delta,
    ) -> Result<Option<FileRef>, StoreError> {
        if delta.sections.iter().all(crate::Section::is_empty) {
            return Ok(None);
        }
        let file = DataFile::create(&*self.disk, &self.files, Name::Part(id, worker))?;
        write::write_delta(file, groups, delta).map(Some)
    }

    /// Writes a manifest. Durable when this returns its checksum, which is what a commit record names.
    ///
    /// # Errors
    /// A full or failing disk, a manifest of this name that exists, a file it names that does not.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<u32, StoreError> {
        manifest.write(&*self.disk, &self.files)
    }

    /// The manifest of a checkpoint.
    ///
    /// # Errors
    /// When it is missing, or its bytes are not what was written.
    pub fn manifest(&self, id: CheckpointId) -> Result<Manifest, StoreError> {
        Manifest::read(&self.files, id).map(|(manifest, _)| manifest)
    }

    /// The very manifest that a commit record names.
    ///
    /// # Errors
    /// As [`Store::manifest`], and when it has another checksum.
    pub fn manifest_checked(&self, id: CheckpointId, checksum: u32) -> Result<Manifest, StoreError> {
        let (manifest, found) = Manifest::read(&self.files, id)?;
        if found != checksum {
            let what =
                format!("the commit record names a manifest with checksum {checksum:08x}, this one has {found:08x}");
            return Err(StoreError::corrupt(&self.files.join(Name::Manifest(id).to_string()), 12, what));
        }
        Ok(manifest)
    }

    /// The checkpoints that have a manifest, committed or not, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn manifests(&self) -> Result<Vec<CheckpointId>, StoreError> {
        let mut ids: Vec<_> = self
            .names()?
            .into_iter()
            .filter_map(|name| match name {
                Name::Manifest(id) => Some(id),
                _ => None,
            })
            .collect();
        ids.sort();
        Ok(ids)
    }

    fn names(&self) -> Result<Vec<Name>, StoreError> {
        let error = |error| StoreError::io("list", &self.files, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.files).map_err(error)? {
            names.extend(entry.map_err(error)?.file_name().to_str().and_then(Name::parse));
        }
        Ok(names)
    }

    /// The live entries of a checkpoint in the key groups `groups`: of the operator `uid`, or of all.
    ///
    /// # Errors
    /// A file that is missing, or whose footer is not what was written. Blocks are checked as they are read.
    pub fn restore(&self, manifest: &Manifest, groups: Range<u16>, uid: Option<&str>) -> Result<Restore, StoreError> {
        Restore::new(&self.files, manifest, groups, uid)
    }
}

#[cfg(test)]
mod store_tests;
