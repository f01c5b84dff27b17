//! Whole jobs, drawn by hand: connectors and engine together.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use millpond_engine::sink::Sink;
use millpond_engine::source::Source;
use millpond_engine::{
    Draw, Ended, Env, Exit, Fault, Graph, Line, Record as Row, Run, Running, Throttle, Tuning, Untimed as _, start,
};
use millpond_state::Timestamp;
use serde::{Deserialize, Serialize};

use crate::log::{Log, Record, Settings, Start};
use crate::{Collected, File, Json, Message, Raw, Text, generate, null, vec};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Click {
    page: String,
    at: i64,
}

fn click(n: u64) -> Click {
    Click { page: format!("page-{}", n % 7), at: n as i64 }
}

/// A job that copies a source to a sink.
fn copy<S: Source, K: Sink<S::Item>>(
    source: impl Fn(&Env) -> S + Send + Sync + 'static,
    sink: impl Fn(&Env) -> K + Send + Sync + 'static,
) -> Arc<Draw> {
    Arc::new(move |graph: &Rc<Graph<'_>>, env: &Env| {
        Line::source(graph, "in", source(env)).sink("out", sink(env));
        Ok(())
    })
}

fn run(dir: &tempfile::TempDir, workers: usize) -> Run {
    Run { workers, interval: Duration::from_millis(20), until_end: true, ..Run::new("copy", 1, dir.path()) }
}

fn ended(running: Result<Running, Fault>) -> Ended {
    running.unwrap().join().unwrap()
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it does not come to hold");
}

/// Feeds `count` clicks to a topic of three partitions, some after the others.
fn feed(log: &Log, topic: &str, numbers: std::ops::Range<u64>) {
    if log.topic(topic).is_err() {
        log.create_topic(topic, Settings::partitions(3)).unwrap();
    }
    let mut writer = log.writer("feeder").unwrap();
    let claim = writer.claim(topic).unwrap();
    for n in numbers.clone() {
        let value = serde_json::to_vec(&click(n)).unwrap();
        let record = Record::new(Timestamp::from_millis(n as i64), &value).key(b"k");
        writer.append(claim, (n % 3) as u32, &record).unwrap();
    }
    writer.commit(numbers.end, b"").unwrap();
}

/// What a topic holds: partition, key, event time and value of each record, in order within partitions.
fn read(log: &Log, topic: &str) -> Vec<(u32, Option<Vec<u8>>, Timestamp, Vec<u8>)> {
    let mut found = Vec::new();
    for partition in 0..log.topic(topic).map_or(0, |topic| topic.settings.partition_count()) {
        let mut reader = log.reader(topic, partition, Start::Earliest).unwrap();
        while let Some(block) = reader.read_block(1 << 20).unwrap() {
            found.extend(block.records().map(|record| {
                (
                    partition,
                    record.key.map(<[u8]>::to_owned),
                    record.event_time,
                    record.value.unwrap_or_default().to_owned(),
                )
            }));
        }
    }
    found
}

fn clicks(log: &Log, topic: &str) -> Vec<i64> {
    let mut found: Vec<_> =
        read(log, topic).iter().map(|row| serde_json::from_slice::<Click>(&row.3).unwrap().at).collect();
    found.sort_unstable();
    found
}

fn log_to_log(dir: &tempfile::TempDir) -> (Log, Arc<Draw>) {
    let log = Log::open(dir.path().join("log")).unwrap();
    let (from, to) = (log.clone(), log.clone());
    let source = move |_: &Env| from.read::<Click>("clicks", Json).event_time(|click| Timestamp::from_millis(click.at));
    let sink = move |_: &Env| to.write("pages", Json).key(|click: &Click| click.page.clone());
    (log, copy(source, sink))
}

#[test]
fn a_vector_is_collected_whole_with_one_two_and_three_workers() {
    for workers in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        let data: Arc<Vec<Vec<u64>>> = Arc::new((0..4).map(|p| (0..2_500).map(|n| n * 4 + p).collect()).collect());
        let out = Collected::<u64>::new();
        let sink = out.clone();
        let source = move |_: &Env| vec(Arc::clone(&data)).event_time(|n| Timestamp::from_millis(*n as i64));
        let ended = ended(start(run(&dir, workers), copy(source, move |_| sink.sink())));
        assert!(ended.finished);
        let mut found = out.take_timed();
        found.sort_unstable_by_key(|(_, n)| *n);
        assert!(found.into_iter().eq((0..10_000).map(|n| (Timestamp::from_millis(n as i64), n))), "{workers} workers");
    }
}

#[test]
fn a_generator_into_nowhere_comes_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let source = |_: &Env| generate(3, |partition, index| (partition, index)).count(30_000).no_event_time();
    let running = start(run(&dir, 2), copy(source, |_| null())).unwrap();
    let metrics = running.metrics().clone();
    assert!(running.join().unwrap().finished);
    assert_eq!(metrics.total("millpond_records_read_total") as u64, 30_000);
}

