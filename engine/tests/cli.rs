//! Job binaries as processes: signals, exit codes, what is said where. The binary is this test program itself, started again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args as _, FromArgMatches as _};
use millpond_engine::cli::{self, JobMain};
use millpond_engine::sink::{Encode, Follower, Opened, Outgoing, Outlet, Sink, SinkPlan, System};
use millpond_engine::source::{Arrival, Assigned, Collect, From, Original, Partition, Read, Reader, SourcePlan, Waker};
use millpond_engine::{Batch, Draw, Env, Exit, Fault, Line, Status, Untimed};
use millpond_state::Timestamp;

/// The arguments of a job that this program is to be.
const ARGS: &str = "MILLPOND_TEST_ARGS";

#[derive(Clone, Debug, clap::Args)]
struct Own {
    /// Records in each of two partitions
    #[arg(long, default_value_t = 100)]
    records: u64,
    /// Milliseconds that each read takes
    #[arg(long, default_value_t = 0)]
    slow: u64,
    /// Where it goes wrong: before, step, deliver
    #[arg(long, default_value = "")]
    wrong: String,
}

#[derive(Clone)]
struct Numbers(Own);

impl Untimed for Numbers {
    type Item = u64;
    type Reader = NumberReader;
    fn plan(&self) -> SourcePlan {
        SourcePlan { kind: "numbers".into(), from: "memory".into(), bounded: false, bound_micros: 0 }
    }
    fn connect(&self, _: &Env, _: &From) -> Result<Vec<Partition>, Fault> {
        let fingerprint = String::new();
        let first = Partition { partition: 0, start: 0, end: self.0.records, fingerprint };
        Ok(vec![first.clone(), Partition { partition: 1, ..first }])
    }
    fn open(&self, _: &Env, assigned: &[Assigned], _: Waker) -> Result<NumberReader, Fault> {
        Ok(NumberReader { own: self.0.clone(), next: assigned.iter().map(|slot| slot.next).collect() })
    }
}

struct NumberReader {
    own: Own,
    next: Vec<u64>,
}

impl Reader<u64> for NumberReader {
    fn read<C: Collect<u64>>(&mut self, slot: usize, most: usize, into: &mut C) -> Result<Read, Fault> {
        std::thread::sleep(Duration::from_millis(self.own.slow));
        let most = if self.own.slow > 0 { 1 } else { most as u64 };
        let next = &mut self.next[slot];
        for offset in *next..self.own.records.min(*next + most) {
            into.take(Arrival { offset, stamp: Timestamp::MIN, logged: Timestamp::MAX, bytes: 8 }, offset);
            *next += 1;
        }
        Ok(if *next < self.own.records { Read::More } else { Read::AtEnd })
    }
    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault> {
        self.next[slot] = offset;
        Ok(())
    }
    fn original(&mut self, _: usize, _: u64) -> Option<Original> {
        None
    }
    fn end(&mut self, _: usize) -> Option<u64> {
        Some(self.own.records)
    }
}

#[derive(Clone)]
struct Nowhere(Own);

impl Sink<u64> for Nowhere {
    fn plan(&self) -> SinkPlan {
        SinkPlan { kind: "nowhere".into(), to: "-".into() }
    }
    fn system(&self) -> Rc<dyn System> {
        Rc::new(self.clone())
    }
    fn encoder(&self, _: u32) -> Box<dyn Encode<u64>> {
        Box::new(self.clone())
    }
}
impl Encode<u64> for Nowhere {
    fn encode(&mut self, batch: &mut Batch<u64>, out: &mut Outgoing) -> Result<(), Fault> {
        for row in batch.rows.drain(..) {
            let value = |bytes: &mut Vec<u8>| bytes.write_all(&row.value.to_le_bytes()).map(|()| true);
            out.push(row.at, |_| Ok(false), value, |_, _| 0)
                .map_err(|e| Fault::new(Exit::FixJob, "bytes").because(e))?;
        }
        Ok(())
    }
}
impl System for Nowhere {
    fn identity(&self) -> String {
        "nowhere".into()
    }
    fn open(&self, _: &Env, _: &[Outlet]) -> Result<Opened, Fault> {
        Ok(Opened::Follower(Box::new(self.clone())))
    }
}
impl Follower for Nowhere {
    fn deliver(&mut self, _: &Outgoing) -> Result<(), Fault> {
        if self.0.wrong == "deliver" {
            std::thread::sleep(Duration::from_secs(60));
        }
        Ok(())
    }
}

