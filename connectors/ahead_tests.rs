//! Reading ahead over numbers that grow.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use super::*;

/// Numbers that grow, by slot; `u64::MAX` ends a slot.
#[derive(Clone, Default)]
struct Numbers {
    ready: Arc<Mutex<Vec<Vec<u64>>>>,
    next: Vec<usize>,
    fetched: Arc<AtomicUsize>,
}

impl Fetch for Numbers {
    type Block = u64;
    fn fetch(&mut self, slot: usize, _: Option<u64>) -> Result<Fetched<u64>, Fault> {
        let Some(number) = self.ready.lock().unwrap()[slot].get(self.next[slot]).copied() else {
            return Ok(Fetched::AtEnd);
        };
        self.next[slot] += 1;
        self.fetched.fetch_add(1, Ordering::SeqCst);
        match number {
            u64::MAX => Ok(Fetched::Finished),
            666 => Err(Fault::new(Exit::Retry, "bad luck")),
            number => Ok(Fetched::Block(number)),
        }
    }
    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault> {
        self.next[slot] = offset as usize;
        Ok(())
    }
    fn wait(&mut self) {
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn start(ready: Vec<Vec<u64>>) -> (Ahead<u64>, Numbers) {
    let numbers = Numbers { next: vec![0; ready.len()], ready: Arc::new(Mutex::new(ready)), ..Numbers::default() };
    let ahead = Ahead::start("trial", numbers.next.len(), numbers.clone(), Waker::new(|| {})).unwrap();
    (ahead, numbers)
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing comes");
        std::thread::yield_now();
    }
}

/// The next block, given back at once; `None` at the end.
fn next(ahead: &mut Ahead<u64>, slot: usize) -> Option<u64> {
    until(|| match ahead.next(slot).unwrap() {
        Next::Block(block) => {
            ahead.spent(slot, block);
            Some(Some(block))
        }
        Next::Later => None,
        Next::AtEnd | Next::Finished => Some(None),
    })
}

#[test]
fn no_more_is_fetched_than_asked_for() {
    let (mut ahead, numbers) = start(vec![(0..100).collect()]);
    until(|| (numbers.fetched.load(Ordering::SeqCst) == DEPTH).then_some(()));
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(numbers.fetched.load(Ordering::SeqCst), DEPTH);
    for number in 0..100 {
        assert_eq!(next(&mut ahead, 0), Some(number));
    }
    assert_eq!(next(&mut ahead, 0), None);
}

#[test]
fn a_slot_at_its_end_goes_on_when_it_grows_and_holds_no_other() {
    let (mut ahead, numbers) = start(vec![vec![1], vec![2], vec![]]);
    assert_eq!(next(&mut ahead, 0), Some(1));
    until(|| matches!(ahead.next(0).unwrap(), Next::AtEnd).then_some(()));
    assert_eq!(next(&mut ahead, 1), Some(2));
    for number in 3..50 {
        numbers.ready.lock().unwrap()[0].push(number);
        assert_eq!(until(|| next(&mut ahead, 0)), number);
    }
    numbers.ready.lock().unwrap()[2].push(u64::MAX);
    until(|| matches!(ahead.next(2).unwrap(), Next::Finished).then_some(()));
    assert!(matches!(ahead.next(2).unwrap(), Next::Finished));
    numbers.ready.lock().unwrap()[1].push(9);
    assert_eq!(until(|| next(&mut ahead, 1)), 9);
}

#[test]
fn a_seek_forgets_what_was_read_ahead() {
    let (mut ahead, _) = start(vec![(0..10).chain([u64::MAX]).collect()]);
    for begin in [5, 0, 9, 10, 3] {
        ahead.seek(0, begin);
        for number in begin..10 {
            assert_eq!(next(&mut ahead, 0), Some(number));
        }
        assert_eq!(next(&mut ahead, 0), None);
    }
}

#[test]
fn a_fault_comes_after_the_blocks_before_it_and_stays() {
    let (mut ahead, _) = start(vec![vec![1, 666, 2], vec![7]]);
    assert_eq!(next(&mut ahead, 0), Some(1));
    let fault = until(|| ahead.next(0).err());
    assert_eq!(fault.to_string(), "bad luck");
    assert!(ahead.next(0).is_err());
    assert_eq!(next(&mut ahead, 1), Some(7));
}

#[test]
fn a_worker_that_found_nothing_is_woken() {
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&woken);
    let numbers = Numbers { next: vec![0], ready: Arc::new(Mutex::new(vec![vec![]])), ..Numbers::default() };
    let waker = Waker::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let mut ahead = Ahead::start("trial", 1, numbers.clone(), waker).unwrap();
    until(|| matches!(ahead.next(0).unwrap(), Next::AtEnd).then_some(()));
    let mut before = woken.load(Ordering::SeqCst);
    numbers.ready.lock().unwrap()[0].push(1);
    // Nothing is looked for but after a call; the first may still be that there is nothing.
    until(|| {
        let now = woken.load(Ordering::SeqCst);
        let called = std::mem::replace(&mut before, now) < now;
        (called && matches!(ahead.next(0).unwrap(), Next::Block(1))).then_some(())
    });
}

#[test]
fn a_thread_that_panics_is_a_fault() {
    struct Panics;
    impl Fetch for Panics {
        type Block = ();
        fn fetch(&mut self, _: usize, _: Option<()>) -> Result<Fetched<()>, Fault> {
            panic!("on purpose");
        }
        fn seek(&mut self, _: usize, _: u64) -> Result<(), Fault> {
            Ok(())
        }
        fn wait(&mut self) {}
    }
    let woken = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&woken);
    let mut ahead = Ahead::start("trial", 1, Panics, Waker::new(move || flag.store(true, Ordering::SeqCst))).unwrap();
    let fault = until(|| ahead.next(0).err());
    assert!(fault.to_string().contains("panicked"), "{fault}");
    until(|| woken.load(Ordering::SeqCst).then_some(()));
}
