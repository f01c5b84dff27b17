//! The log as decider: one durable record of the writer `job@version` makes an epoch real.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use millpond_engine::ledger::Ledger;
use millpond_engine::sink::{Begin, Commit, Decider, Opened, Outgoing, Outlet, System};
use millpond_engine::{Env, Exit, Fault, failpoint};

use super::ledger::LogLedger;
use crate::log::{Claim, Log, LogError, Record, Settings, Start, Writer};
use crate::topic::HEADER;

/// How often a running job looks for segments that retention may remove.
const RETAIN: Duration = Duration::from_secs(10);

/// The log as sinks share it.
pub(super) struct LogSystem {
    log: Log,
}

impl LogSystem {
    pub(super) fn new(log: Log) -> Self {
        LogSystem { log }
    }
}

impl System for LogSystem {
    fn identity(&self) -> String {
        identity(&self.log)
    }

    fn open(&self, env: &Env, outlets: &[Outlet]) -> Result<Opened, Fault> {
        let outlet = |outlet: &Outlet| Output {
            sink: outlet.sink,
            topic: env.output(&outlet.to),
            upsert: outlet.upsert,
            claim: None,
            partitions: 0,
        };
        Ok(Opened::Decider(Box::new(LogDecider {
            log: self.log.clone(),
            job: env.identity(),
            create: env.create,
            outlets: outlets.iter().map(outlet).collect(),
            writer: None,
            run: String::new(),
            retained: Instant::now(),
        })))
    }

    fn peek(&self, env: &Env, _: &[Outlet]) -> Result<Option<String>, Fault> {
        look(&self.log, &env.identity())
    }
    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        Some(Arc::new(LogLedger::new(self.log.clone())))
    }
}

/// What tells a log from others.
pub(super) fn identity(log: &Log) -> String {
    format!("log:{}", canonical(log.dir()).display())
}

fn look(log: &Log, job: &str) -> Result<Option<String>, Fault> {
    let commit = log.last_commit(job)?;
    commit.map(|commit| text(job, commit.payload)).transpose()
}

/// The directory without links, as far as it is there already.
fn canonical(dir: &Path) -> PathBuf {
    let mut missing = Vec::new();
    for ancestor in dir.ancestors() {
        if let Ok(real) = ancestor.canonicalize() {
            return missing.iter().rev().fold(real, |path, name| path.join(name));
        }
        missing.extend(ancestor.file_name());
    }
    dir.to_owned()
}

fn text(job: &str, payload: Vec<u8>) -> Result<String, Fault> {
    String::from_utf8(payload)
        .map_err(|_| Fault::new(Exit::Restore, format!("the last commit of writer {job} is no commit record of a job")))
}

struct LogDecider {
    log: Log,
    /// `job@version`, which is also the writer's name.
    job: String,
    create: bool,
    outlets: Vec<Output>,
    /// From the fence on.
    writer: Option<Writer>,
    run: String,
    retained: Instant,
}

struct Output {
    sink: u32,
    topic: String,
    upsert: bool,
    claim: Option<Claim>,
    partitions: u32,
}

impl LogDecider {
    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("the engine fences first")
    }

    /// A writer makes its commit log before it claims a topic. Without this check, opening it anew would cut its topics to nothing.
    fn check_commits(&self) -> Result<(), Fault> {
        let commits = self.log.dir().join("writers").join(&self.job).join("commits.log");
        if commits.exists() {
            return Ok(());
        }
        match self.log.topics()?.iter().find(|topic| topic.writer.as_ref() == Some(&self.job)) {
            None => Ok(()),
            Some(topic) => {
                let (topic, file) = (&topic.name, commits.display());
                let text = format!("topic {topic} was written by {}, and its commits in {file} are gone", self.job);
                Err(Fault::new(
                    Exit::Restore,
                    text + "; restore the log's directory from a copy, or start a new version",
                ))
            }
        }
    }

    /// Whether the last record of a partition was written by this job@version.
    fn wrote_last(&self, topic: &str, partition: u32, kept: std::ops::Range<u64>) -> Result<bool, LogError> {
        let ours = format!("{} ", self.job);
        let mut back = 1;
        loop {
            // Compaction may have removed the last ones; then look further back.
            let from = kept.end.saturating_sub(back).max(kept.start);
            let mut reader = self.log.reader(topic, partition, Start::Offset(from))?;
            let mut last = None;
            while let Some(block) = reader.read_block(1 << 20)? {
                let ours = |record: crate::log::RecordRef<'_>| {
                    record.headers.into_iter().any(|(name, value)| name == HEADER && value.starts_with(ours.as_bytes()))
                };
                last = block.records().last().map(ours).or(last);
            }
            match last {
                Some(ours) => return Ok(ours),
                None if from == kept.start => return Ok(false),
                None => back = back.saturating_mul(8),
            }
        }
    }

    fn retain(&mut self) -> Result<(), Fault> {
        if self.retained.elapsed() < RETAIN {
            return Ok(());
        }
        self.retained = Instant::now();
        let writer = self.writer();
        writer.retain(SystemTime::now().into())?;
        // Of upsert topics, on a thread of its own: it may take longer than commits can wait.
        Ok(writer.begin_compaction()?)
    }
}

