//! What tools need of an outside system that decides commits: a place for the registry of job versions, the committed records of outputs,
//! and a way to delete what a version owned.
//!
//! A [`Ledger`] is made by [`System::ledger`](crate::sink::System::ledger), used by any thread, and never part of a running job's commits.
//! Names of outputs are those of the system: topics, with the version's ending. Only committed records are ever seen.

use std::ops::Range;
use std::time::Duration;

use millpond_state::Timestamp;

use crate::Fault;

/// The topic that keeps the registry, and the name by which its writers fence each other.
pub const REGISTRY: &str = "millpond-registry";

/// Looks at the value of a key, under the fence, and says what is to follow it; `None` leaves it as it is.
pub type Decide<'a> = &'a mut dyn FnMut(Option<&[u8]>) -> Result<Option<Vec<u8>>, Fault>;

/// A topic of one partition that tools write, and the name under which they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own<'a> {
    /// The topic. It is made when there is none, and keeps its records for ever.
    pub topic: &'a str,
    /// The name by which its writers fence each other.
    pub writer: &'a str,
    /// Whether only the newest value of each key counts there.
    pub compacted: bool,
}

impl Own<'static> {
    /// The registry of job versions.
    pub const REGISTRY: Own<'static> = Own { topic: REGISTRY, writer: REGISTRY, compacted: true };
}

/// A record that a tool appends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, in their order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// An output that is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// Its topic.
    pub topic: String,
    /// What [`Ledger::id`] said of it when that was decided. Another one of that name, made since, is let alone.
    pub id: Option<String>,
}

/// What a record's headers are: a name and a value each, in their order.
pub type HeadersOf<'a, 'h> = &'a mut dyn Iterator<Item = (&'h str, &'h [u8])>;

/// Is given a record and its headers.
pub type EachWhole<'a> = &'a mut dyn for<'r, 'h> FnMut(CommittedRecord<'r>, HeadersOf<'_, 'h>);

/// An outside system as tools see it.
pub trait Ledger: Send + Sync {
    /// What people call it: `the log in /data/log`.
    fn name(&self) -> String;

    /// The newest committed value of each key of the registry, taking nothing from anybody. None when there is no registry yet.
    ///
    /// # Errors
    /// When it cannot be read.
    fn entries(&self) -> Result<Vec<(String, Vec<u8>)>, Fault>;

    /// Fences every other writer of the registry, reads it to its end, asks `decide`, and appends what it says in one atomic, durable write.
    /// Whoever was fenced in between decides anew, so `decide` may be called again, with a newer value.
    ///
    /// # Errors
    /// What `decide` says, and then nothing is written; and when the registry cannot be read or written.
    fn decide(&self, key: &str, decide: Decide<'_>) -> Result<(), Fault>;

    /// Fences every other writer of a topic of tools, asks `decide` what is to be appended, and appends it in one atomic, durable write.
    /// Under the fence nobody else writes there, so what `decide` reads of the topic is all there is. Whoever was fenced in between, or does
    /// not know what became of the write, decides anew.
    ///
    /// # Errors
    /// What `decide` says, and then nothing is written; and when the topic cannot be written.
    fn append(&self, own: Own<'_>, decide: &mut dyn FnMut() -> Result<Vec<Added>, Fault>) -> Result<(), Fault>;

    /// The committed offsets that each partition of an output keeps; `None` when there is no such output.
    ///
    /// # Errors
    /// When that cannot be found out.
    fn kept(&self, output: &str) -> Result<Option<Vec<Range<u64>>>, Fault>;

    /// What tells an output from another one of the same name, made before or after it; `None` when there is no such output, and from a system
    /// that does not know, or that knows whose each output is.
    ///
    /// # Errors
    /// When that cannot be found out.
    fn id(&self, output: &str) -> Result<Option<String>, Fault> {
        let _ = output;
        Ok(None)
    }

    /// For each partition of an output: an offset before which no kept record has this event time or a later one; the end when none has.
    /// Where the system knows event times it is that of the first such record. Empty when there is no such output.
    ///
    /// # Errors
    /// When it cannot be read.
    fn find(&self, output: &str, time: Timestamp) -> Result<Vec<u64>, Fault>;

    /// Reads an output's partition from an offset.
    ///
    /// # Errors
    /// When there is no such output, or it does not keep that offset.
    fn read(&self, output: &str, partition: u32, from: u64) -> Result<Box<dyn Committed>, Fault>;

    /// Waits until something may have been committed here, at most this long.
    fn wait(&self, most: Duration);

    /// Deletes outputs that `owner` (`job@version`) wrote, and whatever else of its own the system keeps: its group, its writer. What is
    /// gone already, or is another owner's, is let alone. The owner must not run.
    ///
    /// # Errors
    /// When something cannot be deleted; asked again, it goes on from there.
    fn delete(&self, owner: &str, outputs: &[Doomed]) -> Result<(), Fault>;
}

/// Reads the committed records of one partition of an output.
pub trait Committed: Send {
    /// Gives `each` record of the next piece; false when nothing more is committed just now.
    ///
    /// # Errors
    /// When it cannot be read, or retention has overtaken the reader.
    fn read(&mut self, each: &mut dyn FnMut(CommittedRecord<'_>)) -> Result<bool, Fault>;

    /// The same, with the headers of each record, where records have some.
    ///
    /// # Errors
    /// As there.
    fn read_whole(&mut self, each: EachWhole<'_>) -> Result<bool, Fault> {
        self.read(&mut |record| each(record, &mut std::iter::empty()))
    }

    /// The offset to go on from.
    fn next(&self) -> u64;
}

/// One committed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedRecord<'a> {
    /// Its offset.
    pub offset: u64,
    /// Event time.
    pub at: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}
