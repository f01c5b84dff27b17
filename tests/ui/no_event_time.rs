//! A log never ends, so a job must say when its records happened.
//~ `LogSource<String, millpond::Values<AnyFormat<String>>>` has not said when its records happened
//~ call `.event_time(|record| ..)` on it, and `.out_of_order(bound)` if they do not come in order

use millpond::log::Log;
use millpond::{Flow, Json};

fn draw(flow: &Flow<'_>) {
    let log = Log::at("log");
    flow.source("clicks", log.read::<String>("clicks", Json)).sink("copies", log.write("copies", Json));
}

fn main() {
    let _ = draw;
}
