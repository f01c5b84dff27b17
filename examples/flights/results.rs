//! What the job has committed, for people: where it is, what is in it, and what to try next.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use millpond::engine::ledger::Ledger;
use millpond::{Ended, Env, Exit, Fault, print};

use crate::flight::Hour;
use crate::place::Place;

/// The topic of results.
pub(crate) const HOURS: &str = "departures-per-hour";
/// The topic of late flights.
pub(crate) const LATE: &str = "late-departures";

/// Writes the committed topics to `out`, when asked to, and tells what there is.
pub(crate) fn show(place: &Place, env: &Env, out: Option<&Path>, ended: &Ended) -> Result<(), Fault> {
    let ledger = place.ledger();
    let (hours, late) = (env.output(&place.hours()), env.output(&place.late()));
    if let Some(out) = out {
        fs::create_dir_all(out).map_err(|error| unwritable(out, &error))?;
        for (topic, name) in [(&hours, HOURS), (&late, LATE)] {
            write_aside(&*ledger, topic, &out.join(format!("{name}.jsonl")))?;
        }
    }
    let (mut rows, mut busiest) = (0u64, None::<Hour>);
    each_value(&*ledger, &hours, |value| {
        rows += 1;
        if let Ok(hour) = serde_json::from_slice::<Hour>(value)
            && busiest.as_ref().is_none_or(|busiest| busiest.departures < hour.departures)
        {
            busiest = Some(hour);
        }
        Ok(())
    })?;
    let mut late_rows = 0u64;
    each_value(&*ledger, &late, |_| {
        late_rows += 1;
        Ok(())
    })?;
    let how = match (ended.before, ended.finished) {
        (true, _) => "This month was finished before; nothing was done again.",
        (false, true) => "The month is complete, and every hour is final.",
        (false, false) => "Stopped; the same command goes on from here.",
    };
    let mut text = format!("\n{how}\n  {rows} results in topic {hours}, {late_rows} late flights in topic {late}\n");
    if let Some(Hour { departures, origin, hour, .. }) = busiest {
        text += &format!("  busiest: {departures} departures from {origin} in the hour of {hour}\n");
    }
    if let Some(out) = out {
        text += &format!("  written to {0}/{HOURS}.jsonl and {0}/{LATE}.jsonl\n", out.display());
    }
    print(&(text + &place.try_next(&env.state, &hours)))
}

/// Writes a topic's committed values to `path`, a line each: aside first, then renamed, so that the file is whole or not there.
fn write_aside(ledger: &dyn Ledger, topic: &str, path: &Path) -> Result<(), Fault> {
    let aside = path.with_extension("jsonl.new");
    let file = fs::File::create(&aside).map_err(|error| unwritable(&aside, &error))?;
    let mut lines = BufWriter::new(file);
    each_value(ledger, topic, |value| {
        lines.write_all(value).and_then(|()| lines.write_all(b"\n")).map_err(|error| unwritable(&aside, &error))
    })?;
    let file = lines.into_inner().map_err(|error| unwritable(&aside, error.error()))?;
    file.sync_all().and_then(|()| fs::rename(&aside, path)).map_err(|error| unwritable(path, &error))
}

/// Calls `each` with every committed value of a topic, partition by partition. A topic that was never created has none.
fn each_value(ledger: &dyn Ledger, topic: &str, mut each: impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
    for (kept, partition) in ledger.kept(topic)?.unwrap_or_default().into_iter().zip(0..) {
        let mut reader = ledger.read(topic, partition, kept.start)?;
        let mut taken = Ok(());
        while taken.is_ok()
            && reader.read(&mut |record| {
                if let (Ok(()), Some(value)) = (&taken, record.value) {
                    taken = each(value);
                }
            })?
        {}
        taken?;
    }
    Ok(())
}

fn unwritable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(Exit::Retry, format!("cannot write {}: {error}", path.display()))
}
