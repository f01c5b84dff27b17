//! Looks into an embedded log and writes to it by hand.
//!
//! `cargo run --release --example log` makes a small log in `.millpond/log` and shows it; docs/log.md tells what to try.

use std::io::{self, BufRead, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand};
use millpond::engine::cli::refused;
use millpond::log::{Log, LogError, Reader, Record, RecordRef, Settings, Start};
use millpond::{Exit, Fault, Timestamp, say};
use serde_json::{Value, json};

#[derive(Parser)]
#[command(name = "log", version, about = "Looks into an embedded log: its topics, records, offsets and commits")]
struct Options {
    /// The log's directory: `log` in the state directory of a job.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "MILLPOND_LOG",
        hide_env_values = true,
        default_value = ".millpond/log"
    )]
    log: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a topic.
    Create {
        topic: String,
        #[arg(long, default_value_t = 1)]
        partitions: u32,
        /// Keep the newest record of each key.
        #[arg(long)]
        compacted: bool,
    },
    /// Lists the topics.
    Topics,
    /// Appends each line of standard input, and commits at its end and every 10,000 lines.
    Append {
        topic: String,
        /// What stands between key and value; without it lines are values without a key.
        #[arg(long)]
        key_separator: Option<String>,
        /// The name to write under; a topic belongs to the first one that writes it.
        #[arg(long, default_value = "log-example")]
        writer: String,
    },
    /// Prints the newest records, and with --follow what comes after them.
    Tail {
        #[command(flatten)]
        what: What,
        /// Stay and print what is committed from now on.
        #[arg(long, short)]
        follow: bool,
    },
    /// Prints all records, partition by partition.
    Read {
        #[command(flatten)]
        what: What,
    },
    /// Prints the offsets that each partition holds, of one topic or of all.
    Offsets { topic: Option<String> },
    /// Prints the newest commit of each writer.
    Commits,
}

#[derive(Args)]
struct What {
    topic: String,
    /// Only this partition.
    #[arg(long)]
    partition: Option<u32>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// earliest, latest, an offset, or an event time like 2013-01-01T10:00:00Z.
    #[arg(long, value_parser = parse_from)]
    from: Option<Start>,
}

fn parse_from(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map(Start::Offset).map_err(|error| error.to_string())
        }
        _ => Timestamp::parse(text).map(Start::Time).map_err(|error| error.to_string()),
    }
}

/// Why it ends early.
enum Stop {
    /// Whoever reads stdout, `| head` say, has seen enough.
    Seen,
    Fault(Fault),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Stop::Seen,
            _ => Stop::Fault(Fault::new(Exit::Retry, "cannot write to stdout").because(error)),
        }
    }
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Stop::Fault(error.into())
    }
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(words) => return refused(&words).into(),
    };
    let out = &mut BufWriter::new(io::stdout().lock());
    let done = match options.command {
        None => show(&options.log, out),
        Some(command) => run(&options.log, command, out),
    };
    match done.and_then(|()| Ok(out.flush()?)) {
        Ok(()) | Err(Stop::Seen) => ExitCode::SUCCESS,
        Err(Stop::Fault(fault)) => {
            let help = match fault.exit() {
                Exit::Usage => "`log topics` lists topics, --log DIR names the log, --help has more",
                _ => "mend what the message names, then ask again",
            };
            say(&format!("error: {fault}\nhelp: {help}"));
            fault.exit().into()
        }
    }
}