impl Decider for LogDecider {
    fn look(&mut self) -> Result<Option<String>, Fault> {
        look(&self.log, &self.job)
    }

    fn fence(&mut self) -> Result<Option<String>, Fault> {
        let log = Log::open(self.log.dir())?;
        self.check_commits()?;
        let writer = self.writer.insert(log.writer(&self.job)?);
        let commit = writer.last_commit().cloned();
        commit.map(|commit| text(&self.job, commit.payload)).transpose()
    }

    fn evidence(&mut self) -> Result<Option<String>, Fault> {
        for Output { topic, .. } in &self.outlets {
            let kept = match self.log.offsets(topic) {
                Ok(kept) => kept,
                Err(LogError::NoSuchTopic { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            for (kept, partition) in kept.into_iter().zip(0..).filter(|(kept, _)| !kept.is_empty()) {
                if self.wrote_last(topic, partition, kept)? {
                    return Ok(Some(format!("topic {topic} partition {partition} ends with a record that it wrote")));
                }
            }
        }
        Ok(None)
    }

    fn create(&mut self, partitions: u32) -> Result<(), Fault> {
        for index in 0..self.outlets.len() {
            let name = self.outlets[index].topic.clone();
            if let Err(LogError::NoSuchTopic { topic, dir }) = self.log.topic(&name) {
                if !self.create {
                    let dir = dir.display();
                    let text = format!(
                        "there is no topic {topic} in {dir} to write to; create it, or let the job create its topics"
                    );
                    return Err(Fault::new(Exit::Usage, text));
                }
                let settings = Settings::partitions(partitions.max(1));
                let settings = if self.outlets[index].upsert { settings.compacted() } else { settings };
                match self.log.create_topic(&name, settings) {
                    Ok(_) => tracing::info!(topic = name, partitions, "created a topic"),
                    // Another job may have been as quick; who may write it is decided by the claim.
                    Err(LogError::TopicExists { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let writer = self.writer();
            let claim = writer.claim(&name)?;
            let partitions = writer.topic(claim).settings.partition_count();
            let outlet = &mut self.outlets[index];
            (outlet.claim, outlet.partitions) = (Some(claim), partitions);
        }
        Ok(())
    }

    fn partitions(&self, sink: u32) -> u32 {
        self.outlets.iter().find(|outlet| outlet.sink == sink).map_or(0, |outlet| outlet.partitions)
    }

    fn begin(&mut self, begin: &Begin) {
        self.run.clone_from(&begin.run);
    }

    fn stage(&mut self, outgoing: &Outgoing) -> Result<(), Fault> {
        let outlet = self.outlets.iter().find(|outlet| outlet.sink == outgoing.sink);
        let claim = outlet.and_then(|outlet| outlet.claim).expect("the engine creates before it stages");
        let mark = format!("{} {} {}", self.job, self.run, outgoing.epoch);
        let mark = (HEADER, mark.as_bytes());
        let writer = self.writer.as_mut().expect("the engine fences first");
        let mut headers = vec![mark];
        for out in outgoing.records() {
            headers.truncate(1);
            headers.extend(outgoing.headers(out.index));
            let record = Record { event_time: out.at, key: out.key, value: out.value, headers: &headers };
            writer.append(claim, out.partition, &record)?;
        }
        Ok(())
    }

    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), Fault> {
        commit.output.iter().try_for_each(|outgoing| self.stage(outgoing))?;
        failpoint::hit("staged");
        self.writer().commit(commit.epoch, commit.record.as_bytes())?;
        self.retain()
    }

    fn publish(&mut self) -> Result<(), Fault> {
        let last = self.writer().last_commit().cloned();
        let (epoch, payload) = last.map_or((0, Vec::new()), |last| (last.epoch, last.payload));
        Ok(self.writer().commit(epoch, &payload)?)
    }
}
