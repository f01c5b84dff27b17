//! Asks a cluster until it answers, and for what everybody asks: a topic's partitions.

use std::time::{Duration, Instant};

use millpond_engine::{Exit, Fault};
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::client::Context;
use super::producer::REQUEST;
use super::{Kafka, fault};

/// How soon what has passed is asked again.
pub(super) const AGAIN: Duration = Duration::from_millis(100);
/// How long a start keeps asking a cluster that does not answer.
pub(super) const START: Duration = Duration::from_secs(60);

/// The answer of `request`, which is asked again after errors that pass for as long as `waits` says so: it is told the error, and for how long
/// there was no answer. Otherwise the last error.
pub(super) fn until_answered<T>(
    mut request: impl FnMut() -> Result<T, Code>,
    mut waits: impl FnMut(Code, Duration) -> bool,
) -> Result<T, Code> {
    let began = Instant::now();
    loop {
        match request() {
            Err(code) if fault::passes(code) && waits(code, began.elapsed()) => std::thread::sleep(AGAIN),
            answer => return answer,
        }
    }
}

/// What a cluster says of a topic.
pub(super) struct Found {
    /// The numbers of its partitions, ascending, those without a leader too; `None` when it is not there.
    pub(super) partitions: Option<Vec<u32>>,
    /// A broker that is there.
    pub(super) broker: i32,
}

/// Looks for a topic.
pub(super) fn topic<C: ClientContext>(client: &Client<C>, topic: &str) -> Result<Found, Code> {
    let metadata = client.fetch_metadata(Some(topic), REQUEST).map_err(code)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let missing = |error: &Code| matches!(error, Code::UnknownTopicOrPartition | Code::UnknownTopic);
    let mut partitions = Vec::new();
    match found.map(|found| (found, found.error().map(Code::from))) {
        Some((_, Some(error))) if !missing(&error) => return Err(error),
        Some((found, None)) => {
            let numbers = found.partitions().iter().map(|partition| u32::try_from(partition.id()));
            partitions = numbers.collect::<Result<_, _>>().map_err(|_| Code::UnknownPartition)?;
            partitions.sort_unstable();
        }
        _ => {}
    }
    // The first answer comes from an address, which has no number yet.
    let answered = Some(metadata.orig_broker_id()).filter(|broker| *broker >= 0);
    let broker = answered.or_else(|| metadata.brokers().first().map(|broker| broker.id()));
    let broker = broker.ok_or(Code::BrokerNotAvailable)?;
    Ok(Found { partitions: Some(partitions).filter(|all| !all.is_empty()), broker })
}

/// How many partitions a topic has; `None` when it is not there.
pub(super) fn partitions<C: ClientContext>(client: &Client<C>, name: &str) -> Result<Option<u32>, Code> {
    Ok(topic(client, name)?.partitions.and_then(|all| u32::try_from(all.len()).ok()))
}

pub(super) fn code(error: KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Unknown)
}

impl Kafka {
    /// Asks until there is an answer, or the start has waited long enough.
    pub(super) fn ask<T>(&self, what: &str, request: impl FnMut() -> Result<T, Code>) -> Result<T, Fault> {
        self.ask_within(START, None, what, request)
    }

    /// Asks until there is an answer, but no longer than this, and not for long where `client`, whose reports `request` hears, is not let in.
    pub(super) fn ask_within<T>(
        &self,
        patience: Duration,
        client: Option<&Context>,
        what: &str,
        request: impl FnMut() -> Result<T, Code>,
    ) -> Result<T, Fault> {
        let brokers = &self.brokers;
        let answer = until_answered(request, |code, waited| {
            tracing::info!(brokers, "{what}: {code}; asking again");
            waited < patience && client.and_then(|client| client.lasting_refusal(true)).is_none()
        });
        if let Some(refusal) = client.and_then(Context::decisive_refusal).filter(|_| answer.is_err()) {
            return Err(self.locked_out(&refusal));
        }
        answer.map_err(|code| match fault::passes(code) {
            true => Fault::new(Exit::Retry, format!("{what}: the brokers {brokers} do not answer: {code}")),
            false => Fault::new(fault::class(code).exit(), format!("{what}: the brokers {brokers} refuse it: {code}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_asked_again_for_as_long_as_whoever_asks_has_patience() {
        let mut answers = vec![Ok(7), Err(Code::LeaderNotAvailable), Err(Code::OperationTimedOut)];
        let mut heard = Vec::new();
        let answer = until_answered(
            || answers.pop().expect("it is asked three times"),
            |code, _| {
                heard.push(code);
                true
            },
        );
        assert_eq!((answer, heard), (Ok(7), vec![Code::OperationTimedOut, Code::LeaderNotAvailable]));
        let tired = until_answered(|| Err::<(), _>(Code::OperationTimedOut), |_, waited| waited < AGAIN);
        assert_eq!(tired, Err(Code::OperationTimedOut));
        let refused = until_answered(|| Err::<(), _>(Code::TopicAuthorizationFailed), |_, _| unreachable!());
        assert_eq!(refused, Err(Code::TopicAuthorizationFailed));
    }
}