fn run(dir: &Path, command: Command, out: &mut impl Write) -> Result<(), Stop> {
    let log = Log::at(dir);
    if !matches!(command, Command::Create { .. }) && !dir.join("topics").is_dir() {
        let shown = dir.display();
        return Err(Stop::Fault(Fault::new(Exit::Usage, format!("there is no log in {shown}"))));
    }
    match command {
        Command::Create { topic, partitions, compacted } => {
            let settings = Settings::partitions(partitions);
            let made = Log::open(dir)?.create_topic(&topic, if compacted { settings.compacted() } else { settings })?;
            writeln!(out, "{} in {}", made.name, log.dir().display())?;
        }
        Command::Topics => {
            for topic in log.topics()? {
                let records: u64 = log.offsets(&topic.name)?.into_iter().map(|kept| kept.end - kept.start).sum();
                let writer = topic.writer.as_deref().unwrap_or("nobody yet");
                let partitions = counted(topic.settings.partition_count().into(), "partition");
                writeln!(out, "{}: {partitions}, {}, written by {writer}", topic.name, counted(records, "record"))?;
            }
        }
        Command::Append { topic, key_separator, writer } => {
            let lines = io::stdin().lock().lines();
            let count = append(&log, &topic, &writer, key_separator.as_deref(), lines).map_err(Stop::Fault)?;
            writeln!(out, "{} appended to {topic}", counted(count, "record"))?;
        }
        Command::Tail { what, follow } => tail(&log, &what, follow, out)?,
        Command::Read { what } => {
            for mut reader in readers(&log, &what, Start::Earliest)? {
                while print(&mut reader, what.json, out)? {}
            }
        }
        Command::Offsets { topic } => {
            let topics = topic.map_or_else(
                || log.topics().map(|all| all.into_iter().map(|t| t.name).collect()),
                |one| Ok(vec![one]),
            )?;
            for topic in topics {
                for (partition, kept) in log.offsets(&topic)?.into_iter().enumerate() {
                    writeln!(out, "{topic}/{partition}: {} to {}", kept.start, kept.end)?;
                }
            }
        }
        Command::Commits => {
            for writer in log.writers()? {
                match log.last_commit(&writer)? {
                    None => writeln!(out, "{writer}: no commit")?,
                    Some(commit) => {
                        let payload = String::from_utf8_lossy(&commit.payload);
                        writeln!(out, "{writer}: epoch {} at {}: {payload}", commit.epoch, commit.clock)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn append(
    log: &Log,
    topic: &str,
    writer: &str,
    separator: Option<&str>,
    lines: impl Iterator<Item = io::Result<String>>,
) -> Result<u64, Fault> {
    let mut writer = log.writer(writer)?;
    let claim = writer.claim(topic)?;
    let partitions = writer.topic(claim).settings.partition_count();
    let mut epoch = writer.last_commit().map_or(0, |commit| commit.epoch);
    let mut commit = |writer: &mut millpond::log::Writer| -> Result<(), LogError> {
        epoch += 1;
        writer.commit(epoch, b"by hand")
    };
    let mut count = 0;
    for line in lines {
        let line = line.map_err(|error| Fault::new(Exit::Usage, "cannot read standard input").because(error))?;
        let (key, value) = match separator.and_then(|separator| line.split_once(separator)) {
            Some((key, value)) => (Some(key.as_bytes()), value),
            None => (None, line.as_str()),
        };
        // Any rule will do that sends equal keys to one partition; what has no key goes round.
        let hash = key.map_or(count, |key| key.iter().fold(0, |hash, byte| hash * 31 % 1_000_003 + u64::from(*byte)));
        let partition = (hash % u64::from(partitions)) as u32;
        let record = Record { key, ..Record::new(SystemTime::now().into(), value.as_bytes()) };
        writer.append(claim, partition, &record)?;
        count += 1;
        if count % 10_000 == 0 {
            commit(&mut writer)?;
        }
    }
    commit(&mut writer)?;
    Ok(count)
}

fn readers(log: &Log, what: &What, default: Start) -> Result<Vec<Reader>, LogError> {
    let mut readers = Vec::new();
    for (partition, kept) in (0..).zip(log.offsets(&what.topic)?) {
        let start = match what.from.unwrap_or(default) {
            // One number for all partitions: each begins with what it has.
            Start::Offset(offset) => Start::Offset(offset.clamp(kept.start, kept.end)),
            other => other,
        };
        if what.partition.is_none_or(|wanted| wanted == partition) {
            readers.push(log.reader(&what.topic, partition, start)?);
        }
    }
    Ok(readers)
}

fn tail(log: &Log, what: &What, follow: bool, out: &mut impl Write) -> Result<(), Stop> {
    let mut readers = readers(log, what, Start::Latest)?;
    for reader in readers.iter_mut().filter(|_| what.from.is_none()) {
        let newest = reader.next_offset().saturating_sub(10).max(reader.earliest()?);
        reader.seek(newest)?;
    }
    loop {
        let seen = log.commits_here();
        for reader in &mut readers {
            while print(reader, what.json, out)? {}
        }
        if !follow {
            return Ok(());
        }
        out.flush()?;
        let _ = log.wait(seen, Duration::from_millis(100));
    }
}

/// Prints what is there, and whether there was anything.
fn print(reader: &mut Reader, json: bool, out: &mut impl Write) -> Result<bool, Stop> {
    let Some(block) = reader.read_block(1 << 20)? else { return Ok(false) };
    for record in block.records() {
        if json {
            writeln!(out, "{}", as_json(reader.partition(), &record))?;
        } else {
            let text =
                |bytes: Option<&[u8]>| bytes.map_or("-".into(), |bytes| String::from_utf8_lossy(bytes).into_owned());
            let (place, at) = (format!("{}/{}", reader.partition(), record.offset), record.event_time);
            writeln!(out, "{place} {at} {}: {}", text(record.key), text(record.value))?;
        }
    }
    Ok(true)
}

/// Texts as texts, and other bytes as lists of numbers.
fn as_json(partition: u32, record: &RecordRef<'_>) -> Value {
    let bytes = |bytes: &[u8]| std::str::from_utf8(bytes).map_or_else(|_| json!(bytes), |text| json!(text));
    json!({
        "partition": partition,
        "offset": record.offset,
        "event_time": record.event_time.to_string(),
        "append_time": record.append_time.to_string(),
        "key": record.key.map(bytes),
        "value": record.value.map(bytes),
        "headers": record.headers.map(|(name, value)| json!([name, bytes(value)])).collect::<Vec<_>>(),
    })
}

/// Without arguments: a log, a topic, three records, and what they look like.
fn show(dir: &Path, out: &mut impl Write) -> Result<(), Stop> {
    let log = Log::open(dir)?;
    match log.create_topic("greetings", Settings::partitions(1)) {
        Err(LogError::TopicExists { .. }) => {}
        other => drop(other?),
    }
    let lines = ["en:hello", "de:guten Tag", "fr:bonjour"].map(|line| Ok(line.to_owned()));
    append(&log, "greetings", "log-example", Some(":"), lines.into_iter()).map_err(Stop::Fault)?;
    writeln!(out, "three records were committed to topic greetings of the log in {}; it holds:\n", dir.display())?;
    let what = What { topic: "greetings".to_owned(), partition: None, json: false, from: None };
    tail(&log, &what, false, out)?;
    writeln!(out, "\nTry next (--help has more):")?;
    for command in ["topics", "offsets", "commits", "read greetings --json", "tail greetings --follow"] {
        writeln!(out, "  cargo run --release --example log -- --log {} {command}", dir.display())?;
    }
    Ok(())
}
