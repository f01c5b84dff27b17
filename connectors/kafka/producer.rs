//! Producers, and the reader of what their group has committed: their settings.

use std::time::Duration;

use millpond_engine::Fault;
use rdkafka::admin::AdminClient;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::client::Context;
use super::failure::Class;
use super::raw::Producer;
use super::{Kafka, ask, fault};

/// How long one request of a start may take before it is asked again.
pub(super) const REQUEST: Duration = Duration::from_secs(5);

/// How often a fence is tried that others come in between of.
const TAKES: u32 = 20;

/// What a producer is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// The transactions of a job@version; making one ends those of every earlier one once it has been initialised.
    Commits(String),
    /// Records outside of transactions, each once as long as this producer lives.
    Records,
}

impl Kafka {
    /// A producer, and what it reports. `largest` is the largest record, in bytes, that it should take.
    pub(super) fn producer(&self, purpose: &Purpose, largest: u64) -> Result<(Producer, Context), Fault> {
        let largest = largest.clamp(1_000, 1_000_000_000).to_string();
        let mut defaults = vec![
            ("client.id", "millpond"),
            // How soon brokers that come back are found; librdkafka's ten seconds are long for a job that waits.
            ("reconnect.backoff.max.ms", "1000"),
            // A short queue stays in the processor's cache, and drains in milliseconds.
            ("queue.buffering.max.messages", "20000"),
            ("linger.ms", "5"),
            // The marker of the last transaction may be on its way when the next begins: ask again soon.
            ("retry.backoff.ms", "5"),
            ("message.max.bytes", &largest),
        ];
        // Reports are read for what is refused; what is delivered needs none.
        let mut own = vec![("delivery.report.only.error", "true"), ("enable.idempotence", "true")];
        match purpose {
            Purpose::Commits(id) => {
                defaults.push(("transaction.timeout.ms", "60000"));
                own.push(("transactional.id", id));
            }
            // Nothing is given up while the process lives: what was handed over is committed only once it is there.
            Purpose::Records => own.push(("message.timeout.ms", "0")),
        }
        let context = Context::default();
        let made = Producer::new(&self.config(&defaults, &own)?, context.clone());
        Ok((made.map_err(|error| fault::client(&self.brokers, &error))?, context))
    }

    /// A new producer that has ended every earlier one of this transactional id, by requests that `patiently` repeats. `None`
    /// when others keep taking over.
    ///
    /// # Errors
    /// What `patiently` answers.
    pub(super) fn take_over(
        &self,
        id: &str,
        largest: u64,
        exhausted: impl Fn() -> bool,
        patiently: impl Fn(&Context, &mut dyn FnMut() -> Result<bool, Code>) -> Result<bool, Fault>,
    ) -> Result<Option<(Producer, Context)>, Fault> {
        let mut tries = 0;
        loop {
            let made = self.producer(&Purpose::Commits(id.to_owned()), largest)?;
            let mine = patiently(&made.1, &mut || {
                made.0.poll();
                match made.0.init(REQUEST) {
                    Ok(()) => Ok(true),
                    Err(failure) if failure.fenced() => Ok(false),
                    Err(failure) if failure.class() == Class::Again => Err(Code::OperationTimedOut),
                    Err(failure) => Err(failure.code()),
                }
            })?;
            if mine {
                return Ok(Some(made));
            }
            // Another one takes over at this very moment. Whoever is last goes on, and the other one finds his record; this producer is
            // of no more use.
            tries += 1;
            if tries == TAKES || exhausted() {
                return Ok(None);
            }
            std::thread::sleep(ask::AGAIN);
        }
    }

    /// A consumer of a group that it never joins: for what the group has committed, and for looking at topics.
    pub(super) fn reader(&self, group: &str) -> Result<BaseConsumer<Context>, Fault> {
        self.reads(group, "read_committed")
    }

    /// One that sees what the group had committed before a transaction that is still open, where a [`reader`](Self::reader) waits for its end.
    /// What is in the open transaction neither sees.
    pub(super) fn watcher(&self, group: &str) -> Result<BaseConsumer<Context>, Fault> {
        self.reads(group, "read_uncommitted")
    }

    fn reads(&self, group: &str, isolation: &str) -> Result<BaseConsumer<Context>, Fault> {
        let own = [
            ("group.id", group),
            ("isolation.level", isolation),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
        ];
        // Tools read to the end and leave: they are not kept waiting there.
        let defaults = [("client.id", "millpond"), ("fetch.wait.max.ms", "20"), ("reconnect.backoff.max.ms", "1000")];
        BaseConsumer::from_config_and_context(&self.config(&defaults, &own)?, Context::default())
            .map_err(|error| fault::client(&self.brokers, &error))
    }

    /// Makes, describes and looks at topics.
    pub(super) fn admin(&self) -> Result<AdminClient<Context>, Fault> {
        AdminClient::from_config_and_context(&self.config(&[("client.id", "millpond")], &[])?, Context::default())
            .map_err(|error| fault::client(&self.brokers, &error))
    }
}
