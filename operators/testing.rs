//! Testing a flow inside a `#[test]`: records and time come from the test, results are looked at in between. It is the real engine that
//! runs, with checkpoints in a temporary directory.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millpond_engine::sink::{Encode, Follower, Opened, Outgoing, Outlet, Sink, SinkPlan, System};
use millpond_engine::source::{Arrival, Assigned, Collect, From, Original, Partition, Read, Reader, SourcePlan, Waker};
use millpond_engine::{Batch, Env, Exit, Fault, Run, Running, Untimed};
use millpond_state::{Data, Timestamp, decode, encode_into};

use crate::{Flow, Job, Stream};

/// A flow under test: made by [`Job::test`].
///
/// ```
/// use std::time::Duration;
/// use millpond_operators::{Job, windows::Tumbling};
/// use millpond_state::Timestamp;
///
/// let mut test = Job::test(|words| {
///     let minute = Tumbling::of(Duration::from_secs(60));
///     words.key_by(|word: &String| word.clone()).window(minute).aggregate(|w| w.count()).map(|pane| (pane.key, pane.value))
/// });
/// let at = Timestamp::from_secs;
/// test.push(at(1), "pond".to_owned());
/// test.push(at(2), "pond".to_owned());
/// test.push(at(61), "mill".to_owned());
/// assert_eq!(test.output(), []);
/// test.watermark(at(60));
/// assert_eq!(test.output(), [("pond".to_owned(), 2)]);
/// assert_eq!(test.finish(), [("mill".to_owned(), 1)]);
/// ```
#[derive(Debug)]
pub struct Test<T, U> {
    script: Script<T>,
    results: Results<U>,
    running: Running,
    /// Kept until the job has left.
    _state: tempfile::TempDir,
}

impl Job {
    /// Starts a flow under test. Its input comes from [`Test::push`] and [`Test::watermark`], its output is what the closure returns.
    ///
    /// # Panics
    /// When the flow cannot be drawn.
    pub fn test<T: Data + Sync, U: Data>(
        draw: impl for<'s> Fn(Stream<'s, T>) -> Stream<'s, U> + Send + Sync + 'static,
    ) -> Test<T, U> {
        let (script, results) = (Script::default(), Results::default());
        let state = tempfile::tempdir().expect("a temporary directory can be made");
        let run = Run { interval: Duration::from_millis(5), ..Run::new("test", 1, state.path()) };
        let (input, output) = (script.clone(), results.clone());
        // The watermark stays at the start of time until the test moves it.
        let source = move || input.clone().log_time().out_of_order(Duration::MAX);
        let started = Job::new("test").start(run, move |flow: &Flow<'_>| {
            draw(flow.source("input", source())).sink("output", output.clone());
        });
        let running = started.unwrap_or_else(|fault| panic!("the flow under test does not start: {fault}"));
        Test { script, results, running, _state: state }
    }
}

impl<T: Data + Sync, U: Data> Test<T, U> {
    /// A record that happened at `at`.
    pub fn push(&mut self, at: Timestamp, value: T) {
        self.script.add(Command::Record(at, value));
    }

    /// Time moves on: no record before `at` will follow, or if one does, it is late.
    pub fn watermark(&mut self, at: Timestamp) {
        self.script.add(Command::Watermark(at));
    }

