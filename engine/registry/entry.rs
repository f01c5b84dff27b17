//! What the registry keeps of a job: one JSON document, the value under the job's name. Drawn in docs/registry-format.md.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millpond_state::Timestamp;
use serde::{Deserialize, Serialize};

use super::line::Leg;
use super::switch::HEARD_WITHIN;
use crate::ledger::Doomed;
use crate::{Exit, Fault, Reached};

/// The format this release writes. An entry of a later one is read by nobody older: it would lose what it does not know.
pub const FORMAT: u32 = 1;

/// What a later release wrote beside what this one knows: kept as it is, so that nothing is lost where builds of both run.
pub type More = BTreeMap<String, serde_json::Value>;

/// So long a commit may take before its version counts as one that waits.
const SLOW: Duration = Duration::from_secs(5);

/// A job: its versions, and which of them the live line follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// [`FORMAT`].
    pub format: u32,
    /// The job's name.
    pub job: String,
    /// Rises by one with each decision and each beat.
    pub serial: u64,
    /// The live line: which version's outputs a reader takes, from which event time on. The last leg's is the live one.
    pub line: Vec<Leg>,
    /// The versions that are there, by number.
    pub versions: BTreeMap<u32, Version>,
    /// The numbers that were there and never come back.
    pub retired: BTreeSet<u32>,
    /// What this release does not know.
    #[serde(flatten)]
    pub more: More,
}

/// Options of a version's `run`, by name: the values each was given.
pub type Options = BTreeMap<String, Vec<String>>;

/// A version of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Hash of its plan, hexadecimal.
    pub plan: String,
    /// Shapes of its keys and state, by step.
    pub shapes: BTreeMap<String, Vec<(String, serde_json::Value)>>,
    /// What the build that ran it last calls itself, and its release of millpond.
    pub build: String,
    /// What tells that build's binary from others: its length and a checksum of its bytes. Empty where nobody has looked yet.
    #[serde(default)]
    pub binary: String,
    /// Where its state lies: host and directory.
    pub home: String,
    /// Where its first start began reading.
    pub from: String,
    /// The job's own options as its `run` had them when it was started last, without any that may hold a secret.
    #[serde(default)]
    pub options: Options,
    /// When it was first seen.
    pub registered: Timestamp,
    /// Its outputs.
    pub outputs: Vec<Output>,
    /// How it stood when it was heard of last.
    pub standing: Standing,
    /// How it compared with another version, when that was looked at last.
    pub compared: Option<Compared>,
    /// Whether it is being retired: from then on it never runs again.
    pub retiring: bool,
    /// What this release does not know.
    #[serde(flatten)]
    pub more: More,
}

/// An output of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its name in every version: the topic as version 1 writes it.
    pub name: String,
    /// The topic of this version.
    pub at: String,
    /// The sink, as the plan calls it.
    pub sink: String,
    /// Whether only the newest value of each key counts.
    pub upsert: bool,
    /// Whether its records keep to the watermark.
    pub settled: bool,
    /// What told its topic from others of the same name when its retirement began, where the system knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What this release does not know.
    #[serde(flatten)]
    pub more: More,
}

/// What a version is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has never been heard of since it was registered.
    #[default]
    Starting,
    /// It runs.
    Running,
    /// It was stopped, or is not there any more.
    Stopped,
    /// It reached the end of its input.
    Finished,
}

impl State {
    /// Its name, as it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::Stopped => "stopped",
            State::Finished => "finished",
        }
    }
}

/// How a version stands, by its own word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// When that was, microseconds since 1970.
    pub at: i64,
    /// What it was doing.
    pub state: State,
    /// The run's id.
    pub run: String,
    /// What its [life](crate::redrive::Life) is called; empty where that is not known.
    #[serde(default)]
    pub life: String,
    /// Whether that run ends where its input ended, and takes no dead letters that are asked for again after its start.
    #[serde(default)]
    pub until_end: bool,
    /// The newest real epoch.
    pub epoch: u64,
    /// What its commits wait for, if they wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// Since when, microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<i64>,
    /// Records that wait to be read, if known.
    pub lag: Option<u64>,
    /// How far its outputs have come.
    pub reached: Reached,
    /// Ends of its outputs' partitions, read after that epoch was real, by output name.
    pub ends: BTreeMap<String, Vec<u64>>,
    /// Where its sources stand: source, partition, offset of the next record.
    pub positions: Vec<(String, u32, u64)>,
    /// What this release does not know.
    #[serde(flatten)]
    pub more: More,
}

impl Standing {
    /// Whether it is a later word than `known`: of the same run, or of one of the same life that has committed more. A run that was fenced,
    /// and wakes when another one has taken its place, has nothing to say any more.
    #[must_use]
    pub fn follows(&self, known: &Standing) -> bool {
        self.run == known.run || self.epoch > known.epoch && !self.is_another_life(known)
    }

