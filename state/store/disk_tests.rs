//! A disk that fails where a test says, and forgets on a crash what was not made durable; and what the store makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::disk::{Disk, Local};
use super::store_tests::{Rows, id, rows};
use super::*;
use crate::{KeyGroup, Section};

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies before it.
    Crash,
    /// The process dies in the middle: half of a write is done.
    Torn,
    /// The operation fails with this, once.
    Error(io::ErrorKind),
}

#[derive(Debug, Default)]
struct Memory {
    operations: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
    failed: bool,
    /// Content that an fsync has not reached yet.
    unsynced: BTreeSet<PathBuf>,
    /// Names given and taken since the directory's last fsync: what the path held before.
    names: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

/// Does not fsync at all, so that tests are fast, but knows what an fsync would have kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faulty(Arc<Mutex<Memory>>);

impl Faulty {
    fn failing(at: u64, fault: Fault) -> Self {
        Faulty(Arc::new(Mutex::new(Memory { fault: Some((at, fault)), ..Memory::default() })))
    }

    fn begin(&self, torn: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut memory = self.0.lock().unwrap();
        let now = memory.operations;
        memory.operations += 1;
        if memory.dead {
            return Err(io::Error::other("the process is dead"));
        }
        match memory.fault {
            Some((at, fault)) if at == now => {
                memory.failed = true;
                match fault {
                    Fault::Error(kind) => return Err(kind.into()),
                    Fault::Torn => torn()?,
                    Fault::Crash => {}
                }
                memory.dead = true;
                Err(io::Error::other("the process dies here"))
            }
            _ => Ok(()),
        }
    }

    fn name(&self, path: &Path) {
        let before = fs::read(path).ok();
        self.0.lock().unwrap().names.entry(path.to_owned()).or_insert(before);
    }

    /// The power fails: content that was not fsynced is lost, and of the names that were not, those that `lost` says.
    fn power_fails(&self, lost: impl Fn(usize) -> bool) {
        let memory = self.0.lock().unwrap();
        for path in &memory.unsynced {
            if let Ok(bytes) = fs::read(path) {
                fs::write(path, vec![0; bytes.len() / 2]).unwrap();
            }
        }
        for (at, (path, before)) in memory.names.iter().enumerate() {
            match before {
                _ if !lost(at) => {}
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => drop(fs::remove_file(path)),
            }
        }
    }

    fn failed(&self) -> bool {
        self.0.lock().unwrap().failed
    }
}

impl Disk for Faulty {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.begin(|| Ok(()))?;
        self.name(path);
        let file = File::create(path)?;
        self.0.lock().unwrap().unsynced.insert(path.to_owned());
        Ok(file)
    }
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        self.begin(|| Local.write(file, &bytes[..bytes.len() / 2]))?;
        Local.write(file, bytes)
    }
    fn sync(&self, _: &File, path: &Path) -> io::Result<()> {
        self.begin(|| Ok(()))?;
        self.0.lock().unwrap().unsynced.remove(path);
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin(|| Ok(()))?;
        self.name(to);
        let mut memory = self.0.lock().unwrap();
        if memory.unsynced.remove(from) {
            memory.unsynced.insert(to.to_owned());
        }
        fs::rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.begin(|| Ok(()))?;
        self.0.lock().unwrap().names.retain(|path, _| path.parent() != Some(dir));
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.begin(|| Ok(()))?;
        self.name(path);
        self.0.lock().unwrap().unsynced.remove(path);
        fs::remove_file(path)
    }
}

fn part(store: &Store, epoch: u64, worker: u32, groups: Range<u16>) -> Result<FileRef, StoreError> {
    let mut section = Section::new("counts");
    section.drop_prefix(&[b'a' + (epoch % 3) as u8]);
    for key in 0..40_u8 {
        let group = KeyGroup::new(groups.start + u16::from(key));
        let value = [epoch.to_be_bytes(); 100].concat();
        section.put(group, |out| out.extend_from_slice(&[b'a' + key % 3, key]), |out| out.extend_from_slice(&value));
    }
    store.write_part(id(epoch), worker, groups, &Delta { sections: vec![section] }).map(|file| file.unwrap())
}

fn contents(dir: &Path, epoch: u64) -> Result<Rows, StoreError> {
    let checkpoints = Checkpoints::open(dir)?;
    rows(checkpoints.restore(&checkpoints.manifest(id(epoch))?, 0..1024, None)?)
}

