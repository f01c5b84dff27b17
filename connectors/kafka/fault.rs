//! Errors of Kafka by what helps.

use millpond_engine::{Exit, Fault};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::settings::secret;

/// What an error asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// It passes: ask again, or wait.
    Passing,
    /// The topic or the partition is not there.
    Missing,
    /// The cluster does not let us.
    Denied,
    /// Anything else.
    Other,
}

/// The class of a code.
pub(super) fn class(code: Code) -> Class {
    match code {
        Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::NetworkException
        | Code::KafkaStorageError
        | Code::UnknownLeaderEpoch
        | Code::FencedLeaderEpoch
        | Code::OffsetNotAvailable
        | Code::ListenerNotFound
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::WaitingForCoordinator
        | Code::InProgress
        | Code::PreviousInProgress
        | Code::ThrottlingQuotaExceeded
        | Code::MessageTimedOut
        | Code::TimedOutQueue
        | Code::UnstableOffsetCommit
        | Code::NotController
        | Code::ConcurrentTransactions
        | Code::ISRInsufficient
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::PurgeQueue
        | Code::PurgeInflight
        | Code::Retry => Class::Passing,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId => {
            Class::Missing
        }
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::SSL
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::InvalidTransactionTimeout => Class::Denied,
        _ => Class::Other,
    }
}

/// Whether it is about who we are: a password, or a certificate.
pub(super) fn login(code: Code) -> bool {
    matches!(code, Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism | Code::SSL)
}

/// Whether waiting helps.
pub(super) fn passes(code: Code) -> bool {
    class(code) == Class::Passing
}

impl Class {
    /// The exit code for an error of this class that ends a run.
    pub(super) const fn exit(self) -> Exit {
        match self {
            Class::Passing | Class::Other => Exit::Retry,
            Class::Missing | Class::Denied => Exit::Usage,
        }
    }
}

/// The exit code where a cluster refuses what a job writes.
pub(super) fn written(code: Code) -> Exit {
    match code {
        // The next start would write the very same record.
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::InvalidTopic
        | Code::PolicyViolation => Exit::FixJob,
        code => class(code).exit(),
    }
}

/// A client that cannot be made: its settings are wrong. The reason is librdkafka's, which may quote the value.
pub(super) fn client(brokers: &str, error: &KafkaError) -> Fault {
    match error {
        KafkaError::ClientConfig(_, _, name, _) if secret(name) => {
            Fault::new(Exit::Usage, format!("the value of the Kafka setting {name} is refused"))
        }
        KafkaError::ClientConfig(_, reason, name, _) => {
            Fault::new(Exit::Usage, format!("the Kafka setting {name} is refused: {reason}"))
        }
        error => {
            Fault::new(Exit::Usage, format!("no client of the Kafka cluster {brokers} can be made")).because(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_record_that_would_be_refused_again_is_for_the_job_to_mend() {
        for code in [Code::MessageSizeTooLarge, Code::InvalidRecord, Code::InvalidTimestamp] {
            assert_eq!(written(code), Exit::FixJob, "{code}");
        }
        for code in [Code::TopicAuthorizationFailed, Code::GroupAuthorizationFailed, Code::ClusterAuthorizationFailed] {
            assert_eq!((written(code), class(code).exit()), (Exit::Usage, Exit::Usage), "{code}");
        }
        // A new producer does not have what broke the old one.
        for code in [Code::Fatal, Code::OutOfOrderSequenceNumber, Code::UnknownProducerId, Code::State, Code::Unknown] {
            assert_eq!((written(code), class(code).exit()), (Exit::Retry, Exit::Retry), "{code}");
        }
    }
}
