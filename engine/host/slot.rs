//! A partition that a worker owns, as its intake keeps it.

use std::sync::Arc;
use std::time::Instant;

use millpond_state::Timestamp;
use millpond_state::store::PartitionState;

use super::graph::Lowering;
use crate::run::growth::{Added, owner};
use crate::run::lanes::{Lane, Standing};
use crate::run::local::Local;
use crate::source::Assigned;

/// One partition of this worker.
pub(super) struct Slot {
    pub(super) lane: Arc<Lane>,
    pub(super) saved: PartitionState,
    pub(super) at_end: bool,
    pub(super) silent_since: Option<Instant>,
}

impl Slot {
    fn new(lane: Arc<Lane>, saved: PartitionState) -> Slot {
        Slot { lane, saved, at_end: false, silent_since: None }
    }

    /// This worker's partitions of a source, by the checkpoint.
    pub(super) fn of(source: &str, lowering: &Lowering<'_>, local: &Local) -> Vec<Slot> {
        let partitions = lowering.resume.partitions_of(source).iter().enumerate();
        let own = partitions.filter(|(place, _)| place % local.shared.workers == local.worker);
        let slot = |(_, saved): (usize, &PartitionState)| {
            let lane = local.shared.lanes.find(source, saved.partition);
            Slot::new(lane.expect("every partition of the checkpoint has a lane"), saved.clone())
        };
        own.map(slot).collect()
    }

    /// A partition that was found while the job runs. It joins in where its worker's promise stands.
    pub(super) fn added(added: Added, promised: Timestamp) -> Slot {
        let Added { partition, lane, .. } = added;
        let saved = PartitionState {
            partition: partition.partition,
            next: partition.start,
            watermark: promised.min(Timestamp::LAST),
            fingerprint: partition.fingerprint,
            newest: Timestamp::MIN,
            ..PartitionState::default()
        };
        Slot::new(lane, saved)
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

    /// What has come since it was asked last.
    pub(super) fn news(&mut self, source: &str, local: &Local) -> Vec<Added> {
        let growth = &local.shared.growth;
        let count = growth.count();
        if count == self.seen {
            return Vec::new();
        }
        let mut news = growth.since(self.seen, source);
        self.seen = count;
        news.retain(|added| owner(added.place, self.first, local.shared.workers) == local.worker);
        news
    }
}
