//! What travels is cloned, and encoded for checkpoints: a type that cannot be is no record.
//~ `Click` cannot travel in a stream
//~ it must be `Clone + Send + 'static` and derive serde's `Serialize` and `Deserialize`

use millpond::log::Log;
use millpond::{Flow, Json, Timestamp, Untimed};

struct Click {
    at: i64,
}

fn draw(flow: &Flow<'_>) {
    let log = Log::at("log");
    let words = log.read::<String>("words", Json).event_time(|_| Timestamp::EPOCH);
    let _ = flow.source("words", words).map(|word| Click { at: word.len() as i64 });
}

fn main() {
    let _ = draw;
}
