//! `tail`: the committed records of an output, a line each.

use std::io::{BufWriter, Write as _};
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use serde_json::{Value, json};

use super::Job;
use crate::cli::options::{flag, id};
use crate::cli::{JobMain, terminal};
use crate::ledger::CommittedRecord;
use crate::{Exit, Fault, LiveRow, live};

/// Between two looks for more.
const WAIT: Duration = Duration::from_millis(200);

pub(in crate::cli) fn tail(main: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let job = Job::of(main, matches)?;
    let output = matches.get_one::<String>(id::OUTPUT).expect("clap asks for it");
    let mut lines = Lines { json: flag(matches, id::JSON), out: BufWriter::new(std::io::stdout().lock()) };
    let follow = flag(matches, id::FOLLOW);
    let written = match matches.get_one::<u32>(id::OF_VERSION) {
        Some(version) => one(&job, *version, output, follow, &mut lines),
        None => line(&job, output, follow, &mut lines),
    };
    match written {
        // Whoever reads it has read enough.
        Err(Stop::Closed) | Ok(()) => Ok(Exit::Finished),
        Err(Stop::Fault(fault)) => Err(fault),
    }
}

/// Why it ends early.
enum Stop {
    Closed,
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

fn line(job: &Job<'_>, output: &str, follow: bool, lines: &mut Lines<'_>) -> Result<(), Stop> {
    let mut reader = live(output).of(&job.env.job).with(Arc::clone(&job.ledger))?;
    loop {
        let before = reader.position();
        let rows = reader.read(WAIT)?;
        // A look may give no rows and still go on: over a switch, or behind rows that are another version's. At its end it stands still.
        if rows.is_empty() && !follow && reader.position() == before && reader.is_at_end()? {
            return lines.flush();
        }
        for LiveRow { version, partition, offset, at, key, value } in &rows {
            let (key, value) = (key.as_deref(), value.as_deref());
            lines.row(*version, *partition, CommittedRecord { offset: *offset, at: *at, key, value })?;
        }
        lines.flush()?;
    }
}

fn one(job: &Job<'_>, version: u32, output: &str, follow: bool, lines: &mut Lines<'_>) -> Result<(), Stop> {
    let entry = job.entry()?;
    let outputs = &entry.version(version)?.outputs;
    let Some(at) = outputs.iter().find(|known| known.name == output || known.at == output).map(|known| &known.at)
    else {
        let known: Vec<_> = outputs.iter().map(|output| output.name.as_str()).collect();
        return Err(Fault::new(
            Exit::Usage,
            format!(
                "version {version} of job {} writes no output {output:?}; it writes {}",
                entry.job,
                known.join(", ")
            ),
        )
        .into());
    };
    let mut readers = Vec::new();
    loop {
        let kept = job.ledger.kept(at)?.unwrap_or_default();
        for (partition, kept) in kept.iter().enumerate().skip(readers.len()) {
            readers.push(job.ledger.read(at, partition as u32, kept.start)?);
        }
        let mut any = false;
        for (partition, reader) in (0..).zip(&mut readers) {
            let mut written = Ok(());
            any |= reader.read(&mut |record| {
                if written.is_ok() {
                    written = lines.row(version, partition, record);
                }
            })?;
            written?;
        }
        if any {
            continue;
        }
        lines.flush()?;
        if !follow {
            return Ok(());
        }
        job.ledger.wait(WAIT);
    }
}

struct Lines<'a> {
    json: bool,
    out: BufWriter<std::io::StdoutLock<'a>>,
}

impl Lines<'_> {
    fn row(&mut self, version: u32, partition: u32, record: CommittedRecord<'_>) -> Result<(), Stop> {
        let CommittedRecord { offset, at, key, value } = record;
        let written = if self.json {
            let line = json!({
                "version": version, "partition": partition, "offset": offset, "at": at.to_string(), "key": text(key), "value": parsed(value)
            });
            writeln!(self.out, "{line}")
        } else {
            self.out.write_all(value.unwrap_or(b"-")).and_then(|()| self.out.write_all(b"\n"))
        };
        written.map_err(stop)
    }

    fn flush(&mut self) -> Result<(), Stop> {
        self.out.flush().map_err(stop)
    }
}

fn stop(error: std::io::Error) -> Stop {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Stop::Closed;
    }
    Stop::Fault(terminal::unwritable(&error))
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn parsed(value: Option<&[u8]>) -> Value {
    value.map_or(Value::Null, |bytes| serde_json::from_slice(bytes).unwrap_or_else(|_| json!(text(Some(bytes)))))
}
