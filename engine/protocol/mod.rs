//! The commit protocol as a pure state machine: events in, actions out. No clock, no disk, no broker; the coordinator does what it says.
//!
//! An epoch is open, closing (sources were told to cut), sealed (all votes are in and the counts of all votes add up to what was
//! received), prepared (its manifest is durable), and real (the decider's atomic write succeeded). It never skips one of these, and no
//! epoch overtakes another:
//!
//! - at most one epoch is closing, so that a cut never waits for credit;
//! - no commit before the state is durable (I1), no begin before the manifest is (I9);
//! - commits form a chain: each names its parent, the epoch committed before (I5);
//! - a commit holds exactly the epochs it names (I6).

use std::collections::BTreeMap;

#[cfg(test)]
mod broken_tests;
#[cfg(test)]
mod model_tests;
mod record;

pub use record::{CommitRecord, RecordError};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// It is time to close the open epoch.
    Tick,
    /// A worker's encoded output of an epoch has arrived.
    Output {
        /// The epoch it belongs to.
        epoch: u64,
        /// How many records.
        records: u64,
    },
    /// A worker's part of an epoch is durable.
    Vote {
        /// The epoch.
        epoch: u64,
        /// The worker.
        worker: usize,
        /// Records it sent in that epoch.
        sent: u64,
    },
    /// The manifest of an epoch is durable.
    Prepared {
        /// The epoch.
        epoch: u64,
    },
    /// The decider has made all epochs up to this one real.
    Committed {
        /// The epoch.
        epoch: u64,
    },
    /// All sinks have seen the final watermark: the next epoch to close is the last, and the job is finished with it.
    End,
    /// Stop: the next epoch to close is the last.
    Stop,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Tell all sources to read no more.
    StopReading,
    /// Tell all sources to close this epoch.
    Close(u64),
    /// Write the manifest of this epoch, durably, then say [`Input::Prepared`].
    Prepare {
        /// The epoch.
        epoch: u64,
        /// Whether the job is finished with it.
        finished: bool,
    },
    /// Make everything up to this epoch real, then say [`Input::Committed`].
    Commit(u64),
    /// Nothing is left to do.
    Leave {
        /// Whether the job is finished, or only stopped.
        finished: bool,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Tally {
    voted: u64,
    votes: usize,
    sent: u64,
    received: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Last {
    /// Asked for; the epoch is not closed yet.
    Asked { finished: bool },
    /// This epoch is the last.
    Is { epoch: u64, finished: bool },
}

/// The state of the protocol in one run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Protocol {
    workers: usize,
    open: u64,
    closing: Option<u64>,
    preparing: Option<u64>,
    prepared: u64,
    committing: Option<u64>,
    committed: u64,
    tallies: BTreeMap<u64, Tally>,
    last: Option<Last>,
    left: bool,
}

impl Protocol {
    /// A run of `workers` workers that goes on from the committed epoch `committed`.
    ///
    /// # Panics
    /// With more than 64 workers in a process.
    #[must_use]
    pub fn new(workers: usize, committed: u64) -> Self {
        assert!((1..=64).contains(&workers), "a process has 1 to 64 workers");
        Protocol {
            workers,
            open: committed + 1,
            closing: None,
            preparing: None,
            prepared: committed,
            committing: None,
            committed,
            tallies: BTreeMap::new(),
            last: None,
            left: false,
        }
    }

    /// The open epoch.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.open
    }

    /// The newest real epoch.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Whether an epoch has been closed and is not sealed yet.
    #[must_use]
    pub fn closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Takes an event and says what to do, in order.
    ///
    /// # Panics
    /// When an event could not have happened: a bug, and going on could lose or double records.
    #[must_use]
    pub fn step(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Tick => self.close(&mut actions),
            Input::Output { epoch, records } => {
                assert!(
                    epoch > self.preparing.unwrap_or(self.prepared) && epoch <= self.open,
                    "output of epoch {epoch} came after it was sealed"
                );
                self.tallies.entry(epoch).or_default().received += records;
            }
            Input::Vote { epoch, worker, sent } => {
                assert_eq!(self.closing, Some(epoch), "a vote is for the closing epoch");
                let tally = self.tallies.entry(epoch).or_default();
                assert!(worker < self.workers && tally.voted & (1 << worker) == 0, "each worker votes once");
                tally.voted |= 1 << worker;
                tally.votes += 1;
                tally.sent += sent;
            }
            Input::Prepared { epoch } => {
                assert_eq!(self.preparing.take(), Some(epoch), "only what was asked for is prepared");
                self.prepared = epoch;
            }
            Input::Committed { epoch } => {
                assert_eq!(self.committing.take(), Some(epoch), "only what was asked for is committed");
                self.committed = epoch;
            }
            Input::End | Input::Stop => {
                let finished = input == Input::End;
                match self.last {
                    None => self.last = Some(Last::Asked { finished }),
                    // The end is reached while a stop is on its way: nothing is left, so finished it is.
                    Some(Last::Asked { .. }) if finished => self.last = Some(Last::Asked { finished }),
                    Some(_) => {}
                }
                if !finished {
                    actions.push(Action::StopReading);
                }
            }
        }
        self.proceed(&mut actions);
        actions
    }

    fn close(&mut self, actions: &mut Vec<Action>) {
        if self.closing.is_some() || matches!(self.last, Some(Last::Is { .. })) {
            return;
        }
        self.closing = Some(self.open);
        if let Some(Last::Asked { finished }) = self.last {
            self.last = Some(Last::Is { epoch: self.open, finished });
        }
        actions.push(Action::Close(self.open));
        self.open += 1;
    }

    fn proceed(&mut self, actions: &mut Vec<Action>) {
        if matches!(self.last, Some(Last::Asked { .. })) {
            self.close(actions);
        }
        if let Some(epoch) = self.closing
            && self.preparing.is_none()
            && let Some(tally) = self.tallies.get(&epoch)
            && tally.votes == self.workers
        {
            assert!(tally.received <= tally.sent, "more output arrived than workers say they sent");
            if tally.received == tally.sent {
                self.tallies.remove(&epoch);
                self.closing = None;
                self.preparing = Some(epoch);
                let finished = matches!(self.last, Some(Last::Is { epoch: last, finished: true }) if last == epoch);
                actions.push(Action::Prepare { epoch, finished });
            }
        }
        if self.committing.is_none() && self.prepared > self.committed {
            self.committing = Some(self.prepared);
            actions.push(Action::Commit(self.prepared));
        }
        if let Some(Last::Is { epoch, finished }) = self.last
            && self.committed == epoch
            && !self.left
        {
            self.left = true;
            actions.push(Action::Leave { finished });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_closed_sealed_prepared_and_committed_in_this_order() {
        let mut protocol = Protocol::new(2, 4);
        assert_eq!(protocol.step(Input::Tick), [Action::Close(5)]);
        assert_eq!(protocol.step(Input::Tick), [], "one closing epoch at most");
        assert_eq!(protocol.step(Input::Vote { epoch: 5, worker: 0, sent: 3 }), []);
        assert_eq!(protocol.step(Input::Output { epoch: 5, records: 3 }), []);
        assert_eq!(
            protocol.step(Input::Output { epoch: 6, records: 9 }),
            [],
            "output of the next epoch may come first"
        );
        assert_eq!(protocol.step(Input::Vote { epoch: 5, worker: 1, sent: 1 }), [], "a record is still on its way");
        let prepare = Action::Prepare { epoch: 5, finished: false };
        assert_eq!(protocol.step(Input::Output { epoch: 5, records: 1 }), [prepare]);
        assert_eq!(protocol.step(Input::Prepared { epoch: 5 }), [Action::Commit(5)]);
        assert_eq!(protocol.step(Input::Committed { epoch: 5 }), []);
        assert_eq!(protocol.committed(), 5);
    }

    #[test]
    fn a_stop_commits_the_open_epoch_and_leaves() {
        let mut protocol = Protocol::new(1, 0);
        assert_eq!(protocol.step(Input::Tick), [Action::Close(1)]);
        assert_eq!(protocol.step(Input::Stop), [Action::StopReading], "the closing epoch first");
        let actions = protocol.step(Input::Vote { epoch: 1, worker: 0, sent: 0 });
        assert_eq!(actions, [Action::Prepare { epoch: 1, finished: false }]);
        assert_eq!(protocol.step(Input::Prepared { epoch: 1 }), [Action::Close(2), Action::Commit(1)]);
        assert_eq!(protocol.step(Input::Committed { epoch: 1 }), []);
        let actions = protocol.step(Input::Vote { epoch: 2, worker: 0, sent: 0 });
        assert_eq!(actions, [Action::Prepare { epoch: 2, finished: false }]);
        assert_eq!(protocol.step(Input::Prepared { epoch: 2 }), [Action::Commit(2)]);
        assert_eq!(protocol.step(Input::Committed { epoch: 2 }), [Action::Leave { finished: false }]);
        assert_eq!(protocol.step(Input::Tick), []);
    }
}
