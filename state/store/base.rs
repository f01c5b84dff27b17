//! All of a checkpoint in one file: what a savepoint holds, and what a job version that starts from one begins with.
//!
//! A [`Restore`] has opened every file it needs, so whatever deletes them meanwhile takes nothing from it. It is read as any restore is,
//! each block checked, and what comes out is one base: nothing is older, so nothing is deleted or dropped in it.

use std::path::Path;

use super::disk::{Disk, Local};
use super::name::Name;
use super::write::DataFile;
use super::{CheckpointId, FileRef, Restore, Restored, StoreError};
use crate::Entry;

/// What becomes of an entry on its way into a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes in as it is.
    Kept,
    /// It goes in with the value that was written for it.
    Changed,
    /// It stays out.
    Dropped,
    /// Nothing goes in any more: the base is given up.
    Stop,
}

impl Restore {
    /// Writes the entries into one new file in `folder`, named after `id`. `each` says what becomes of an entry; the value of one that is
    /// changed it leaves in the bytes it is given, which are empty. Durable when this returns; `None` when nothing went in, or `each` said
    /// stop, and then nothing is left of the file.
    ///
    /// # Errors
    /// A full or failing disk, a file that is not what was written, a file of this name that exists.
    pub fn write_base(
        self,
        folder: &Path,
        id: CheckpointId,
        each: impl FnMut(&Restored<'_>, &mut Vec<u8>) -> Fate,
    ) -> Result<Option<FileRef>, StoreError> {
        self.write_base_on(&Local, folder, id, each)
    }

    pub(crate) fn write_base_on(
        mut self,
        disk: &dyn Disk,
        folder: &Path,
        id: CheckpointId,
        mut each: impl FnMut(&Restored<'_>, &mut Vec<u8>) -> Fate,
    ) -> Result<Option<FileRef>, StoreError> {
        let mut out = DataFile::create(disk, folder, Name::Base(id, 0))?;
        let (mut uid, mut changed) = (String::new(), Vec::new());
        let mut any = false;
        while let Some(entry) = self.next_entry()? {
            changed.clear();
            let value = match each(&entry, &mut changed) {
                Fate::Kept => entry.value,
                Fate::Changed => &changed,
                Fate::Dropped => continue,
                Fate::Stop => return Ok(None),
            };
            if !any || entry.uid != uid {
                uid.clear();
                uid.push_str(entry.uid);
                out.section(&uid, Vec::new())?;
                any = true;
            }
            out.push(Entry { group: entry.group, key: entry.key, value: Some(value) })?;
        }
        if any { out.publish().map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Checkpoints, Manifest, RunId, Store};
    use crate::{Delta, KeyGroup, Section};

    fn id(run: u64, epoch: u64) -> CheckpointId {
        CheckpointId { run: RunId::new(run), epoch }
    }

    fn part(store: &Store, epoch: u64, entries: &[(&str, u16, &str, Option<&str>)]) -> FileRef {
        let mut delta = Delta::default();
        for (uid, group, key, value) in entries {
            let mut section = Section::new(uid);
            match value {
                Some(value) => section.put(
                    KeyGroup::new(*group),
                    |bytes| bytes.extend_from_slice(key.as_bytes()),
                    |bytes| bytes.extend_from_slice(value.as_bytes()),
                ),
                None => section.delete(KeyGroup::new(*group), |bytes| bytes.extend_from_slice(key.as_bytes())),
            }
            delta.sections.push(section);
        }
        store.write_part(id(1, epoch), 0, 0..1024, &delta).unwrap().unwrap()
    }

    fn all(checkpoints: &Checkpoints, manifest: &Manifest) -> Vec<String> {
        let mut restore = checkpoints.restore(manifest, 0..1024, None).unwrap();
        let mut all = Vec::new();
        while let Some(Restored { uid, group, key, value }) = restore.next_entry().unwrap() {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            all.push(format!("{uid} {} {} {}", group.index(), text(key), text(value)));
        }
        all
    }

    #[test]
    fn a_checkpoint_of_many_files_becomes_one_though_they_are_deleted_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), RunId::new(1)).unwrap();
        let first = part(&store, 1, &[("a", 3, "k", Some("1")), ("a", 9, "l", Some("2")), ("b", 3, "k", Some("3"))]);
        let second = part(&store, 2, &[("a", 3, "k", Some("4")), ("a", 9, "l", None), ("c", 0, "m", Some("5"))]);
        let manifest = Manifest { files: vec![first, second], ..Manifest::new(id(1, 2)) };
        assert_eq!(all(&store, &manifest), ["a 3 k 4", "b 3 k 3", "c 0 m 5"]);
        let restore = store.restore(&manifest, 0..1024, None).unwrap();
        for file in &manifest.files {
            std::fs::remove_file(store.folder().join(&file.name)).unwrap();
        }
        let other = tempfile::tempdir().unwrap();
        let file = restore.write_base(other.path(), id(1, 2), |entry, value| match entry.uid {
            "a" => {
                value.extend_from_slice(b"forty-");
                value.extend_from_slice(entry.value);
                Fate::Changed
            }
            "b" => Fate::Dropped,
            _ => Fate::Kept,
        });
        let copied = Manifest { files: file.unwrap().into_iter().collect(), ..Manifest::new(id(1, 2)) };
        let there = Checkpoints::in_folder(other.path());
        assert_eq!(all(&there, &copied), ["a 3 k forty-4", "c 0 m 5"]);
        assert!(there.verify_files(&copied, 0).is_sound());
    }

    #[test]
    fn what_is_given_up_or_empty_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), RunId::new(1)).unwrap();
        let files = vec![part(&store, 1, &[("a", 3, "k", Some("1")), ("b", 3, "k", Some("3"))])];
        let manifest = Manifest { files, ..Manifest::new(id(1, 1)) };
        for fate in [Fate::Stop, Fate::Dropped] {
            let other = tempfile::tempdir().unwrap();
            let restore = store.restore(&manifest, 0..1024, None).unwrap();
            assert_eq!(restore.write_base(other.path(), id(2, 0), |_, _| fate).unwrap(), None);
            assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
        }
    }
}
