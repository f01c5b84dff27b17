//! Which checkpoints are still needed.
//!
//! Needed is the committed one, since recovery restores exactly it; its parent, since only a confirmed successor proves that the
//! committed one will be asked for; what followers' markers name, with the chain from there to the committed one, since each of them
//! holds output that is still to be delivered; and what is newer than the committed one, since it may be on its way to its commit.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::CheckpointId;

/// A checkpoint and what it continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lineage {
    /// The checkpoint.
    pub id: CheckpointId,
    /// Its parent; none for the first of a job version.
    pub parent: Option<CheckpointId>,
}

/// The checkpoints that nobody needs any more when `committed` is confirmed. `also` are those that followers' markers name.
///
/// ```
/// use millpond_state::store::{CheckpointId, Lineage, RunId, releasable};
/// let id = |epoch| CheckpointId { epoch, run: RunId::new(1) };
/// let chain: Vec<_> = (1..=9).map(|epoch| Lineage { id: id(epoch), parent: Some(id(epoch - 1)) }).collect();
/// // 8 is committed, 9 on its way; a follower has got as far as 5.
/// assert_eq!(releasable(&chain, id(8), &[id(5)]), [id(1), id(2), id(3), id(4)]);
/// ```
#[must_use]
pub fn releasable(lineage: &[Lineage], committed: CheckpointId, also: &[CheckpointId]) -> Vec<CheckpointId> {
    let needed = needed(lineage, Some(committed), also);
    let ids = lineage.iter().map(|one| one.id);
    ids.filter(|id| id.epoch <= committed.epoch && !needed.contains(id)).collect()
}

/// The committed checkpoint, its parent, `also`, and what lies between.
pub(crate) fn needed(
    lineage: &[Lineage],
    committed: Option<CheckpointId>,
    also: &[CheckpointId],
) -> BTreeSet<CheckpointId> {
    let parents: BTreeMap<_, _> = lineage.iter().map(|one| (one.id, one.parent)).collect();
    let parent = |id: &CheckpointId| parents.get(id).copied().flatten();
    let mut needed: BTreeSet<_> =
        also.iter().copied().chain(committed).chain(committed.as_ref().and_then(parent)).collect();
    // Parents are older, or a damaged chain would be walked for ever.
    let older = |id: &CheckpointId| parent(id).filter(|parent| parent.epoch < id.epoch);
    let chain: Vec<_> = std::iter::successors(committed, older).collect();
    if let Some(oldest) = chain.iter().rposition(|id| also.contains(id)) {
        needed.extend(&chain[..=oldest]);
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RunId;

    fn id(run: u64, epoch: u64) -> CheckpointId {
        CheckpointId { epoch, run: RunId::new(run) }
    }

    fn chain(ids: &[CheckpointId]) -> Vec<Lineage> {
        let parents = std::iter::once(None).chain(ids.iter().copied().map(Some));
        ids.iter().zip(parents).map(|(id, parent)| Lineage { id: *id, parent }).collect()
    }

    #[test]
    fn the_committed_one_and_its_parent_stay() {
        let all = chain(&[id(1, 1), id(1, 2), id(1, 3), id(1, 4)]);
        assert_eq!(releasable(&all, id(1, 3), &[]), [id(1, 1)]);
        assert_eq!(releasable(&all[..1], id(1, 1), &[]), []);
    }

    #[test]
    fn the_parent_is_the_one_it_names_not_the_epoch_before() {
        // Run 1 died with 3 written but not committed, run 2 continued from 2; epochs may be skipped.
        let mut all = chain(&[id(1, 1), id(1, 2), id(2, 3), id(2, 7)]);
        all.push(Lineage { id: id(1, 3), parent: Some(id(1, 2)) });
        assert_eq!(releasable(&all, id(2, 3), &[]), [id(1, 1), id(1, 3)]);
        assert_eq!(releasable(&all, id(2, 7), &[]), [id(1, 1), id(1, 2), id(1, 3)]);
    }

    #[test]
    fn what_is_newer_belongs_to_a_commit_on_its_way() {
        let mut all = chain(&[id(1, 1), id(1, 2), id(1, 3)]);
        all.push(Lineage { id: id(2, 3), parent: Some(id(1, 2)) });
        assert_eq!(releasable(&all, id(1, 2), &[]), []);
    }

    #[test]
    fn a_marker_outside_the_chain_keeps_itself_only() {
        let mut all = chain(&[id(1, 1), id(1, 2), id(1, 3), id(1, 4)]);
        all.push(Lineage { id: id(9, 2), parent: Some(id(1, 1)) });
        assert_eq!(releasable(&all, id(1, 4), &[id(9, 2)]), [id(1, 1), id(1, 2)]);
    }

    #[test]
    fn a_chain_that_bites_its_tail_ends() {
        let all = [Lineage { id: id(1, 2), parent: Some(id(2, 2)) }, Lineage { id: id(2, 2), parent: Some(id(1, 2)) }];
        assert_eq!(releasable(&all, id(1, 2), &[id(2, 2)]), []);
    }
}
