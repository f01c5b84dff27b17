//! A sink for tests: what was committed, in memory.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millpond_engine::sink::{Encode, Follower, Opened, Outgoing, Outlet, Sink, SinkPlan, System};
use millpond_engine::{Batch, Env, Exit, Fault};
use millpond_state::{Data, Timestamp, decode, encode_into};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Records that a job committed, kept in memory. Clones share them, so that a test keeps one and the job's closure has another.
///
/// It is a follower: records come here after their epoch was decided, and those of an epoch that was not are never seen. They are encoded
/// by the workers and decoded when taken, as with every other sink.
///
/// ```
/// use millpond_connectors::Collected;
/// let out = Collected::<String>::new();
/// let sink = out.sink(); // for `stream.sink("out", ..)`
/// # let _ = sink;
/// assert!(out.take().is_empty());
/// ```
#[derive(Debug)]
pub struct Collected<T> {
    shared: Arc<Shared>,
    of: PhantomData<fn() -> T>,
}

#[derive(Debug)]
struct Shared {
    id: u64,
    records: Mutex<Vec<(Timestamp, Vec<u8>)>>,
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, Vec<(Timestamp, Vec<u8>)>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Collected { shared: Arc::clone(&self.shared), of: PhantomData }
    }
}

impl<T: Data> Default for Collected<T> {
    fn default() -> Self {
        Collected::new()
    }
}

impl<T: Data> Collected<T> {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Collected { shared: Arc::new(Shared { id, records: Mutex::default() }), of: PhantomData }
    }

    /// A sink that puts records here. Sinks of several streams may.
    #[must_use]
    pub fn sink(&self) -> CollectSink<T> {
        CollectSink { shared: Arc::clone(&self.shared), of: PhantomData }
    }

    /// What was committed since the last call, in the order in which it was delivered.
    #[must_use]
    pub fn take(&self) -> Vec<T> {
        self.take_timed().into_iter().map(|(_, value)| value).collect()
    }

    /// The same with event times.
    #[must_use]
    pub fn take_timed(&self) -> Vec<(Timestamp, T)> {
        let records = std::mem::take(&mut *self.shared.records());
        records.iter().map(decoded).collect()
    }

    /// All that was committed and not taken; it stays.
    #[must_use]
    pub fn snapshot(&self) -> Vec<T> {
        self.shared.records().iter().map(|record| decoded(record).1).collect()
    }

    /// How many records were committed and not taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.records().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn decoded<T: Data>((at, bytes): &(Timestamp, Vec<u8>)) -> (Timestamp, T) {
    (*at, decode(bytes).expect("the sink of the same type encoded it"))
}

/// What [`Collected::sink`] makes.
#[derive(Debug)]
pub struct CollectSink<T> {
    shared: Arc<Shared>,
    of: PhantomData<fn() -> T>,
}

impl<T: Data> Sink<T> for CollectSink<T> {
    fn plan(&self) -> SinkPlan {
        SinkPlan { kind: "collect".to_owned(), to: "memory".to_owned() }
    }
    fn system(&self) -> Rc<dyn System> {
        Rc::new(Memory(Arc::clone(&self.shared)))
    }
    fn encoder(&self, _: u32) -> Box<dyn Encode<T>> {
        Box::new(Encoder)
    }
}

struct Encoder;

impl<T: Data> Encode<T> for Encoder {
    fn encode(&mut self, batch: &mut Batch<T>, out: &mut Outgoing) -> Result<(), Fault> {
        for row in &batch.rows {
            let value = |bytes: &mut Vec<u8>| encode_into(&row.value, bytes).map(|()| true);
            out.push(row.at, |_| Ok(false), value, |_, _| 0)
                .map_err(|error| Fault::new(Exit::FixJob, "a record cannot be collected").because(error))?;
        }
        Ok(())
    }
}

struct Memory(Arc<Shared>);

impl System for Memory {
    fn identity(&self) -> String {
        format!("collect:{}", self.0.id)
    }
    fn open(&self, _: &Env, _: &[Outlet]) -> Result<Opened, Fault> {
        Ok(Opened::Follower(Box::new(Memory(Arc::clone(&self.0)))))
    }
}

impl Follower for Memory {
    fn deliver(&mut self, outgoing: &Outgoing) -> Result<(), Fault> {
        let records = outgoing.records().map(|record| (record.at, record.value.unwrap_or_default().to_owned()));
        self.0.records().extend(records);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use millpond_engine::Record;

    use super::*;

    #[test]
    fn records_arrive_when_they_are_delivered_and_not_before() {
        let out = Collected::<(u8, String)>::new();
        let mut outgoing = Outgoing::new(0, 1);
        let row = |n: u8| Record {
            at: Timestamp::from_secs(n.into()),
            seen: Timestamp::MIN,
            value: (n, "x".repeat(n.into())),
        };
        let mut batch = Batch { rows: vec![row(1), row(0)], ..Batch::default() };
        let sink = out.clone().sink();
        sink.encoder(1).encode(&mut batch, &mut outgoing).unwrap();
        assert!(out.is_empty());
        let Ok(Opened::Follower(mut follower)) = sink.system().open(&crate::trial::env(), &[]) else {
            panic!("no follower")
        };
        follower.deliver(&outgoing).unwrap();
        assert_eq!(out.snapshot(), [(1, "x".to_owned()), (0, String::new())]);
        assert_eq!(out.len(), 2);
        assert_eq!(out.take_timed()[0], (Timestamp::from_secs(1), (1, "x".to_owned())));
        assert!(out.take().is_empty());
    }

    #[test]
    fn each_collection_is_a_system_of_its_own() {
        let (one, other) = (Collected::<u8>::new(), Collected::<u8>::new());
        assert_ne!(one.sink().system().identity(), other.sink().system().identity());
        assert_eq!(one.sink().system().identity(), one.clone().sink().system().identity());
    }
}
