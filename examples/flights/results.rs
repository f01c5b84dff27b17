//! What the job has committed, for people: where it is, what is in it, and what to try next.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use millpond::log::{Log, Start};
use millpond::{Ended, Env, Exit, Fault};

use crate::flight::Hour;

/// The topic of results.
pub(crate) const HOURS: &str = "departures-per-hour";
/// The topic of late flights.
pub(crate) const LATE: &str = "late-departures";

/// Writes the committed topics to `out`, when asked to, and tells what there is.
pub(crate) fn show(env: &Env, out: Option<&Path>, ended: &Ended) -> Result<(), Fault> {
    let log = Log::at(env.state.join("log"));
    let (hours, late) = (env.output(HOURS), env.output(LATE));
    if let Some(out) = out {
        fs::create_dir_all(out).map_err(|error| unwritable(out, &error))?;
        for (topic, name) in [(&hours, HOURS), (&late, LATE)] {
            write_aside(&log, topic, &out.join(format!("{name}.jsonl")))?;
        }
    }
    let (mut rows, mut busiest) = (0u64, None::<Hour>);
    each_value(&log, &hours, |value| {
        rows += 1;
        if let Ok(hour) = serde_json::from_slice::<Hour>(value)
            && busiest.as_ref().is_none_or(|busiest| busiest.departures < hour.departures)
        {
            busiest = Some(hour);
        }
        Ok(())
    })?;
    let mut late_rows = 0u64;
    each_value(&log, &late, |_| {
        late_rows += 1;
        Ok(())
    })?;
    let state = env.state.display();
    match (ended.before, ended.finished) {
        (true, _) => println!("\nThis month was finished before; nothing was done again."),
        (false, true) => println!("\nThe month is complete, and every hour is final."),
        (false, false) => println!("\nStopped; the same command goes on from here."),
    }
    println!("  {rows} results in topic {hours}, {late_rows} late flights in topic {late}");
    if let Some(hour) = busiest {
        println!("  busiest: {} departures from {} in the hour of {}", hour.departures, hour.origin, hour.hour);
    }
    if let Some(out) = out {
        println!("  written to {0}/{HOURS}.jsonl and {0}/{LATE}.jsonl", out.display());
    }
    println!("Try next (with --state {state}):");
    println!("  cargo run --release --example log -- --log {state}/log read {hours} | head   # read its output");
    println!("  cargo run --release --example flights -- plan                                # look at its plan");
    println!("  rm -r {state}; start it again and kill -9 it on the way; start it once more: the same results");
    Ok(())
}

/// Writes a topic's committed values to `path`, a line each: aside first, then renamed, so that the file is whole or not there.
fn write_aside(log: &Log, topic: &str, path: &Path) -> Result<(), Fault> {
    let aside = path.with_extension("jsonl.new");
    let file = fs::File::create(&aside).map_err(|error| unwritable(&aside, &error))?;
    let mut lines = BufWriter::new(file);
    each_value(log, topic, |value| {
        lines.write_all(value).and_then(|()| lines.write_all(b"\n")).map_err(|error| unwritable(&aside, &error))
    })?;
    let file = lines.into_inner().map_err(|error| unwritable(&aside, error.error()))?;
    file.sync_all().and_then(|()| fs::rename(&aside, path)).map_err(|error| unwritable(path, &error))
}

/// Calls `each` with every committed value of a topic, partition by partition. A topic that was never created has none.
fn each_value(log: &Log, topic: &str, mut each: impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
    let partitions = match log.topic(topic) {
        Ok(found) => found.settings.partition_count(),
        Err(millpond::log::LogError::NoSuchTopic { .. }) => 0,
        Err(error) => return Err(error.into()),
    };
    for partition in 0..partitions {
        let mut reader = log.reader(topic, partition, Start::Earliest)?;
        while let Some(block) = reader.read_block(1 << 20)? {
            block.records().filter_map(|record| record.value).try_for_each(&mut each)?;
        }
    }
    Ok(())
}

fn unwritable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(Exit::Retry, format!("cannot write {}: {error}", path.display()))
}
