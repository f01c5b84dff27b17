//! The checkpoint store: a job's state as immutable files, and the manifests that say which of them are a checkpoint.
//!
//! **Contract.** Each epoch, every worker's I/O thread hands its [`crate::Delta`] to [`Store::write_part`]; the leader gathers the
//! [`FileRef`]s, writes a [`Manifest`] with [`Store::write_manifest`], and has a commit record name its checksum. What either call
//! returned is durable. Recovery asks for exactly the manifest a commit record names ([`Checkpoints::manifest_checked`]) and reads it with
//! [`Checkpoints::restore`], for whatever key groups a worker owns now. Bytes that are not what was written are an error that names file and
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
//! `walk` (several files as one; `drops`: dropped prefixes), `checkpoints` (the reading half: `restore`, `verify`), `merge`, `base` (all of a
//! checkpoint in one file), `retain` (what is needed), `index`, `disk` (what changes the disk), `error`.

mod base;
mod checkpoints;
mod disk;
mod drops;
mod error;
mod footer;
mod id;
mod index;
mod manifest;
mod merge;
mod name;
mod read;
mod restore;
mod retain;
mod verify;
mod walk;
mod wire;
mod write;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use base::Fate;
pub use checkpoints::Checkpoints;
pub use error::{StoreError, StoreErrorKind};
pub use id::{CheckpointId, IdError, RunId};
pub use manifest::{FiredRun, Manifest, PartitionState, SourceState};
pub use merge::{Merge, choose};
pub use restore::{Restore, Restored};
pub use retain::{Lineage, releasable};
pub use verify::{FileReport, Report};
pub use write::{FileKind, FileRef, SectionRef};

use disk::{Disk, Local};
use index::Index;
use name::{ASIDE, Name};
use write::DataFile;

use crate::Delta;

