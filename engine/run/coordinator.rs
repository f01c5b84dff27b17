//! The coordinator: does what the commit protocol says. One thread a job: it closes epochs, gathers votes and output, writes manifests,
//! and has the decider make epochs real.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use millpond_state::Timestamp;
use millpond_state::store::{CheckpointId, FileRef, FiredRun, Manifest, Store, choose};

use super::keep::{Chore, Merged};
use super::reached::{Reaching, reached};
use super::shared::{Event, Shared, Vote};
use super::writer::store_fault;
use super::{Delivery, Ended};
use crate::clock;
use crate::metrics::{Counter, Gauge};
use crate::protocol::{Action, CommitRecord, Input, Protocol};
use crate::sink::{Commit, Decider, Follower, Mirrored, Outgoing};
use crate::{Fault, Reached};

/// An idle job commits at least this often.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(2);

/// Where each sink's output goes.
pub(crate) struct Routes {
    pub(crate) decider: Box<dyn Decider>,
    pub(crate) followers: Vec<Box<dyn Follower>>,
    /// Sinks of followers; all others are the decider's.
    pub(crate) following: BTreeMap<u32, usize>,
    /// Sources, with what they read, whose positions are shown beside the commit record.
    pub(crate) mirrored: Vec<(String, String)>,
}

/// What `status` wants to know of commits.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) epoch: u64,
    pub(crate) clock: Option<Timestamp>,
    pub(crate) files: Vec<FileRef>,
    pub(crate) written: u64,
    pub(crate) reached: Reached,
}

pub(crate) struct Coordinator {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Arc<Store>,
    pub(crate) routes: Routes,
    pub(crate) interval: Duration,
    pub(crate) delivery: Delivery,
    pub(crate) instance: String,
    pub(crate) job: (String, u32),
    pub(crate) chores: Sender<Chore>,
    pub(crate) committed: Arc<Mutex<Committed>>,
    /// The newest manifest, prepared or committed.
    pub(crate) newest: Manifest,
    /// The newest committed checkpoint.
    pub(crate) parent: CheckpointId,
    protocol: Protocol,
    output: BTreeMap<u64, Vec<Outgoing>>,
    votes: BTreeMap<u64, Vec<Vote>>,
    prepared: VecDeque<(Manifest, u32)>,
    merging: bool,
    open_output: u64,
    /// Bytes that are staged and not visible yet; only of jobs that deliver at least once.
    unpublished: u64,
    dirty: bool,
    ends: usize,
    reaching: Reaching,
    written: Counter,
    commits: Counter,
    epoch: Gauge,
}

impl Coordinator {
    #[expect(clippy::too_many_arguments, reason = "called once, by the start of a run")]
    pub(crate) fn new(
        shared: Arc<Shared>,
        store: Arc<Store>,
        routes: Routes,
        interval: Duration,
        delivery: Delivery,
        instance: String,
        job: (String, u32),
        chores: Sender<Chore>,
        committed: Arc<Mutex<Committed>>,
        newest: Manifest,
    ) -> Self {
        let metrics = &shared.metrics;
        Coordinator {
            written: metrics.counter("millpond_records_written_total", "records written and committed", &[]),
            commits: metrics.counter("millpond_commits_total", "epochs made real", &[]),
            epoch: metrics.gauge("millpond_epoch", "the newest real epoch", &[]),
            protocol: Protocol::new(shared.workers, newest.id.epoch),
            parent: newest.id,
            shared,
            store,
            routes,
            interval,
            delivery,
            instance,
            job,
            chores,
            committed,
            newest,
            output: BTreeMap::new(),
            votes: BTreeMap::new(),
            prepared: VecDeque::new(),
            merging: false,
            open_output: 0,
            unpublished: 0,
            dirty: false,
            ends: 0,
            reaching: Reaching::default(),
        }
    }

