//! A disk that fails at a chosen change, and one that loses power.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::disk::{Fault, Op, Watch};

/// Fails the change of number `at`, and all after it when `dead`; knows what a loss of power would leave.
pub(super) struct Faults {
    root: PathBuf,
    count: AtomicUsize,
    at: usize,
    fault: Fault,
    dead: bool,
    /// The sync of number `at` says that it worked, and did not.
    lies: bool,
    durable: Mutex<Durable>,
}

/// What was synced: content by inode, names by directory. As in Linux, a sync carries over what was written since the last one, also when
/// that one failed: then the bytes are seen in the file and never reach the disk, unless they are written again.
#[derive(Default)]
struct Durable {
    content: HashMap<u64, Vec<u8>>,
    dirty: HashMap<u64, Vec<Range<usize>>>,
    names: HashMap<PathBuf, Vec<(String, u64)>>,
    /// Removed files stay open, so that their inodes are not given to others.
    held: Vec<File>,
}

impl Faults {
    pub(super) fn new(root: &Path, at: usize, fault: Fault, dead: bool) -> Self {
        let mut durable = Durable::default();
        durable.all(root);
        let (root, count) = (root.to_owned(), AtomicUsize::new(0));
        Faults { root, count, at, fault, dead, lies: false, durable: Mutex::new(durable) }
    }

    pub(super) fn lying(root: &Path, at: usize) -> Self {
        Faults { at, lies: true, ..Faults::none(root) }
    }

    pub(super) fn none(root: &Path) -> Self {
        Faults::new(root, usize::MAX, Fault { arrived: 0, kind: io::ErrorKind::Other }, false)
    }

    /// How many changes were asked for.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Builds in `target` what is left after a loss of power. What was not synced is lost, kept, or one or the other by `seed`.
    pub(super) fn after_power_loss(&self, target: &Path, seed: u64) {
        let durable = self.durable.lock().unwrap();
        durable.build(&self.root, target, &mut |ino| match seed {
            0 => false,
            1 => true,
            seed => (ino ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 63 == 1,
        });
    }
}

impl Watch for Faults {
    fn before(&self, op: Op<'_>) -> Result<(), Fault> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        if number == self.at || (number > self.at && self.dead) {
            if let Op::Sync(path) = op {
                self.durable.lock().unwrap().dirty.remove(&ino(path));
            }
            if self.lies {
                return Ok(());
            }
            let arrived = if number == self.at { self.fault.arrived } else { 0 };
            return Err(Fault { arrived, ..self.fault });
        }
        let mut durable = self.durable.lock().unwrap();
        match op {
            Op::Remove(path) | Op::Rename(path) => durable.held.extend(File::open(path).ok()),
            _ => {}
        }
        Ok(())
    }

    fn after(&self, op: Op<'_>) {
        let mut durable = self.durable.lock().unwrap();
        match op {
            Op::Create(path) => {
                durable.content.remove(&ino(path));
                durable.dirty.remove(&ino(path));
            }
            Op::Write(path, position, len) => {
                let position = usize::try_from(position).unwrap();
                durable.dirty.entry(ino(path)).or_default().push(position..position + len);
            }
            Op::Sync(path) => durable.sync(path),
            Op::SyncDir(path) => durable.dir(path),
            _ => {}
        }
    }
}

impl Durable {
    fn all(&mut self, dir: &Path) {
        self.dir(dir);
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.all(&path);
            } else {
                self.content.insert(ino(&path), fs::read(&path).unwrap());
            }
        }
    }

    fn sync(&mut self, path: &Path) {
        let (inode, now) = (ino(path), fs::read(path).unwrap());
        let content = self.content.entry(inode).or_default();
        content.resize(now.len(), 0);
        for Range { start, end } in self.dirty.remove(&inode).unwrap_or_default() {
            let end = end.min(now.len());
            if start < end {
                content[start..end].copy_from_slice(&now[start..end]);
            }
        }
    }

    fn dir(&mut self, dir: &Path) {
        self.names.insert(dir.to_owned(), listing(dir));
    }

    fn build(&self, from: &Path, to: &Path, keep: &mut impl FnMut(u64) -> bool) {
        fs::create_dir_all(to).unwrap();
        let now = listing(from);
        let none = Vec::new();
        let names = if from.exists() && keep(ino(from)) { &now } else { self.names.get(from).unwrap_or(&none) };
        for (name, inode) in names {
            let (source, target) = (from.join(name), to.join(name));
            if source.is_dir() {
                self.build(&source, &target, keep);
                continue;
            }
            let here = source.exists() && ino(&source) == *inode;
            let content = match self.content.get(inode) {
                _ if here && keep(*inode) => fs::read(&source).unwrap(),
                Some(content) => content.clone(),
                None => Vec::new(),
            };
            fs::write(target, content).unwrap();
        }
    }
}

fn ino(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

fn listing(dir: &Path) -> Vec<(String, u64)> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().ino()))
        .collect();
    names.sort();
    names
}

/// A directory that goes when dropped, in memory where there is such a place: real syncs are not what these tests are about.
pub(super) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A copy of a directory, as a backup or a kill leaves it.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { assert!(fs::copy(&path, &target).is_ok()) }
    }
}