/// What becomes of other runs' files that are newer than the committed checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newer {
    /// Their runs are dead: they go.
    Discard,
    /// They may be a live run's that has taken over meanwhile: they stay, and go once the committed checkpoint has passed them.
    Keep,
}

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
    checkpoints: Checkpoints,
    disk: Box<dyn Disk>,
    index_dir: PathBuf,
    /// Opened when it is first needed: only the leader's process ever needs it, and sled admits only one.
    index: Mutex<Option<Index>>,
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
        let checkpoints = Checkpoints::at(dir);
        let folder = checkpoints.folder();
        let new: Vec<_> =
            folder.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
        fs::create_dir_all(folder).map_err(|error| StoreError::io("create", folder, error))?;
        // A durable file in a folder that a power failure takes away would be of no use.
        for parent in new.iter().filter_map(|folder| folder.parent()) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            disk.sync_dir(parent).map_err(|error| StoreError::io("fsync", parent, error))?;
        }
        Ok(Store { run, checkpoints, disk, index_dir: dir.join("index"), index: Mutex::new(None) })
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
        let file = DataFile::create(&*self.disk, self.checkpoints.folder(), Name::Part(id, worker))?;
        write::write_delta(file, groups, delta).map(Some)
    }

    /// Writes a manifest. Durable when this returns its checksum, which is what a commit record names.
    ///
    /// # Errors
    /// A full or failing disk, a manifest of this name that exists, a file it names that does not.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<u32, StoreError> {
        let checksum = manifest.write(&*self.disk, self.checkpoints.folder())?;
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = index.as_ref().map(|index| index.add(manifest)) {
            tracing::warn!(%error, dir = %self.index_dir.display(), "the index failed and is built again when it is next needed");
            *index = None;
        }
        Ok(checksum)
    }

    /// Writes the one file that replaces those of a merge, with bounded memory. Durable when this returns; `None` when nothing is left of
    /// them. Only one process of a run merges.
    ///
    /// # Errors
    /// A full or failing disk, an input that is missing or not what was written.
    ///
    /// # Panics
    /// When `merge` names no files, or files that no manifest can name.
    pub fn merge(&self, merge: &Merge) -> Result<Option<FileRef>, StoreError> {
        let folder = self.checkpoints.folder();
        let free = |name: Name| !folder.join(name.to_string()).exists();
        merge.write(&*self.disk, folder, merge.name(self.run, free))
    }

    /// Deletes the checkpoints that nobody needs now that `committed` is confirmed, and the files that only they refer to; answers with
    /// the names of all deleted files. `also` are the checkpoints that followers' markers name. What is needed: [`releasable`].
    ///
    /// To be called only by the run whose own commit of `committed` succeeded.
    ///
    /// # Errors
    /// A failing disk, or a manifest of `committed` that is not there.
    pub fn release(&self, committed: &Manifest, also: &[CheckpointId]) -> Result<Vec<String>, StoreError> {
        let lineage = self.with_index(Index::lineage)?;
        if !lineage.iter().any(|one| one.id == committed.id) {
            let path = self.checkpoints.folder().join(Name::Manifest(committed.id).to_string());
            return Err(StoreError::missing(&path, "a release"));
        }
        let ids = releasable(&lineage, committed.id, also);
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let free = self.with_index(|index| index.remove(&ids))?;
        for file in &committed.files {
            assert!(!free.contains(&file.name), "{} belongs to the committed checkpoint", file.name);
        }
        // Manifests first: one whose files are gone would be a checkpoint that looks sound and is not.
        let manifests = ids.into_iter().map(|id| Name::Manifest(id).to_string());
        let deleted = self.delete(manifests, free);
        if deleted.is_err() {
            // It says that they are gone. Built again, it says which are not, and the next release tries once more.
            *self.index.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        deleted
    }

    /// Deletes what dead runs left behind: files they were still writing, checkpoints that were never committed, parts that none of the
    /// needed checkpoints refers to; answers with their names. With [`Newer::Keep`], only what is not newer than `committed`. To be called at the start of a run, once it has fenced the others and
    /// knows what is `committed` (`None` when nothing ever was), before it writes anything.
    ///
    /// # Errors
    /// A failing disk, or a manifest of `committed` or `also` that cannot be read.
    pub fn discard_unfinished(
        &self,
        committed: Option<&Manifest>,
        also: &[CheckpointId],
        newer: Newer,
    ) -> Result<Vec<String>, StoreError> {
        let committed = committed.map(|manifest| manifest.id);
        for id in committed.iter().chain(also) {
            self.checkpoints.manifest(*id)?;
        }
        let needed = retain::needed(&self.with_index(Index::lineage)?, committed, also);
        let found = self.checkpoints.found()?;
        let past = |id: CheckpointId| {
            newer == Newer::Discard || committed.is_some_and(|committed| id.epoch <= committed.epoch)
        };
        let others = |name: &&Name| name.id().run != self.run && past(name.id());
        let mut ids = found
            .whole
            .iter()
            .filter(others)
            .filter_map(|name| match name {
                Name::Manifest(id) if !needed.contains(id) => Some(*id),
                _ => None,
            })
            .collect::<Vec<_>>();
        ids.sort();
        self.with_index(|index| index.remove(&ids))?;
        let referred: BTreeSet<String> = self.with_index(Index::files)?.into_iter().map(|one| one.file.name).collect();
        let aside = found.aside.iter().filter(others).map(|name| format!("{name}{ASIDE}"));
        let data = found.whole.iter().filter(others).filter(|name| !matches!(name, Name::Manifest(_)));
        let unreferred = data.map(Name::to_string).filter(|name| !referred.contains(name));
        self.delete(ids.iter().map(|id| Name::Manifest(*id).to_string()), unreferred.chain(aside))
    }

    /// Deletes manifests, then, when that is durable, data files.
    fn delete(
        &self,
        manifests: impl Iterator<Item = String>,
        files: impl IntoIterator<Item = String>,
    ) -> Result<Vec<String>, StoreError> {
        let folder = self.checkpoints.folder();
        let remove = |name: &String| {
            let path = folder.join(name);
            match self.disk.remove(&path) {
                // Another process that ended the same way was quicker.
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("delete", &path, error)),
                _ => Ok(()),
            }
        };
        let mut deleted: Vec<String> = manifests.collect();
        deleted.iter().try_for_each(remove)?;
        if !deleted.is_empty() {
            self.disk.sync_dir(folder).map_err(|error| StoreError::io("fsync", folder, error))?;
        }
        for name in files {
            remove(&name)?;
            deleted.push(name);
        }
        Ok(deleted)
    }

    /// Asks the index, which is built when it is first asked, and once more after an error.
    fn with_index<T>(&self, ask: impl Fn(&Index) -> io::Result<T>) -> Result<T, StoreError> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*index {
            match ask(open) {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    tracing::warn!(%error, dir = %self.index_dir.display(), "the index failed and is built again")
                }
            }
        }
        // The old one lets go of its lock before the new one takes it.
        *index = None;
        let manifests = self.checkpoints.list()?.into_iter().filter_map(|(id, manifest)| {
            manifest.inspect_err(|error| tracing::warn!(%error, %id, "a manifest cannot be read")).ok()
        });
        let error = |error| StoreError::io("index checkpoints in", &self.index_dir, error);
        let rebuilt = Index::rebuild(&self.index_dir, self.run, manifests).map_err(error)?;
        let answer = ask(&rebuilt).map_err(error);
        *index = Some(rebuilt);
        answer
    }
}

/// A store also reads: everything [`Checkpoints`] does.
impl Deref for Store {
    type Target = Checkpoints;

    fn deref(&self) -> &Checkpoints {
        &self.checkpoints
    }
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod keeping_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod store_tests;
