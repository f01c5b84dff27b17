//! What a checkpoint is made of, and the file that says so.
//!
//! A manifest is durable before the commit that names it begins; the commit record names its checksum, so that recovery restores those
//! very bytes or stops.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::disk::{Aside, Disk};
use super::name::Name;
use super::read::{check_header, open};
use super::wire::{Put, Take};
use super::{CheckpointId, FileRef, StoreError};
use crate::Timestamp;

const MAGIC: [u8; 8] = *b"MLPDMANI";
const VERSION: u32 = 1;
/// Magic, version (u32), crc32 of what follows (u32), length of the body (u64).
const ENVELOPE_BYTES: usize = 24;
const CRC_END: usize = 16;

/// A checkpoint: where the sources stood, what had fired, and which files hold the state.
///
/// ```
/// use millpond_state::store::{CheckpointId, Manifest, RunId};
/// let id = CheckpointId { epoch: 0, run: RunId::new(7) };
/// let manifest = Manifest { job: "page-views".into(), job_version: 1, ..Manifest::new(id) };
/// assert!(manifest.parent.is_none() && manifest.files.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Which checkpoint this is.
    pub id: CheckpointId,
    /// The job's name.
    pub job: String,
    /// The job's version.
    pub job_version: u32,
    /// The checkpoint it continues; none for the first of a job version.
    pub parent: Option<CheckpointId>,
    /// Hash of the plan that wrote it.
    pub plan: u64,
    /// The shapes of state, in the order of the plan: uid and what the engine wants to know of its types.
    pub shapes: Vec<(String, serde_json::Value)>,
    /// Where each source stood, by uid.
    pub sources: BTreeMap<String, SourceState>,
    /// Up to which watermark each operator's windows have fired, by uid: key groups in runs, ascending.
    pub fired: BTreeMap<String, Vec<FiredRun>>,
    /// The data files in the order in which they apply, oldest first.
    pub files: Vec<FileRef>,
    /// Whether the job ended with it: every source's final watermark was sent.
    pub finished: bool,
    /// When it was made, by the clock of the run.
    pub created: Timestamp,
    /// What else the engine wants to find again.
    pub extra: BTreeMap<String, String>,
}

/// Where a source stood at the end of the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// Its partitions.
    pub partitions: Vec<PartitionState>,
    /// How the first positions were chosen, in the words of the command line.
    pub policy: String,
}

/// Where a source partition stood at the end of the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    /// Its number.
    pub partition: u32,
    /// Position of the next record to read.
    pub next: u64,
    /// The watermark it had promised.
    pub watermark: Timestamp,
    /// The newest event time it had seen, guarded ones not counted.
    pub newest: Timestamp,
    /// Whether the log had nothing for it and its watermark followed the others.
    pub idle: bool,
    /// Whether it had reached its end and promised the final watermark.
    pub finished: bool,
    /// Where it ends in a run that ends.
    pub end: Option<u64>,
    /// What the source wants to recognise the partition's content by; empty where it has nothing.
    pub fingerprint: String,
}

/// Neighbouring key groups whose windows have fired up to one watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiredRun {
    /// First key group.
    pub from: u16,
    /// Key group behind the last one.
    pub to: u16,
    /// Up to here they have fired.
    pub watermark: Timestamp,
}

impl Manifest {
    /// A checkpoint without anything in it.
    #[must_use]
    pub fn new(id: CheckpointId) -> Self {
        Manifest {
            id,
            job: String::new(),
            job_version: 0,
            parent: None,
            plan: 0,
            shapes: Vec::new(),
            sources: BTreeMap::new(),
            fired: BTreeMap::new(),
            files: Vec::new(),
            finished: false,
            created: Timestamp::EPOCH,
            extra: BTreeMap::new(),
        }
    }

    /// Writes it and answers with its checksum. Durable when this returns.
    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<u32, StoreError> {
        for file in &self.files {
            let path = dir.join(&file.name);
            let length = fs::metadata(&path).map(|metadata| metadata.len());
            if !length.is_ok_and(|length| length == file.bytes) || Name::parse(&file.name).is_none() {
                return Err(StoreError::missing(
                    &path,
                    format!("with {} bytes, the new checkpoint {}", file.bytes, self.id),
                ));
            }
        }
        let body = serde_json::to_vec(self).expect("a manifest has text keys and finite numbers only");
        let mut bytes = MAGIC.to_vec();
        VERSION.put(&mut bytes);
        let length = (body.len() as u64).to_le_bytes();
        let checksum = checksum(&[&length, &body]);
        checksum.put(&mut bytes);
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&body);
        let mut file = Aside::create(disk, dir, Name::Manifest(self.id))?;
        file.write(&bytes)?;
        file.publish()?;
        Ok(checksum)
    }

    /// Reads it with its checksum.
    pub(crate) fn read(dir: &Path, id: CheckpointId) -> Result<(Self, u32), StoreError> {
        let path = dir.join(Name::Manifest(id).to_string());
        open(&path, &format!("checkpoint {id}"))?;
        let bytes = fs::read(&path).map_err(|error| StoreError::io("read", &path, error))?;
        check_header(&path, &bytes, MAGIC, VERSION)?;
        let cut =
            || StoreError::corrupt(&path, bytes.len() as u64, "the manifest ends too early, or has too many bytes");
        let (Some(envelope), Some(body)) = (bytes.get(12..ENVELOPE_BYTES), bytes.get(ENVELOPE_BYTES..)) else {
            return Err(cut());
        };
        let mut take = Take { bytes: envelope };
        let (Some(crc), Some(length)) = (take.u32(), take.u64()) else { return Err(cut()) };
        if length != body.len() as u64 {
            return Err(cut());
        }
        if checksum(&[&bytes[CRC_END..]]) != crc {
            return Err(StoreError::corrupt(&path, 12, "the manifest does not have its checksum"));
        }
        let manifest: Manifest = serde_json::from_slice(body).map_err(|error| {
            StoreError::corrupt(&path, ENVELOPE_BYTES as u64, format!("this is not a manifest: {error}"))
        })?;
        if let Some(file) = manifest.files.iter().find(|file| Name::parse(&file.name).is_none()) {
            let what = format!("{:?} is not the name of a file of the store", file.name);
            return Err(StoreError::corrupt(&path, ENVELOPE_BYTES as u64, what));
        }
        if manifest.id != id {
            return Err(StoreError::corrupt(&path, 0, format!("this is the manifest of checkpoint {}", manifest.id)));
        }
        Ok((manifest, crc))
    }
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}
