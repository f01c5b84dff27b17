//! What went wrong in a transaction, by what can be done about it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// A failed call of a transactional producer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(super) struct Failure {
    code: RDKafkaErrorCode,
    class: Class,
    text: String,
}

/// What helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The same call again.
    Again,
    /// Abort the transaction, and send everything again.
    Abort,
    /// Nothing is known of the outcome: a new producer has to fence, and the record to be read.
    Unknown,
}

impl Failure {
    pub(super) fn new(code: RDKafkaErrorCode, retriable: bool, requires_abort: bool, text: String) -> Self {
        let class = match (requires_abort, retriable) {
            (true, _) => Class::Abort,
            (false, true) => Class::Again,
            (false, false) => Class::Unknown,
        };
        Failure { code, class, text }
    }

    /// A record that was not taken, though nothing had happened to the transaction: it must not commit.
    pub(super) fn untaken(code: RDKafkaErrorCode, topic: &str) -> Self {
        Failure::new(code, false, true, format!("a record for topic {topic} is not taken: {code}"))
    }

    pub(super) fn code(&self) -> RDKafkaErrorCode {
        self.code
    }

    pub(super) fn class(&self) -> Class {
        self.class
    }

    /// Whether somebody else has fenced this producer. A broker that gave up on a slow transaction looks the same.
    pub(super) fn fenced(&self) -> bool {
        matches!(
            self.code,
            RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch
        )
    }
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::Transaction(error) => {
                let text = error.string();
                Failure::new(error.code(), error.is_retriable(), error.txn_requires_abort(), text)
            }
            other => {
                let code = other.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                Failure::new(code, false, false, other.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(retriable: bool, abort: bool) -> Failure {
        Failure::new(RDKafkaErrorCode::OperationTimedOut, retriable, abort, "it took too long".to_owned())
    }

    #[test]
    fn what_helps_is_what_librdkafka_says_and_everything_else_is_unknown() {
        assert_eq!(failure(true, false).class(), Class::Again);
        assert_eq!(failure(false, true).class(), Class::Abort);
        assert_eq!(failure(true, true).class(), Class::Abort);
        assert_eq!(failure(false, false).class(), Class::Unknown);
        let other = Failure::from(KafkaError::Canceled);
        assert_eq!((other.class(), other.fenced()), (Class::Unknown, false));
    }

    #[test]
    fn a_fenced_producer_and_one_that_was_too_slow_look_alike() {
        for code in [RDKafkaErrorCode::Fenced, RDKafkaErrorCode::ProducerFenced, RDKafkaErrorCode::InvalidProducerEpoch]
        {
            assert!(Failure::new(code, false, false, String::new()).fenced());
            assert!(!super::super::fault::passes(code), "waiting does not help");
        }
    }
}