    /// What its commits wait for, and since when, where that is longer than a slow commit takes.
    #[must_use]
    pub fn waits_long(&self, now: Timestamp) -> Option<(&str, Timestamp)> {
        let since = Timestamp::from_micros(self.waiting_since.unwrap_or(i64::MIN));
        let long = since.saturating_add(SLOW) <= now && self.state == State::Running;
        self.waiting.as_deref().filter(|_| long).map(|what| (what, since))
    }

    /// Whether both are known to be of different lives: epochs of two lives say nothing about each other.
    #[must_use]
    pub fn is_another_life(&self, other: &Standing) -> bool {
        !self.life.is_empty() && !other.life.is_empty() && self.life != other.life
    }
}

/// What a comparison came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// The other version.
    pub with: u32,
    /// When.
    pub at: Timestamp,
    /// The event time up to which both were compared.
    pub until: Timestamp,
    /// Rows looked at, of both.
    pub rows: u64,
    /// Rows that differ or are in one only.
    pub differences: u64,
    /// Whether there were none, or exactly what was expected.
    pub passed: bool,
    /// Why a promotion cannot rest on it, when it looked at a part of what both have only, or at nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<String>,
    /// What this release does not know.
    #[serde(flatten)]
    pub more: More,
}

impl Entry {
    /// A job that nobody has heard of.
    #[must_use]
    pub fn new(job: &str) -> Self {
        Entry {
            format: FORMAT,
            job: job.to_owned(),
            serial: 0,
            line: Vec::new(),
            versions: BTreeMap::new(),
            retired: BTreeSet::new(),
            more: More::new(),
        }
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`Exit::NewVersion`] when a newer release wrote it, [`Exit::Restore`] when it is none.
    pub fn parse(job: &str, bytes: &[u8]) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = |error: serde_json::Error| {
            Fault::new(Exit::Restore, format!("the registry's entry of job {job} cannot be read")).because(error)
        };
        let Format { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format > FORMAT {
            return Err(Fault::new(
                Exit::NewVersion,
                format!(
                    "the registry's entry of job {job} has format {format} and this program knows {FORMAT}: a newer release wrote it; \
                     use that release"
                ),
            ));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// As it is written.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry has text keys and finite numbers only")
    }

    /// The live version.
    #[must_use]
    pub fn live(&self) -> Option<u32> {
        self.line.last().map(|leg| leg.version)
    }

    /// A version that is there.
    ///
    /// # Errors
    /// [`Exit::Usage`], told apart: one that is not known, and one that was retired.
    pub fn version(&self, number: u32) -> Result<&Version, Fault> {
        self.versions.get(&number).ok_or_else(|| {
            let job = &self.job;
            if self.retired.contains(&number) {
                return Fault::new(
                    Exit::Usage,
                    format!("version {number} of job {job} was retired; its outputs are gone"),
                );
            }
            let known: Vec<_> = self.versions.keys().map(u32::to_string).collect();
            let known = if known.is_empty() { "none is".to_owned() } else { format!("known: {}", known.join(", ")) };
            Fault::new(Exit::Usage, format!("version {number} of job {job} is not known to the registry; {known}"))
        })
    }

    /// The output that every version calls `name`, of one version.
    #[must_use]
    pub fn output(&self, number: u32, name: &str) -> Option<&Output> {
        self.versions.get(&number)?.outputs.iter().find(|output| output.name == name)
    }
}

impl Version {
    /// Whether it runs, as far as anybody knows: it said so lately, and did not say that it stopped.
    #[must_use]
    pub fn is_heard_of(&self, now: Timestamp) -> bool {
        let heard = Timestamp::from_micros(self.standing.at).max(self.registered);
        !matches!(self.standing.state, State::Stopped | State::Finished) && heard.saturating_add(HEARD_WITHIN) >= now
    }

    /// Its outputs, when it is to be retired.
    #[must_use]
    pub fn doomed(&self) -> Vec<Doomed> {
        let outputs = self.outputs.iter();
        outputs.map(|output| Doomed { topic: output.at.clone(), id: output.id.clone() }).collect()
    }

    /// How far an output has come, and its ends when that was said.
    #[must_use]
    pub fn reached(&self, output: &Output) -> crate::OutputReached {
        self.standing.reached.outputs.get(&output.sink).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_a_newer_release_is_told_from_a_damaged_one() {
        let mut entry = Entry::new("views");
        assert_eq!(Entry::parse("views", &entry.bytes()), Ok(entry.clone()));
        entry.format = FORMAT + 1;
        let newer = Entry::parse("views", &entry.bytes()).unwrap_err();
        assert_eq!(newer.exit(), Exit::NewVersion);
        assert!(newer.to_string().contains("a newer release wrote it"), "{newer}");
        assert_eq!(Entry::parse("views", b"{").unwrap_err().exit(), Exit::Restore);
    }

    #[test]
    fn an_unknown_version_is_told_from_a_retired_one() {
        let mut entry = Entry::new("views");
        entry.retired.insert(1);
        let text = |number| entry.version(number).unwrap_err().to_string();
        assert!(text(1).contains("was retired"), "{}", text(1));
        assert!(text(2).contains("is not known"), "{}", text(2));
    }
}
