//! The flows under test.

use std::time::Duration;

use millpond::log::Log;
use millpond::{Count, Flow, Json, Pane, Session, Sliding, Tumbling, Untimed};

use crate::delayed::{Delay, Delayed};
use crate::world::{Flight, TOPIC};

/// Which flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draws {
    /// Hourly results and late flights, as the example draws them.
    Hours,
    /// Every other shape of window, with aggregates that depend on places in the log, and a window over panes.
    Shapes,
}

impl Draws {
    /// The topics it writes.
    pub(crate) fn topics(self) -> &'static [&'static str] {
        match self {
            Draws::Hours => &["hours", "late"],
            Draws::Shapes => {
                &["sessions", "no-session", "sliding", "no-slide", "days", "late-days", "fifties", "busiest"]
            }
        }
    }

    pub(crate) fn draw(self, flow: &Flow<'_>, delay: Delay) {
        match self {
            Draws::Hours => hours(flow, delay),
            Draws::Shapes => shapes(flow, delay),
        }
    }
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

fn key<V>(pane: &Pane<String, V>) -> String {
    pane.key.clone()
}

fn hours(flow: &Flow<'_>, delay: Delay) {
    let log = Log::at(flow.state_dir().join("log"));
    let flights = Delayed { inner: log.read::<Flight>(TOPIC, Json), delay }.event_time(Flight::at);
    let (hours, late) = flow
        .source("departures", flights.out_of_order(minutes(30)))
        .key_by(|flight| flight.origin.clone())
        .window(Tumbling::of(minutes(60)))
        .allowed_lateness(minutes(120))
        .split_late()
        .aggregate(|w| {
            (
                w.sum(|flight| u64::from(flight.departed.is_some())),
                w.sum(|flight| u64::from(flight.departed.is_none())),
                w.sum(|flight| flight.delay().unwrap_or(0)),
                w.max(Flight::delay),
            )
        });
    hours.sink("hours", log.write("hours", Json).key(key));
    late.sink("late", log.write("late", Json).key(|flight: &Flight| flight.origin.clone()));
}

fn shapes(flow: &Flow<'_>, delay: Delay) {
    let log = Log::at(flow.state_dir().join("log"));
    let flights = Delayed { inner: log.read::<Flight>(TOPIC, Json), delay }.event_time(Flight::at);
    let flights = flow.source("departures", flights.out_of_order(minutes(10)));
    let origin = |flight: &Flight| flight.origin.clone();
    let (sessions, late) = flights
        .clone()
        .key_by(|flight| format!("{} {}", flight.carrier, flight.origin))
        .window(Session::gap(minutes(20)))
        .allowed_lateness(minutes(15))
        .split_late()
        .named("sessions-window")
        .aggregate(|w| (w.count(), w.max(Flight::delay), w.first(|flight| flight.flight)));
    sessions.sink("sessions", log.write("sessions", Json).key(key));
    late.sink("no-session", log.write("no-session", Json).key(origin));
    let (sliding, late) = flights
        .clone()
        .key_by(|flight| flight.carrier.clone())
        .window(Sliding::of(minutes(180)).every(minutes(30)))
        .allowed_lateness(minutes(30))
        .split_late()
        .named("sliding-window")
        .aggregate(|w| {
            (w.count(), w.mean(|flight| flight.delay().unwrap_or(0)), w.last(|flight| flight.tailnum.clone()))
        });
    sliding.sink("sliding", log.write("sliding", Json).key(key));
    late.sink("no-slide", log.write("no-slide", Json).key(origin));
    let (days, late) = flights
        .clone()
        .key_by(|flight| flight.dest.clone())
        .window(Tumbling::of(minutes(24 * 60)))
        .split_late()
        .named("days-window")
        .aggregate(|w| (w.first(|f| f.flight), w.last(|f| f.flight), w.collect(|f| f.flight)));
    late.sink("late-days", log.write("late-days", Json).key(origin));
    days.clone().sink("days", log.write("days", Json).key(key));
    // A window over panes: the destination with most flights of a day, by `first` where several have as many.
    days.key_by(|pane| pane.value.2.len() as u64 / 4)
        .window(Tumbling::of(minutes(24 * 60)))
        .named("busiest-window")
        .aggregate(|w| (w.count(), w.first(|pane| pane.key.clone()), w.collect(|pane| pane.value.0)))
        .sink("busiest", log.write("busiest", Json));
    flights
        .key_by(|flight| flight.origin.clone())
        .window(Count::of(50))
        .named("fifties-window")
        .aggregate(|w| (w.count(), w.collect(|flight| flight.flight)))
        .sink("fifties", log.write("fifties", Json).key(key));
}
