//! Consumers: their settings, what they log, and what went wrong last.

use std::sync::{Arc, Mutex, PoisonError};

use millpond_engine::Fault;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;

use super::{Kafka, fault};

/// Bytes of records that one consumer reads ahead, over all its partitions. librdkafka's own are per partition, and in memory small records
/// take some three times their bytes.
const AHEAD_BYTES: usize = 16 << 20;
/// More than this for one partition is no faster.
const MOST_BYTES: usize = 4 << 20;
/// With less a fetch brings too little.
const LEAST_BYTES: usize = 16 << 10;

/// A consumer of ours.
pub(super) type Consumer = BaseConsumer<Context>;

/// What a client reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Context {
    trouble: Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>,
    refused: Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>,
}

impl Context {
    /// What was reported last, if anything was since it was asked last.
    pub(super) fn trouble(&self) -> Option<(RDKafkaErrorCode, String)> {
        // A text that was half written would still be a text.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // That all are down says less than why one is.
        if trouble.is_none() || code != RDKafkaErrorCode::AllBrokersDown {
            *trouble = Some((code, reason.to_owned()));
        }
    }

    /// The first record that the cluster refused since this was asked last: why, and for which topic.
    pub(super) fn refused(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, text: &str) {
        if fac == "FAIL" {
            // Why a broker cannot be reached: librdkafka logs this, and reports it only where it takes it for grave.
            self.note(RDKafkaErrorCode::BrokerTransportFailure, text.rsplit("]: ").next().unwrap_or(text));
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "millpond::kafka", "{fac} {text}");
            }
            RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "millpond::kafka", "{fac} {text}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "millpond::kafka", "{fac} {text}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF)) {
            // Nothing is wrong, and whoever reads is told.
            return;
        }
        tracing::warn!(target: "millpond::kafka", "{error}: {reason}");
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        self.note(code, reason);
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.get_or_insert_with(|| (code, message.topic().to_owned()));
        }
    }
}

impl Kafka {
    /// A consumer that reads `partitions` partitions.
    pub(super) fn consumer(&self, partitions: usize, committed_only: bool) -> Result<Consumer, Fault> {
        let share = (AHEAD_BYTES / partitions.max(1)).clamp(LEAST_BYTES, MOST_BYTES);
        let fetch = share.min(1 << 20).to_string();
        let share = (share >> 10).to_string();
        let defaults = [
            ("client.id", "millpond"),
            // How soon brokers that come back are found; librdkafka's ten seconds are long for a job that waits.
            ("reconnect.backoff.max.ms", "1000"),
            ("check.crcs", "true"),
            ("queued.min.messages", "100000"),
            ("queued.max.messages.kbytes", &share),
            ("fetch.message.max.bytes", &fetch),
            // How long a full queue is left alone; librdkafka's second makes a fast reader sleep.
            ("fetch.queue.backoff.ms", "5"),
            // How soon the end of a partition is known that ends with the marker of a transaction.
            ("fetch.wait.max.ms", "100"),
        ];
        let own = [
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
            ("allow.auto.create.topics", "false"),
            ("isolation.level", if committed_only { "read_committed" } else { "read_uncommitted" }),
        ];
        let config = self.config(&defaults, &own)?;
        Consumer::from_config_and_context(&config, Context::default())
            .map_err(|error| fault::client(&self.brokers, &error))
    }
}