    /// Runs until the job is finished, stopped or cannot go on.
    pub(crate) fn run(&mut self, events: &Receiver<Event>) -> Result<Ended, Fault> {
        let mut last_close = clock::instant();
        let heartbeat = self.interval.max(HEARTBEAT);
        loop {
            if events.is_empty() {
                self.publish()?;
            }
            let now = clock::instant();
            let due = last_close + self.interval;
            if !self.protocol.closing() && (now >= due || self.is_full()) {
                let dirty = std::mem::take(&mut self.dirty) || self.shared.input_bytes.load(Ordering::Relaxed) > 0;
                if dirty || now >= last_close + heartbeat {
                    last_close = now;
                    if let Some(ended) = self.step(Input::Tick)? {
                        return Ok(ended);
                    }
                }
            }
            let wait = self.wait(now, last_close, heartbeat);
            let event = match events.recv_timeout(wait) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => unreachable!("the coordinator holds a sender itself"),
            };
            let closed = self.protocol.open();
            if let Some(ended) = self.take(event)? {
                return Ok(ended);
            }
            if self.protocol.open() != closed {
                last_close = clock::instant();
            }
        }
    }

    /// Whether the open epoch has had its share of input or output. It may have had it while another was still closing.
    fn is_full(&self) -> bool {
        self.open_output >= self.shared.tuning.epoch_output_bytes
            || self.shared.input_bytes.load(Ordering::Relaxed) >= self.shared.tuning.epoch_input_bytes
    }

    fn wait(&self, now: Instant, last_close: Instant, heartbeat: Duration) -> Duration {
        let due = last_close + self.interval;
        if due > now {
            return due - now;
        }
        // Nothing to close yet: look again when an idle job has to, or sooner, since input is counted without an event.
        let idle = (last_close + heartbeat).saturating_duration_since(now);
        idle.min(self.interval).max(Duration::from_millis(1))
    }

    fn take(&mut self, event: Event) -> Result<Option<Ended>, Fault> {
        match event {
            Event::Output(outgoing) => {
                self.dirty = true;
                self.open_output += outgoing.weight();
                self.reaching.output(&outgoing);
                let (epoch, records) = (outgoing.epoch, outgoing.len() as u64);
                if self.delivery == Delivery::AtLeastOnce && !self.routes.following.contains_key(&outgoing.sink) {
                    self.routes.decider.stage(&outgoing)?;
                    self.unpublished += outgoing.weight();
                    self.written.add(records);
                } else {
                    self.output.entry(epoch).or_default().push(outgoing);
                }
                self.step(Input::Output { epoch, records })
            }
            Event::Vote(vote) => {
                let (epoch, worker, sent) = (vote.closed.epoch, vote.closed.worker, vote.closed.sent);
                self.votes.entry(epoch).or_default().push(vote);
                self.step(Input::Vote { epoch, worker, sent })
            }
            Event::End => {
                self.ends += 1;
                if self.ends == self.shared.workers { self.step(Input::End) } else { Ok(None) }
            }
            Event::Full => self.step(Input::Tick),
            Event::Stop => self.step(Input::Stop),
            Event::Merged(merged) => {
                self.merging = false;
                if let Some(Merged { merge, result }) = merged {
                    let replaced = merge.replace(&mut self.newest.files, result);
                    assert!(replaced, "files that are merged lie side by side in every later manifest");
                }
                Ok(None)
            }
            Event::Fault(fault) => Err(fault),
        }
    }

    /// At least once: what has been staged becomes visible, without waiting for its epoch.
    fn publish(&mut self) -> Result<(), Fault> {
        if self.unpublished > 0 {
            self.routes.decider.publish()?;
            self.shared.give(std::mem::take(&mut self.unpublished));
        }
        Ok(())
    }

    fn step(&mut self, input: Input) -> Result<Option<Ended>, Fault> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for action in self.protocol.step(input) {
                match action {
                    Action::StopReading => self.shared.stop_reading(),
                    Action::Close(epoch) => {
                        crate::failpoint::hit("cut");
                        self.open_output = 0;
                        self.shared.input_bytes.store(0, Ordering::Relaxed);
                        self.shared.close(epoch);
                    }
                    Action::Prepare { epoch, finished } => {
                        crate::failpoint::hit("sealed");
                        self.prepare(epoch, finished)?;
                        crate::failpoint::hit("manifest");
                        inputs.push_back(Input::Prepared { epoch });
                    }
                    Action::Commit(epoch) => {
                        self.commit(epoch)?;
                        crate::failpoint::hit("committed");
                        inputs.push_back(Input::Committed { epoch });
                    }
                    Action::Leave { finished } => {
                        let epoch = self.protocol.committed();
                        return Ok(Some(Ended { finished, before: false, epoch }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Writes the manifest of an epoch: what its parent held, with what the votes changed.
    fn prepare(&mut self, epoch: u64, finished: bool) -> Result<(), Fault> {
        let manifest = &mut self.newest;
        manifest.parent = Some(manifest.id);
        manifest.id = CheckpointId { run: self.shared.run, epoch };
        manifest.finished = finished;
        manifest.created = clock::wall();
        let mut votes = self.votes.remove(&epoch).unwrap_or_default();
        votes.sort_by_key(|vote| vote.closed.worker);
        self.reaching.note(manifest, &votes);
        let mut fired: BTreeMap<String, Vec<FiredRun>> = BTreeMap::new();
        for Vote { closed, file } in votes {
            for (uid, partitions) in closed.sources {
                let source = manifest.sources.entry(uid).or_default();
                for partition in partitions {
                    match source.partitions.iter_mut().find(|known| known.partition == partition.partition) {
                        Some(known) => *known = partition,
                        // It was added in this epoch.
                        None => source.partitions.push(partition),
                    }
                }
                source.partitions.sort_by_key(|partition| partition.partition);
            }
            for (uid, fires) in closed.fired {
                let runs = fires.into_iter().map(|(from, to, watermark)| FiredRun { from, to, watermark });
                fired.entry(uid).or_default().extend(runs);
            }
            manifest.files.extend(file);
        }
        manifest.fired = fired;
        crate::redrive::note(manifest);
        let checksum =
            self.store.write_manifest(manifest).map_err(|error| store_fault("a manifest cannot be written", &error))?;
        self.prepared.push_back((manifest.clone(), checksum));
        Ok(())
    }

    /// A batch is where it belongs. Its memory goes before its credit comes back, or both would be there at once.
    fn done(&self, batch: Outgoing) {
        let weight = batch.weight();
        self.written.add(batch.len() as u64);
        drop(batch);
        self.shared.give(weight);
    }

    /// Where the sources stand whose positions the decider shows.
    fn mirror(&self, manifest: &Manifest) -> Vec<Mirrored> {
        let sources = self.routes.mirrored.iter().filter_map(|(uid, from)| Some((manifest.sources.get(uid)?, from)));
        let partitions = sources.flat_map(|(source, from)| {
            source.partitions.iter().map(|partition| Mirrored {
                from: from.clone(),
                partition: partition.partition,
                next: partition.next,
            })
        });
        partitions.collect()
    }

    /// Has the decider make every prepared epoch up to `epoch` real.
    fn commit(&mut self, epoch: u64) -> Result<(), Fault> {
        let (manifest, checksum) = loop {
            let prepared = self.prepared.pop_front().expect("only prepared epochs are committed");
            if prepared.0.id.epoch == epoch {
                break prepared;
            }
        };
        self.publish()?;
        self.shared.committing.store(true, Ordering::SeqCst);
        let clock = clock::wall();
        let period = self.interval.max(HEARTBEAT);
        let record = CommitRecord {
            job: self.job.0.clone(),
            version: self.job.1,
            id: manifest.id,
            parent: Some(self.parent),
            checksum,
            instance: self.instance.clone(),
            clock,
            period_ms: period.as_millis() as u64,
        };
        let later = self.output.split_off(&(epoch + 1));
        let output = std::mem::replace(&mut self.output, later);
        let followed = |batch: &Outgoing| self.routes.following.contains_key(&batch.sink);
        let (following, decided): (Vec<_>, Vec<_>) = output.into_values().flatten().partition(followed);
        let (record, mirror) = (record.to_string(), self.mirror(&manifest));
        let ahead = self.delivery == Delivery::AtMostOnce;
        let output = if ahead { &[] } else { &decided[..] };
        self.routes.decider.commit(&Commit { epoch, record: &record, output, mirror: &mirror, period })?;
        if ahead {
            crate::failpoint::hit("between");
            decided.iter().try_for_each(|batch| self.routes.decider.stage(batch))?;
            self.routes.decider.publish()?;
        }
        self.parent = manifest.id;
        decided.into_iter().for_each(|batch| self.done(batch));
        for batch in following {
            self.routes.followers[self.routes.following[&batch.sink]].deliver(&batch)?;
            self.done(batch);
        }
        self.commits.add(1);
        self.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
        let files = manifest.files.clone();
        *self.committed.lock().expect("no holder of this lock panics") =
            Committed { epoch, clock: Some(clock), files, written: self.written.get(), reached: reached(&manifest) };
        self.shared.committing.store(false, Ordering::SeqCst);
        if !self.merging && choose(&manifest.files).is_some() {
            self.merging = true;
            // The keeper leaves last.
            let _ = self.chores.send(Chore::Merge(manifest.files.clone()));
        }
        let _ = self.chores.send(Chore::Release(Box::new(manifest)));
        Ok(())
    }
}
