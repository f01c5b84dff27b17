//! A real month of flights from New York becomes hourly results per airport.
//!
//! The log is in the order in which flights left; event time is when they *should* have left. So a flight delayed by hours comes late: it
//! counts as long as its hour is open (the out-of-order bound and the allowed lateness), and goes to `late-departures` after that.
//!
//! `cargo run --release --example flights` needs nothing installed; docs/flights.md tells the story.

mod feed;
mod flight;
mod results;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use millpond::log::Log;
use millpond::{Flow, Job, Json, Pane, Tumbling, Untimed};

use flight::{Flight, Hour, Late};

/// The departures that come with the example: January 2013.
const DEPARTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights/departures.csv.gz");

/// What `flights` can be told besides what every job can.
#[derive(Clone, Debug, clap::Args)]
struct Options {
    /// The departures to append to the log, once
    #[arg(long, value_name = "FILE.csv.gz", default_value = DEPARTURES)]
    departures: PathBuf,
    /// How far behind its newest scheduled departure an airport's watermark stays, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 30)]
    bound_min: u64,
    /// How long an hour stays open for late flights, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 120)]
    lateness_min: u64,
    /// Write the results here when the run ends, as JSON lines
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    Job::new("flights")
        .about("Departures per airport and hour of scheduled departure, from a real month of flights")
        .without_arguments(["run", "--until-end", "--checkpoint-interval", "200ms"])
        .options::<Options>()
        .before(|env, options| feed::feed(&env.state.join("log"), &options.departures))
        .after(|env, options, ended| results::show(env, options.out.as_deref(), ended))
        .main(draw)
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(60))
}

fn draw(flow: &Flow<'_>, options: &Options) {
    let log = Log::at(flow.state_dir().join("log"));
    let departures =
        log.read::<Flight>(feed::TOPIC, Json).event_time(Flight::at).out_of_order(minutes(options.bound_min));
    let (hours, late) = flow
        .source("departures", departures)
        .key_by(|flight| flight.origin.clone())
        .window(Tumbling::of(minutes(60)))
        .allowed_lateness(minutes(options.lateness_min))
        .split_late()
        .aggregate(|w| {
            (
                w.sum(|flight| u64::from(flight.departed.is_some())),
                w.sum(|flight| u64::from(flight.departed.is_none())),
                w.sum(|flight| flight.delay().unwrap_or(0)),
                w.max(Flight::delay),
            )
        });
    hours.map(hour).sink("hours", log.write(results::HOURS, Json).key(|hour: &Hour| hour.origin.clone()));
    late.map(late_flight).sink("late", log.write(results::LATE, Json).key(|late: &Late| late.origin.clone()));
}

fn hour(pane: Pane<String, (u64, u64, i64, Option<i64>)>) -> Hour {
    let (departures, cancelled, total_delay_min, max_delay_min) = pane.value;
    Hour { origin: pane.key, hour: pane.start.to_string(), departures, cancelled, total_delay_min, max_delay_min }
}

fn late_flight(flight: Flight) -> Late {
    Late {
        late: flight.flight.to_string(),
        carrier: flight.carrier,
        origin: flight.origin,
        scheduled: flight.scheduled,
    }
}
