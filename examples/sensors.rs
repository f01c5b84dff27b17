//! Sensors that measure the temperature of rooms, sometimes fall silent, and sometimes report late: sliding and session windows, and late
//! data shown as it happens.
//!
//! `cargo run --release --example sensors` needs nothing installed; docs/sensors.md tells the story.

use std::process::ExitCode;
use std::time::Duration;

use millpond::log::Log;
use millpond::{Dice, Flow, Job, Json, Pane, Session, Sliding, Stdout, Stream, Timestamp, Untimed, generate, say};
use serde::{Deserialize, Serialize};

/// What `sensors` can be told besides what every job can.
#[derive(Clone, Debug, clap::Args)]
struct Options {
    /// How many readings to make, over all sensors
    #[arg(long, default_value_t = 3_000)]
    readings: u64,
    /// How many a second
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Other sensors
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    room: String,
    at: i64,
    celsius: f64,
}

/// What is shown: one line for each thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    /// The temperature of a room over the last minute, every twenty seconds.
    Minute { room: String, until: String, mean: f64, max: f64, readings: u64 },
    /// A stretch in which a room's sensor was never silent for ten seconds.
    Active { room: String, from: String, until: String, readings: u64 },
    /// A reading that came after its windows were final.
    Late { room: String, at: String },
}

fn main() -> ExitCode {
    Job::new("sensors")
        .about("Temperatures of rooms: sliding minutes, sessions of activity, late readings")
        .without_arguments(["run", "--until-end"])
        .options::<Options>()
        .after(|env, _, _| {
            let (log, topic) = (env.state.join("log"), env.output(EVENTS));
            let read = format!("cargo run --release --example log -- --log {} read {topic}", log.display());
            say(&format!("Everything shown here is in topic {topic}; look at it again with\n  {read}"));
            Ok(())
        })
        .main(draw)
}

/// The topic of results.
const EVENTS: &str = "sensor-events";

/// The n-th reading of a sensor: a second apart, out of order by a few seconds, a pause now and then, and one in fifty very late.
fn reading(seed: u64, sensor: u32, index: u64) -> Reading {
    let mut dice = Dice::of(seed, sensor, index);
    let pauses = (index / 100) as i64 * 15;
    let late = if dice.chance(0.02) { 60 } else { dice.between(0, 3) };
    let at = 1_700_000_000 + index as i64 + pauses - late;
    let celsius = 20.0 + f64::from(sensor) + (dice.fraction() * 20.0).round() / 10.0;
    Reading { room: ["kitchen", "hall", "attic"][sensor as usize % 3].to_owned(), at, celsius }
}

fn draw(flow: &Flow<'_>, options: &Options) {
    let seed = options.seed;
    let readings = generate(3, move |sensor, index| reading(seed, sensor, index))
        .per_second(options.rate)
        .count(options.readings)
        .event_time(|reading| Timestamp::from_secs(reading.at))
        .out_of_order(Duration::from_secs(5));
    let events = events(flow.source("readings", readings));
    events.clone().sink("shown", Stdout::lines(Json));
    events.sink("events", Log::at(flow.state_dir().join("log")).write(EVENTS, Json));
}

fn events(readings: Stream<'_, Reading>) -> Stream<'_, Event> {
    let (minutes, late) = readings
        .clone()
        .key_by(|reading| reading.room.clone())
        .window(Sliding::of(Duration::from_secs(60)).every(Duration::from_secs(20)))
        .split_late()
        .named("minutes")
        .aggregate(|w| (w.mean(|reading| reading.celsius), w.max_f64(|reading| reading.celsius), w.count()));
    let active = readings
        .key_by(|reading| reading.room.clone())
        .window(Session::gap(Duration::from_secs(10)))
        .named("active")
        .aggregate(|w| w.count());
    let late = late.map(|reading| Event::Late { room: reading.room, at: Timestamp::from_secs(reading.at).to_string() });
    minutes.map(minute).union(active.map(session)).union(late)
}

fn minute(pane: Pane<String, (f64, f64, u64)>) -> Event {
    let (mean, max, readings) = pane.value;
    Event::Minute { room: pane.key, until: pane.end.to_string(), mean: (mean * 100.0).round() / 100.0, max, readings }
}

fn session(pane: Pane<String, u64>) -> Event {
    let (from, until) = (pane.start.to_string(), pane.end.to_string());
    Event::Active { room: pane.key, from, until, readings: pane.value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(room: &str, at: i64, celsius: f64) -> (Timestamp, Reading) {
        (Timestamp::from_secs(at), Reading { room: room.to_owned(), at, celsius })
    }

    #[test]
    fn a_pause_ends_a_session_and_a_late_reading_is_shown() {
        let mut test = Job::test(events);
        for (at, reading) in [read("hall", 0, 20.0), read("hall", 5, 22.0)] {
            test.push(at, reading);
        }
        test.watermark(Timestamp::from_secs(19));
        let active = test.output();
        let until = Timestamp::from_secs(15).to_string();
        let from = Timestamp::EPOCH.to_string();
        assert_eq!(active, [Event::Active { room: "hall".into(), from, until, readings: 2 }]);
        test.watermark(Timestamp::from_secs(120));
        let minutes = test.output();
        assert_eq!(minutes.len(), 3, "both readings lie in three windows: {minutes:?}");
        let (at, reading) = read("hall", 1, 50.0);
        test.push(at, reading);
        assert_eq!(test.finish(), [Event::Late { room: "hall".into(), at: Timestamp::from_secs(1).to_string() }]);
    }

    #[test]
    fn readings_are_the_same_after_every_start() {
        assert_eq!(reading(7, 1, 42), reading(7, 1, 42));
        assert_ne!(reading(7, 1, 42), reading(8, 1, 42));
    }
}
