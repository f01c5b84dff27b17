//! Reading every byte of a checkpoint, as `checkpoints verify` does.

use std::path::Path;

use super::read::{Cursor, DataReader};
use super::write::FileKind;
use super::{CheckpointId, FileRef, Manifest, StoreError};
use crate::KeyGroup;

/// What every byte of a checkpoint says.
#[derive(Debug)]
#[must_use = "a report says whether the checkpoint is sound"]
pub struct Report {
    /// The checkpoint.
    pub id: CheckpointId,
    /// The checksum of its manifest, as a commit record names it.
    pub checksum: u32,
    /// Its files, oldest first.
    pub files: Vec<FileReport>,
}

/// What every byte of a data file says.
#[derive(Debug)]
pub struct FileReport {
    /// The file's name.
    pub name: String,
    /// Its length, as the manifest names it.
    pub bytes: u64,
    /// Entries that could be read, deletions counted.
    pub entries: u64,
    /// The first thing that is wrong with it.
    pub problem: Option<StoreError>,
}

impl Report {
    /// Whether the checkpoint can be restored.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.files.iter().all(|file| file.problem.is_none())
    }

    pub(crate) fn new(dir: &Path, manifest: &Manifest, checksum: u32) -> Self {
        let id = manifest.id;
        let mut files = Vec::new();
        for (at, file) in manifest.files.iter().enumerate() {
            let mut report = FileReport { name: file.name.clone(), bytes: file.bytes, entries: 0, problem: None };
            report.problem = read_all(dir, file, &format!("checkpoint {id}"), &mut report.entries).err();
            if at > 0 && file.kind == FileKind::Base && report.problem.is_none() {
                let what = "a base, but older files lie below it";
                report.problem = Some(StoreError::corrupt(&dir.join(&file.name), 0, what));
            }
            files.push(report);
        }
        Report { id, checksum, files }
    }
}

fn read_all(dir: &Path, file: &FileRef, needed_by: &str, entries: &mut u64) -> Result<(), StoreError> {
    let reader = DataReader::open(dir, file, needed_by)?;
    let named = file.sections.iter().map(|section| (section.uid.as_str(), section.entries));
    let held = reader.footer().sections.iter().map(|section| (section.uid.as_str(), section.entries));
    if !named.eq(held) {
        return Err(StoreError::corrupt(
            reader.path(),
            file.bytes,
            "the footer has other operators than the manifest names",
        ));
    }
    let all = 0..KeyGroup::COUNT as u16;
    for section in &reader.footer().sections {
        let before = *entries;
        let mut last: Option<(u16, Vec<u8>)> = None;
        if let Some(mut cursor) = Cursor::new(0, &reader, &section.uid, &all) {
            while cursor.advance(&reader)? {
                let (group, key) = (cursor.group(), cursor.key());
                if last.as_ref().is_some_and(|last| (last.0, last.1.as_slice()) >= (group, key)) {
                    let what = "the entries of this block are not in order";
                    return Err(StoreError::corrupt(reader.path(), cursor.offset(), what));
                }
                let last = last.get_or_insert_default();
                last.0 = group;
                last.1.clear();
                last.1.extend_from_slice(key);
                *entries += 1;
            }
        }
        if *entries - before != section.entries {
            let what =
                format!("{} has {} entries, the footer says {}", section.uid, *entries - before, section.entries);
            return Err(StoreError::corrupt(reader.path(), file.bytes, what));
        }
    }
    Ok(())
}
