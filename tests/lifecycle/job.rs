//! The job whose versions live: views per page and ten seconds. Version 2 leaves bots out. This test program is its binary.

use std::time::Duration;

use millpond::log::Log;
use millpond::{Flow, Job, Json, Pane, Timestamp, Tumbling, Untimed};
use serde::{Deserialize, Serialize};

/// The arguments with which this program is the job.
pub(crate) const ARGS: &str = "MILLPOND_TEST_ARGS";
pub(crate) const CLICKS: &str = "clicks";
pub(crate) const VIEWS: &str = "page-views";
pub(crate) const SPAN_SECS: i64 = 10;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Click {
    pub(crate) page: u64,
    pub(crate) bot: bool,
    /// Seconds since 1970.
    pub(crate) at: i64,
}

/// A result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Views {
    pub(crate) page: u64,
    pub(crate) from: i64,
    pub(crate) views: u64,
}

/// The click of a number: some fifty a second of event time, a few seconds out of order. Every tenth is a bot's.
pub(crate) fn click(number: u64) -> Click {
    Click { page: number * 7 % 13, bot: number % 10 == 3, at: (number / 50 + number * 31 % 4) as i64 }
}

pub(crate) fn draw(flow: &Flow<'_>) {
    let log = Log::at(flow.state_dir().join("log"));
    let clicks = log.read::<Click>(CLICKS, Json).event_time(|click| Timestamp::from_secs(click.at));
    let clicks = flow.source("clicks", clicks.out_of_order(Duration::from_secs(5)));
    let counted = if flow.version() == 1 { clicks } else { clicks.filter(|click| !click.bot) };
    counted
        .key_by(|click| click.page)
        .window(Tumbling::of(Duration::from_secs(SPAN_SECS as u64)))
        .aggregate(|w| w.count())
        .map(|pane: Pane<u64, u64>| Views { page: pane.key, from: pane.start.secs(), views: pane.value })
        .sink("views", log.write(VIEWS, Json).key(|views: &Views| views.page));
}

/// Not a test of its own: what the other tests start.
#[test]
fn be_the_job() {
    let Ok(args) = std::env::var(ARGS) else { return };
    let args = std::iter::once("views").chain(args.split(' ')).map(Into::into);
    let exit = Job::new("views").about("Views per page").main_with(args, draw);
    std::process::exit(exit.code().into());
}
