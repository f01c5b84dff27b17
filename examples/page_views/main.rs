//! Views of pages a minute, from clicks on Kafka to results on Kafka, every click counted once and only once; and the same on the embedded log.
//!
//! `cargo run --release --example page_views` makes clicks and counts them. On Kafka `cargo run --release --example load` writes clicks, and
//! `cargo run --release --example page_views -- run --brokers localhost:9092` counts them; docs/page_views.md tells the story.

#[path = "../load/generated.rs"]
mod generated;
mod views;

use std::process::ExitCode;

use millpond::{
    DeadLetters, Ended, Env, Fault, Flow, Job, Json, KafkaOptions, Kept, TopicKept, TopicSink, Topics, Untimed, print,
};

use views::{BOUND, Click, Views};

/// What `page_views` can be told besides what every job can.
#[derive(Clone, Debug, clap::Args)]
struct Options {
    #[command(flatten)]
    kafka: KafkaOptions,
    /// The topic of clicks
    #[arg(long, value_name = "TOPIC", default_value = "clicks")]
    input: String,
    /// The topic for views
    #[arg(long, value_name = "TOPIC", default_value = "page-views")]
    output: String,
    /// The topic for clicks that came too late to count
    #[arg(long, value_name = "TOPIC", default_value = "late-clicks")]
    late: String,
    /// The topic for records that are no clicks; without it such a record stops the job
    #[arg(long, value_name = "TOPIC")]
    dead_letters: Option<String>,
    /// Generate so many clicks first, into an input of the embedded log that holds none
    #[arg(long, value_name = "COUNT")]
    generate: Option<u64>,
}

fn main() -> ExitCode {
    Job::new("page_views")
        .about("Views of pages a minute, from clicks to results, on Kafka or in an embedded log")
        .options::<Options>()
        .without_arguments(["run", "--until-end", "--generate", "100000"])
        .before(|env, options| {
            generated::prepare(generated::log(&env.state, &options.kafka).as_ref(), &options.input, options.generate)
        })
        .after(show)
        .main(draw)
}

fn draw(flow: &Flow<'_>, options: &Options) -> Result<(), Fault> {
    let Options { input, output, late, dead_letters, .. } = options;
    if let Some(log) = generated::log(&flow.state_dir(), &options.kafka) {
        let dead = dead_letters.as_ref().map(|topic| log.dead_letters(topic));
        wire(flow, log.read::<Click>(input, Json).kept(), log.write(output, Json), log.write_kept(late), dead);
    } else {
        let kafka = options.kafka.kafka()?;
        let dead = dead_letters.as_ref().map(|topic| kafka.dead_letters(topic));
        wire(flow, kafka.read::<Click>(input, Json).kept(), kafka.write(output, Json), kafka.write_kept(late), dead);
    }
    Ok(())
}

/// The same job, wherever its topics lie.
fn wire<L: Topics>(
    flow: &Flow<'_>,
    clicks: impl Untimed<Item = Kept<Click>>,
    to: TopicSink<L, Json>,
    late_to: TopicKept<L>,
    dead_to: Option<DeadLetters<L>>,
) {
    if let Some(dead) = dead_to {
        flow.dead_letters("dead", dead);
    }
    let clicks = flow.source("clicks", clicks.event_time(views::time).out_of_order(BOUND));
    let people = if flow.version() == 1 { clicks } else { clicks.filter(|click| !is_bot(click)) };
    let (views, late) = views::by_minute(people);
    views.sink("views", to.key(|views: &Views| views.page.to_string()));
    late.sink("late", late_to);
}

/// Version 2 leaves bots out: who stays for less than half a second.
fn is_bot(click: &Kept<Click>) -> bool {
    click.dwell < 500
}

fn show(env: &Env, options: &Options, ended: &Ended) -> Result<(), Fault> {
    let what = if ended.finished { "All clicks are counted" } else { "Stopped; open minutes wait in the checkpoint" };
    let (views, late) = (env.output(&options.output), env.output(&options.late));
    let read = match generated::log(&env.state, &options.kafka) {
        Some(log) => format!("cargo run --release --example log -- --log {} read {views} | head", log.dir().display()),
        None => format!("tests/kafka/broker.sh read {views}"),
    };
    print(&format!("{what}. Views are in topic {views}, late clicks in {late}.\ntry next: {read}\n"))
}

#[cfg(test)]
mod tests {
    use millpond::{Incoming, Keeping, Timestamp, Unpack};

    use super::*;

    fn click(page: &str, at: i64, dwell: u64) -> (Timestamp, Kept<Click>) {
        let click = Click { page: page.into(), at, dwell };
        let json = serde_json::to_vec(&click).expect("a click is JSON");
        let at = Timestamp::from_millis(at);
        let headers = [("trace", &b"7"[..])].into_iter();
        let message = Incoming { key: Some(&b"u1"[..]), value: Some(&json[..]), headers, timestamp: at };
        (at, Keeping(Json).unpack(message).expect("it is a click"))
    }

    #[test]
    fn a_minute_is_final_when_the_watermark_has_passed_it() {
        let mut test = Job::test(|clicks| {
            let (views, late) = views::by_minute(clicks);
            late.sink("late", millpond::null());
            views
        });
        for (at, click) in [click("p1", 1_000, 5), click("p1", 59_999, 70), click("p1", 60_000, 9)] {
            test.push(at, click);
        }
        test.watermark(Timestamp::from_millis(59_999));
        assert_eq!(test.output(), []);
        test.watermark(Timestamp::from_secs(60));
        assert_eq!(test.output(), [Views { page: "p1".into(), start: 0, views: 2, max_dwell: 70 }]);
        assert_eq!(test.finish(), [Views { page: "p1".into(), start: 60_000, views: 1, max_dwell: 9 }]);
    }

    #[test]
    fn a_late_click_leaves_as_it_came() {
        let mut test = Job::test(|clicks| {
            let (views, late) = views::by_minute(clicks);
            views.sink("views", millpond::null());
            late
        });
        test.watermark(Timestamp::from_secs(60));
        let (at, late) = click("p1", 59_000, 5);
        test.push(at, late.clone());
        assert_eq!(test.finish(), [late]);
    }
}
