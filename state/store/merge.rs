//! Merging files in the background, so that a checkpoint stays a few files however long the job runs.
//!
//! [`choose`] decides, [`super::Store::merge`] writes, and the caller puts the result into its next manifest with [`Merge::replace`].
//! Only neighbours merge, so that "oldest first" stays true; the parts of one epoch do not overlap and may be cut apart.

use std::path::Path;

use super::disk::Disk;
use super::name::Name;
use super::read::DataReader;
use super::walk::Walk;
use super::write::{DataFile, FileKind, FileRef};
use super::{CheckpointId, RunId, StoreError};
use crate::KeyGroup;

/// A checkpoint has at most this many files beside [`EPOCHS`] epochs of parts.
const FILES: usize = 8;
/// How many epochs of parts may lie unmerged beside [`FILES`]: with many workers an epoch alone has many parts.
const EPOCHS: usize = 4;
/// Fewer than this, beside an epoch of parts, are not merged: each merge costs an fsync and ends as one file more.
const LEAST: usize = 4;
/// A file takes part when all younger ones together weigh this many times as much: measured over 2,000 epochs, 3 gives the fewest bytes.
const OUTWEIGHED: u64 = 3;

/// Files to be replaced by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Neighbours in a manifest, oldest first.
    pub files: Vec<FileRef>,
    /// A base when nothing is older, so that deletions and dropped prefixes have done their work.
    pub into: FileKind,
}

/// Which of a manifest's files (oldest first) to merge next; `None` while they are few enough.
///
/// When the files behind the first weigh as much as the first, all become one base: files are then at most about twice the live state.
/// Otherwise as many of the youngest as their oldest is light beside them, which leaves files in tiers: each byte is written about
/// four times before it reaches the base.
///
/// ```
/// use millpond_state::store::choose;
/// assert_eq!(choose(&[]), None);
/// ```
#[must_use]
pub fn choose(files: &[FileRef]) -> Option<Merge> {
    if files.len() <= FILES + EPOCHS * widest(files) {
        return None;
    }
    let (first, rest) = files.split_first()?;
    let rest_bytes: u64 = rest.iter().map(|file| file.bytes).sum();
    if rest_bytes >= first.bytes {
        return Some(Merge { files: files.to_vec(), into: FileKind::Base });
    }
    let least = (LEAST + widest(files)).min(rest.len());
    let mut younger = 0;
    let mut from = rest.len() - least;
    for (at, file) in rest.iter().enumerate().rev() {
        if at < from && file.bytes.saturating_mul(OUTWEIGHED) <= younger {
            from = at;
        }
        younger += file.bytes;
    }
    Some(Merge { files: rest[from..].to_vec(), into: FileKind::Delta })
}

/// The most parts that an epoch has.
fn widest(files: &[FileRef]) -> usize {
    let mut parts: Vec<CheckpointId> = files
        .iter()
        .filter_map(|file| match Name::parse(&file.name)? {
            Name::Part(id, _) => Some(id),
            _ => None,
        })
        .collect();
    parts.sort();
    parts.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap_or(1)
}

impl Merge {
    /// Puts the merge's result (`None` when nothing was left) in the place of its inputs. `false`, and nothing done, when they no
    /// longer lie side by side in `files`, or are no longer the oldest though the result is a base.
    #[must_use]
    pub fn replace(&self, files: &mut Vec<FileRef>, result: Option<FileRef>) -> bool {
        let Some(at) = files.windows(self.files.len().max(1)).position(|run| run == self.files) else { return false };
        if self.into == FileKind::Base && at > 0 {
            return false;
        }
        files.splice(at..at + self.files.len(), result);
        true
    }