    /// What has come out since it was asked last, once all that was pushed has been worked through.
    ///
    /// # Panics
    /// When the job has stopped.
    pub fn output(&mut self) -> Vec<U> {
        while !self.script.is_read() {
            assert!(!self.running.ended(), "the job under test has stopped; `finish` tells why");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.running.flush();
        self.results.take()
    }

    /// Ends the input with a final watermark, so that every window fires, and returns the rest of the output.
    ///
    /// # Panics
    /// When the job failed.
    pub fn finish(self) -> Vec<U> {
        match self.end() {
            Ok(rest) => rest,
            Err(fault) => panic!("the job under test failed: {fault}"),
        }
    }

    /// As [`Test::finish`], for a test of what stops the job.
    ///
    /// # Errors
    /// What stopped it.
    pub fn end(self) -> Result<Vec<U>, Fault> {
        self.script.add(Command::End);
        self.running.join()?;
        Ok(self.results.take())
    }
}

#[derive(Clone, Debug)]
enum Command<T> {
    Record(Timestamp, T),
    Watermark(Timestamp),
    End,
}

#[derive(Debug)]
struct Written<T> {
    commands: Vec<Command<T>>,
    read: usize,
    waker: Option<Waker>,
}

/// What the test has said so far; a source.
#[derive(Debug)]
struct Script<T>(Arc<Mutex<Written<T>>>);

impl<T> Clone for Script<T> {
    fn clone(&self) -> Self {
        Script(Arc::clone(&self.0))
    }
}

impl<T> Default for Script<T> {
    fn default() -> Self {
        Script(Arc::new(Mutex::new(Written { commands: Vec::new(), read: 0, waker: None })))
    }
}

impl<T> Script<T> {
    fn with<R>(&self, look: impl FnOnce(&mut Written<T>) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
    fn add(&self, command: Command<T>) {
        let waker = self.with(|written| {
            written.commands.push(command);
            written.waker.clone()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }
    fn is_read(&self) -> bool {
        self.with(|written| written.read == written.commands.len())
    }
}

impl<T: Data + Sync> Untimed for Script<T> {
    type Item = T;
    type Reader = ScriptReader<T>;
    fn plan(&self) -> SourcePlan {
        SourcePlan { kind: "test".to_owned(), from: "script".to_owned(), bounded: true, bound_micros: 0 }
    }
    fn connect(&self, _: &Env, _: &From) -> Result<Vec<Partition>, Fault> {
        Ok(vec![Partition { partition: 0, start: 0, end: 0, fingerprint: String::new() }])
    }
    fn open(&self, _: &Env, assigned: &[Assigned], waker: Waker) -> Result<ScriptReader<T>, Fault> {
        if !assigned.is_empty() {
            self.with(|written| written.waker = Some(waker));
        }
        Ok(ScriptReader { script: self.clone(), next: assigned.first().map_or(0, |slot| slot.next) })
    }
}

/// Reads a test's script, a command at a time: the offset is the command's number.
#[derive(Debug)]
pub(crate) struct ScriptReader<T> {
    script: Script<T>,
    next: u64,
}

impl<T: Data + Sync> Reader<T> for ScriptReader<T> {
    fn read<C: Collect<T>>(&mut self, _: usize, most: usize, into: &mut C) -> Result<Read, Fault> {
        self.script.clone().with(|written| {
            for _ in 0..most {
                let Some(command) = written.commands.get(self.next as usize) else { return Ok(Read::AtEnd) };
                match command {
                    Command::Record(at, value) => {
                        let arrival = Arrival { offset: self.next, stamp: *at, logged: Timestamp::MAX, bytes: 1 };
                        into.take(arrival, value.clone());
                    }
                    Command::Watermark(at) => into.promise(*at),
                    Command::End => return Ok(Read::Finished),
                }
                self.next += 1;
                written.read = written.read.max(self.next as usize);
            }
            Ok(Read::More)
        })
    }
    fn seek(&mut self, _: usize, offset: u64) -> Result<(), Fault> {
        self.next = offset;
        Ok(())
    }
    fn original(&mut self, _: usize, _: u64) -> Option<Original> {
        None
    }
    fn end(&mut self, _: usize) -> Option<u64> {
        None
    }
}

/// What came out and was committed; a sink.
#[derive(Debug)]
struct Results<U>(Arc<Mutex<Vec<Vec<u8>>>>, PhantomData<fn() -> U>);

impl<U> Clone for Results<U> {
    fn clone(&self) -> Self {
        Results(Arc::clone(&self.0), PhantomData)
    }
}

impl<U> Default for Results<U> {
    fn default() -> Self {
        Results(Arc::default(), PhantomData)
    }
}

impl<U: Data> Results<U> {
    fn take(&self) -> Vec<U> {
        let rows = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        rows.iter().map(|bytes| decode(bytes).expect("this process encoded it")).collect()
    }
}

impl<U: Data> Sink<U> for Results<U> {
    fn plan(&self) -> SinkPlan {
        SinkPlan { kind: "test".to_owned(), to: "results".to_owned() }
    }
    fn system(&self) -> Rc<dyn System> {
        Rc::new(Taken(Arc::clone(&self.0)))
    }
    fn encoder(&self, _: u32) -> Box<dyn Encode<U>> {
        Box::new(Encoding)
    }
}

struct Encoding;
impl<U: Data> Encode<U> for Encoding {
    fn encode(&mut self, batch: &mut Batch<U>, out: &mut Outgoing) -> Result<(), Fault> {
        for row in batch.rows.drain(..) {
            let value = |bytes: &mut Vec<u8>| encode_into(&row.value, bytes).map(|()| true);
            let pushed = out.push(row.at, |_| Ok(false), value, |_, _| 0);
            pushed.map_err(|error| {
                Fault::new(Exit::FixJob, "a result of the flow under test has no encoding").because(error)
            })?;
        }
        Ok(())
    }
}

struct Taken(Arc<Mutex<Vec<Vec<u8>>>>);
impl System for Taken {
    fn identity(&self) -> String {
        "test".to_owned()
    }
    fn open(&self, _: &Env, _: &[Outlet]) -> Result<Opened, Fault> {
        Ok(Opened::Follower(Box::new(Taken(Arc::clone(&self.0)))))
    }
}
impl Follower for Taken {
    fn deliver(&mut self, outgoing: &Outgoing) -> Result<(), Fault> {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.extend(outgoing.records().filter_map(|record| record.value).map(<[u8]>::to_vec));
        Ok(())
    }
}
