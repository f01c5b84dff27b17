//! The document that says what a savepoint is: `savepoint.json`.
//!
//! It is JSON, written for people too, and its last member is the crc32 of every byte before it. Who writes it anew writes another document:
//! what is read is what was written, or nothing.

use std::collections::BTreeMap;

use millpond_state::Timestamp;
use millpond_state::store::{CheckpointId, FileRef, FiredRun, Manifest, SourceState};
use serde::{Deserialize, Serialize};

use crate::{Node, Reached};

/// The format this release writes.
pub(crate) const FORMAT: u32 = 1;
/// What the document is called in its folder.
pub(crate) const DESCRIPTION: &str = "savepoint.json";

/// Between what is summed and the sum. Pretty JSON cannot hold it elsewhere: text has its line ends escaped.
const BEFORE: &str = ",\n  \"checksum\": \"";
const BEHIND: &str = "\"\n}\n";

/// A savepoint: a committed checkpoint, told from the job that wrote it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    /// [`FORMAT`].
    pub format: u32,
    /// What wrote it.
    pub build: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// The job's name.
    pub job: String,
    /// The job's version.
    pub version: u32,
    /// The checkpoint: run and epoch.
    pub checkpoint: CheckpointId,
    /// When the checkpoint was made.
    pub created: Timestamp,
    /// Hash of the plan, hexadecimal.
    pub plan: String,
    /// How far the job had come: its watermark, and each output.
    pub reached: Reached,
    /// Where each source stood, by uid.
    pub sources: BTreeMap<String, SourceState>,
    /// Sources, sinks and steps with state as the plan had them, with the shapes of their keys and state, by uid.
    pub steps: BTreeMap<String, Node>,
    /// Up to which watermark each step's windows have fired, by uid.
    pub fired: BTreeMap<String, Vec<FiredRun>>,
    /// The files beside this one.
    pub files: Vec<FileRef>,
}

/// Why a document says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// A newer release wrote it.
    #[error("it has format {0} and this program knows {FORMAT}: a newer release wrote it; use that release")]
    Newer(u64),
    /// It is not what was written.
    #[error("it is damaged: {0}; put it back from a copy, or take another savepoint")]
    Damaged(String),
}

impl Description {
    /// As it is written.
    #[must_use]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_string_pretty(self).expect("a description has text keys and finite numbers only");
        let open = text.trim_end_matches('}').trim_end().len();
        text.truncate(open);
        let sum = crc32fast::hash(text.as_bytes());
        format!("{text}{BEFORE}{sum:08x}{BEHIND}").into_bytes()
    }

    /// Reads one, with its checksum.
    ///
    /// # Errors
    /// When it is of a newer release, or not what was written.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(Self, u32), Unreadable> {
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let damaged = |what: String| Unreadable::Damaged(what);
        // Whatever else a newer release changed, this stays.
        let newer = serde_json::from_slice::<Format>(bytes).ok().filter(|found| found.format > u64::from(FORMAT));
        if let Some(Format { format }) = newer {
            return Err(Unreadable::Newer(format));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
        let (body, sum) = text
            .strip_suffix(BEHIND)
            .and_then(|text| text.rsplit_once(BEFORE))
            .ok_or_else(|| damaged("it does not end with its checksum".to_owned()))?;
        let found = crc32fast::hash(body.as_bytes());
        if sum != format!("{found:08x}") {
            return Err(damaged(format!("its checksum is {found:08x}, and it names {sum}")));
        }
        let description: Description =
            serde_json::from_slice(bytes).map_err(|error| damaged(format!("this is no savepoint: {error}")))?;
        if description.format != FORMAT {
            return Err(damaged(format!("there is no format {}", description.format)));
        }
        match description.files.iter().find(|file| !file.is_named_by_the_store()) {
            // A name could lead out of the folder.
            Some(file) => Err(damaged(format!("{:?} is not the name of a file of the store", file.name))),
            None => Ok((description, found)),
        }
    }

    /// What it is called: `views@1 00f3a9b2c4d5e6f7-42`.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        format!("{}@{} {}", self.job, self.version, self.checkpoint)
    }

    /// The checkpoint as its store had it, with the files of the savepoint.
    #[must_use]
    pub(crate) fn manifest(&self) -> Manifest {
        Manifest {
            job: self.job.clone(),
            job_version: self.version,
            sources: self.sources.clone(),
            fired: self.fired.clone(),
            files: self.files.clone(),
            created: self.created,
            ..Manifest::new(self.checkpoint)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use millpond_state::store::RunId;

    use super::*;

    pub(in crate::savepoint) fn description() -> Description {
        Description {
            format: FORMAT,
            build: "millpond 0.1.0".to_owned(),
            taken: Timestamp::from_secs(100),
            job: "views".to_owned(),
            version: 1,
            checkpoint: CheckpointId { run: RunId::new(7), epoch: 12 },
            created: Timestamp::from_secs(99),
            plan: "00000000000000ab".to_owned(),
            reached: Reached::default(),
            sources: BTreeMap::new(),
            steps: BTreeMap::new(),
            fired: BTreeMap::new(),
            files: Vec::new(),
        }
    }

    #[test]
    fn a_description_is_json_and_reads_back() {
        let (description, mut odd) = (description(), description());
        odd.job = format!("a{BEFORE}b{BEHIND}");
        for written in [description, odd] {
            let bytes = written.bytes();
            let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let (read, sum) = Description::parse(&bytes).unwrap();
            assert_eq!((&read, json["checksum"].as_str().unwrap()), (&written, format!("{sum:08x}").as_str()));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found_out() {
        let bytes = description().bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(Description::parse(&changed).is_err(), "byte {at}, bit {bit}");
            }
            assert!(Description::parse(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_release_is_told_from_damage_and_no_file_lies_elsewhere() {
        let mut newer = description();
        newer.format = FORMAT + 1;
        assert_eq!(Description::parse(&newer.bytes()), Err(Unreadable::Newer(2)));
        let mut outside = description();
        let (kind, name) = (millpond_state::store::FileKind::Base, "../0000000000000007-12-0.base".to_owned());
        outside.files.push(FileRef { name, kind, bytes: 0, checksum: 0, sections: Vec::new() });
        let Err(Unreadable::Damaged(why)) = Description::parse(&outside.bytes()) else { panic!("it was read") };
        assert!(why.contains("is not the name of a file of the store"), "{why}");
    }
}
