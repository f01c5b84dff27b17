//! Kafka as decider: one transaction makes an epoch's output and its commit record real.
//!
//! The record is the metadata of one carrier partition, committed for the group `job@version` with the epoch as offset: partition 0 of the
//! job's first output topic. The transactional id `job@version` is the only fence: who initialises it last ends all others, wherever they run.
//!
//! A transaction begins once everything in it is prepared, so it lasts as long as its bytes take, and it is never resumed. What follows a
//! failure depends on its class: the same call again; abort, and the kept output is sent again; or nothing is known, and then a new
//! producer fences, reads the record, and learns whether it is this commit's, its parent's, or another run's.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millpond_engine::Lines as _;
use millpond_engine::ledger::Ledger;
use millpond_engine::sink::{Begin, Commit, Decider, Opened, Outgoing, Outlet, Patience, System};
use millpond_engine::{Delivery, Env, Exit, Fault};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;

use super::client::{Context, heard};
use super::mirror::Mirror;
use super::outlets::{self, Output};
use super::producer::{self, Purpose};
use super::raw::{self, Producer};
use super::{Kafka, ask, fault, settings};

/// How long a commit that is being made real may take to show.
const DECIDED: Duration = Duration::from_secs(1);

/// How long the markers of a transaction may take that has been decided, where brokers are busy.
const LATE: Duration = Duration::from_secs(10);

/// Kafka as sinks share it.
pub(super) struct KafkaSystem {
    kafka: Kafka,
}

impl KafkaSystem {
    pub(super) fn shared(kafka: &Kafka) -> Rc<dyn System> {
        Rc::new(KafkaSystem { kafka: kafka.clone() })
    }
}

impl System for KafkaSystem {
    fn identity(&self) -> String {
        self.kafka.identity()
    }

    fn open(&self, env: &Env, outlets: &[Outlet]) -> Result<Opened, Fault> {
        outlets.iter().try_for_each(|outlet| settings::check_topic(&env.output(&outlet.to)))?;
        Ok(Opened::Decider(Box::new(KafkaDecider::new(&self.kafka, env, outlets))))
    }

    fn peek(&self, env: &Env, outlets: &[Outlet]) -> Result<Option<String>, Fault> {
        KafkaDecider::new(&self.kafka, env, outlets).look()
    }

    fn late(&self) -> Duration {
        LATE
    }

    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        Some(self.kafka.ledger())
    }
}

pub(super) struct KafkaDecider {
    pub(super) kafka: Kafka,
    /// `job@version`: the group and the transactional id.
    pub(super) job: String,
    pub(super) create: bool,
    pub(super) outputs: Vec<Output>,
    /// A consumer of the group, which it never joins.
    pub(super) group: Option<BaseConsumer<Context>>,
    /// Sees what the group had committed before a transaction that is open. For looks before the fence.
    watch: Option<BaseConsumer<Context>>,
    /// From the fence on.
    pub(super) commits: Option<(Producer, Context)>,
    /// Writes outside of transactions, for weaker delivery modes.
    pub(super) records: Option<(Producer, Context)>,
    /// Each output's handle in whichever producer writes records.
    pub(super) handles: Vec<usize>,
    /// The newest record that is known to be committed.
    pub(super) last: Option<String>,
    /// The one before it.
    pub(super) before: Option<String>,
    pub(super) mirror: Mirror,
    /// The positions in the transaction that was begun last, by their place in its commit.
    pub(super) mirroring: Vec<usize>,
    pub(super) run: String,
    pub(super) delivery: Delivery,
    pub(super) patience: Patience,
    /// Topics that were warned of.
    pub(super) warned: Vec<String>,
}

impl KafkaDecider {
    pub(super) fn new(kafka: &Kafka, env: &Env, outlets: &[Outlet]) -> KafkaDecider {
        KafkaDecider {
            kafka: kafka.clone(),
            job: env.identity(),
            create: env.create,
            outputs: outlets.iter().map(|outlet| Output::new(env, outlet)).collect(),
            group: None,
            watch: None,
            commits: None,
            records: None,
            handles: Vec::new(),
            last: None,
            before: None,
            mirror: Mirror::default(),
            mirroring: Vec::new(),
            run: String::new(),
            delivery: Delivery::ExactlyOnce,
            patience: Patience::default(),
            warned: Vec::new(),
        }
    }

