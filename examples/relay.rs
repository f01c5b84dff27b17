//! Clicks from one topic of Kafka to another, some of them left out: nothing to remember, so that what it costs is reading, writing and
//! committing.
//!
//! `cargo run --release --example relay -- run --brokers localhost:9092`; docs/relay.md tells what to try.

use std::process::ExitCode;
use std::time::Duration;

use millpond::{Fault, Flow, Job, Json, KafkaOptions, Stream, Timestamp, Untimed};
use serde::{Deserialize, Serialize};

/// What `relay` can be told besides what every job can.
#[derive(Clone, Debug, clap::Args)]
struct Options {
    #[command(flatten)]
    kafka: KafkaOptions,
    /// The topic of clicks
    #[arg(long, value_name = "TOPIC", default_value = "clicks")]
    input: String,
    /// The topic for the clicks that are kept
    #[arg(long, value_name = "TOPIC", default_value = "relayed")]
    output: String,
}

/// A click as it is read and as it is written: without its user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Click {
    page: String,
    at: i64,
    dwell: u64,
}

fn main() -> ExitCode {
    Job::new("relay")
        .about("Clicks from one topic of Kafka to another, those left out whose dwell ends in 9")
        .options::<Options>()
        .after(|env, options, _| {
            println!("try next: tests/kafka/broker.sh read {}", env.output(&options.output));
            Ok(())
        })
        .main(draw)
}

fn draw(flow: &Flow<'_>, options: &Options) -> Result<(), Fault> {
    let kafka = options.kafka.kafka()?;
    let clicks = kafka.read::<Click>(&options.input, Json).event_time(|click| Timestamp::from_millis(click.at));
    let clicks = kept(flow.source("clicks", clicks.out_of_order(Duration::from_secs(5))));
    clicks.sink("relayed", kafka.write(&options.output, Json).key(|click: &Click| click.page.clone()));
    Ok(())
}

fn kept(clicks: Stream<'_, Click>) -> Stream<'_, Click> {
    clicks.filter(|click| click.dwell % 10 < 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_tenths_of_the_clicks_pass_in_their_order() {
        let mut test = Job::test(kept);
        let click = |dwell| Click { page: "p1".to_owned(), at: 0, dwell };
        for dwell in 0..20 {
            test.push(Timestamp::EPOCH, click(dwell));
        }
        let passed: Vec<_> = test.finish().into_iter().map(|click| click.dwell).collect();
        assert_eq!(passed, [(0..9).collect::<Vec<_>>(), (10..19).collect()].concat());
    }
}
