//! One commit as a transaction, from begin to a known outcome.

use std::time::{Duration, Instant};

use millpond_engine::sink::Commit;
use millpond_engine::{Delivery, Exit, Fault, failpoint};
use rdkafka::consumer::Consumer as _;
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};

use super::client::Context;
use super::decider::KafkaDecider;
use super::failure::{Class, Failure};
use super::fault;
use super::raw::Producer;

/// How long one call of a transaction may take before the stop is looked at.
pub(super) const SLICE: Duration = Duration::from_secs(1);
/// How long a call of a transaction is repeated before its outcome counts as unknown.
const CALL: Duration = Duration::from_secs(30);
/// A commit that took longer than this may have left a request on its way that could end a later transaction.
const SLOW: Duration = Duration::from_secs(5);
/// How often a record that the cluster refuses for reasons of its own is sent again.
const RESENDS: u32 = 5;
/// A mirrored position is written again after this long, or it would expire.
pub(super) const MIRROR: Duration = Duration::from_hours(1);

/// What a new producer found after an unknown outcome.
enum Settled {
    /// The commit is real.
    Mine,
    /// It is not; nothing else happened.
    Parents,
}

impl KafkaDecider {
    /// One transaction, from begin to commit.
    fn attempt(&mut self, commit: &Commit<'_>) -> Result<Result<(), Failure>, Fault> {
        let begun = self.writer().client().begin_transaction();
        if let Err(failure) = begun.map_err(Failure::from) {
            return Ok(Err(failure));
        }
        failpoint::hit("begun");
        if self.delivery == Delivery::ExactlyOnce {
            commit.output.iter().try_for_each(|outgoing| self.send(outgoing))?;
        }
        failpoint::hit("sent");
        let offsets = self.offsets(commit);
        if let Err(failure) = self.repeat("writing the commit record", |this| {
            let metadata = this.group.as_ref().and_then(|group| group.group_metadata());
            let metadata = metadata.expect("a consumer with a group has its metadata");
            let sent = this.writer().client().send_offsets_to_transaction(&offsets, &metadata, SLICE);
            sent.map_err(Failure::from)
        })? {
            return Ok(Err(failure));
        }
        failpoint::hit("staged");
        self.repeat("committing", |this| {
            this.writer().client().poll(Duration::ZERO);
            this.writer().commit(SLICE)
        })
    }

    fn writer(&self) -> &Producer<Context> {
        &self.commits.as_ref().expect("the engine fences first").0
    }

    /// Repeats a call while it asks for that, but not for ever: then its outcome counts as unknown.
    fn repeat(
        &mut self,
        what: &str,
        mut call: impl FnMut(&mut Self) -> Result<(), Failure>,
    ) -> Result<Result<(), Failure>, Fault> {
        let began = Instant::now();
        loop {
            match call(self) {
                Err(failure) if failure.class() == Class::Again => {
                    if self.patience.exhausted() {
                        return Err(self.gone(what, &failure.to_string()));
                    }
                    if began.elapsed() >= CALL {
                        let text = format!("{what} took longer than {CALL:?}: {failure}");
                        return Ok(Err(Failure::new(failure.code(), false, false, text)));
                    }
                    self.waits(what, &failure.to_string());
                }
                other => return Ok(other),
            }
        }
    }