    pub(super) fn carrier(&self) -> &str {
        &self.outputs.first().expect("a system that is opened has a sink").topic
    }

    fn group(&mut self) -> Result<&BaseConsumer<Context>, Fault> {
        if self.group.is_none() {
            self.group = Some(self.kafka.reader(&self.job)?);
        }
        Ok(self.group.as_ref().expect("it has just been made"))
    }

    /// Asks for as long as waiting helps: a start gives up, a running job says so and goes on waiting until it is stopped.
    /// Whoever is refused gives up earlier. `client` is who asks, and `request` hears its reports.
    fn patiently<T>(
        &self,
        client: &Context,
        what: &str,
        request: impl FnMut() -> Result<T, RDKafkaErrorCode>,
    ) -> Result<T, Fault> {
        let starting = self.run.is_empty();
        let lasting = || client.lasting_refusal(starting);
        let answer = ask::until_answered(request, |code, waited| {
            let waits = !(self.patience.exhausted() || starting && waited >= ask::START || lasting().is_some());
            if waits {
                self.waits(what, &why(client, &code));
            }
            waits
        });
        let decisive = || if starting { client.decisive_refusal() } else { lasting() };
        if let Some(refusal) = decisive().filter(|_| answer.is_err()) {
            return Err(self.kafka.locked_out(&refusal));
        }
        answer.map_err(|code| match fault::passes(code) {
            true => self.gone(what, &code.to_string()),
            false => {
                let brokers = &self.kafka.brokers;
                let text = format!("job {}: {what}: the brokers {brokers} refuse it: {code}", self.job);
                Fault::new(fault::class(code).exit(), text)
            }
        })
    }

    /// The largest record that any output takes, bytes.
    fn largest(&self) -> u64 {
        self.outputs.iter().map(|output| output.takes.largest).max().unwrap_or(0)
    }

    pub(super) fn waits(&self, what: &str, why: &str) {
        tracing::info!(job = self.job, brokers = self.kafka.brokers, "{what}: {why}; waiting");
        self.patience.waits(format!("{what}: no answer from the brokers {} ({why})", self.kafka.brokers));
    }

    pub(super) fn gone(&self, what: &str, why: &str) -> Fault {
        let brokers = &self.kafka.brokers;
        Fault::new(Exit::Retry, format!("job {}: {what}: the brokers {brokers} do not answer: {why}", self.job))
    }

    /// The newest record. Right after a fence: whatever transaction was open before has been decided by then, and is waited for.
    pub(super) fn read_record(&mut self) -> Result<Option<String>, Fault> {
        let carrier = self.carrier().to_owned();
        self.group()?;
        let group = self.group.as_ref().expect("it has just been made");
        let found = self.patiently(group.context(), "reading the commit record", || {
            heard(group, raw::committed(group.client(), &carrier, 0, producer::REQUEST))
        })?;
        self.record(found)
    }

    /// The newest record as it was before a transaction that is open now. Never what is not committed.
    pub(super) fn glimpse(&mut self) -> Result<Option<String>, Fault> {
        let carrier = self.carrier().to_owned();
        if self.watch.is_none() {
            self.watch = Some(self.kafka.watcher(&self.job)?);
        }
        let watch = self.watch.as_ref().expect("it has just been made");
        let found = self.patiently(watch.context(), "looking for the commit record", || {
            heard(watch, raw::committed(watch.client(), &carrier, 0, producer::REQUEST))
        })?;
        self.record(found)
    }

    fn record(&self, found: Option<raw::Position>) -> Result<Option<String>, Fault> {
        let carrier = self.carrier();
        let Some(position) = found else { return Ok(None) };
        let text = String::from_utf8(position.metadata).ok().filter(|text| text.starts_with("v1|"));
        text.map(Some).ok_or_else(|| {
            Fault::new(
                Exit::Restore,
                format!(
                    "group {} has offset {} in topic {carrier} partition 0, which is no commit record of this job: somebody else \
                     committed there",
                    self.job, position.offset
                ),
            )
        })
    }

