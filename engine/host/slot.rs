//! A partition that a worker owns, as its intake keeps it.

use std::sync::Arc;
use std::time::Instant;

use millpond_state::Timestamp;
use millpond_state::store::PartitionState;

use super::graph::Lowering;
use crate::redrive::requests_of;
use crate::run::growth::{Added, owner, requested};
use crate::run::lanes::{Lane, Standing};
use crate::run::local::Local;
use crate::source::Assigned;

/// One partition of this worker.
pub(super) struct Slot {
    pub(super) lane: Arc<Lane>,
    pub(super) saved: PartitionState,
    pub(super) at_end: bool,
    pub(super) silent_since: Option<Instant>,
    /// Which reader has it, and where it stands among that one's partitions.
    pub(super) of: (usize, usize),
}

/// The reader of a source's own partitions.
pub(super) const OWN: usize = 0;
/// The reader of what is asked for again.
pub(super) const AGAIN: usize = 1;

impl Slot {
    fn new(lane: Arc<Lane>, saved: PartitionState, of: (usize, usize)) -> Slot {
        Slot { lane, saved, at_end: false, silent_since: None, of }
    }

    /// Whether it holds what is asked for again. Such a partition is idle from the first: it holds neither the watermark nor the reading of
    /// others, and its records have no `seen` of their own. Only in a run that ends it holds both until it has been read, which is soon.
    pub(super) fn again(&self) -> bool {
        self.of.0 == AGAIN
    }

    /// This worker's partitions of a source, by the checkpoint.
    pub(super) fn of(source: &str, lowering: &Lowering<'_>, local: &Local) -> Vec<Slot> {
        let partitions = lowering.resume.partitions_of(source).iter().enumerate();
        let own = partitions.filter(|(place, _)| place % local.shared.workers == local.worker);
        let slot = |(within, (_, saved))| Slot::saved(source, saved, (OWN, within), local);
        own.enumerate().map(slot).collect()
    }

    /// What is asked for again of a source: the first worker's, who always has partitions besides.
    pub(super) fn requests(source: &str, lowering: &Lowering<'_>, local: &Local) -> Option<Slot> {
        let requests = requests_of(source);
        let saved = lowering.resume.partitions_of(&requests).first().filter(|_| local.worker == 0)?;
        Some(Slot::saved(&requests, saved, (AGAIN, 0), local))
    }

    fn saved(source: &str, saved: &PartitionState, of: (usize, usize), local: &Local) -> Slot {
        let lane = local.shared.lanes.find(source, saved.partition);
        Slot::new(lane.expect("every partition of the checkpoint has a lane"), saved.clone(), of)
    }

    /// A partition that was found while the job runs. It joins in where its worker's promise stands.
    pub(super) fn added(added: Added, promised: Timestamp, within: usize) -> Slot {
        let Added { partition, lane, .. } = added;
        let saved = PartitionState {
            partition: partition.partition,
            next: partition.start,
            watermark: promised.min(Timestamp::LAST),
            fingerprint: partition.fingerprint,
            newest: Timestamp::MIN,
            ..PartitionState::default()
        };
        Slot::new(lane, saved, (OWN, within))
    }

    /// What is asked for again, for the first time while the job runs.
    pub(super) fn asked(added: Added) -> Slot {
        let Added { partition, lane, .. } = added;
        Slot::new(lane, requested(&partition), (AGAIN, 0))
    }

    pub(super) fn assigned(&self) -> Assigned {
        Assigned { partition: self.saved.partition, next: self.saved.next, end: self.saved.end }
    }

    pub(super) fn standing(&self) -> Standing {
        if self.saved.finished {
            Standing::Finished
        } else if self.saved.idle {
            Standing::Idle
        } else if self.at_end {
            Standing::AtEnd
        } else {
            Standing::Reading
        }
    }
}

/// What of a running source's growth is this worker's.
pub(super) struct Growing {
    seen: usize,
    /// How many partitions the checkpoint has.
    first: usize,
}

impl Growing {
    pub(super) fn new(source: &str, lowering: &Lowering<'_>) -> Growing {
        Growing { seen: 0, first: lowering.resume.partitions_of(source).len() }
    }

    /// What has come since it was asked last: partitions, and what is asked for again.
    pub(super) fn news(&mut self, source: &str, local: &Local) -> (Vec<Added>, Option<Added>) {
        let growth = &local.shared.growth;
        let count = growth.count();
        if count == self.seen {
            return (Vec::new(), None);
        }
        let mut news = growth.since(self.seen, source);
        let asked = growth.since(self.seen, &requests_of(source)).pop().filter(|_| local.worker == 0);
        self.seen = count;
        news.retain(|added| owner(added.place, self.first, local.shared.workers) == local.worker);
        (news, asked)
    }
}
