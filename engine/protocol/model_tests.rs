//! The protocol in a small world, explored to the end: every order in which records are read, output arrives, parts and manifests become
//! durable, answers come back, epochs are closed, a stop or the end is asked for, and the process dies and starts again.
//!
//! The world checks each action as it is carried out (I1, I5, I6, I9, one closing epoch), and from every state that things get on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;

use super::{Action, Input, Protocol};

/// Two partitions of a few records; the second partition's first record gives no output.
const PARTS: usize = 2;
pub(super) type Places = [u8; PARTS];

/// The output of what lies before these places, a bit a record.
fn output(places: Places) -> u8 {
    let bits = |part: usize| (0..places[part]).map(move |n| emits(part, n)).sum::<u8>();
    (0..PARTS).map(bits).sum()
}

fn emits(part: usize, n: u8) -> u8 {
    if part == 1 && n == 0 { 0 } else { 1 << (part as u8 * 4 + n) }
}

/// The protocol, or a broken one.
pub(super) trait Machine: Clone + Eq + Hash + Debug {
    fn start(workers: usize, committed: u64) -> Self;
    fn step(&mut self, input: Input) -> Vec<Action>;
}

impl Machine for Protocol {
    fn start(workers: usize, committed: u64) -> Self {
        Protocol::new(workers, committed)
    }
    fn step(&mut self, input: Input) -> Vec<Action> {
        Protocol::step(self, input)
    }
}

/// What outlives a crash.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Disk {
    /// Durable parts of this run: epoch and worker.
    parts: Vec<(u64, usize)>,
    /// Durable manifests of this run: places and whether the job is finished.
    manifests: BTreeMap<u64, (Places, bool)>,
    /// The commit: epoch, places, finished, and the output that readers see.
    committed: u64,
    places: Places,
    finished: bool,
    output: u8,
}

/// A worker's vote on its way: first its part is written.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Vote {
    epoch: u64,
    worker: usize,
    sent: u64,
    durable: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World<M> {
    machine: M,
    disk: Disk,
    /// Of each worker: its open epoch, and what it has sent in it.
    workers: Vec<(u64, u64)>,
    places: Places,
    /// What the log holds.
    ends: Places,
    /// Output on its way: epoch and record.
    flying: Vec<(u64, u8)>,
    votes: Vec<Vote>,
    /// The coordinator's: output by epoch, places by epoch, votes in.
    kept: BTreeMap<u64, u8>,
    cuts: BTreeMap<u64, Places>,
    voted: Vec<(u64, usize)>,
    told: u64,
    closing: Option<u64>,
    /// A manifest to be written, and whether it is.
    preparing: Option<(u64, bool, bool)>,
    /// A commit to be made, and whether it is.
    committing: Option<(u64, bool)>,
    parent: u64,
    stopped: bool,
    ended: bool,
    left: bool,
    /// Ticks, stops and crashes that may still happen.
    left_over: [u8; 3],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Read(usize),
    Tick,
    Stop,
    End,
    Crash(usize),
    // What must happen sooner or later:
    Arrive(usize),
    Cut(usize),
    Write(usize),
    Vote(usize),
    Manifest,
    Prepared,
    Decide,
    Answer,
}

