//! Every change a writer makes to the disk goes through [`Disk`], so that tests can tear, fail or stop each one of them.
//!
//! Creating, renaming and removing are durable only once the directory is synced; callers do that, in the order the protocol needs.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use super::LogError;

const SYNCS_AT_ONCE: usize = 8;

/// An open file that knows its path, for messages.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

/// One change, as a test sees it before it happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op<'a> {
    Create(&'a Path),
    /// Where, and how many bytes.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests look at what is written"))]
    Write(&'a Path, u64, usize),
    Cut(&'a Path),
    Sync(&'a Path),
    Rename(&'a Path),
    Remove(&'a Path),
    MakeDir(&'a Path),
    SyncDir(&'a Path),
}

/// How a change fails: of a write, so many bytes arrive first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) arrived: usize,
    pub(super) kind: io::ErrorKind,
}

/// Sees every change before and after it is made.
pub(super) trait Watch: Send + Sync {
    fn before(&self, op: Op<'_>) -> Result<(), Fault>;
    fn after(&self, op: Op<'_>);
}

/// The way to the disk.
#[derive(Clone, Default)]
pub(super) struct Disk {
    watch: Option<Arc<dyn Watch>>,
}

impl Disk {
    #[cfg(test)]
    pub(super) fn watched(watch: Arc<dyn Watch>) -> Self {
        Disk { watch: Some(watch) }
    }

    fn run<T>(&self, op: Op<'_>, doing: &'static str, act: impl FnOnce() -> io::Result<T>) -> Result<T, LogError> {
        let (Op::Create(path)
        | Op::Write(path, ..)
        | Op::Cut(path)
        | Op::Sync(path)
        | Op::Rename(path)
        | Op::Remove(path)
        | Op::MakeDir(path)
        | Op::SyncDir(path)) = op;
        let Some(watch) = &self.watch else { return act().map_err(LogError::io(doing, path)) };
        watch.before(op).map_err(|fault| LogError::io(doing, path)(fault.kind.into()))?;
        let done = act().map_err(LogError::io(doing, path))?;
        watch.after(op);
        Ok(done)
    }

    /// A new empty file, or an old one emptied.
    pub(super) fn create(&self, path: &Path) -> Result<Handle, LogError> {
        let file = self.run(Op::Create(path), "create", || {
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
        })?;
        Ok(Handle { file, path: path.to_owned() })
    }

    /// A file that is there, to be written on.
    pub(super) fn open(&self, path: &Path) -> Result<Handle, LogError> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(LogError::io("open", path))?;
        Ok(Handle { file, path: path.to_owned() })
    }

    pub(super) fn write_at(&self, handle: &Handle, bytes: &[u8], position: u64) -> Result<(), LogError> {
        let Some(watch) = &self.watch else {
            return handle.file.write_all_at(bytes, position).map_err(LogError::io("write", &handle.path));
        };
        let op = Op::Write(&handle.path, position, bytes.len());
        if let Err(fault) = watch.before(op) {
            let torn = &bytes[..fault.arrived.min(bytes.len())];
            handle.file.write_all_at(torn, position).map_err(LogError::io("write", &handle.path))?;
            return Err(LogError::io("write", &handle.path)(fault.kind.into()));
        }
        handle.file.write_all_at(bytes, position).map_err(LogError::io("write", &handle.path))?;
        watch.after(op);
        Ok(())
    }

    pub(super) fn cut(&self, handle: &Handle, len: u64) -> Result<(), LogError> {
        self.run(Op::Cut(&handle.path), "cut", || handle.file.set_len(len))
    }

    /// What was written to the file survives a loss of power once this returns.
    pub(super) fn sync(&self, handle: &Handle) -> Result<(), LogError> {
        self.run(Op::Sync(&handle.path), "sync", || handle.file.sync_data())
    }

    /// Syncs files side by side: the system writes them together, where one after another each would wait for a turn of its own.
    pub(super) fn sync_all(&self, handles: &[&Handle]) -> Result<(), LogError> {
        let sync = |share: &[&Handle]| share.iter().try_for_each(|handle| self.sync(handle));
        let share = handles.len().div_ceil(SYNCS_AT_ONCE).max(1);
        let (own, others) = handles.split_at(share.min(handles.len()));
        thread::scope(|scope| {
            let started = others.chunks(share).map(|share| {
                let thread = thread::Builder::new().spawn_scoped(scope, move || sync(share));
                // Without a thread it takes longer, and is done all the same.
                thread.map_err(|_| sync(share))
            });
            let started: Vec<_> = started.collect();
            let mut done = sync(own);
            for thread in started {
                done = done.and(
                    thread
                        .map_or_else(|here| here, |thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))),
                );
            }
            done
        })
    }

    pub(super) fn sync_dir(&self, dir: &Path) -> Result<(), LogError> {
        self.run(Op::SyncDir(dir), "sync directory", || File::open(dir)?.sync_all())
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), LogError> {
        self.run(Op::Rename(to), "rename to", || fs::rename(from, to))
    }

    pub(super) fn remove(&self, path: &Path) -> Result<(), LogError> {
        self.run(Op::Remove(path), "remove", || fs::remove_file(path))
    }

    pub(super) fn make_dir(&self, path: &Path) -> Result<(), LogError> {
        self.run(Op::MakeDir(path), "create directory", || fs::create_dir(path))
    }

    /// Directories down to `path`, each durable in its parent.
    pub(super) fn make_dirs(&self, path: &Path) -> Result<(), LogError> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.make_dirs(parent)?;
        match self.make_dir(path) {
            Err(LogError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }?;
        self.sync_dir(parent)
    }

    /// `path` holds `bytes`, durably, or what it held before.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), LogError> {
        let aside = aside(path);
        let handle = self.create(&aside)?;
        self.write_at(&handle, bytes, 0)?;
        self.sync(&handle)?;
        self.rename(&aside, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }
}

/// Where a file is written before it is renamed to `path`; leftovers of this name are never read.
pub(super) fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ASIDE);
    PathBuf::from(name)
}

pub(super) const ASIDE: &str = ".new";
