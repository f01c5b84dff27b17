//! Consumers: their settings, what they log, and what went wrong last.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millpond_engine::Fault;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;

use super::login::{Refusal, Refusals, Why};
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
pub(super) struct Context(Arc<Heard>);

#[derive(Debug, Default)]
struct Heard {
    trouble: Mutex<Option<(RDKafkaErrorCode, String)>>,
    refused: Mutex<Option<(RDKafkaErrorCode, String)>>,
    refusals: Mutex<Refusals>,
    unanswered: AtomicBool,
    made_anew: AtomicBool,
    /// Lines of the log and errors so far.
    heard: AtomicU64,
}

impl Context {
    /// What was reported last, if anything was since it was asked last.
    pub(super) fn trouble(&self) -> Option<(RDKafkaErrorCode, String)> {
        // A text that was half written would still be a text.
        self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // That all are down says less than why one is.
        if trouble.is_none() || code != RDKafkaErrorCode::AllBrokersDown {
            *trouble = Some((code, reason.to_owned()));
        }
    }

    /// Whether a topic that is read has turned out to be another one of the same name.
    pub(super) fn made_anew(&self) -> bool {
        self.0.made_anew.load(Ordering::Acquire)
    }

    /// The first record that the cluster refused since this was asked last: why, and for which topic.
    pub(super) fn refused(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A record was not written.
    pub(super) fn undelivered(&self, code: RDKafkaErrorCode, topic: &str) {
        let mut refused = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        // What an abort takes back was not refused, and must not hide what was.
        let purged = |code| matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight);
        if refused.as_ref().is_none_or(|(first, _)| purged(*first) && !purged(code)) {
            *refused = Some((code, topic.to_owned()));
        }
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There was an answer.
    pub(super) fn answered(&self) {
        self.refusals().answered();
    }

    /// The broker that does not let us in for the longest time, if one does not.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusals().longest().cloned()
    }

    /// The broker that has refused us for longer than a job waits that starts, or runs.
    pub(super) fn lasting_refusal(&self, starting: bool) -> Option<Refusal> {
        self.refusals().lasting(starting, Instant::now()).cloned()
    }

    /// The broker that is why a start had no answer for as long as it waited.
    pub(super) fn decisive_refusal(&self) -> Option<Refusal> {
        self.refusals().decisive(Instant::now()).cloned()
    }

    /// A request of a producer, one that changes a transaction, ended without an answer.
    pub(super) fn unanswered_request(&self) {
        self.0.unanswered.store(true, Ordering::Release);
    }

    /// Whether a request of the producer may still be on its way: one that ended without an answer, whether or not it was repeated since.
    pub(super) fn unanswered(&self) -> bool {
        self.0.unanswered.load(Ordering::Acquire)
    }
}

/// Whether librdkafka says here that a topic has another id than before. It reads on in the other topic, at the old one's offset, and this line,
/// written before it does, is all that tells (2.12.1, by its source): no message, event or interceptor of a consumer carries an id. The id is
/// asked for with DescribeTopics at every start and every five seconds (`raw::topic_id`); this line closes the gap between two looks. A test on
/// a real broker fails should another release say it otherwise.
fn changes_id(text: &str) -> bool {
    let from = text.split_once(" changed id from ").and_then(|(_, ids)| ids.split_once(" to "));
    // The first id that is learned replaces one of zeros.
    from.is_some_and(|(before, _)| before.bytes().any(|byte| byte != b'A'))
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, text: &str) {
        self.0.heard.fetch_add(1, Ordering::Relaxed);
        if fac == "FAIL" {
            // Why a broker cannot be reached: librdkafka logs this, and reports it only where it takes it for grave.
            let report = text.split_once("]: ").map_or(text, |(_, report)| report);
            self.note(RDKafkaErrorCode::BrokerTransportFailure, report);
            // What is grave is reported as well, with its code.
            if !matches!(level, RDKafkaLogLevel::Error) {
                self.refusals().heard(report, Why::closed(report), Instant::now());
            }
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "millpond::kafka", "{fac} {text}");
            }
            RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "millpond::kafka", "{fac} {text}");
            }
            RDKafkaLogLevel::Debug => {
                if changes_id(text) {
                    self.0.made_anew.store(true, Ordering::Release);
                }
                tracing::debug!(target: "millpond::kafka", "{fac} {text}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF)) {
            // Nothing is wrong, and whoever reads is told.
            return;
        }
        self.0.heard.fetch_add(1, Ordering::Relaxed);
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        self.note(code, reason);
        // That all are down is said after each that is, and why has been said by then.
        if code == RDKafkaErrorCode::AllBrokersDown {
            tracing::debug!(target: "millpond::kafka", "{error}: {reason}");
        } else {
            tracing::warn!(target: "millpond::kafka", "{error}: {reason}");
            let why = if fault::login(code) { Why::Refused } else { Why::closed(reason) };
            self.refusals().heard(reason, why, Instant::now());
        }
    }
}

impl ConsumerContext for Context {}

/// Everything that a consumer has to report; what is logged goes to its [`Context`]. The crate's `poll` answers that there is nothing also after a
/// line of the log.
pub(super) fn reports(consumer: &Consumer) -> impl Iterator<Item = KafkaResult<BorrowedMessage<'_>>> {
    let heard = || consumer.context().0.heard.load(Ordering::Relaxed);
    std::iter::from_fn(move || {
        loop {
            let before = heard();
            match consumer.poll(Duration::ZERO) {
                None if heard() != before => {}
                event => return event,
            }
        }
    })
}

/// An answer, once everything is heard that was reported before it. Of a consumer that reads nothing: records would be lost.
pub(super) fn heard<T>(consumer: &Consumer, answer: Result<T, RDKafkaErrorCode>) -> Result<T, RDKafkaErrorCode> {
    reports(consumer).for_each(drop);
    if answer.is_ok() {
        consumer.context().answered();
    }
    answer
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
        let debug = self.settings.get("debug").map_or_else(|| "metadata".to_owned(), |more| format!("metadata,{more}"));
        let mut config = self.config(&defaults, &own)?;
        // So that it says when a topic changes its id; what is shown of it, `RUST_LOG` says.
        config.set("debug", debug).set_log_level(RDKafkaLogLevel::Debug);
        Consumer::from_config_and_context(&config, Context::default())
            .map_err(|error| fault::client(&self.brokers, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_changed_its_id_when_it_had_one_before() {
        let said = |from: &str| format!("[thrd:main]: Topic clicks changed id from {from} to iY5hM0bURJqDkRQnD8qGMg");
        assert!(changes_id(&said("xY5hM0bURJqDkRQnD8qGMg")));
        assert!(!changes_id(&said("AAAAAAAAAAAAAAAAAAAAAA")));
        assert!(!changes_id("[thrd:main]: Topic clicks [0] Leader 1 Epoch 0"));
    }
}
