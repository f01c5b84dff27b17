//! The log with the month in it, runs of a version of a job on it, and what a version has written.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use millpond::log::{Claim, Log, Record, Settings, Start, Writer};
use millpond::{Env, Job, Run, Running, Timestamp};
use serde::{Deserialize, Serialize};

use crate::delayed::Delay;
use crate::jobs::Draws;

pub(crate) const TOPIC: &str = "departures";
const AIRPORTS: [&str; 3] = ["EWR", "JFK", "LGA"];

/// A departure; its event time is when it should have been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flight {
    pub(crate) scheduled: String,
    pub(crate) departed: Option<String>,
    pub(crate) carrier: String,
    pub(crate) flight: u32,
    pub(crate) tailnum: Option<String>,
    pub(crate) origin: String,
    pub(crate) dest: String,
    pub(crate) departure_delay_min: Option<i64>,
}

impl Flight {
    pub(crate) fn at(&self) -> Timestamp {
        Timestamp::parse(&self.scheduled).unwrap()
    }
    pub(crate) fn delay(&self) -> Option<i64> {
        self.departed.as_ref().and(self.departure_delay_min)
    }
}

/// The month in the order of the file.
pub(crate) fn month() -> Vec<Flight> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/flights/departures.csv.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_string(&mut text).unwrap();
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(Result::unwrap).collect()
}

/// A state directory whose log may be fed.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
}

/// Writes flights to the log.
pub(crate) struct Feeder {
    writer: Writer,
    claim: Claim,
    commits: u64,
}

impl Feeder {
    pub(crate) fn append(&mut self, flight: &Flight) {
        let partition = AIRPORTS.iter().position(|airport| *airport == flight.origin).unwrap() as u32;
        let value = serde_json::to_vec(flight).unwrap();
        self.writer.append(self.claim, partition, &Record::new(flight.at(), &value)).unwrap();
    }
    pub(crate) fn commit(&mut self) {
        self.commits += 1;
        self.writer.commit(self.commits, b"").unwrap();
    }
}

impl World {
    /// With an empty log.
    pub(crate) fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        Log::open(dir.path().join("log")).unwrap().create_topic(TOPIC, Settings::partitions(3)).unwrap();
        World { dir }
    }

    pub(crate) fn log(&self) -> Log {
        Log::at(self.dir.path().join("log"))
    }

    pub(crate) fn feeder(&self) -> Feeder {
        let mut writer = self.log().writer("feeder").unwrap();
        let claim = writer.claim(TOPIC).unwrap();
        Feeder { writer, claim, commits: 0 }
    }

    /// With these flights in the log.
    pub(crate) fn fed(flights: &[Flight]) -> World {
        let world = World::new();
        let mut feeder = world.feeder();
        flights.iter().for_each(|flight| feeder.append(flight));
        feeder.commit();
        world
    }

    /// Starts a version of the job under these circumstances.
    pub(crate) fn start(&self, version: u32, draws: Draws, how: How) -> Running {
        let mut run = Run::new("flights", version, self.dir.path());
        run.workers = how.workers;
        run.interval = Duration::from_millis(how.interval_ms);
        run.until_end = how.until_end;
        run.tuning.batch = how.batch;
        run.tuning.align = how.align;
        let job = Job::new("flights").version(version);
        job.start(run, move |flow| draws.draw(flow, how.delay)).unwrap()
    }

    /// Runs it to its end and reads what it wrote.
    pub(crate) fn answer(&self, version: u32, draws: Draws, how: How) -> Answer {
        let ended = self.start(version, draws, how).join().unwrap();
        assert!(ended.finished);
        self.written(version, draws)
    }

    /// What a version has written.
    pub(crate) fn written(&self, version: u32, draws: Draws) -> Answer {
        let env = Env { state: self.dir.path().into(), job: "flights".into(), version, create: true };
        let topics = draws.topics().iter().map(|topic| ((*topic).to_owned(), lines(&self.log(), &env.output(topic))));
        Answer(topics.collect())
    }
}

/// Sorted records of a topic: event time, key, value.
pub(crate) fn lines(log: &Log, topic: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for partition in 0..log.topic(topic).unwrap().settings.partition_count() {
        let mut reader = log.reader(topic, partition, Start::Earliest).unwrap();
        while let Some(block) = reader.read_block(1 << 20).unwrap() {
            lines.extend(block.records().map(|record| {
                let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                format!("{} {partition} {:?} {}", record.event_time, text(record.key), text(record.value).unwrap())
            }));
        }
    }
    lines.sort();
    lines
}

/// What was written, by topic.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Answer(pub(crate) Vec<(String, Vec<String>)>);

impl Answer {
    /// Fails with the first difference.
    pub(crate) fn must_be(&self, want: &Answer, how: &str) {
        for ((topic, got), (_, want)) in self.0.iter().zip(&want.0) {
            let extra: Vec<_> = got.iter().filter(|line| want.binary_search(line).is_err()).take(3).collect();
            let missing: Vec<_> = want.iter().filter(|line| got.binary_search(line).is_err()).take(3).collect();
            assert!(
                got == want,
                "{how}: {topic} has {} lines, not {}; too many {extra:#?}; missing {missing:#?}",
                got.len(),
                want.len()
            );
        }
    }

    /// Only what happened before a time.
    pub(crate) fn before(mut self, time: &str) -> Answer {
        self.0.iter_mut().for_each(|(_, lines)| lines.retain(|line| line.as_str() < time));
        self
    }
}

/// Circumstances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) workers: usize,
    pub(crate) batch: usize,
    pub(crate) align: Duration,
    pub(crate) delay: Delay,
    pub(crate) interval_ms: u64,
    pub(crate) until_end: bool,
}

/// One worker, long batches, read aligned.
pub(crate) const PLAIN: How = How {
    workers: 1,
    batch: 2048,
    align: Duration::from_secs(60),
    delay: Delay::None,
    interval_ms: 50,
    until_end: true,
};

/// Partitions may run apart as far as they like.
pub(crate) const APART: Duration = Duration::from_secs(366 * 24 * 3600);

/// Waits until `holds`, or fails after a while.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}