/// Epochs 2 to 4 after epoch 1, with a merge and releases between; stops at the first error. `reached` says what was promised.
fn epochs(store: &Store, reached: &mut Reached) -> Result<(), StoreError> {
    let mut files = store.manifest(id(1))?.files;
    for epoch in 2..=4 {
        files.extend([part(store, epoch, 0, 0..512)?, part(store, epoch, 1, 512..1024)?]);
        if epoch == 3 {
            let merge = Merge { files: files.clone(), into: FileKind::Base };
            assert!(merge.replace(&mut files, store.merge(&merge)?));
        }
        let manifest = Manifest { parent: Some(id(epoch - 1)), files: files.clone(), ..Manifest::new(id(epoch)) };
        store.write_manifest(&manifest)?;
        reached.durable = epoch;
        reached.releasing = epoch;
        store.release(&manifest, &[])?;
    }
    Ok(())
}

#[derive(Debug)]
struct Reached {
    durable: u64,
    releasing: u64,
}

#[test]
fn whatever_operation_fails_the_committed_checkpoint_and_its_parent_restore_exactly() {
    let ideal = tempfile::tempdir().unwrap();
    let mut expected = BTreeMap::new();
    {
        let store = Store::open_on(ideal.path(), id(0).run, Box::new(Faulty::default())).unwrap();
        let mut files = vec![part(&store, 1, 0, 0..512).unwrap()];
        for epoch in 2..=5 {
            let manifest = Manifest { files: files.clone(), ..Manifest::new(id(epoch - 1)) };
            store.write_manifest(&manifest).unwrap();
            expected.insert(epoch - 1, contents(ideal.path(), epoch - 1).unwrap());
            files.extend([part(&store, epoch, 0, 0..512).unwrap(), part(&store, epoch, 1, 512..1024).unwrap()]);
        }
    }
    type Lost = fn(usize) -> bool;
    let cases: [(Fault, Lost); 6] = [
        (Fault::Crash, |_| true),
        (Fault::Crash, |at| at % 2 == 0),
        (Fault::Crash, |at| at % 2 == 1),
        (Fault::Torn, |at| at % 3 == 0),
        (Fault::Error(io::ErrorKind::StorageFull), |_| false),
        (Fault::Error(io::ErrorKind::Other), |_| false),
    ];
    for (fault, lost) in cases {
        for at in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let disk = Faulty::failing(at, fault);
            let mut reached = Reached { durable: 1, releasing: 0 };
            let outcome = {
                // Epoch 1 is there before the disk begins to fail.
                let before = Store::open_on(dir.path(), id(0).run, Box::new(Faulty::default())).unwrap();
                let files = vec![part(&before, 1, 0, 0..512).unwrap()];
                before.write_manifest(&Manifest { files, ..Manifest::new(id(1)) }).unwrap();
                Store::open_on(dir.path(), id(0).run, Box::new(disk.clone()))
                    .and_then(|store| epochs(&store, &mut reached))
            };
            if !disk.failed() {
                outcome.unwrap();
                assert!(at > 60, "the faults went over all operations");
                break;
            }
            if let (Fault::Error(io::ErrorKind::StorageFull), Err(error)) = (fault, &outcome) {
                assert_eq!(error.kind(), StoreErrorKind::Full, "{error}");
            }
            if matches!(fault, Fault::Crash | Fault::Torn) {
                disk.power_fails(lost);
            }
            let what = format!("{fault:?} at operation {at}, {reached:?}");
            for epoch in reached.releasing.saturating_sub(1).max(1)..=reached.durable {
                assert!(contents(dir.path(), epoch).unwrap() == expected[&epoch], "{what}: checkpoint {epoch}");
            }
            // Manifests may be there that nothing promised; none may be there without its files.
            for (epoch, manifest) in Checkpoints::open(dir.path()).unwrap().list().unwrap() {
                manifest.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(contents(dir.path(), epoch.epoch).unwrap() == expected[&epoch.epoch], "{what}: {epoch}");
            }
            the_next_run_cleans_up(dir.path(), reached.durable, &what);
        }
    }
}

fn the_next_run_cleans_up(dir: &Path, committed: u64, what: &str) {
    let store = Store::open_on(dir, RunId::new(0xb0b), Box::new(Faulty::default())).unwrap();
    let manifest = store.manifest(id(committed)).unwrap();
    store.discard_unfinished(Some(&manifest), &[], Newer::Discard).unwrap();
    let kept = store.manifests().unwrap();
    assert!(kept.iter().all(|id| id.epoch == committed || id.epoch + 1 == committed), "{what}: {kept:?}");
    let mut needed: BTreeSet<String> = kept.iter().map(|id| Name::Manifest(*id).to_string()).collect();
    needed.extend(kept.iter().flat_map(|id| store.manifest(*id).unwrap().files).map(|file| file.name));
    let names =
        fs::read_dir(dir.join("checkpoints")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.collect::<BTreeSet<_>>(), needed, "{what}");
}