fn check(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

impl<M: Machine> World<M> {
    fn start(workers: usize, mut disk: Disk, ends: Places, left_over: [u8; 3]) -> Self {
        // Recovery discards what the commit does not name.
        disk.parts.clear();
        disk.manifests.clear();
        World {
            machine: M::start(workers, disk.committed),
            workers: vec![(disk.committed + 1, 0); workers],
            places: disk.places,
            ends,
            told: disk.committed,
            parent: disk.committed,
            disk,
            flying: Vec::new(),
            votes: Vec::new(),
            kept: BTreeMap::new(),
            cuts: BTreeMap::new(),
            voted: Vec::new(),
            closing: None,
            preparing: None,
            committing: None,
            stopped: false,
            ended: false,
            left: false,
            left_over,
        }
    }

    fn forced(&self) -> Vec<Step> {
        if self.left {
            return Vec::new();
        }
        let mut steps: Vec<_> = (0..self.flying.len()).map(Step::Arrive).collect();
        steps.extend((0..self.workers.len()).filter(|w| self.workers[*w].0 <= self.told).map(Step::Cut));
        steps
            .extend(self.votes.iter().enumerate().map(|(i, v)| if v.durable { Step::Vote(i) } else { Step::Write(i) }));
        steps.extend(self.committing.map(|(_, done)| if done { Step::Answer } else { Step::Decide }));
        steps.extend(self.preparing.map(|(_, _, done)| if done { Step::Prepared } else { Step::Manifest }));
        steps
    }

    fn free(&self) -> Vec<Step> {
        let [ticks, stops, crashes] = self.left_over;
        let mut steps = Vec::new();
        if !self.left {
            steps.extend((0..PARTS).filter(|part| self.places[*part] < self.ends[*part]).map(Step::Read));
            steps.extend((ticks > 0).then_some(Step::Tick));
            steps.extend((stops > 0).then_some(Step::Stop));
            steps.extend((!self.ended && self.places == self.ends).then_some(Step::End));
        }
        if crashes > 0 && !self.disk.finished {
            steps.extend([Step::Crash(1), Step::Crash(2)]);
        }
        steps
    }

    fn take(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Read(part) => {
                let worker = part % self.workers.len();
                let record = emits(part, self.places[part]);
                self.places[part] += 1;
                if record != 0 {
                    self.workers[worker].1 += 1;
                    self.flying.push((self.workers[worker].0, record));
                    self.flying.sort_unstable();
                }
                Ok(())
            }
            Step::Tick => {
                self.left_over[0] = self.left_over[0].saturating_sub(1);
                self.tell(Input::Tick)
            }
            Step::Stop => {
                self.left_over[1] -= 1;
                self.stopped = true;
                self.tell(Input::Stop)
            }
            Step::End => {
                self.ended = true;
                self.tell(Input::End)
            }
            Step::Crash(workers) => {
                let [ticks, stops, crashes] = self.left_over;
                *self = World::start(workers, self.disk.clone(), self.ends, [ticks, stops, crashes - 1]);
                Ok(())
            }
            Step::Arrive(index) => {
                let (epoch, record) = self.flying.remove(index);
                *self.kept.entry(epoch).or_default() |= record;
                self.tell(Input::Output { epoch, records: 1 })
            }
            Step::Cut(worker) => {
                let (epoch, sent) = self.workers[worker];
                let cut = self.cuts.entry(epoch).or_default();
                for part in (worker..PARTS).step_by(self.workers.len()) {
                    cut[part] = self.places[part];
                }
                self.votes.push(Vote { epoch, worker, sent, durable: false });
                self.votes.sort_by_key(|vote| (vote.epoch, vote.worker));
                self.workers[worker] = (epoch + 1, 0);
                Ok(())
            }
            Step::Write(index) => {
                let vote = &mut self.votes[index];
                vote.durable = true;
                self.disk.parts.push((vote.epoch, vote.worker));
                self.disk.parts.sort_unstable();
                Ok(())
            }
            Step::Vote(index) => {
                let Vote { epoch, worker, sent, .. } = self.votes.remove(index);
                self.voted.push((epoch, worker));
                self.voted.sort_unstable();
                self.tell(Input::Vote { epoch, worker, sent })
            }
            Step::Manifest => {
                let (epoch, finished, _) = self.preparing.expect("only what is asked for is written");
                self.preparing = Some((epoch, finished, true));
                self.disk.manifests.insert(epoch, (self.cuts[&epoch], finished));
                Ok(())
            }
            Step::Prepared => {
                let (epoch, ..) = self.preparing.take().expect("only what was written is prepared");
                self.tell(Input::Prepared { epoch })
            }
            Step::Decide => self.decide(),
            Step::Answer => {
                let (epoch, _) = self.committing.take().expect("only what was decided is answered");
                self.parent = epoch;
                self.tell(Input::Committed { epoch })
            }
        }
    }

    /// The decider's atomic write.
    fn decide(&mut self) -> Result<(), String> {
        let (epoch, _) = self.committing.expect("only what is asked for is committed");
        let Some((places, finished)) = self.disk.manifests.get(&epoch).copied() else {
            return Err("I9: a commit before its manifest is durable".to_owned());
        };
        for epoch in self.parent + 1..=epoch {
            let durable = |worker| self.disk.parts.contains(&(epoch, worker));
            check((0..self.workers.len()).all(durable), "I1: a commit before its state is durable")?;
        }
        check(self.parent == self.disk.committed && epoch > self.parent, "I5: commits form a chain")?;
        let later = self.kept.split_off(&(epoch + 1));
        let written = std::mem::replace(&mut self.kept, later).into_values().sum::<u8>();
        check(written & self.disk.output == 0, "a record is written twice")?;
        self.disk.output |= written;
        check(self.disk.output == output(places), "I6: output is exactly that of the epochs committed")?;
        check(!finished || places == self.ends, "a finished job has read everything")?;
        (self.disk.committed, self.disk.places, self.disk.finished) = (epoch, places, finished);
        self.committing = Some((epoch, true));
        self.disk.parts.retain(|(of, _)| *of > epoch);
        self.disk.manifests.retain(|of, _| *of > epoch);
        self.cuts.retain(|of, _| *of > epoch);
        self.voted.retain(|(of, _)| *of > epoch);
        Ok(())
    }

    fn tell(&mut self, input: Input) -> Result<(), String> {
        for action in self.machine.step(input) {
            match action {
                // A worker may not have seen this yet when it reads on, so here it changes nothing.
                Action::StopReading => check(self.stopped, "reading stops because of a stop")?,
                Action::Close(epoch) => {
                    check(self.closing.is_none(), "at most one epoch is closing")?;
                    check(epoch == self.told + 1, "no epoch is skipped")?;
                    (self.told, self.closing) = (epoch, Some(epoch));
                }
                Action::Prepare { epoch, finished } => {
                    check(self.closing.take() == Some(epoch), "the closing epoch is sealed")?;
                    check(self.preparing.is_none(), "one manifest at a time")?;
                    let voted = |worker| self.voted.contains(&(epoch, worker));
                    check((0..self.workers.len()).all(voted), "sealed before all votes are in")?;
                    check(!self.flying.iter().any(|(of, _)| *of == epoch), "sealed with output on its way")?;
                    self.preparing = Some((epoch, finished, false));
                }
                Action::Commit(epoch) => {
                    check(self.committing.is_none(), "one commit at a time")?;
                    self.committing = Some((epoch, false));
                }
                Action::Leave { finished } => {
                    let idle = self.closing.is_none() && self.preparing.is_none() && self.committing.is_none();
                    check(idle, "left with something open")?;
                    check(if finished { self.ended } else { self.stopped }, "left without being asked to")?;
                    check(finished == self.disk.finished, "what was told and what was committed agree")?;
                    self.left = true;
                }
            }
        }
        Ok(())
    }

    /// Where things come to when nothing new happens.
    fn settle(mut self, good: &mut HashSet<World<M>>) -> Result<(), String> {
        let mut path = Vec::new();
        let mut closed = false;
        while !good.contains(&self) {
            path.push(self.clone());
            if let Some(step) = self.forced().first() {
                self.take(*step)?;
            } else if self.left {
                break;
            } else if self.stopped || self.ended {
                return Err("asked to leave, and nothing more happens".to_owned());
            } else if self.disk.places == self.places {
                break;
            } else {
                check(!closed, "what was read is not committed by closing the epoch")?;
                closed = true;
                self.take(Step::Tick)?;
            }
        }
        good.extend(path);
        Ok(())
    }
}

