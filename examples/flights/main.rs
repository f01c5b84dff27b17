//! A real month of flights from New York becomes hourly results per airport.
//!
//! The log is in the order in which flights left; event time is when they *should* have left. So a flight delayed by hours comes late: it
//! counts as long as its hour is open (the out-of-order bound and the allowed lateness), and goes to `late-departures` after that.
//!
//! That is version 1. Version 2 (`--job-version 2`) counts flights by when they left, and can be run beside it and compared.
//!
//! `cargo run --release --example flights` needs nothing installed; docs/flights.md tells the story.

mod feed;
mod flight;
mod place;
mod results;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use millpond::{Fault, Flow, Job, Json, KafkaOptions, Pane, Stream, TopicSink, Topics, Tumbling, Untimed};

use flight::{Flight, Hour, Late};
use place::{At, Place};

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
    /// What the names of all topics begin with
    #[arg(long, value_name = "PREFIX", default_value = "")]
    topic_prefix: String,
    #[command(flatten)]
    kafka: KafkaOptions,
}

fn main() -> ExitCode {
    Job::new("flights")
        .about("Departures per airport and hour of scheduled departure, from a real month of flights")
        .without_arguments(["run", "--until-end", "--checkpoint-interval", "200ms"])
        .options::<Options>()
        .before(|env, options| feed::feed(&Place::new(&env.state, options)?, &options.departures))
        .after(|env, options, ended| {
            results::show(&Place::new(&env.state, options)?, env, options.out.as_deref(), ended)
        })
        .main(draw)
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(60))
}

fn draw(flow: &Flow<'_>, options: &Options) -> Result<(), Fault> {
    let place = Place::new(&flow.state_dir(), options)?;
    match &place.at {
        At::Log(log) => {
            let departures = log.read::<Flight>(&place.departures(), Json);
            let (hours, late) = (log.write(&place.hours(), Json), log.write(&place.late(), Json));
            wire(flow, options, departures, hours, late);
        }
        At::Kafka(kafka) => {
            let departures = kafka.read::<Flight>(&place.departures(), Json);
            let (hours, late) = (kafka.write(&place.hours(), Json), kafka.write(&place.late(), Json));
            wire(flow, options, departures, hours, late);
        }
    }
    Ok(())
}

/// The same job, wherever its topics lie.
fn wire<L: Topics>(
    flow: &Flow<'_>,
    options: &Options,
    departures: impl Untimed<Item = Flight>,
    hours: TopicSink<L, Json>,
    late: TopicSink<L, Json>,
) {
    // Version 2 counts a flight in the hour in which it left; a cancelled one stays in the hour in which it should have.
    let at = if flow.version() == 1 { Flight::at } else { Flight::left_at };
    let departures = departures.event_time(at).out_of_order(minutes(options.bound_min));
    let (results, late_flights) = by_hour(flow.source("departures", departures), options);
    results.sink("hours", hours.key(|hour: &Hour| hour.origin.clone()));
    late_flights.sink("late", late.key(|late: &Late| late.origin.clone()));
}

/// Final results per airport and hour, and the flights that came too late for theirs.
fn by_hour<'s>(flights: Stream<'s, Flight>, options: &Options) -> (Stream<'s, Hour>, Stream<'s, Late>) {
    let (hours, late) = flights
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
    (hours.map(hour), late.map(late_flight))
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

#[cfg(test)]
mod tests {
    use millpond::Timestamp;

    use super::*;

    fn flight(scheduled: &str, delay: Option<i64>) -> (Timestamp, Flight) {
        let flight = Flight {
            scheduled: scheduled.to_owned(),
            departed: delay.map(|_| "left".to_owned()),
            carrier: "UA".to_owned(),
            flight: 15,
            tailnum: None,
            origin: "EWR".to_owned(),
            dest: "IAH".to_owned(),
            miles: 1_400,
            departure_delay_min: delay,
            arrival_delay_min: delay,
        };
        (flight.at(), flight)
    }

    #[test]
    fn an_hour_is_final_after_its_lateness_and_cancelled_flights_have_no_delay() {
        let options = Options {
            departures: PathBuf::new(),
            bound_min: 0,
            lateness_min: 120,
            out: None,
            topic_prefix: String::new(),
            kafka: KafkaOptions::default(),
        };
        let mut test = Job::test(move |flights| {
            let (hours, late) = by_hour(flights, &options);
            late.sink("late", millpond::null());
            hours
        });
        for (at, flight) in [flight("2013-01-01T10:15:00Z", Some(-2)), flight("2013-01-01T10:59:00Z", None)] {
            test.push(at, flight);
        }
        let time = |text| Timestamp::parse(text).expect("a time");
        test.watermark(time("2013-01-01T12:59:00Z"));
        assert_eq!(test.output(), []);
        test.watermark(time("2013-01-01T13:00:00Z"));
        let hour = "2013-01-01T10:00:00Z".to_owned();
        let origin = "EWR".to_owned();
        let want = Hour { origin, hour, departures: 1, cancelled: 1, total_delay_min: -2, max_delay_min: Some(-2) };
        assert_eq!(test.output(), [want]);
    }
}