#[test]
fn from_log_to_log_each_record_arrives_once_in_the_partition_of_its_key() {
    for workers in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        let (log, draw) = log_to_log(&dir);
        feed(&log, "clicks", 0..3_000);
        assert!(ended(start(run(&dir, workers), Arc::clone(&draw))).finished);
        assert_eq!(clicks(&log, "pages"), (0..3_000).collect::<Vec<_>>());
        let rows = read(&log, "pages");
        for (partition, key, at, value) in &rows {
            let click: Click = serde_json::from_slice(value).unwrap();
            assert_eq!((key.as_deref(), *at), (Some(click.page.as_bytes()), Timestamp::from_millis(click.at)));
            assert_eq!(*partition, crate::partition_of(click.page.as_bytes(), 3));
        }
        // A finished job does nothing again, also when the log has grown.
        feed(&log, "clicks", 3_000..3_010);
        let again = ended(start(run(&dir, workers), draw));
        assert!(again.finished && again.before);
        assert_eq!(read(&log, "pages"), rows);
    }
}

#[test]
fn a_job_that_is_stopped_and_started_while_the_log_grows_writes_each_record_once() {
    let dir = tempfile::tempdir().unwrap();
    let (log, draw) = log_to_log(&dir);
    let mut fed = 0;
    for round in 0..6 {
        feed(&log, "clicks", fed..fed + 500);
        fed += 500;
        let running = start(Run { until_end: false, ..run(&dir, 1 + round % 3) }, Arc::clone(&draw)).unwrap();
        if round % 2 == 0 {
            wait_until(|| read(&log, "pages").len() as u64 == fed);
            feed(&log, "clicks", fed..fed + 100);
            fed += 100;
            wait_until(|| read(&log, "pages").len() as u64 == fed);
        }
        running.stop();
        let ended = running.join().unwrap();
        assert!(!ended.finished);
        assert_eq!(clicks(&log, "pages"), (0..read(&log, "pages").len() as i64).collect::<Vec<_>>());
    }
    let running = start(Run { until_end: false, ..run(&dir, 2) }, draw).unwrap();
    wait_until(|| read(&log, "pages").len() as u64 >= fed);
    running.stop();
    running.join().unwrap();
    assert_eq!(clicks(&log, "pages"), (0..fed as i64).collect::<Vec<_>>());
}

#[test]
fn records_have_the_mark_of_their_job_run_and_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let (log, draw) = log_to_log(&dir);
    feed(&log, "clicks", 0..10);
    let running = start(run(&dir, 1), draw).unwrap();
    let id = running.status().run;
    running.join().unwrap();
    let mut reader = log.reader("pages", crate::partition_of(b"page-0", 3), Start::Earliest).unwrap();
    let block = reader.read_block(1 << 20).unwrap().unwrap();
    let (name, mark) = block.records().next().unwrap().headers.next().unwrap();
    let mark = String::from_utf8(mark.to_owned()).unwrap();
    assert_eq!(name, "millpond");
    let parts: Vec<_> = mark.split(' ').collect();
    assert_eq!(parts[..2], ["copy@1", id.as_str()]);
    assert!(parts[2].parse::<u64>().unwrap() >= 1, "{mark}");
}

#[test]
fn bad_records_stop_the_job_or_become_dead_letters_with_all_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (log, failing) = log_to_log(&dir);
    feed(&log, "clicks", 0..300);
    let mut writer = log.writer("feeder").unwrap();
    let claim = writer.claim("clicks").unwrap();
    let headers: &[(&str, &[u8])] = &[("trace", b"17")];
    writer.append(claim, 1, &Record::new(Timestamp::from_secs(1), b"{\"page\":").key(b"bad").headers(headers)).unwrap();
    writer.append(claim, 1, &Record { key: Some(b"gone"), ..Record::default() }).unwrap();
    writer.commit(301, b"").unwrap();
    let fault = start(run(&dir, 2), failing).unwrap().join().unwrap_err();
    assert_eq!(fault.exit(), Exit::FixJob);
    assert!(fault.to_string().contains("in partition 1 offset 100: not the JSON expected: EOF"), "{fault}");
    let keeping: Arc<Draw> = {
        let log = log.clone();
        Arc::new(move |graph: &Rc<Graph<'_>>, _: &Env| {
            let clicks = log.read::<Click>("clicks", Json).event_time(|click| Timestamp::from_millis(click.at));
            graph.dead_letters("dead", log.dead_letters("clicks-dead"));
            Line::source(graph, "in", clicks)
                .sink("out", log.write("pages", Json).key(|click: &Click| click.page.clone()));
            Ok(())
        })
    };
    let next = Run { env: Env { version: 2, ..run(&dir, 2).env }, ..run(&dir, 2) };
    assert!(ended(start(next, keeping)).finished);
    assert_eq!(clicks(&log, "pages.v2").len(), 300);
    let mut letters = Vec::new();
    for partition in 0..3 {
        let mut reader = log.reader("clicks-dead.v2", partition, Start::Earliest).unwrap();
        while let Some(block) = reader.read_block(1 << 20).unwrap() {
            letters.extend(block.records().map(|letter| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
                let headers: BTreeMap<_, _> =
                    letter.headers.map(|(name, value)| (name.to_owned(), text(value))).collect();
                (letter.key.map(text).unwrap(), letter.value.map(text), headers)
            }));
        }
    }
    letters.sort();
    assert_eq!((letters.len(), letters[0].0.as_str(), letters[0].1.as_deref()), (2, "bad", Some("{\"page\":")));
    assert_eq!((letters[0].2["trace"].as_str(), letters[0].2["millpond-position"].as_str()), ("17", "in/1/100"));
    assert!(letters[0].2["millpond-error"].contains("EOF") && letters[0].2["millpond-step"] == "in");
    assert_eq!(
        (letters[1].0.as_str(), &letters[1].1, letters[1].2["millpond-position"].as_str()),
        ("gone", &None, "in/1/101")
    );
}