    /// The commit record in its carrier, and beside it where sources stand that have moved.
    fn offsets(&mut self, commit: &Commit<'_>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        let mut add = |topic: &str, partition: u32, offset: u64, metadata: &str| {
            let mut element = list.add_partition(topic, i32::try_from(partition).unwrap_or(i32::MAX));
            element.set_metadata(metadata);
            let offset = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
            element.set_offset(offset).expect("an epoch or offset is no negative number");
        };
        add(self.carrier(), 0, commit.epoch, commit.record);
        let renew = self.mirrored_at.is_none_or(|at| at.elapsed() >= MIRROR);
        let mark = format!("{}:{}", self.run, commit.epoch);
        for mirrored in commit.mirror {
            // A topic that is input and carrier keeps the record.
            let carries = mirrored.partition == 0 && mirrored.from == self.carrier();
            if !carries && (renew || !self.mirrored.contains(mirrored)) {
                add(&mirrored.from, mirrored.partition, mirrored.next, &mark);
            }
        }
        list
    }

    /// Ends the transaction without its output. Whether that is known to have worked.
    fn abort(&mut self) -> Result<bool, Fault> {
        let aborted = self.repeat("aborting a transaction", |this| {
            this.writer().client().poll(Duration::ZERO);
            this.writer().client().abort_transaction(SLICE).map_err(Failure::from)
        })?;
        Ok(aborted.inspect_err(|failure| tracing::info!(%failure, "aborting failed")).is_ok())
    }

    /// After an unknown outcome: a new producer fences, and the record says what happened.
    fn settle(&mut self, commit: &Commit<'_>, fenced: bool) -> Result<Settled, Fault> {
        // Requests of the old producer must not arrive after the new one's.
        self.commits = None;
        if fenced {
            // Perhaps the broker only gave up on a slow transaction. Fencing at once would end whoever has taken over, and he us, for ever.
            let period = commit.record.rsplit('|').next().and_then(|period| period.parse().ok()).unwrap_or(2_000);
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(period) * 2 && !self.patience.exhausted() {
                let now = self.read_record()?;
                if now.as_deref() != Some(commit.record) && now != self.last {
                    return Err(self.superseded(now));
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        self.init()?;
        let now = self.read_record()?;
        if now.as_deref() == Some(commit.record) {
            Ok(Settled::Mine)
        } else if now == self.last {
            Ok(Settled::Parents)
        } else {
            Err(self.superseded(now))
        }
    }

    pub(super) fn superseded(&self, now: Option<String>) -> Fault {
        let job = &self.job;
        match now {
            Some(record) => {
                let who = record.split('|').nth(7).unwrap_or("somebody").to_owned();
                let text = format!(
                    "job {job}: another instance has taken over and committed ({who}); this one leaves, nothing is doubled"
                );
                Fault::new(Exit::AlreadyRunning, text)
            }
            None => Fault::new(
                Exit::Restore,
                format!("job {job}: the commit record of group {job} is gone: the group was deleted while the job ran"),
            ),
        }
    }

    /// Makes a commit real, whatever it takes.
    pub(super) fn settle_all(&mut self, commit: &Commit<'_>) -> Result<(), Fault> {
        let mut resends = 0;
        // Said before the first call, since a call may take long itself.
        self.patience.waits(format!("committing: no answer from the brokers {}", self.kafka.brokers));
        if self.stale {
            self.settle(commit, false)?;
        }
        loop {
            let began = Instant::now();
            let failure = match self.attempt(commit)? {
                Ok(()) => {
                    self.stale = began.elapsed() >= SLOW;
                    return Ok(());
                }
                Err(failure) => failure,
            };
            tracing::info!(job = self.job, epoch = commit.epoch, class = ?failure.class(), "a transaction failed: {failure}");
            self.check_refused(&failure, &mut resends)?;
            self.waits("committing", &failure.to_string());
            if failure.class() == Class::Abort && self.abort()? {
                continue;
            }
            match self.settle(commit, failure.fenced())? {
                Settled::Mine => return Ok(()),
                Settled::Parents => {}
            }
        }
    }

    /// What a cluster refuses for good stops the job instead of being sent for ever.
    fn check_refused(&self, failure: &Failure, resends: &mut u32) -> Result<(), Fault> {
        let voice = &self.commits.as_ref().expect("the engine fences first").1;
        self.writer().client().poll(Duration::ZERO);
        let refused = voice.refused().filter(|(code, _)| !fault::passes(*code));
        let lasting = refused.is_some() || !fault::passes(failure.code()) && !failure.fenced();
        *resends = if lasting { *resends + 1 } else { 0 };
        if *resends < RESENDS {
            return Ok(());
        }
        Err(match refused {
            Some((code, topic)) => self.refused(code, &topic),
            None => {
                let text =
                    format!("job {}: the commit fails again and again at {}: {failure}", self.job, self.kafka.brokers);
                Fault::new(Exit::FixJob, text)
            }
        })
    }
}
