//! The reading half of the store: what recovery and the `checkpoints` commands need.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::name::{ASIDE, Name};
use super::{CheckpointId, Manifest, Report, Restore, StoreError};

/// The checkpoints in a directory, for reading: takes no lock and changes nothing, so that commands may look while the job runs.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    files: PathBuf,
}

/// What lies in `checkpoints/`.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) whole: Vec<Name>,
    /// Files that were being written.
    pub(crate) aside: Vec<Name>,
}

impl Checkpoints {
    /// Those in the state directory `dir` of a job version.
    ///
    /// # Errors
    /// When there is no `checkpoints` folder in it.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let checkpoints = Self::at(dir);
        if !checkpoints.files.is_dir() {
            return Err(StoreError::no_store(&checkpoints.files));
        }
        Ok(checkpoints)
    }

    pub(crate) fn at(dir: &Path) -> Self {
        Checkpoints { files: dir.join("checkpoints") }
    }

    /// Those whose files lie in `folder` itself, as in a savepoint.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Checkpoints { files: folder.to_owned() }
    }

    /// The folder of the files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.files
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
    /// As [`Checkpoints::manifest`], and when it has another checksum.
    pub fn manifest_checked(&self, id: CheckpointId, checksum: u32) -> Result<Manifest, StoreError> {
        let (manifest, found) = Manifest::read(&self.files, id)?;
        if found != checksum {
            let what =
                format!("this manifest has checksum {found:08x}, but the commit record names one with {checksum:08x}");
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
            .found()?
            .whole
            .into_iter()
            .filter_map(|name| match name {
                Name::Manifest(id) => Some(id),
                _ => None,
            })
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// The checkpoints and their manifests, or why one cannot be read, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    #[expect(clippy::type_complexity, reason = "a manifest that cannot be read is part of the answer")]
    pub fn list(&self) -> Result<Vec<(CheckpointId, Result<Manifest, StoreError>)>, StoreError> {
        Ok(self.manifests()?.into_iter().map(|id| (id, self.manifest(id))).collect())
    }

    /// The live entries of a checkpoint in the key groups `groups`: of the operator `uid`, or of all.
    ///
    /// # Errors
    /// A file that is missing, or whose footer is not what was written. Blocks are checked as they are read.
    pub fn restore(&self, manifest: &Manifest, groups: Range<u16>, uid: Option<&str>) -> Result<Restore, StoreError> {
        Restore::new(&self.files, manifest, groups, uid)
    }

    /// Reads every byte of a checkpoint.
    ///
    /// # Errors
    /// When its manifest cannot be read; what is wrong with its files is in the report.
    pub fn verify(&self, id: CheckpointId) -> Result<Report, StoreError> {
        let (manifest, checksum) = Manifest::read(&self.files, id)?;
        Ok(self.verify_files(&manifest, checksum))
    }

    /// Reads every byte of the files that a manifest of this checksum names, wherever the manifest itself came from.
    pub fn verify_files(&self, manifest: &Manifest, checksum: u32) -> Report {
        Report::new(&self.files, manifest, checksum)
    }

    /// What the folder holds of ours; anything else in it is let alone.
    pub(crate) fn found(&self) -> Result<Found, StoreError> {
        let error = |error| StoreError::io("list", &self.files, error);
        let mut found = Found::default();
        for entry in fs::read_dir(&self.files).map_err(error)? {
            let name = entry.map_err(error)?.file_name();
            let Some(text) = name.to_str() else { continue };
            match text.strip_suffix(ASIDE) {
                Some(text) => found.aside.extend(Name::parse(text)),
                None => found.whole.extend(Name::parse(text)),
            }
        }
        Ok(found)
    }
}
