//! Clicks from one topic to another, some of them left out: nothing to remember, so that what it costs is reading, writing and committing.
//!
//! `cargo run --release --example relay` makes clicks and relays them, `cargo run --release --example relay -- run --brokers localhost:9092`
//! those that are on Kafka; docs/relay.md tells what to try.

#[path = "load/generated.rs"]
mod generated;

use std::process::ExitCode;
use std::time::Duration;

use millpond::{
    Ended, Env, Fault, Flow, Job, Json, KafkaOptions, Stream, Timestamp, TopicSink, Topics, Untimed, print,
};
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
    /// Generate so many clicks first, into an input of the embedded log that holds none
    #[arg(long, value_name = "COUNT")]
    generate: Option<u64>,
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
        .about("Clicks from one topic to another, on Kafka or in an embedded log, those left out whose dwell ends in 9")
        .options::<Options>()
        .without_arguments(["run", "--until-end", "--generate", "100000"])
        .before(|env, options| {
            generated::prepare(generated::log(&env.state, &options.kafka).as_ref(), &options.input, options.generate)
        })
        .after(show)
        .main(draw)
}

fn draw(flow: &Flow<'_>, options: &Options) -> Result<(), Fault> {
    let Options { input, output, .. } = options;
    if let Some(log) = generated::log(&flow.state_dir(), &options.kafka) {
        wire(flow, log.read::<Click>(input, Json), log.write(output, Json));
    } else {
        let kafka = options.kafka.kafka()?;
        wire(flow, kafka.read::<Click>(input, Json), kafka.write(output, Json));
    }
    Ok(())
}

/// The same job, wherever its topics lie.
fn wire<L: Topics>(flow: &Flow<'_>, clicks: impl Untimed<Item = Click>, to: TopicSink<L, Json>) {
    let clicks = clicks.event_time(|click| Timestamp::from_millis(click.at));
    let clicks = kept(flow.source("clicks", clicks.out_of_order(Duration::from_secs(5))));
    clicks.sink("relayed", to.key(|click: &Click| click.page.clone()));
}

fn show(env: &Env, options: &Options, _: &Ended) -> Result<(), Fault> {
    let to = env.output(&options.output);
    let read = match generated::log(&env.state, &options.kafka) {
        Some(log) => format!("cargo run --release --example log -- --log {} read {to} | head", log.dir().display()),
        None => format!("tests/kafka/broker.sh read {to}"),
    };
    print(&format!("The clicks that are kept are in topic {to}.\ntry next: {read}\n"))
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
