//! Changes take back what they said before; a topic that is only appended to cannot.
//~ `TopicSink<Log, Json>` does not take changes of `String` to `u64`
//~ an appending sink does not take changes: write them to an upsert topic with `.upsert(..)`

use millpond::log::Log;
use millpond::{Flow, Json, Timestamp, Untimed};

fn draw(flow: &Flow<'_>) {
    let log = Log::at("log");
    let words = log.read::<String>("words", Json).event_time(|_| Timestamp::EPOCH);
    flow.source("words", words).key_by(|word| word.clone()).count().sink("counts", log.write("counts", Json));
}

fn main() {
    let _ = draw;
}