    /// A new producer that has ended every earlier one of this job@version.
    pub(super) fn init(&mut self) -> Result<(), Fault> {
        self.commits = None;
        let exhausted = || self.patience.exhausted();
        let made = self.kafka.take_over(&self.job, self.largest(), exhausted, |client, request| {
            self.patiently(client, "taking over the transactions", request)
        })?;
        let others = || {
            let text = format!("job {}: other instances keep taking over its transactions", self.job);
            Fault::new(Exit::AlreadyRunning, text)
        };
        self.commits = Some(made.ok_or_else(others)?);
        if self.delivery == Delivery::ExactlyOnce {
            // They were the earlier producer's.
            self.handles.clear();
        }
        Ok(())
    }
}

/// Why there is no answer: that a client is not let in says more than that nobody answers it.
pub(super) fn why(client: &Context, failure: &impl ToString) -> String {
    client.refusal().map_or_else(|| failure.to_string(), |refusal| refusal.to_string())
}

impl Decider for KafkaDecider {
    fn takes_over(&self) -> bool {
        true
    }

    /// A run that was killed between its record and its commit leaves a transaction open, which the broker ends after a minute, and a fence at
    /// once. So a look waits for it only as long as a commit that is being made real takes, and then takes the record as it was before. That
    /// never shows what is not committed. It may show the parent of a record whose transaction has been decided and whose markers are late:
    /// as if the look had been a moment earlier, and nobody goes on from what a look shows. A run goes on from what it reads after its fence.
    fn look(&mut self) -> Result<Option<String>, Fault> {
        let carrier = self.carrier().to_owned();
        self.group()?;
        let group = self.group.as_ref().expect("it has just been made");
        match raw::committed(group.client(), &carrier, 0, DECIDED) {
            Err(code) if fault::passes(code) => self.glimpse(),
            answer => {
                let found = self.patiently(group.context(), "looking for the commit record", || answer.clone())?;
                self.record(found)
            }
        }
    }

    fn fence(&mut self) -> Result<Option<String>, Fault> {
        // First, since a producer keeps to the largest record that a topic takes.
        self.kafka.learn(&mut self.outputs)?;
        self.init()?;
        self.last = self.read_record()?;
        self.before.clone_from(&self.last);
        Ok(self.last.clone())
    }

    fn evidence(&mut self) -> Result<Option<String>, Fault> {
        for index in 0..self.outputs.len() {
            let (topic, job, kafka) = (self.outputs[index].topic.clone(), self.job.clone(), self.kafka.clone());
            if let Some(partition) = outlets::written_by(&kafka, self.group()?, &topic, &job)? {
                return Ok(Some(format!("topic {topic} partition {partition} ends with a record that it wrote")));
            }
        }
        Ok(None)
    }

    fn create(&mut self, partitions: u32) -> Result<(), Fault> {
        self.kafka.prepare(&mut self.outputs, self.create, partitions)
    }

    fn partitions(&self, sink: u32) -> u32 {
        self.outputs.iter().find(|output| output.sink == sink).map_or(0, |output| output.partitions)
    }

    fn begin(&mut self, begin: &Begin) {
        self.run.clone_from(&begin.run);
        self.delivery = begin.delivery;
        self.patience = begin.patience.clone();
    }

    fn stage(&mut self, outgoing: &Outgoing) -> Result<(), Fault> {
        if self.records.is_none() {
            self.records = Some(self.kafka.producer(&Purpose::Records, self.largest())?);
        }
        let sent = self.send(outgoing)?;
        sent.map_err(|failure| self.refused(failure.code(), &self.output(outgoing).topic))
    }

    fn commit(&mut self, commit: &Commit<'_>) -> Result<(), Fault> {
        self.drain()?;
        self.settle_all(commit)?;
        self.patience.over();
        self.before = self.last.replace(commit.record.to_owned());
        self.mirror.written(commit.mirror, &std::mem::take(&mut self.mirroring), Instant::now());
        Ok(())
    }

    fn publish(&mut self) -> Result<(), Fault> {
        match self.delivery {
            // Handed over already; the commit waits for all of it.
            Delivery::AtLeastOnce | Delivery::ExactlyOnce => Ok(()),
            Delivery::AtMostOnce => self.drain(),
        }
    }
}
