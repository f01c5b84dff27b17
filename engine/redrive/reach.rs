//! How far a job has committed what was asked of it, and in which epochs.

use std::collections::BTreeMap;

use millpond_state::store::Manifest;

use super::{is_requests, noted, requests_of};

/// How far a job has committed the requests of its sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    sources: BTreeMap<String, (u64, Vec<(u64, u64)>)>,
}

/// Where in a manifest it stands which epochs took requests, before the name their positions have.
const EXTRA: &str = "redriven ";
/// So many of them are remembered.
const EPOCHS: usize = 500;

impl Reach {
    /// By a committed checkpoint.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Reach {
        let positions = manifest.sources.iter().filter(|(name, _)| is_requests(name));
        let sources = positions.filter_map(|(name, state)| {
            let next = state.partitions.first()?.next;
            Some((name.clone(), (next, epochs(manifest, name))))
        });
        Reach { sources: sources.collect() }
    }

    /// Adds a position without knowing its epochs: what a version that runs elsewhere says of itself.
    #[must_use]
    pub fn with(mut self, name: &str, next: u64) -> Reach {
        self.sources.insert(name.to_owned(), (next, Vec::new()));
        self
    }

    /// Up to where requests were taken.
    #[must_use]
    pub fn furthest(&self) -> u64 {
        self.sources.values().map(|(next, _)| *next).max().unwrap_or(0)
    }

    /// Whether the request of this source at this offset has been taken, and in which epoch.
    pub(super) fn taken(&self, source: &str, offset: u64) -> Option<Option<u64>> {
        let (next, epochs) = self.sources.get(&requests_of(source))?;
        (offset < *next).then(|| {
            let first = epochs.iter().position(|(_, next)| offset < *next);
            // Of what lies before the first that is remembered the epoch is not known.
            first.filter(|first| *first > 0 || epochs.len() < EPOCHS).map(|first| epochs[first].0)
        })
    }
}

fn epochs(manifest: &Manifest, name: &str) -> Vec<(u64, u64)> {
    noted::pairs(manifest, &format!("{EXTRA}{name}"))
}

/// Notes in a manifest which requests its epoch took: `epoch:next`, a pair for each epoch that took some.
pub(super) fn note(manifest: &mut Manifest) {
    let positions = manifest.sources.iter().filter(|(name, _)| is_requests(name));
    let positions: Vec<_> =
        positions.filter_map(|(name, state)| Some((name.clone(), state.partitions.first()?.next))).collect();
    for (name, next) in positions {
        let mut known = epochs(manifest, &name);
        if next > known.last().map_or(0, |(_, next)| *next) {
            known.push((manifest.id.epoch, next));
            noted::note(manifest, &format!("{EXTRA}{name}"), &known, EPOCHS);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use millpond_state::store::{CheckpointId, PartitionState, RunId, SourceState};

    use super::*;

    /// One that has taken requests up to `next` with its epoch.
    pub(in crate::redrive) fn manifest(epoch: u64, next: u64, before: Option<&Manifest>) -> Manifest {
        let mut manifest = Manifest::new(CheckpointId { run: RunId::new(1), epoch });
        manifest.extra = before.map(|before| before.extra.clone()).unwrap_or_default();
        let partitions = vec![PartitionState { next, ..PartitionState::default() }];
        manifest.sources.insert(requests_of("in"), SourceState { partitions, policy: String::new() });
        note(&mut manifest);
        manifest
    }

    #[test]
    fn of_many_epochs_that_took_requests_the_newest_are_remembered() {
        let mut newest = manifest(1, 1, None);
        for epoch in 2..=2 + EPOCHS as u64 {
            newest = manifest(epoch, epoch, Some(&newest));
            newest = manifest(epoch + 10_000, epoch, Some(&newest));
        }
        let reach = Reach::of(&newest);
        assert_eq!(epochs(&newest, "in/redrive").len(), EPOCHS);
        assert_eq!(reach.taken("in", 1), Some(None), "so long ago that the epoch is not known");
        assert_eq!(reach.taken("in", 401), Some(Some(402)));
        assert_eq!(reach.taken("in", 2 + EPOCHS as u64), None);
        assert_eq!(reach.taken("other", 0), None);
    }
}
