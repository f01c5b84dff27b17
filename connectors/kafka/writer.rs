//! A program that feeds topics, each record once: what it appends becomes visible together with how far it has got.

use std::time::Duration;

use millpond_engine::sink::{Begin, Commit, Decider as _, Outgoing, Outlet, Patience};
use millpond_engine::{Delivery, Env, Exit, Fault};
use millpond_state::Timestamp;

use super::Kafka;
use super::decider::KafkaDecider;

/// How long a writer that was fenced watches whether it was by another one: a program need not commit at any set time.
const PERIOD: Duration = Duration::from_secs(2);

/// What a [`KafkaWriter`] committed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fed {
    /// The number given with the commit.
    pub number: u64,
    /// The text given with it.
    pub text: String,
}

/// Appends to topics under a name of its own, exactly once: records become visible with [`KafkaWriter::commit`], in one transaction with a number and a
/// text that say how far the program has got. Whoever opens a writer of the same name ends the one before.
///
/// ```no_run
/// use millpond_connectors::Kafka;
/// use millpond_state::Timestamp;
/// let mut writer = Kafka::brokers("localhost:9092").writer("feeder", &["lines"], 3).unwrap();
/// let done = writer.last_commit().map_or(0, |fed| fed.number);
/// for (number, line) in (1..).zip(["a", "b", "c"]).filter(|(number, _)| *number > done) {
///     writer.append(0, (number % 3) as u32, Timestamp::from_secs(number as i64), None, line.as_bytes());
///     writer.commit(number, "").unwrap();
/// }
/// ```
#[must_use = "what is appended becomes visible with `commit`"]
pub struct KafkaWriter {
    name: String,
    decider: Box<KafkaDecider>,
    last: Option<Fed>,
    waiting: Vec<Outgoing>,
}

impl std::fmt::Debug for KafkaWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaWriter").field("name", &self.name).field("last", &self.last).finish_non_exhaustive()
    }
}

impl Kafka {
    /// A writer of these topics, which are made with so many partitions where they are missing. It is known to the cluster as the group and
    /// the transactional id `name@1`; the first topic's partition 0 carries its commits.
    ///
    /// # Errors
    /// When the cluster does not answer, does not let it write, or its last commit cannot be read.
    pub fn writer(&self, name: &str, topics: &[&str], partitions: u32) -> Result<KafkaWriter, Fault> {
        let env = Env { state: std::path::PathBuf::new(), job: name.to_owned(), version: 1, create: true };
        let outlets = topics.iter().zip(0..).map(|(to, sink)| Outlet { sink, to: (*to).to_owned(), upsert: false });
        let outlets: Vec<_> = outlets.collect();
        if outlets.is_empty() {
            return Err(Fault::new(Exit::Usage, format!("the writer {name} has no topic to write to")));
        }
        let mut decider = Box::new(KafkaDecider::new(self, &env, &outlets));
        let last = decider.fence()?.map(|record| parse(name, &record)).transpose()?;
        decider.create(partitions)?;
        let run = last.as_ref().map_or(0, |fed: &Fed| fed.number).to_string();
        decider.begin(&Begin { run, delivery: Delivery::ExactlyOnce, patience: Patience::default() });
        let waiting = topics.iter().zip(0..).map(|(_, sink)| Outgoing::new(sink, 0)).collect();
        Ok(KafkaWriter { name: name.to_owned(), decider, last, waiting })
    }
}

/// `v1|name|number|text`.
fn parse(name: &str, record: &str) -> Result<Fed, Fault> {
    let mut fields = record.splitn(4, '|').skip(1);
    let (of, number, text) = (fields.next(), fields.next(), fields.next());
    let number = number.and_then(|number| number.parse().ok()).filter(|_| of == Some(name));
    match (number, text) {
        (Some(number), Some(text)) => Ok(Fed { number, text: text.to_owned() }),
        _ => Err(Fault::new(Exit::Restore, format!("the last commit of writer {name} is not its own: {record:?}"))),
    }
}

impl KafkaWriter {
    /// What was committed last under this name.
    #[must_use]
    pub fn last_commit(&self) -> Option<&Fed> {
        self.last.as_ref()
    }

    /// Appends a record to the `topic`-th topic; it waits in memory for its commit.
    ///
    /// # Panics
    /// When there is no such topic.
    pub fn append(&mut self, topic: usize, partition: u32, at: Timestamp, key: Option<&[u8]>, value: &[u8]) {
        let put = |from: Option<&[u8]>, bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(from.unwrap_or_default());
            Ok::<_, std::convert::Infallible>(from.is_some())
        };
        let pushed =
            self.waiting[topic].push(at, |bytes| put(key, bytes), |bytes| put(Some(value), bytes), |_, _| partition);
        pushed.expect("bytes are copied without an error");
    }

    /// Makes everything appended visible, with how far the program has got: all of it or nothing. `number` grows with
    /// each commit, and `text` has at most a few hundred bytes.
    ///
    /// # Errors
    /// When the number does not grow, another writer of this name was opened meanwhile, or the cluster refuses it. Nothing is visible then.
    pub fn commit(&mut self, number: u64, text: &str) -> Result<(), Fault> {
        if self.last.as_ref().is_some_and(|last| number <= last.number) {
            // The same record twice would hide whether the second was committed.
            let text = format!("the writer {} commits number {number}, and its last was not smaller", self.name);
            return Err(Fault::new(Exit::Usage, text));
        }
        let record = format!("v1|{}|{number}|{text}", self.name);
        let output = &self.waiting;
        self.decider.commit(&Commit { epoch: number, record: &record, output, mirror: &[], period: PERIOD })?;
        for waiting in &mut self.waiting {
            *waiting = Outgoing::new(waiting.sink, number);
        }
        self.last = Some(Fed { number, text: text.to_owned() });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_read_back_and_those_of_others_are_refused() {
        let fed = |number, text: &str| Fed { number, text: text.to_owned() };
        assert_eq!(parse("feeder", "v1|feeder|7|a|b").unwrap(), fed(7, "a|b"));
        assert_eq!(parse("feeder", "v1|feeder|0|").unwrap(), fed(0, ""));
        for record in ["v1|other|7|a", "v1|feeder|x|a", "v1|feeder|7", "v1|"] {
            assert_eq!(parse("feeder", record).unwrap_err().exit(), Exit::Restore, "{record}");
        }
    }
}