fn job() -> JobMain {
    let draw = |own: Own| -> Arc<Draw> {
        Arc::new(move |graph, _| {
            let source = Numbers(own.clone()).event_time(|n: &u64| Timestamp::from_secs(*n as i64));
            let wrong = own.wrong == "step";
            let line = Line::source(graph, "numbers", source).step("pass", move |from, to| {
                assert!(!wrong, "a step of the user's fails");
                std::mem::swap(from, to);
            });
            line.sink("out", Nowhere(own.clone()));
            Ok(())
        })
    };
    let own = |matches: &clap::ArgMatches| Own::from_arg_matches(matches).unwrap();
    let mut job = JobMain::new("numbers", 1, Box::new(move |matches| Ok(draw(own(matches)))));
    job.augment = Own::augment_args;
    job.before = Some(Box::new(move |_, matches| {
        assert_ne!(own(matches).wrong, "before", "a hook fails");
        Ok(())
    }));
    job.after = Some(Box::new(|env, _, ended| {
        println!("after {} {}", env.identity(), ended.finished);
        Ok(())
    }));
    job.default_args = vec!["run".into(), "--until-end".into()];
    job
}

/// Not a test of its own: what the other tests start.
#[test]
fn be_the_job() {
    if let Ok(args) = std::env::var(ARGS) {
        let args = std::iter::once("numbers").chain(args.split_whitespace()).map(Into::into);
        let exit = cli::main(&job(), args);
        std::process::exit(exit.code().into());
    }
}

fn start(state: &Path, args: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["be_the_job", "--exact", "--nocapture"]).env(ARGS, args).env("MILLPOND_STATE", state);
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().unwrap();
    assert!(sent.success());
}

