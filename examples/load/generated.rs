//! Clicks for an example that has none: into the embedded log beside its state, and the very ones that `load` writes when it is told nothing.

mod clicks;
mod feed;

use std::path::Path;

use millpond::log::{Log, LogError};
use millpond::{Exit, Fault, KafkaOptions, Timestamp, partition_of, say};

use clicks::Clicks;
use feed::Feed;

/// Partitions of a topic that is made here.
const PARTITIONS: u32 = 4;

/// The embedded log beside the job's state, where no cluster is named.
pub(crate) fn log(state: &Path, kafka: &KafkaOptions) -> Option<Log> {
    (!kafka.given()).then(|| Log::at(state.join("log")))
}

/// Makes sure that there is a topic of clicks: generates so many into one that holds none, if asked to. Who did not ask and forgot to name a
/// cluster is told so.
pub(crate) fn prepare(log: Option<&Log>, input: &str, generate: Option<u64>) -> Result<(), Fault> {
    let Some(log) = log else {
        if generate.is_some() {
            say("nothing is generated on Kafka; `cargo run --release --example load` writes clicks there");
        }
        return Ok(());
    };
    if let Some(count) = generate {
        return self::generate(log, input, count);
    }
    let dir = log.dir().display();
    match log.topic(input) {
        Err(LogError::NoSuchTopic { .. }) => Err(Fault::new(
            Exit::Usage,
            format!(
                "there is no topic {input} in the log in {dir}: name a Kafka cluster with --brokers, have clicks generated with --generate \
                 100000, or write them there with `cargo run --release --example load -- --log {dir} --topic {input}`"
            ),
        )),
        known => Ok(known.map(drop)?),
    }
}

/// All of them in one commit: a kill leaves none or all, and the next start goes by that.
fn generate(log: &Log, input: &str, count: u64) -> Result<(), Fault> {
    if holds_records(log, input)? {
        return Ok(());
    }
    let mut feed = Feed::open(log.dir(), input, PARTITIONS)?;
    // Looked at again: whoever wrote meanwhile has ended, and nobody else writes from here on.
    if holds_records(log, input)? {
        return Ok(());
    }
    let clicks = over_an_hour(count);
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for number in 0..count {
        let click = clicks.click(number);
        key.clear();
        value.clear();
        click.put_key(&mut key);
        click.put_value(&mut value);
        feed.append(partition_of(&key, feed.partitions), Timestamp::from_millis(click.at), &key, &value)?;
    }
    feed.commit()?;
    say(&format!("{count} clicks were generated into topic {input} of the log in {}", log.dir().display()));
    Ok(())
}

/// What `load` makes by default.
fn over_an_hour(count: u64) -> Clicks {
    Clicks {
        seed: 1,
        pages: 1_000,
        start_ms: 1_700_000_000_000,
        gap_us: 3_600_000_000 / count.max(1),
        out_of_order_ms: 5_000,
        late: 0.001,
    }
}

fn holds_records(log: &Log, topic: &str) -> Result<bool, Fault> {
    match log.offsets(topic) {
        Ok(partitions) => Ok(partitions.iter().any(|kept| kept.end > 0)),
        Err(LogError::NoSuchTopic { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
