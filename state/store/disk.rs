//! The file operations that change something, behind one small trait, so that tests can fail each of them.
//!
//! [`Aside`] is the only way a file comes to be: written under another name, fsynced, renamed, the directory fsynced. After any crash
//! a file with a final name is therefore whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::StoreError;
use super::name::{ASIDE, Name};

/// Operations that change the disk.
pub(crate) trait Disk: Send + Sync {
    /// A new, empty file, replacing what was there.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Appends to a file that `create` made.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()>;
    /// Content of a file that `create` made is durable when this returns.
    fn sync(&self, file: &File, path: &Path) -> io::Result<()>;
    /// Gives a file its final name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Names in `dir` are durable when this returns.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The file system of this host.
#[derive(Debug)]
pub(crate) struct Local;

impl Disk for Local {
    fn create(&self, path: &Path) -> io::Result<File> {
        File::create(path)
    }
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }
    fn sync(&self, file: &File, _: &Path) -> io::Result<()> {
        file.sync_all()
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// A file on its way: under another name until [`Aside::publish`], removed when dropped before that.
pub(crate) struct Aside<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    aside: PathBuf,
    path: PathBuf,
    file: File,
    published: bool,
}

impl<'a> Aside<'a> {
    pub(crate) fn create(disk: &'a dyn Disk, dir: &'a Path, name: Name) -> Result<Self, StoreError> {
        let path = dir.join(name.to_string());
        // A file that was published is never written over: a manifest may name it.
        if path.exists() {
            return Err(StoreError::taken(&path));
        }
        let aside = dir.join(format!("{name}{ASIDE}"));
        let file = disk.create(&aside).map_err(|error| StoreError::io("create", &aside, error))?;
        Ok(Aside { disk, dir, aside, path, file, published: false })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.disk.write(&mut self.file, bytes).map_err(|error| StoreError::io("write", &self.aside, error))
    }

    /// Durable under its final name when this returns. After an error it may be there or not; nothing may name it then.
    pub(crate) fn publish(mut self) -> Result<(), StoreError> {
        self.disk.sync(&self.file, &self.aside).map_err(|error| StoreError::io("fsync", &self.aside, error))?;
        self.disk.rename(&self.aside, &self.path).map_err(|error| StoreError::io("rename", &self.aside, error))?;
        self.published = true;
        self.disk.sync_dir(self.dir).map_err(|error| StoreError::io("fsync", self.dir, error))
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        if !self.published {
            // Makes room when the disk is full; what cannot be removed now is removed at the next start.
            let _ = self.disk.remove(&self.aside);
        }
    }
}
