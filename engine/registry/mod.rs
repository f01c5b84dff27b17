//! The registry of job versions: which there are, how they stand, and which of them the live line follows.
//!
//! It is a compacted topic with one JSON document a job ([`Entry`]), kept by the system that decides the job's commits
//! ([`crate::ledger::Ledger`]). A writer fences all others, reads to the end, decides and appends; so decisions are a chain, and whatever
//! crashes, the registry stands before one or after it. `run` registers its version and says how it stands every few seconds; `promote`,
//! `rollback` and `retire` decide.
//!
//! Modules: `entry` is the document, `line` what readers of the live line go by, `decide` every decision, `switch` where the
//! line changes; all of it pure.

mod decide;
mod entry;
mod line;
mod switch;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod switch_tests;

pub use decide::Gates;
pub use entry::{Compared, Entry, FORMAT, More, Options, Output, Standing, State, Version};
pub use line::{Leg, Next, Place, Turn};
pub use switch::{Decided, Facts};

use crate::Fault;
use crate::ledger::Ledger;

/// The entry of a job, taking nothing from anybody; `None` when the registry does not know it.
///
/// # Errors
/// When the registry cannot be read, or the entry is of a newer release.
pub fn look(ledger: &dyn Ledger, job: &str) -> Result<Option<Entry>, Fault> {
    let entries = ledger.entries()?;
    entries.iter().find(|(key, _)| key == job).map(|(_, bytes)| Entry::parse(job, bytes)).transpose()
}

/// Decides about a job under the fence: `decide` gets the newest entry, an empty one for a job that is not known, and says what follows.
///
/// # Errors
/// What `decide` says; and when the registry cannot be read or written.
pub fn change(
    ledger: &dyn Ledger,
    job: &str,
    mut decide: impl FnMut(&Entry) -> Result<Option<Entry>, Fault>,
) -> Result<(), Fault> {
    ledger.decide(job, &mut |bytes| {
        crate::failpoint::hit("registry fenced");
        let entry = bytes.map_or_else(|| Ok(Entry::new(job)), |bytes| Entry::parse(job, bytes))?;
        let next = decide(&entry)?;
        crate::failpoint::hit("registry decided");
        Ok(next.map(|next| next.bytes()))
    })?;
    crate::failpoint::hit("registry appended");
    Ok(())
}
