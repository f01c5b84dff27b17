//! Reading ahead: a thread that does a reader's I/O, so that no worker ever waits for a disk.
//!
//! The worker asks for blocks and the thread fetches them, at most [`DEPTH`] a partition that are not used up yet: what is asked for is what
//! bounds the memory. A block that was used goes back with the next question, so that its memory serves again. The worker is woken only
//! when it found nothing. A partition at its end keeps its questions; they are answered when there is more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use millpond_engine::source::Waker;
use millpond_engine::{Exit, Fault};

/// Blocks of a partition on their way or waiting: one to work on, one to come.
const DEPTH: usize = 2;
/// How soon partitions at their end are looked at again while others are read.
const LOOK: Duration = Duration::from_millis(2);

/// The I/O that the thread does.
pub(crate) trait Fetch: Send + 'static {
    /// What it hands over at a time.
    type Block: Send + 'static;

    /// The next block of a slot. `spent` is one that was used.
    fn fetch(&mut self, slot: usize, spent: Option<Self::Block>) -> Result<Fetched<Self::Block>, Fault>;

    /// The next block of `slot` begins at `offset`.
    fn seek(&mut self, slot: usize, offset: u64) -> Result<(), Fault>;

    /// All slots are at their end: waits a few milliseconds, or until there may be more.
    fn wait(&mut self);
}

/// What a slot has next.
pub(crate) enum Fetched<B> {
    /// A block.
    Block(B),
    /// Nothing just now.
    AtEnd,
    /// Nothing any more.
    Finished,
}

/// What the worker finds.
#[derive(Debug)]
pub(crate) enum Next<B> {
    /// A block.
    Block(B),
    /// It is being fetched.
    Later,
    /// There was nothing when the thread looked.
    AtEnd,
    /// There will be nothing.
    Finished,
}

enum Ask<B> {
    Block { slot: usize, turn: u32, spent: Option<B> },
    Seek { slot: usize, turn: u32, offset: u64 },
}

type Answer<B> = (usize, u32, Result<Fetched<B>, Fault>);

/// The worker's side.
#[derive(Debug)]
pub(crate) struct Ahead<B> {
    asks: Sender<Ask<B>>,
    answers: Receiver<Answer<B>>,
    slots: Vec<Queue<B>>,
    hungry: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Queue<B> {
    blocks: VecDeque<B>,
    standing: Standing,
    /// Counts seeks: answers to questions from before one are dropped.
    turn: u32,
}

#[derive(Clone, Debug)]
enum Standing {
    Coming,
    AtEnd,
    Finished,
    Failed(Fault),
}

impl<B: Send + 'static> Ahead<B> {
    /// Starts the thread, which begins to read at once. It leaves when this is dropped.
    pub(crate) fn start(name: &str, slots: usize, fetch: impl Fetch<Block = B>, waker: Waker) -> Result<Self, Fault> {
        let (asks, asked) = unbounded();
        let (answer, answers) = unbounded();
        let hungry = Arc::new(AtomicBool::new(false));
        let last = Waking(waker.clone());
        let thread = Thread {
            fetch,
            answer,
            waker,
            hungry: Arc::clone(&hungry),
            slots: (0..slots).map(|_| Place::default()).collect(),
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Dropped after the thread's own end of the answers, so that a worker woken by a panic finds out.
                let _last = last;
                thread.run(&asked);
            })
            .map_err(|error| Fault::new(Exit::Retry, format!("the thread {name} cannot be started")).because(error))?;
        let queue = |_| Queue { blocks: VecDeque::new(), standing: Standing::Coming, turn: 0 };
        let ahead = Ahead { asks, answers, slots: (0..slots).map(queue).collect(), hungry };
        (0..slots).for_each(|slot| ahead.ask_all(slot));
        Ok(ahead)
    }

    /// What a slot has next. After a block, [`Ahead::spent`] asks for another.
    pub(crate) fn next(&mut self, slot: usize) -> Result<Next<B>, Fault> {
        self.gather();
        if self.slots[slot].blocks.is_empty() {
            self.hungry.store(true, Ordering::SeqCst);
            // Looked at again after the flag is up, so that an answer in between is not missed.
            self.gather();
        }
        let queue = &mut self.slots[slot];
        if let Some(block) = queue.blocks.pop_front() {
            return Ok(Next::Block(block));
        }
        match &queue.standing {
            Standing::Coming => Ok(Next::Later),
            Standing::AtEnd => Ok(Next::AtEnd),
            Standing::Finished => Ok(Next::Finished),
            Standing::Failed(fault) => Err(fault.clone()),
        }
    }

    /// A block is used up.
    pub(crate) fn spent(&self, slot: usize, block: B) {
        self.ask(Ask::Block { slot, turn: self.slots[slot].turn, spent: Some(block) });
    }

    /// Forgets what was read ahead and goes on from `offset`.
    pub(crate) fn seek(&mut self, slot: usize, offset: u64) {
        let queue = &mut self.slots[slot];
        *queue = Queue { blocks: VecDeque::new(), standing: Standing::Coming, turn: queue.turn.wrapping_add(1) };
        let turn = queue.turn;
        self.ask(Ask::Seek { slot, turn, offset });
        self.ask_all(slot);
    }

    fn ask_all(&self, slot: usize) {
        for _ in 0..DEPTH {
            self.ask(Ask::Block { slot, turn: self.slots[slot].turn, spent: None });
        }
    }

    fn ask(&self, ask: Ask<B>) {
        // The thread only leaves before its worker when it panicked, and then the answers' end says so.
        let _ = self.asks.send(ask);
    }

    fn gather(&mut self) {
        loop {
            match self.answers.try_recv() {
                Ok((slot, turn, answer)) => {
                    let queue = &mut self.slots[slot];
                    if turn != queue.turn {
                        continue;
                    }
                    queue.standing = match answer {
                        Ok(Fetched::Block(block)) => {
                            queue.blocks.push_back(block);
                            Standing::Coming
                        }
                        Ok(Fetched::AtEnd) => Standing::AtEnd,
                        Ok(Fetched::Finished) => Standing::Finished,
                        Err(fault) => Standing::Failed(fault),
                    };
                }
                Err(crossbeam::channel::TryRecvError::Empty) => return,
                Err(crossbeam::channel::TryRecvError::Disconnected) => {
                    let gone = || Fault::new(Exit::Retry, "a reading thread panicked; this is a bug of millpond");
                    for queue in &mut self.slots {
                        if matches!(queue.standing, Standing::Coming | Standing::AtEnd) {
                            queue.standing = Standing::Failed(gone());
                        }
                    }
                    return;
                }
            }
        }
    }
}