fn end(mut child: Child) -> (i32, String, String) {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            panic!("the job is still there after 20 s");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn call(state: &Path, args: &str) -> (i32, String, String) {
    end(start(state, args))
}

/// What the running job says of itself once `ready` likes it.
fn status_when(state: &Path, ready: impl Fn(&Status) -> bool) -> Status {
    let begun = Instant::now();
    loop {
        let (code, stdout, _) = call(state, "status --json --records 100000");
        if code == 0 {
            let json = &stdout[stdout.find('{').unwrap()..];
            let status = serde_json::Deserializer::from_str(json).into_iter::<Status>().next().unwrap().unwrap();
            if ready(&status) {
                return status;
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{stdout}");
    }
}

fn read_some(status: &Status) -> bool {
    status.state == "running" && status.records_read > 0
}

#[test]
fn without_arguments_it_runs_to_the_end_once() {
    let state = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = call(state.path(), "");
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("numbers@1 finished after") && stdout.contains("200 records read, 200 written"),
        "{stdout}"
    );
    assert!(stdout.contains("after numbers@1 true"), "{stdout}");
    assert!(!state.path().join("numbers@1/control.sock").exists());
    let (code, stdout, _) = call(state.path(), "run --until-end --records 500");
    assert_eq!(code, 0);
    assert!(stdout.contains("Nothing was read or written") && stdout.contains("--job-version 2"), "{stdout}");
    assert!(stdout.contains("after numbers@1 true"), "the results are shown again: {stdout}");
    let status = status_when(state.path(), |_| true);
    assert_eq!((status.state.as_str(), status.lag), ("finished", Some(0)));
    let (_, page, _) = call(state.path(), "status");
    assert!(page.contains("numbers@1  finished, exactly_once"), "{page}");
    let (_, list, _) = call(state.path(), "checkpoints list");
    assert!(list.contains("  committed, finished"), "{list}");
    assert_eq!(call(state.path(), "checkpoints verify").0, 0);
    // Sound is what lies there; the one that counts must be among it.
    let checkpoints = std::fs::read_dir(state.path().join("numbers@1/checkpoints")).unwrap();
    for file in checkpoints
        .map(|file| file.unwrap().path())
        .filter(|file| file.extension().is_some_and(|ending| ending == "manifest"))
    {
        std::fs::remove_file(file).unwrap();
    }
    let (code, _, stderr) = call(state.path(), "checkpoints verify");
    assert_eq!(code, i32::from(Exit::Restore.code()), "{stderr}");
    assert!(stderr.contains("error: the committed checkpoint cannot be read"), "{stderr}");
}

#[test]
fn a_signal_stops_the_job_which_then_goes_on() {
    let state = tempfile::tempdir().unwrap();
    let args = "run --slow 2 --records 100000 --checkpoint-interval 50ms";
    for (round, name) in ["TERM", "INT"].iter().enumerate() {
        let running = start(state.path(), args);
        let status = status_when(state.path(), |status| read_some(status) && status.epoch > 0);
        assert_eq!((status.job.as_str(), status.workers, status.partitions.len()), ("numbers", 1, 2));
        assert!(status.partitions.iter().any(|partition| partition.holds_watermark), "{status:?}");
        assert!(round == 0 || status.partitions[0].next > 0);
        signal(&running, name);
        let (code, stdout, stderr) = end(running);
        assert_eq!(code, 0, "{stderr}");
        let (first, goes_on) = (stderr.contains(" and begins\n"), stderr.contains(" and goes on from epoch "));
        assert_eq!((first, goes_on), (round == 0, round > 0), "{stderr}");
        assert!(stdout.contains("numbers@1 was stopped after") && stdout.contains("after numbers@1 false"), "{stdout}");
        assert!(!state.path().join("numbers@1/control.sock").exists());
        let stopped = status_when(state.path(), |_| true);
        assert_eq!(stopped.state, "stopped");
        assert!(stopped.epoch >= status.epoch && stopped.partitions[0].next >= status.partitions[0].next);
        assert_eq!(stopped.partitions[0].lag, Some(100_000 - stopped.partitions[0].next), "its input was looked at");
    }
}

#[test]
fn a_bounded_run_stopped_before_its_end_has_a_code_of_its_own() {
    let state = tempfile::tempdir().unwrap();
    let running = start(state.path(), "run --until-end --slow 2 --records 100000");
    status_when(state.path(), read_some);
    signal(&running, "TERM");
    let (code, stdout, _) = end(running);
    assert_eq!(code, i32::from(Exit::StoppedEarly.code()));
    assert!(stdout.contains("was stopped before its end"), "{stdout}");
}

#[test]
fn a_second_signal_leaves_at_once() {
    let state = tempfile::tempdir().unwrap();
    let running = start(state.path(), "run --wrong deliver --checkpoint-interval 50ms");
    status_when(state.path(), read_some);
    std::thread::sleep(Duration::from_millis(200));
    signal(&running, "TERM");
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    signal(&running, "INT");
    let (code, _, stderr) = end(running);
    assert_eq!(code, i32::from(Exit::Interrupted.code()), "{stderr}");
    assert!(begun.elapsed() < Duration::from_secs(5), "at once");
    assert!(stderr.contains("stopping: the open epoch is committed"), "{stderr}");
}

#[test]
fn a_second_instance_is_refused_and_the_first_goes_on() {
    let state = tempfile::tempdir().unwrap();
    let running = start(state.path(), "run");
    status_when(state.path(), read_some);
    let (code, _, stderr) = call(state.path(), "run");
    assert_eq!(code, i32::from(Exit::AlreadyRunning.code()), "{stderr}");
    assert!(stderr.contains("error: another instance of numbers@1 runs") && stderr.contains("help: "), "{stderr}");
    assert_eq!(status_when(state.path(), |_| true).state, "running", "its control socket was let alone");
    signal(&running, "TERM");
    assert_eq!(end(running).0, 0);
}

#[test]
fn a_panic_in_a_step_is_a_fault_and_one_elsewhere_ends_the_process() {
    let state = tempfile::tempdir().unwrap();
    let (code, _, stderr) = call(state.path(), "run --wrong step");
    assert_eq!(code, i32::from(Exit::FixJob.code()), "{stderr}");
    assert!(stderr.contains("error: job numbers@1: step \"numbers/pass\" panicked"), "{stderr}");
    assert!(!stderr.contains("stack backtrace") && !stderr.contains("thread '"), "{stderr}");
    let (code, _, stderr) = call(state.path(), "run --wrong before");
    assert_eq!(code, i32::from(Exit::Retry.code()), "{stderr}");
    assert!(stderr.contains("a hook fails") && stderr.contains("help: start the job again"), "{stderr}");
}

#[test]
fn metrics_are_served_while_the_job_runs() {
    let state = tempfile::tempdir().unwrap();
    let mut running = start(state.path(), "run --metrics 127.0.0.1:0");
    let mut stderr = BufReader::new(running.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("metrics are served on http://").unwrap().strip_suffix("/metrics").unwrap();
    status_when(state.path(), |status| status.records_read == 200);
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("millpond_records_read_total{source=\"numbers\"} 200"), "{text}");
    assert!(text.contains("millpond_partition_lag_records{source=\"numbers\",partition=\"1\"} 0"), "{text}");
    signal(&running, "TERM");
    assert_eq!(end(running).0, 0);
    let (code, _, stderr) = call(state.path(), "run --metrics nowhere");
    assert_eq!(code, i32::from(Exit::Usage.code()));
    assert!(stderr.contains("cannot serve metrics on \"nowhere\""), "{stderr}");
}

#[test]
fn beginning_again_is_said_before_it_is_done() {
    let state = tempfile::tempdir().unwrap();
    assert_eq!(call(state.path(), "run --until-end").0, 0);
    let (code, stdout, stderr) = call(state.path(), "run --until-end --new");
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("begins again with --new: it committed epoch") && stderr.contains("a second time"),
        "{stderr}"
    );
    assert!(stdout.contains("200 records read"), "{stdout}");
}
