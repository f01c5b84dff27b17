//! Where the topics of this example lie: in the embedded log beside the job's state, or on a Kafka cluster.

use std::path::Path;
use std::sync::Arc;

use millpond::engine::Lines as _;
use millpond::engine::ledger::Ledger;
use millpond::log::{Claim, Log, LogError, Record, Settings, Writer};
use millpond::{Fault, Kafka, KafkaWriter, Timestamp};

use crate::feed::{AIRPORTS, TOPIC};
use crate::{Options, results};

/// A log or a cluster, and what its topics' names begin with.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) at: At,
    prefix: String,
}

/// A log or a cluster.
#[derive(Clone, Debug)]
pub(crate) enum At {
    Log(Log),
    Kafka(Kafka),
}

impl Place {
    pub(crate) fn new(state: &Path, options: &Options) -> Result<Place, Fault> {
        let at =
            if options.kafka.given() { At::Kafka(options.kafka.kafka()?) } else { At::Log(Log::at(state.join("log"))) };
        Ok(Place { at, prefix: options.topic_prefix.clone() })
    }

    /// The topic of departures.
    pub(crate) fn departures(&self) -> String {
        format!("{}{TOPIC}", self.prefix)
    }
    /// The topic of results.
    pub(crate) fn hours(&self) -> String {
        format!("{}{}", self.prefix, results::HOURS)
    }
    /// The topic of late flights.
    pub(crate) fn late(&self) -> String {
        format!("{}{}", self.prefix, results::LATE)
    }

    /// For people.
    pub(crate) fn name(&self) -> String {
        match &self.at {
            At::Log(log) => format!("the log in {}", log.dir().display()),
            At::Kafka(_) => "the Kafka cluster".to_owned(),
        }
    }

    /// Reads what is committed.
    pub(crate) fn ledger(&self) -> Arc<dyn Ledger> {
        match &self.at {
            At::Log(log) => log.ledger(),
            At::Kafka(kafka) => kafka.ledger(),
        }
    }

    /// What a reader may do now.
    pub(crate) fn try_next(&self, state: &Path, hours: &str) -> String {
        let state = state.display();
        let read = match &self.at {
            At::Log(_) => format!("cargo run --release --example log -- --log {state}/log read {hours} | head"),
            At::Kafka(_) => format!("tests/kafka/broker.sh read {hours} | head"),
        };
        format!(
            "Try next (with --state {state}):
  {read}   # read its output
  cargo run --release --example flights -- plan                                # look at its plan
  rm -r {state}; start it again and kill -9 it on the way; start it once more: the same results
"
        )
    }

    /// A writer that knows how far it got when it was last here.
    pub(crate) fn feeder(&self) -> Result<Feeder, Fault> {
        let (name, topic) = (format!("{}flights-feeder", self.prefix), self.departures());
        match &self.at {
            At::Log(log) => {
                let log = Log::open(log.dir())?;
                let mut writer = log.writer(&name)?;
                match log.create_topic(&topic, Settings::partitions(AIRPORTS.len() as u32)) {
                    Ok(_) | Err(LogError::TopicExists { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                let claim = writer.claim(&topic)?;
                Ok(Feeder::Log(Box::new(writer), claim))
            }
            At::Kafka(kafka) => Ok(Feeder::Kafka(kafka.writer(&name, &[&topic], AIRPORTS.len() as u32)?)),
        }
    }
}

/// Appends departures and how far it got in one commit.
pub(crate) enum Feeder {
    Log(Box<Writer>, Claim),
    Kafka(KafkaWriter),
}

impl Feeder {
    /// The text of the last commit.
    pub(crate) fn last(&self) -> Option<String> {
        match self {
            Feeder::Log(writer, _) => {
                writer.last_commit().map(|commit| String::from_utf8_lossy(&commit.payload).into_owned())
            }
            Feeder::Kafka(writer) => writer.last_commit().map(|fed| fed.text.clone()),
        }
    }

    pub(crate) fn append(&mut self, partition: u32, at: Timestamp, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        match self {
            Feeder::Log(writer, claim) => {
                writer.append(*claim, partition, &Record::new(at, value).key(key))?;
            }
            Feeder::Kafka(writer) => writer.append(0, partition, at, Some(key), value),
        }
        Ok(())
    }

    pub(crate) fn commit(&mut self, lines: u64, text: &str) -> Result<(), Fault> {
        match self {
            Feeder::Log(writer, _) => {
                writer.commit(lines, text.as_bytes())?;
                Ok(())
            }
            Feeder::Kafka(writer) => writer.commit(lines, text),
        }
    }
}
