//! The names of the files in `checkpoints/`: what does not parse as one is not ours, and is never deleted.

use std::fmt;

use super::CheckpointId;

/// A file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// `<run>-<epoch>.manifest`
    Manifest(CheckpointId),
    /// `<run>-<epoch>-<worker>.part`: what one worker changed in one epoch.
    Part(CheckpointId, u32),
    /// `<run>-<epoch>-<number>.merge`: several files in one, older ones remain below it.
    Merge(CheckpointId, u32),
    /// `<run>-<epoch>-<number>.base`: several files in one, nothing is older.
    Base(CheckpointId, u32),
}

/// What a file is called until it is whole and durable.
pub(crate) const ASIDE: &str = ".tmp";

impl Name {
    /// The name a file has, when it is one of ours in exactly the printed form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (stem, kind) = text.rsplit_once('.')?;
        let name = if kind == "manifest" {
            Name::Manifest(stem.parse().ok()?)
        } else {
            let (id, number) = stem.rsplit_once('-')?;
            let (id, number) = (id.parse().ok()?, number.parse().ok()?);
            match kind {
                "part" => Name::Part(id, number),
                "merge" => Name::Merge(id, number),
                "base" => Name::Base(id, number),
                _ => return None,
            }
        };
        (name.to_string() == text).then_some(name)
    }

    /// The checkpoint it was written for.
    pub(crate) fn id(self) -> CheckpointId {
        match self {
            Name::Manifest(id) | Name::Part(id, _) | Name::Merge(id, _) | Name::Base(id, _) => id,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Manifest(id) => write!(f, "{id}.manifest"),
            Name::Part(id, worker) => write!(f, "{id}-{worker}.part"),
            Name::Merge(id, number) => write!(f, "{id}-{number}.merge"),
            Name::Base(id, number) => write!(f, "{id}-{number}.base"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RunId;

    #[test]
    fn names_parse_back_and_nothing_else_does() {
        let id = CheckpointId { epoch: 3, run: RunId::new(1) };
        for name in [Name::Manifest(id), Name::Part(id, 0), Name::Merge(id, 7), Name::Base(id, 12)] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
            assert_eq!(Name::parse(&format!("{name}{ASIDE}")), None);
        }
        for text in
            ["notes.txt", "0000000000000001-3.part", "0000000000000001-3-00.part", "1-3.manifest", ".manifest", "x"]
        {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
