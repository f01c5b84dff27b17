//! One commit as a transaction, from begin to a known outcome.

use std::time::{Duration, Instant};

use millpond_engine::sink::Commit;
use millpond_engine::{Delivery, Exit, Fault, failpoint};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::client::Context;
use super::decider::{KafkaDecider, why};
use super::failure::{Class, Failure};
use super::fault;
use super::raw::Producer;

/// How long one call of a transaction may take before the stop is looked at.
pub(super) const SLICE: Duration = Duration::from_secs(1);
/// How long a call of a transaction is repeated before its outcome counts as unknown.
const CALL: Duration = Duration::from_secs(30);
/// A call that takes longer than this may be waiting for a topic that is not there.
const LONG: Duration = Duration::from_secs(2);
/// How often a record that the cluster refuses for reasons of its own is sent again.
const RESENDS: u32 = 5;
/// How long it is waited before such a record is sent again.
const RESEND: Duration = Duration::from_secs(1);

/// What a new producer found after an unknown outcome.
enum Settled {
    /// The commit is real.
    Mine,
    /// It is not; nothing else happened.
    Parents,
}

impl KafkaDecider {
    /// One transaction, from begin to commit; `mirrored` says whether it also writes where sources stand.
    fn attempt(&mut self, commit: &Commit<'_>, mirrored: bool) -> Result<Result<(), Failure>, Fault> {
        if let Err(failure) = self.writer().begin() {
            return Ok(Err(failure));
        }
        failpoint::hit("begun");
        let offsets = self.offsets(commit, mirrored);
        let outcome = self.fill_and_commit(commit, &offsets)?;
        Ok(outcome.map_err(|failure| match failure.code() {
            // It had failed before, and its next step says why.
            RDKafkaErrorCode::State => self.stage_record(&offsets).err().unwrap_or(failure),
            _ => failure,
        }))
    }

    fn fill_and_commit(
        &mut self,
        commit: &Commit<'_>,
        offsets: &TopicPartitionList,
    ) -> Result<Result<(), Failure>, Fault> {
        if self.delivery == Delivery::ExactlyOnce {
            for outgoing in commit.output {
                if let Err(failure) = self.send(outgoing)? {
                    // Not all of the output is in this transaction: whatever the reason, there is no way from here to its commit.
                    return Ok(Err(failure));
                }
            }
        }
        failpoint::hit("sent");
        if let Err(failure) = self.repeat("writing the commit record", |this| this.stage_record(offsets))? {
            return Ok(Err(failure));
        }
        failpoint::hit("staged");
        self.repeat("committing", |this| {
            this.writer().poll();
            this.writer().commit(SLICE)
        })
    }

    fn stage_record(&self, offsets: &TopicPartitionList) -> Result<(), Failure> {
        self.writer().offsets(&self.job, offsets, SLICE)
    }

    fn writer(&self) -> &Producer {
        &self.commits.as_ref().expect("the engine fences first").0
    }

