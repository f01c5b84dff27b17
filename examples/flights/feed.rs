//! Appends the departures to the log, each line once, whatever happens in between.
//!
//! The feeder is a writer of the log, or of the Kafka cluster, like any other: it commits a chunk of lines together with how far it got and which file that was.
//! A kill leaves whole chunks, and the next start goes on behind them.

use std::fs;
use std::io::Read;
use std::path::Path;

use millpond::{Exit, Fault};

use crate::flight::Flight;
use crate::place::Place;

/// The topic the departures are in: a partition for each airport.
pub(crate) const TOPIC: &str = "departures";
pub(crate) const AIRPORTS: [&str; 3] = ["EWR", "JFK", "LGA"];
/// Lines a commit.
const CHUNK: u64 = 5_000;

/// Makes sure that the whole file is in the log.
pub(crate) fn feed(place: &Place, file: &Path) -> Result<(), Fault> {
    let bytes = fs::read(file).map_err(|error| unreadable(file, &error))?;
    let file_id = format!("{:016x}", millpond::stable_hash(&bytes));
    let mut feeder = place.feeder()?;
    let last = feeder.last();
    let done = match last.as_deref().map(|text| text.split_once(' ')) {
        None => 0,
        Some(Some((id, lines))) if id == file_id => lines.parse().unwrap_or(0),
        Some(_) => {
            return Err(Fault::new(
                Exit::NewVersion,
                format!(
                    "{} was fed from another file than {}; use another --state directory or --topic-prefix for it",
                    place.name(),
                    file.display()
                ),
            ));
        }
    };
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).map_err(|error| unreadable(file, &error))?;
    let mut lines = 0;
    for (number, flight) in csv::Reader::from_reader(&text[..]).deserialize::<Flight>().enumerate() {
        // Line 1 holds the names of the columns.
        let broken =
            |reason: String| Fault::new(Exit::FixJob, format!("{} line {}: {reason}", file.display(), number + 2));
        let flight = flight.map_err(|error| broken(error.to_string()))?;
        if flight.at() == millpond::Timestamp::MIN {
            return Err(broken(format!("{:?} is not a time", flight.scheduled)));
        }
        lines = number as u64 + 1;
        if lines <= done {
            continue;
        }
        let partition = AIRPORTS.iter().position(|airport| *airport == flight.origin);
        let partition = partition.ok_or_else(|| broken(format!("{:?} is not one of {AIRPORTS:?}", flight.origin)))?;
        let value = serde_json::to_vec(&flight).map_err(|error| broken(error.to_string()))?;
        feeder.append(partition as u32, flight.at(), flight.origin.as_bytes(), &value)?;
        if lines.is_multiple_of(CHUNK) {
            feeder.commit(lines, &format!("{file_id} {lines}"))?;
        }
    }
    if (lines > done && !lines.is_multiple_of(CHUNK)) || last.is_none() && lines == 0 {
        feeder.commit(lines, &format!("{file_id} {lines}"))?;
    }
    Ok(())
}

fn unreadable(file: &Path, error: &std::io::Error) -> Fault {
    Fault::new(Exit::Usage, format!("cannot read {}: {error}", file.display()))
}
