//! What tests of connectors share: a place to collect into, and loops that read to the end.

use std::time::{Duration, Instant};

use millpond_engine::source::{Arrival, Collect, Env, Read, Reader, Waker};

pub(crate) fn env() -> Env {
    env_in("state".as_ref())
}

pub(crate) fn env_in(state: &std::path::Path) -> Env {
    Env { state: state.to_owned(), job: "trial".to_owned(), version: 1, create: true }
}

pub(crate) fn waker() -> Waker {
    Waker::new(|| {})
}

/// What a reader handed over.
#[derive(Debug)]
pub(crate) struct Taken<T> {
    pub(crate) taken: Vec<(Arrival, T)>,
    pub(crate) refused: Vec<(Arrival, String)>,
}

impl<T> Default for Taken<T> {
    fn default() -> Self {
        Taken { taken: Vec::new(), refused: Vec::new() }
    }
}

impl<T> Collect<T> for Taken<T> {
    fn take(&mut self, arrival: Arrival, value: T) {
        self.taken.push((arrival, value));
    }
    fn promise(&mut self, _: millpond_state::Timestamp) {}
    fn refuse(&mut self, arrival: Arrival, reason: String) {
        self.refused.push((arrival, reason));
    }
}

impl<T: Clone> Taken<T> {
    pub(crate) fn values(&self) -> Vec<T> {
        self.taken.iter().map(|(_, value)| value.clone()).collect()
    }
    pub(crate) fn offsets(&self) -> Vec<u64> {
        self.taken.iter().map(|(arrival, _)| arrival.offset).collect()
    }
}

/// Reads a slot until it answers `until`; what is not here yet is waited for.
pub(crate) fn read_until<T, R: Reader<T>>(reader: &mut R, slot: usize, most: usize, until: Read) -> Taken<T> {
    let mut taken = Taken::default();
    let begun = Instant::now();
    loop {
        let before = taken.taken.len() + taken.refused.len();
        let read = reader.read(slot, most, &mut taken).unwrap();
        assert!(taken.taken.len() + taken.refused.len() <= before + most, "more than asked for");
        if read == until {
            return taken;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "still {read:?} after {} records", taken.taken.len());
        if read != Read::More {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// Reads a bounded slot to its end.
pub(crate) fn read_all<T, R: Reader<T>>(reader: &mut R, slot: usize, most: usize) -> Taken<T> {
    read_until(reader, slot, most, Read::Finished)
}
