//! The commit record: the one line whose durable, atomic write makes an epoch real.

use std::fmt;
use std::str::FromStr;

use millpond_state::Timestamp;
use millpond_state::store::CheckpointId;

/// `v1|job|version|run|epoch|parent|manifest checksum|instance|clock|period`, under 512 bytes of ASCII.
///
/// ```
/// use millpond_engine::CommitRecord;
/// let line = "v1|views|1|00000000000000aa|7|00000000000000aa-6|0000beef|host:42|1700000000000000|2000";
/// let record: CommitRecord = line.parse().unwrap();
/// assert_eq!(record.id.epoch, 7);
/// assert_eq!(record.to_string(), line);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRecord {
    /// The job's name.
    pub job: String,
    /// The job's version.
    pub version: u32,
    /// Run and epoch: the checkpoint it makes real.
    pub id: CheckpointId,
    /// The checkpoint committed before.
    pub parent: Option<CheckpointId>,
    /// Checksum of the manifest's bytes.
    pub checksum: u32,
    /// Who committed: host and process.
    pub instance: String,
    /// When, by that host's clock.
    pub clock: Timestamp,
    /// At least how often this run commits, milliseconds.
    pub period_ms: u64,
}

/// The text is not a commit record of this version of the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a commit record: {reason}")]
pub struct RecordError {
    text: String,
    reason: &'static str,
}

impl fmt::Display for CommitRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CommitRecord { job, version, id, parent, checksum, instance, clock, period_ms } = self;
        let parent = parent.map_or_else(|| "-".to_owned(), |parent| parent.to_string());
        let (run, epoch, micros) = (id.run, id.epoch, clock.micros());
        write!(f, "v1|{job}|{version}|{run}|{epoch}|{parent}|{checksum:08x}|{instance}|{micros}|{period_ms}")
    }
}

impl FromStr for CommitRecord {
    type Err = RecordError;

    fn from_str(text: &str) -> Result<Self, RecordError> {
        let wrong = |reason| RecordError { text: text.to_owned(), reason };
        let fields: Vec<&str> = text.split('|').collect();
        let [format, job, version, run, epoch, parent, checksum, instance, clock, period] = fields[..] else {
            return Err(wrong("it does not have ten fields"));
        };
        if format != "v1" {
            return Err(wrong("it was written by another release"));
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong("a number is missing"));
        let parent = match parent {
            "-" => None,
            id => Some(id.parse().map_err(|_| wrong("its parent is not a checkpoint"))?),
        };
        Ok(CommitRecord {
            job: job.to_owned(),
            version: version.parse().map_err(|_| wrong("its version is not a number"))?,
            id: CheckpointId { run: run.parse().map_err(|_| wrong("its run is not an id"))?, epoch: number(epoch)? },
            parent,
            checksum: u32::from_str_radix(checksum, 16).map_err(|_| wrong("its checksum is not one"))?,
            instance: instance.to_owned(),
            clock: Timestamp::from_micros(clock.parse().map_err(|_| wrong("its clock is not a number"))?),
            period_ms: number(period)?,
        })
    }
}