    /// The name of its result for a run: of the newest epoch it covers, with the first number that is free.
    pub(crate) fn name(&self, run: RunId, free: impl Fn(Name) -> bool) -> Name {
        let epoch =
            |file: &FileRef| Name::parse(&file.name).expect("manifests name files of the store only").id().epoch;
        let epoch = self.files.iter().map(epoch).max().expect("a merge has files");
        let id = CheckpointId { epoch, run };
        let name = |number| match self.into {
            FileKind::Base => Name::Base(id, number),
            FileKind::Delta => Name::Merge(id, number),
        };
        (0..u32::MAX).map(name).find(|name| free(*name)).expect("no run merges an epoch four billion times")
    }

    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path, name: Name) -> Result<Option<FileRef>, StoreError> {
        let readers: Result<_, _> = self.files.iter().map(|file| DataReader::open(dir, file, "a merge")).collect();
        let all = 0..KeyGroup::COUNT as u16;
        let mut walk = Walk::new(readers?, all, None);
        let mut out = DataFile::create(disk, dir, name)?;
        while walk.next_uid()? {
            let is_base = self.into == FileKind::Base;
            out.section(walk.uid(), if is_base { Vec::new() } else { walk.drops().union() })?;
            while walk.advance()? {
                let Some(entry) = walk.entry() else { break };
                // A deletion is of use while something older lies below that no dropped prefix removes anyway.
                let dead =
                    entry.value.is_none() && (is_base || walk.drops().ever(entry.group.index() as u16, entry.key));
                if !dead {
                    out.push(entry)?;
                }
            }
        }
        if out.says_nothing() { Ok(None) } else { out.publish().map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SectionRef;

    fn file(name: Name, bytes: u64) -> FileRef {
        let kind = if matches!(name, Name::Base(..)) { FileKind::Base } else { FileKind::Delta };
        FileRef { name: name.to_string(), kind, bytes, checksum: 0, sections: Vec::<SectionRef>::new() }
    }

    /// Runs epochs whose deltas are `delta` bytes, of which at most `live` are live: (bytes of merges over bytes of deltas, most files).
    fn run(epochs: u64, workers: u32, delta: u64, live: u64) -> (f64, usize) {
        let mut files: Vec<FileRef> = Vec::new();
        let (mut merged, mut most) = (0, 0);
        for epoch in 0..epochs {
            let id = CheckpointId { epoch, run: RunId::new(1) };
            files.extend((0..workers).map(|worker| file(Name::Part(id, worker), delta / u64::from(workers))));
            most = most.max(files.len());
            // The merge ends an epoch later: what comes meanwhile must not disturb it.
            if let Some(merge) = choose(&files) {
                let all: u64 = merge.files.iter().map(|file| file.bytes).sum();
                let bytes = if merge.into == FileKind::Base { all.min(live) } else { all };
                merged += bytes;
                let result = file(merge.name(id.run, |_| true), bytes);
                assert!(merge.replace(&mut files, Some(result)));
            }
        }
        (merged as f64 / (epochs * delta) as f64, most)
    }

    #[test]
    fn files_stay_few_and_bytes_are_rewritten_seldom() {
        for workers in [1, 2, 6, 16] {
            for (what, delta, live, bound) in [
                ("state that only grows", 1 << 20, u64::MAX, 4.6),
                ("a tenth of the state each epoch", 10 << 20, 100 << 20, 3.0),
                ("a thousandth of the state each epoch", 1 << 20, 1000 << 20, 4.5),
                ("windows that come and go", 10 << 20, 10 << 20, 1.0),
                ("next to nothing", 300, 10_000, 3.0),
            ] {
                let (rewritten, most) = run(1_000, workers, delta, live);
                println!("{workers} workers, {what}: {rewritten:.2} times, {most} files");
                assert!(rewritten < bound, "{workers} workers, {what}: rewritten {rewritten:.2} times");
                assert!(most <= FILES + (EPOCHS + 1) * workers as usize, "{workers} workers, {what}: {most} files");
            }
        }
    }

    #[test]
    fn a_result_goes_only_where_its_inputs_lie() {
        let id = |epoch| CheckpointId { epoch, run: RunId::new(1) };
        let part = |epoch| file(Name::Part(id(epoch), 0), 10);
        let merge = Merge { files: vec![part(1), part(2)], into: FileKind::Base };
        let base = file(Name::Base(id(2), 0), 15);
        let mut files = vec![part(1), part(2), part(3)];
        assert!(merge.replace(&mut files, Some(base.clone())));
        assert_eq!(files, [base, part(3)]);
        let mut younger = vec![part(0), part(1), part(2)];
        assert!(!merge.replace(&mut younger, None), "a base has nothing below it");
        assert_eq!(younger.len(), 3);
        let mut apart = vec![part(1), part(3), part(2)];
        assert!(!merge.replace(&mut apart, None));
        let mut same = vec![part(1), part(2)];
        assert!(merge.replace(&mut same, None));
        assert!(same.is_empty());
    }
}
