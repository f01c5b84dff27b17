//! A right job, to see that the others are refused for what is wrong with them.

use std::time::Duration;

use millpond::log::Log;
use millpond::{Flow, Json, Timestamp, Tumbling, Untimed};

fn draw(flow: &Flow<'_>) {
    let log = Log::at("log");
    let words = log.read::<String>("words", Json).event_time(|_| Timestamp::EPOCH);
    let windowed =
        flow.source("words", words).key_by(|word| word.clone()).window(Tumbling::of(Duration::from_secs(60)));
    windowed.aggregate(|w| w.count()).map(|pane| pane.value).sink("counts", log.write("counts", Json));
}

fn main() {
    let _ = draw;
}
