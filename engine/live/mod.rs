//! A reader of the live line: the committed rows of an output, from whichever version is live, over switches without a gap or a double.
//!
//! It reads the output of the version that the line is at. Before it hands out rows it looks at the registry, so that a switch that was
//! decided before they were committed is known. It takes rows below the switch from the old version until that one has said that
//! it is complete up to there, and then goes over to the new one. Outputs whose records do not keep to the watermark have their old version
//! read on, below the switch, as long as it is there.
//!
//! What it hands out is given once to this reader; a [`Position`] kept together with whatever the consumer makes of the rows, and given
//! to [`Live::from`], makes that hold over restarts.
//!
//! Modules: `reader` follows the line, `reading` reads one version's output.

mod reader;
mod reading;

#[cfg(test)]
mod begin_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use millpond_state::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;
use crate::registry::{Entry, Place};
use crate::{Exit, Fault};
use reader::Leaving;
use reading::Reading;

pub use reader::LiveReader;

/// Where to find outputs and their registry: a log, a cluster.
pub trait Lines {
    /// The system as tools see it.
    fn ledger(&self) -> Arc<dyn Ledger>;
}

/// A row of the live line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRow {
    /// The version that wrote it.
    pub version: u32,
    /// Its partition.
    pub partition: u32,
    /// Its offset there.
    pub offset: u64,
    /// Event time.
    pub at: Timestamp,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Where a reader stands. Text, for the consumer to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    job: String,
    /// The output, by which a position is told from one of another output; not in those of earlier releases.
    #[serde(default)]
    output: Option<String>,
    place: Place,
    /// Offsets of the next records of the version that is read.
    next: Vec<u64>,
    /// What was read of it and left aside, because it lies behind a switch that may still be taken back.
    aside: Option<Aside>,
    /// What was handed out of it already, of what is read again.
    handed: Vec<Handed>,
    /// Versions before it that are read on below a switch.
    behind: Vec<Behind>,
}

/// Rows of `upper` or later were left aside from these offsets on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Aside {
    upper: Timestamp,
    from: Vec<u64>,
}

/// Rows below `upper` were handed out, of all offsets before these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Handed {
    upper: Timestamp,
    before: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Behind {
    version: u32,
    lower: Timestamp,
    upper: Timestamp,
    next: Vec<u64>,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string(self).expect("a position is plain data"))
    }
}

impl std::str::FromStr for Position {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Self, Fault> {
        serde_json::from_str(text)
            .map_err(|error| Fault::new(Exit::Restore, "this is no position of a live reader").because(error))
    }
}

/// Describes a reader of the live line of an output, named as version 1 writes it.
///
/// ```no_run
/// use std::time::Duration;
/// # fn example(log: &impl millpond_engine::Lines) -> Result<(), millpond_engine::Fault> {
/// let mut views = millpond_engine::live("page-views").on(log)?;
/// loop {
///     for row in views.read(Duration::from_secs(1))? {
///         println!("{} {:?}", row.at, row.value);
///     }
/// }
/// # }
/// ```
#[must_use = "a reader begins with `.on(..)`"]
pub fn live(output: &str) -> Live {
    Live { output: output.to_owned(), job: None, start: Start::Time(Timestamp::MIN) }
}

/// What [`live`] makes.
#[derive(Clone, Debug)]
#[must_use = "a reader begins with `.on(..)`"]
pub struct Live {
    output: String,
    job: Option<String>,
    start: Start,
}

#[derive(Clone, Debug)]
enum Start {
    Time(Timestamp),
    Position(Box<Position>),
}

impl Live {
    /// The job, where several write an output of this name.
    pub fn of(self, job: &str) -> Self {
        Live { job: Some(job.to_owned()), ..self }
    }

    /// Begins with rows of this event time instead of the oldest.
    pub fn since(self, time: Timestamp) -> Self {
        Live { start: Start::Time(time), ..self }
    }

    /// Goes on from where an earlier reader stood.
    pub fn from(self, position: Position) -> Self {
        Live { start: Start::Position(Box::new(position)), ..self }
    }

    /// Begins to read.
    ///
    /// # Errors
    /// When no job in the registry writes such an output, several do, or it is a table.
    pub fn on(self, lines: &impl Lines) -> Result<LiveReader, Fault> {
        self.with(lines.ledger())
    }