/// Goes through all worlds; answers how many there are, or with a way to one that is wrong.
pub(super) fn explore<M: Machine>(workers: usize, ends: Places, left_over: [u8; 3]) -> Result<usize, String> {
    let first = World::<M>::start(workers, Disk::default(), ends, left_over);
    let mut ways: Vec<(usize, Option<Step>)> = vec![(0, None)];
    let mut known: HashMap<World<M>, usize> = HashMap::from([(first.clone(), 0)]);
    let mut edge = vec![first];
    let mut good = HashSet::new();
    let way = |ways: &[(usize, Option<Step>)], mut to: usize| {
        let mut steps = Vec::new();
        while let (before, Some(step)) = ways[to] {
            steps.push(format!("{step:?}"));
            to = before;
        }
        steps.reverse();
        steps.join(", ")
    };
    while !edge.is_empty() {
        for world in std::mem::take(&mut edge) {
            let place = known[&world];
            world.clone().settle(&mut good).map_err(|what| format!("{what}, after: {}", way(&ways, place)))?;
            for step in world.free().into_iter().chain(world.forced()) {
                let mut next = world.clone();
                next.take(step).map_err(|what| format!("{what}, after: {}, {step:?}", way(&ways, place)))?;
                if !known.contains_key(&next) {
                    known.insert(next.clone(), ways.len());
                    ways.push((place, Some(step)));
                    edge.push(next);
                }
            }
        }
    }
    Ok(known.len())
}

#[test]
fn no_order_of_events_and_no_crash_loses_or_doubles_or_hangs() {
    let cases = [
        (1, [1, 1], [1, 1, 1]),
        (1, [2, 1], [2, 1, 0]),
        (2, [1, 1], [1, 1, 1]),
        (2, [1, 2], [2, 0, 0]),
        (2, [1, 1], [1, 0, 2]),
    ];
    for (workers, ends, left_over) in cases {
        let began = std::time::Instant::now();
        let states = explore::<Protocol>(workers, ends, left_over).unwrap_or_else(|wrong| panic!("{wrong}"));
        println!(
            "{workers} workers, {ends:?} records, ticks, stops and crashes {left_over:?}: {states} states, {:?}",
            began.elapsed()
        );
    }
}
