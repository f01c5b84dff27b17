//! What can go wrong while a topic is read, as sentences that name the place: what the client reports, and what stands in the place of a
//! record.

use millpond_engine::{Exit, Fault};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::client::{Consumer, reports};
use super::fault::{Class, class, login};
use super::raw::Message;

/// A topic that is read.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) brokers: String,
    pub(super) topic: String,
}

impl Place {
    /// Hears what the client has to report; most of it passes, and is logged by [`Context`].
    pub(super) fn listen(&self, consumer: &Consumer) -> Result<(), Fault> {
        let Place { brokers, topic } = self;
        let context = consumer.context();
        for event in reports(consumer) {
            match event {
                Ok(message) => {
                    use rdkafka::Message as _;
                    let (partition, offset) = (message.partition(), message.offset());
                    return Err(Fault::new(
                        Exit::Retry,
                        format!(
                            "a record of {topic} partition {partition} offset {offset} came another way than its queue"
                        ),
                    ));
                }
                Err(error) => {
                    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                    let reported = context.trouble().map(|(_, text)| format!(": {text}")).unwrap_or_default();
                    // Whoever changes passwords does so here and there, in some order: how long that may take is looked at from outside.
                    if class(code) == Class::Denied && !login(code) || code == Code::Fatal {
                        return Err(Fault::new(
                            class(code).exit(),
                            format!("the Kafka cluster {brokers} does not let us read {topic}: {code}{reported}"),
                        ));
                    }
                }
            }
        }
        if context.made_anew() { Err(self.made_anew()) } else { Ok(()) }
    }

    pub(super) fn went_back(&self, partition: u32, next: u64, offset: u64) -> Fault {
        let Place { brokers, topic } = self;
        Fault::new(
            Exit::Retry,
            format!(
                "topic {topic} partition {partition} on {brokers} went back: offset {offset} came where {next} was due"
            ),
        )
    }

    fn made_anew(&self) -> Fault {
        let Place { brokers, topic } = self;
        Fault::new(
            Exit::Restore,
            format!(
                "topic {topic} on {brokers} was made again under the same name: it is not the log that the job has read so far"
            ),
        )
    }

    /// What an error in the place of a record comes to; nothing when it passes.
    pub(super) fn fault(&self, partition: u32, next: u64, code: Code, message: &Message) -> Option<Fault> {
        let Place { brokers, topic } = self;
        let place = format!("topic {topic} partition {partition} on {brokers}");
        let text = String::from_utf8_lossy(message.value().unwrap_or_default());
        match (code, class(code)) {
            (Code::AutoOffsetReset | Code::OffsetOutOfRange, _) => Some(Fault::new(
                Exit::Restore,
                format!("{place} does not hold offset {next}, where the job stands: {text}"),
            )),
            // librdkafka goes on by itself. Whether the topic is gone for good is looked at from outside.
            (_, Class::Passing | Class::Missing) => {
                tracing::warn!(target: "millpond::kafka", "{place}: {code}: {text}");
                None
            }
            (_, class) => {
                Some(Fault::new(class.exit(), format!("{place} cannot be read on at offset {next}: {code}: {text}")))
            }
        }
    }
}