    /// Repeats a call while it asks for that, but not for ever: then its outcome counts as unknown.
    fn repeat(
        &mut self,
        what: &str,
        mut call: impl FnMut(&mut Self) -> Result<(), Failure>,
    ) -> Result<Result<(), Failure>, Fault> {
        let began = Instant::now();
        let mut missing = None;
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
                    self.waits(what, &why(self.voice(), &failure));
                    if began.elapsed() >= LONG {
                        self.outputs_are_there(&mut missing)?;
                    }
                }
                other => {
                    if other.is_ok() {
                        self.writer().poll();
                        self.voice().answered();
                    }
                    return Ok(other);
                }
            }
        }
    }

    /// librdkafka asks again for as long as a call may take where an output is not there: only a look tells that from brokers that are away.
    fn outputs_are_there(&self, missing: &mut Option<(usize, Instant)>) -> Result<(), Fault> {
        for (index, output) in self.outputs.iter().enumerate() {
            let (_, mut since) = missing.filter(|(of, _)| *of == index).unwrap_or_else(|| (index, Instant::now()));
            if self.missing(self.writer(), &output.topic, 0, &mut since)? {
                *missing = Some((index, since));
                return Ok(());
            }
        }
        *missing = None;
        Ok(())
    }

    /// The commit record in its carrier, and beside it where sources stand that have moved.
    fn offsets(&mut self, commit: &Commit<'_>, mirrored: bool) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        let mut add = |topic: &str, partition: u32, offset: u64, metadata: &str| {
            let mut element = list.add_partition(topic, i32::try_from(partition).unwrap_or(i32::MAX));
            element.set_metadata(metadata);
            let offset = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
            element.set_offset(offset).expect("an epoch or offset is no negative number");
        };
        add(self.carrier(), 0, commit.epoch, commit.record);
        let mark = format!("{}:{}", self.run, commit.epoch);
        let places = if mirrored { self.mirror.due(commit.mirror, Instant::now()) } else { Vec::new() };
        for place in &places {
            let of = &commit.mirror[*place];
            // A topic that is input and carrier keeps the record.
            if of.partition != 0 || of.from != self.carrier() {
                add(&of.from, of.partition, of.next, &mark);
            }
        }
        self.mirroring = places;
        list
    }

    /// After a failure: a new producer fences, which aborts what was open, and the record says what happened. Never the old producer again
    /// after an abort of its own: a request that is still on its way (an abort that was repeated, a commit record) would be taken for one of
    /// the next transaction. The new producer's epoch is what refuses it.
    fn settle(&mut self, commit: &Commit<'_>, fenced: bool) -> Result<Settled, Fault> {
        // Requests of the old producer must not arrive after the new one's.
        self.commits = None;
        if fenced {
            // Perhaps the broker only gave up on a slow transaction. Fencing at once would end whoever has taken over, and he us, for ever.
            let began = Instant::now();
            while began.elapsed() < commit.period.saturating_mul(2) && !self.patience.exhausted() {
                let now = self.read_record()?;
                if now.as_deref() != Some(commit.record) && now != self.last {
                    return Err(self.superseded(now));
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        // Who has taken over and committed is not fenced in turn. It need not be the newest record yet, as after the fence: where the markers of
        // our last commit are late, it is the one before.
        let seen = self.glimpse()?;
        if seen.as_deref() != Some(commit.record) && seen != self.last && seen != self.before {
            return Err(self.superseded(seen));
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
        let (mut resends, mut mirrored) = (0, true);
        // Said before the first call, since a call may take long itself.
        self.patience.waits(format!("committing: no answer from the brokers {}", self.kafka.brokers));
        // There is none when the commit before left requests on their way, or ended with a fault: a writer may try again.
        if self.commits.is_none() && matches!(self.settle(commit, false)?, Settled::Mine) {
            return Ok(());
        }
        loop {
            let failure = match self.attempt(commit, mirrored)? {
                Ok(()) => {
                    // The client repeats what was not answered. The first may arrive late, and would end a later transaction of this
                    // producer or write into it.
                    if self.voice().unanswered() {
                        tracing::info!(
                            job = self.job,
                            epoch = commit.epoch,
                            "a request was not answered: a new producer"
                        );
                        self.commits = None;
                    }
                    return Ok(());
                }
                Err(failure) => failure,
            };
            tracing::info!(job = self.job, epoch = commit.epoch, class = ?failure.class(), "a transaction failed: {failure}");
            self.waits("committing", &failure.to_string());
            let refused = self.refused_record();
            // Positions are for lag tools. Where they have no place any more, whoever reads there finds out why.
            let mirrors = !self.mirroring.is_empty() && fault::class(failure.code()) == fault::Class::Missing;
            if mirrors && refused.is_none() {
                mirrored = false;
            } else {
                self.check_refused(&failure, refused, &mut resends)?;
            }
            match self.settle(commit, failure.fenced())? {
                Settled::Mine => return Ok(()),
                Settled::Parents => {}
            }
        }
    }

    fn voice(&self) -> &Context {
        &self.commits.as_ref().expect("the engine fences first").1
    }

    /// The first record of the transaction that the cluster refused for good, and its topic.
    fn refused_record(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.writer().poll();
        self.voice().refused().filter(|(code, _)| !fault::passes(*code))
    }

    /// What a cluster refuses for good stops the job instead of being sent for ever. What is missing is waited for.
    fn check_refused(
        &self,
        failure: &Failure,
        refused: Option<(RDKafkaErrorCode, String)>,
        resends: &mut u32,
    ) -> Result<(), Fault> {
        let lasting = refused.is_some() || !fault::passes(failure.code()) && !failure.fenced();
        *resends = if lasting { *resends + 1 } else { 0 };
        if !lasting {
            return Ok(());
        }
        let code = refused.as_ref().map_or(failure.code(), |(code, _)| *code);
        if *resends >= RESENDS {
            return Err(match refused {
                Some((code, topic)) => self.refused(code, &topic),
                None => {
                    let outputs: Vec<_> = self.outputs.iter().map(|output| output.topic.as_str()).collect();
                    let (brokers, outputs) = (&self.kafka.brokers, outputs.join(", "));
                    let text = format!(
                        "job {}: the commit to {outputs} fails again and again at {brokers}: {failure}",
                        self.job
                    );
                    Fault::new(fault::written(code), text)
                }
            });
        }
        if fault::class(code) == fault::Class::Missing {
            let topic = refused.map_or_else(|| self.carrier().to_owned(), |(_, topic)| topic);
            let mut since = Instant::now();
            while self.missing(self.writer(), &topic, 0, &mut since)? {}
        }
        // Rights come and go on a cluster within a moment.
        std::thread::sleep(RESEND);
        Ok(())
    }
}
