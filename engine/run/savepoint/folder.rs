//! The folder of a savepoint: read whole or not at all, written beside its place and renamed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use millpond_state::KeyGroup;
use millpond_state::store::{Checkpoints, Report, Restore};

use crate::run::writer::store_fault;
use crate::savepoint::{DESCRIPTION, Description, Unreadable};
use crate::{Exit, Fault};

/// A savepoint that lies in a folder.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) dir: PathBuf,
    pub(crate) description: Description,
    checksum: u32,
}

impl Folder {
    /// Reads what the savepoint in `dir` says of itself. Its files are looked at when they are read.
    ///
    /// # Errors
    /// [`Exit::Usage`] when there is none, [`Exit::NewVersion`] when it is of a newer release, [`Exit::Restore`] when it is damaged.
    pub(crate) fn open(dir: &Path) -> Result<Folder, Fault> {
        let path = dir.join(DESCRIPTION);
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Fault::new(Exit::Usage, format!("{} is no savepoint: there is no {DESCRIPTION} in it", dir.display()))
            }
            _ => Fault::new(Exit::Retry, format!("cannot read {}", path.display())).because(error),
        })?;
        let (description, checksum) = Description::parse(&bytes).map_err(|error| {
            let exit = if matches!(error, Unreadable::Newer(_)) { Exit::NewVersion } else { Exit::Restore };
            Fault::new(exit, format!("the savepoint in {} cannot be read", dir.display())).because(error)
        })?;
        Ok(Folder { dir: dir.to_owned(), description, checksum })
    }

    /// Reads every byte of its files.
    pub(crate) fn verify(&self) -> Report {
        Checkpoints::in_folder(&self.dir).verify_files(&self.description.manifest(), self.checksum)
    }

    /// Its state, every file of it opened.
    pub(crate) fn restore(&self) -> Result<Restore, Fault> {
        let all = 0..KeyGroup::COUNT as u16;
        let restore = Checkpoints::in_folder(&self.dir).restore(&self.description.manifest(), all, None);
        restore.map_err(|error| self.broken(&error))
    }

    pub(crate) fn broken(&self, error: &millpond_state::store::StoreError) -> Fault {
        store_fault(&format!("the savepoint in {} cannot be restored", self.dir.display()), error)
    }
}

/// A folder on its way: beside its place until [`Aside::publish`], gone when it is dropped before that. A process that is killed leaves it,
/// and the next one that wants the same place takes it over.
pub(super) struct Aside {
    /// Where to write.
    pub(super) path: PathBuf,
    place: PathBuf,
    /// Locked for as long as somebody writes. The lock goes with the folder when that is renamed.
    _lock: File,
    published: bool,
}

fn cannot(what: &str, path: &Path, error: io::Error) -> Fault {
    Fault::new(Exit::Retry, format!("cannot {what} {}", path.display())).because(error)
}

fn taken(place: &Path) -> Fault {
    Fault::new(
        Exit::Refused,
        format!("{} exists already, and a savepoint never writes over anything; name another folder", place.display()),
    )
}

impl Aside {
    /// A new folder that is to lie in `place`.
    pub(super) fn create(place: &Path) -> Result<Aside, Fault> {
        let mut name = place
            .file_name()
            .map(OsString::from)
            .ok_or_else(|| Fault::new(Exit::Usage, format!("{} is not the name of a folder", place.display())))?;
        name.push(".tmp");
        let path = place.with_file_name(name);
        fs::create_dir_all(parent(&path)).map_err(|error| cannot("make the folder above", &path, error))?;
        let lock = loop {
            if fs::symlink_metadata(place).is_ok() {
                return Err(taken(place));
            }
            match fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(cannot("make the folder", &path, error));
                }
                _ => {}
            }
            let lock = match File::open(&path) {
                Ok(lock) => lock,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(cannot("open", &path, error)),
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let what = format!("another savepoint is being written to {}", place.display());
                    return Err(Fault::new(Exit::Refused, what));
                }
                Err(TryLockError::Error(error)) => return Err(cannot("lock", &path, error)),
            }
            // Whoever had it may have renamed it just now.
            let inode = |found: io::Result<fs::Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
            if inode(lock.metadata()) == inode(fs::symlink_metadata(&path)) {
                break lock;
            }
        };
        let left: Vec<_> = fs::read_dir(&path).map_err(|error| cannot("list", &path, error))?.flatten().collect();
        // Somebody else's folder may be called so.
        if let Some(other) = left.iter().find(|entry| !is_part(&entry.file_name())) {
            let (path, name) = (path.display(), other.file_name());
            let what =
                format!("{path}, where it would be written first, holds {name:?}, which is no part of a savepoint");
            return Err(Fault::new(Exit::Refused, format!("{what}; name another folder")));
        }
        for entry in left {
            fs::remove_file(entry.path()).map_err(|error| cannot("remove", &entry.path(), error))?;
        }
        Ok(Aside { path, place: place.to_owned(), _lock: lock, published: false })
    }

    /// Writes a small file, durable when this returns.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let path = self.path.join(name);
        let written = File::create(&path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        written.map_err(|error| cannot("write", &path, error))
    }

    /// Puts the folder in its place, durable when this returns.
    pub(super) fn publish(mut self) -> Result<(), Fault> {
        let sync = |path: &Path| File::open(path).and_then(|folder| folder.sync_all());
        sync(&self.path).map_err(|error| cannot("fsync", &self.path, error))?;
        if fs::symlink_metadata(&self.place).is_ok() {
            return Err(taken(&self.place));
        }
        fs::rename(&self.path, &self.place).map_err(|error| cannot("rename", &self.path, error))?;
        self.published = true;
        crate::failpoint::hit("savepoint renamed");
        let parent = parent(&self.place);
        sync(parent).map_err(|error| cannot("fsync", parent, error))
    }
}

/// Whether a file may be what a savepoint that was broken off has left.
fn is_part(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name == DESCRIPTION || name.trim_end_matches(".tmp").ends_with(".base"))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is when the place is wanted again.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_appears_whole_and_one_that_is_there_is_let_alone() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("above").join("saved");
        let aside = Aside::create(&place).unwrap();
        aside.write("a", b"1").unwrap();
        let second = Aside::create(&place).map(|_| ()).unwrap_err();
        assert!(second.to_string().contains("another savepoint is being written"), "{second}");
        assert!(!place.exists());
        aside.publish().unwrap();
        assert_eq!(fs::read(place.join("a")).unwrap(), b"1");
        let refused = Aside::create(&place).map(|_| ()).unwrap_err();
        assert_eq!(refused.exit(), Exit::Refused);
        assert!(refused.to_string().contains("exists already"), "{refused}");
    }

    #[test]
    fn what_was_broken_off_is_cleared_away() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("saved");
        drop(Aside::create(&place).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        // As a killed process leaves it.
        let killed = dir.path().join("saved.tmp");
        fs::create_dir(&killed).unwrap();
        for half in ["0000000000000007-12-0.base.tmp", "0000000000000007-12-0.base", DESCRIPTION] {
            fs::write(killed.join(half), b"x").unwrap();
        }
        let aside = Aside::create(&place).unwrap();
        aside.write("a", b"1").unwrap();
        aside.publish().unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
        // Not what a savepoint left.
        let other = dir.path().join("other.tmp");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("letters.txt"), b"x").unwrap();
        let refused = Aside::create(&dir.path().join("other")).map(|_| ()).unwrap_err();
        assert!(refused.exit() == Exit::Refused && refused.to_string().contains("letters.txt"), "{refused}");
        assert!(other.join("letters.txt").exists());
    }
}