    pub(crate) fn with(self, ledger: Arc<dyn Ledger>) -> Result<LiveReader, Fault> {
        let Live { output, job, start } = self;
        let job = match (job, &start) {
            (Some(job), _) => job,
            (None, Start::Position(position)) => position.job.clone(),
            (None, Start::Time(_)) => writer(&*ledger, &output)?,
        };
        if let Start::Position(position) = &start
            && (position.job != job || position.output.as_ref().is_some_and(|of| *of != output))
        {
            let of = position.output.as_deref().unwrap_or("an output");
            let text =
                format!("this is a position in {of} of job {}, and {output} of job {job} is to be read", position.job);
            return Err(Fault::new(Exit::Usage, text));
        }
        let registry = ledger.name();
        let entry = crate::registry::look(&*ledger, &job)?
            .ok_or_else(|| Fault::new(Exit::Usage, format!("job {job} is not in the registry in {registry}")))?;
        check(&entry, &output)?;
        let (place, next, aside, handed, behind) = match start {
            Start::Position(position) => {
                let Position { place, next, aside, handed, behind, .. } = *position;
                (place, next, aside, handed, behind)
            }
            Start::Time(from) => {
                let (place, leg) = entry
                    .begin(&output, from)
                    .ok_or_else(|| Fault::new(Exit::Usage, format!("no version of job {job} is live")))?;
                (place, starts(&*ledger, &entry, &output, leg, from)?, None, Vec::new(), Vec::new())
            }
        };
        let current = Reading::new(place.version, next);
        let behind = behind.into_iter().map(|behind| Leaving {
            lower: behind.lower,
            upper: behind.upper,
            reading: Reading::new(behind.version, behind.next),
        });
        let behind = behind.collect();
        Ok(LiveReader { ledger, job, output, entry, place, current, aside, handed, behind })
    }
}

/// The one job that writes an output of this name.
fn writer(ledger: &dyn Ledger, output: &str) -> Result<String, Fault> {
    let mut found = Vec::new();
    for (job, bytes) in ledger.entries()? {
        let entry = Entry::parse(&job, &bytes)?;
        if entry.versions.keys().any(|version| entry.output(*version, output).is_some()) {
            found.push(job);
        }
    }
    match &found[..] {
        [job] => Ok(job.clone()),
        [] => Err(Fault::new(
            Exit::Usage,
            format!("no job in the registry in {} writes an output {output:?}", ledger.name()),
        )),
        several => Err(Fault::new(
            Exit::Usage,
            format!("several jobs write an output {output:?}: {}; say which with `.of(..)`", several.join(", ")),
        )),
    }
}

fn check(entry: &Entry, output: &str) -> Result<(), Fault> {
    let known = entry.versions.keys().find_map(|version| entry.output(*version, output));
    match known {
        None => Err(Fault::new(Exit::Usage, format!("job {} writes no output {output:?}", entry.job))),
        Some(known) if known.upsert => Err(Fault::new(
            Exit::Usage,
            format!(
                "{output} of job {} is a table, which has no line of event time: read one version's topic",
                entry.job
            ),
        )),
        Some(_) => Ok(()),
    }
}

/// Where reading a leg begins.
fn starts(ledger: &dyn Ledger, entry: &Entry, output: &str, leg: usize, from: Timestamp) -> Result<Vec<u64>, Fault> {
    let leg = &entry.line[leg];
    let Some(at) = entry.output(leg.version, output) else {
        return Err(Fault::new(
            Exit::Usage,
            format!("version {} of job {} is live and writes no output {output:?}", leg.version, entry.job),
        ));
    };
    if from > leg.from(output) {
        return ledger.find(&at.at, from);
    }
    let mut starts = leg.starts(output).to_vec();
    // Retention may have passed where the leg began since that was decided: it is read from what is there.
    for (partition, (start, kept)) in starts.iter_mut().zip(ledger.kept(&at.at)?.unwrap_or_default()).enumerate() {
        if *start < kept.start {
            tracing::warn!(
                topic = at.at,
                partition,
                from = *start,
                kept = kept.start,
                "retention has taken rows of the line; it is read on behind them"
            );
            *start = kept.start;
        }
    }
    Ok(starts)
}
