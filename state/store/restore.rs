//! Reading a checkpoint back: the live entries of some key groups, as a stream.

use std::ops::Range;
use std::path::Path;

use super::read::DataReader;
use super::walk::Walk;
use super::{Manifest, StoreError};
use crate::{Entry, KeyGroup};

/// A live entry of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored<'a> {
    /// The operator it belongs to.
    pub uid: &'a str,
    /// The key group it was written with.
    pub group: KeyGroup,
    /// The encoded key, as the operator's handle wrote it.
    pub key: &'a [u8],
    /// The encoded value.
    pub value: &'a [u8],
}

/// The live entries of a checkpoint in the order of (uid, key group, key). Memory is one block (64 KiB) a file, whatever their number.
///
/// It lends its entries, so that it is a `while let` rather than a `for`. After an error nothing that was read before counts.
#[must_use = "nothing is read until next_entry() is called"]
pub struct Restore {
    walk: Walk,
    /// Whether an operator's entries are coming out.
    inside: bool,
}

impl Restore {
    pub(crate) fn new(
        dir: &Path,
        manifest: &Manifest,
        groups: Range<u16>,
        uid: Option<&str>,
    ) -> Result<Self, StoreError> {
        let needed_by = format!("checkpoint {}", manifest.id);
        let says_something = |section: &super::SectionRef| {
            section.from < groups.end && groups.start < section.to && uid.is_none_or(|uid| uid == section.uid)
        };
        let files = manifest.files.iter().filter(|file| file.sections.iter().any(says_something));
        let readers: Result<Vec<_>, _> = files.map(|file| DataReader::open(dir, file, &needed_by)).collect();
        Ok(Restore { walk: Walk::new(readers?, groups, uid), inside: false })
    }

    /// The next live entry, `None` behind the last one.
    ///
    /// # Errors
    /// A file that is missing, cut or changed, by name and offset.
    pub fn next_entry(&mut self) -> Result<Option<Restored<'_>>, StoreError> {
        loop {
            if !self.inside {
                self.inside = self.walk.next_uid()?;
                if !self.inside {
                    return Ok(None);
                }
            }
            self.inside = self.walk.advance()?;
            if self.walk.entry().is_some_and(|entry| entry.value.is_some()) {
                break;
            }
        }
        Ok(self.walk.entry().and_then(|Entry { group, key, value }| {
            value.map(|value| Restored { uid: self.walk.uid(), group, key, value })
        }))
    }
}