/// Wakes the worker when it is dropped.
struct Waking(Waker);

impl Drop for Waking {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// The thread's side.
struct Thread<F: Fetch> {
    fetch: F,
    answer: Sender<Answer<F::Block>>,
    waker: Waker,
    hungry: Arc<AtomicBool>,
    slots: Vec<Place>,
}

#[derive(Default)]
struct Place {
    turn: u32,
    /// Questions that wait for the partition to grow.
    waiting: usize,
    /// Finished or failed: nothing is answered until a seek.
    closed: bool,
}

impl<F: Fetch> Thread<F> {
    fn run(mut self, asked: &Receiver<Ask<F::Block>>) {
        loop {
            let waiting = self.slots.iter().filter(|place| place.waiting > 0).count();
            let open = self.slots.iter().filter(|place| !place.closed).count();
            let ask = if waiting == 0 {
                asked.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else if waiting < open {
                asked.recv_timeout(LOOK)
            } else {
                let ask = asked.recv_timeout(Duration::ZERO);
                if matches!(ask, Err(RecvTimeoutError::Timeout)) {
                    self.fetch.wait();
                }
                ask
            };
            match ask {
                Ok(ask) => self.answer(ask),
                Err(RecvTimeoutError::Timeout) => (0..self.slots.len()).for_each(|slot| self.look(slot)),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn answer(&mut self, ask: Ask<F::Block>) {
        match ask {
            Ask::Seek { slot, turn, offset } => {
                self.slots[slot] = Place { turn, waiting: 0, closed: false };
                if let Err(fault) = self.fetch.seek(slot, offset) {
                    self.slots[slot].closed = true;
                    self.send(slot, Err(fault));
                }
            }
            Ask::Block { slot, turn, spent } => {
                let place = &mut self.slots[slot];
                if turn != place.turn || place.closed {
                    return;
                }
                if place.waiting > 0 {
                    place.waiting += 1;
                    return;
                }
                if !self.get(slot, spent, true) {
                    self.slots[slot].waiting += 1;
                }
            }
        }
    }

    /// Answers what waits for a partition to grow.
    fn look(&mut self, slot: usize) {
        let mut again = false;
        while self.slots[slot].waiting > 0 && self.get(slot, None, again) {
            self.slots[slot].waiting = self.slots[slot].waiting.saturating_sub(1);
            again = true;
        }
    }

    /// Fetches once. False when the slot is at its end, which the worker is told if `tell`.
    fn get(&mut self, slot: usize, spent: Option<F::Block>, tell: bool) -> bool {
        let fetched = self.fetch.fetch(slot, spent);
        match &fetched {
            Ok(Fetched::Block(_)) => {}
            Ok(Fetched::AtEnd) => {
                if tell {
                    self.send(slot, fetched);
                }
                return false;
            }
            Ok(Fetched::Finished) | Err(_) => {
                self.slots[slot].closed = true;
                self.slots[slot].waiting = 0;
            }
        }
        self.send(slot, fetched);
        true
    }

    fn send(&self, slot: usize, answer: Result<Fetched<F::Block>, Fault>) {
        // A worker that has gone needs no answer; the closed questions end the thread.
        let _ = self.answer.send((slot, self.slots[slot].turn, answer));
        if self.hungry.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