#[test]
fn a_file_that_is_read_in_several_runs_is_in_the_log_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clicks.csv.gz");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let lines: String = (0..60_000).map(|n| format!("{n},page-{}\n", n % 7)).collect();
    std::io::Write::write_all(&mut gz, format!("at,page\n{lines}").as_bytes()).unwrap();
    std::fs::write(&path, gz.finish().unwrap()).unwrap();
    let log = Log::open(dir.path().join("log")).unwrap();
    let (to, from) = (log.clone(), path.clone());
    let source = move |_: &Env| File::csv::<Click>(&from).event_time(|click| Timestamp::from_millis(click.at));
    let draw = copy(source, move |_| to.write("pages", Json));
    let mut starts = 0;
    loop {
        // The first run would take seconds, and is stopped at its first output, however busy the machine is.
        let tuning = Tuning { throttle: (starts == 0).then_some(Throttle::Records(10_000)), ..Tuning::default() };
        let run = Run { interval: Duration::from_millis(1), tuning, ..run(&dir, 2) };
        let running = start(run, Arc::clone(&draw)).unwrap();
        let before = read(&log, "pages").len();
        wait_until(|| running.ended() || read(&log, "pages").len() > before);
        running.stop();
        starts += 1;
        if running.join().unwrap().finished {
            break;
        }
    }
    assert!(starts > 1, "it was never stopped on the way");
    assert_eq!(clicks(&log, "pages"), (0..60_000).collect::<Vec<_>>());
}

#[test]
fn another_file_under_the_same_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lines.txt");
    let write =
        |last: u8| std::fs::write(&path, (0..200_000).map(|n| format!("{n} {last}\n")).collect::<String>()).unwrap();
    write(1);
    let (from, log) = (path.clone(), Log::at(dir.path().join("log")));
    let draw = copy(move |_: &Env| File::lines(&from).no_event_time(), move |_| log.write("lines", Text));
    let running = start(Run { interval: Duration::from_millis(1), ..run(&dir, 1) }, Arc::clone(&draw)).unwrap();
    running.stop();
    assert!(!running.join().unwrap().finished);
    write(2);
    let fault = start(run(&dir, 1), Arc::clone(&draw)).unwrap_err();
    assert_eq!(fault.exit(), Exit::Restore);
    assert!(fault.to_string().contains("was made again under the same name"), "{fault}");
    write(1);
    assert!(ended(start(run(&dir, 1), draw)).finished);
}

#[test]
fn whole_messages_travel_through_a_job() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path().join("log")).unwrap();
    feed(&log, "clicks", 0..30);
    let out = Collected::<Message<Vec<u8>>>::new();
    let (from, sink) = (log.clone(), out.clone());
    let source = move |_: &Env| from.read::<Vec<u8>>("clicks", Raw).messages().log_time();
    assert!(ended(start(run(&dir, 1), copy(source, move |_| sink.sink()))).finished);
    let found = out.take_timed();
    assert_eq!(found.len(), 30);
    assert!(found.iter().all(|(at, message)| *at == message.timestamp && message.key.as_deref() == Some(b"k")));
}

#[test]
fn a_job_may_change_records_on_their_way() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path().join("log")).unwrap();
    feed(&log, "clicks", 0..100);
    let to = log.clone();
    let draw: Arc<Draw> = Arc::new(move |graph: &Rc<Graph<'_>>, _: &Env| {
        let clicks = to.read::<Click>("clicks", Json).event_time(|click| Timestamp::from_millis(click.at));
        let even = Line::source(graph, "in", clicks).step("filter", |batch, out| {
            out.rows.extend(
                batch.rows.drain(..).filter(|row| row.value.at % 2 == 0).map(|row: Row<Click>| row.with(row.value.at)),
            );
        });
        even.sink("out", to.write("even", Json).partition(|at: &i64, partitions| (*at % i64::from(partitions)) as u32));
        Ok(())
    });
    assert!(ended(start(run(&dir, 2), draw)).finished);
    for (partition, key, at, value) in read(&log, "even") {
        let value: i64 = serde_json::from_slice(&value).unwrap();
        assert_eq!((i64::from(partition), key, at), (value % 3, None, Timestamp::from_millis(value)));
    }
    assert_eq!(read(&log, "even").len(), 50);
}
