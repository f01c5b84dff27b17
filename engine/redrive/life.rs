//! A life of a job@version: from its beginning, or from where it was begun again with `run --new`, to its newest commit.

use millpond_state::store::{Manifest, RunId};

use super::{Letter, is_requests, noted};

/// Where in a manifest the first epoch of the job's life stands.
const FIRST: &str = "life";
/// Where it stands which run began it, and up to where requests were asked of lives before: `run offset`.
const BEGUN: &str = "begun";
/// Where it stands with which epoch each run went on: `run:epoch` each.
const RUNS: &str = "runs";
/// So many of them are remembered.
const MOST: usize = 100;

/// Which letters and requests are a life's own, as of a committed checkpoint. Of the default nothing is known, and it has all of them.
///
/// Letters are what its epochs have written that were committed. Where records are seen before they are (at-least-once delivery), a run
/// that died has left letters in an epoch that another run has committed, with letters of its own or, of another build, without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// What tells it from others of the job@version; empty where that is not known.
    pub name: String,
    /// Requests before this offset were made of others.
    pub since: u64,
    pub(super) epochs: Option<(u64, u64)>,
    pub(super) runs: Vec<(String, u64)>,
}

impl Life {
    /// By a committed checkpoint.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Life {
        // An earlier release said neither.
        let first = manifest.extra.get(FIRST).and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        let begun = manifest.extra.get(BEGUN).and_then(|begun| begun.split_once(' '));
        let since = begun.and_then(|(_, offset)| offset.parse().ok()).unwrap_or(0);
        let name = begun.map_or(first.to_string(), |(run, _)| format!("{first} {run}"));
        Life { name, since, epochs: Some((first, manifest.id.epoch)), runs: runs(manifest, Some(manifest.id.run)) }
    }

    /// By what a version that runs elsewhere says: what its life is called, and the newest epoch. Nothing is known where it does not say it.
    #[must_use]
    pub fn said(name: &str, newest: u64) -> Life {
        let first = name.split(' ').next().and_then(|first| first.parse().ok());
        first.map_or_else(Life::default, |first| Life {
            name: name.to_owned(),
            epochs: Some((first, newest)),
            ..Life::default()
        })
    }

    /// Whether a letter is one of this life, and of an epoch that was committed when that was looked at.
    #[must_use]
    pub fn has(&self, letter: &Letter) -> bool {
        let run = self.runs.iter().rfind(|(_, first)| *first <= letter.epoch);
        self.epochs.is_none_or(|(first, newest)| (first..=newest).contains(&letter.epoch))
            && run.is_none_or(|(run, _)| *run == letter.run)
    }

    /// Its name, where it is known.
    #[must_use]
    pub fn known(&self) -> Option<&str> {
        Some(self.name.as_str()).filter(|name| !name.is_empty())
    }
}

/// The runs that are known, in their order; none where one went on that did not say so, as those of an earlier release.
fn runs(manifest: &Manifest, newest: Option<RunId>) -> Vec<(String, u64)> {
    let mut runs: Vec<(String, u64)> = noted::pairs(manifest, RUNS);
    let newest = newest.map(|run| run.to_string());
    if runs.last().map(|(run, _)| run) != newest.as_ref() {
        runs.clear();
    }
    runs
}

/// Notes in the first manifest of a life that it is: letters of epochs before it, and requests before its positions, are of others.
pub(crate) fn begin(manifest: &mut Manifest) {
    let requests = manifest.sources.iter().filter(|(name, _)| is_requests(name));
    let since = requests.flat_map(|(_, state)| &state.partitions).map(|partition| partition.next).max().unwrap_or(0);
    manifest.extra.insert(FIRST.to_owned(), manifest.id.epoch.to_string());
    manifest.extra.insert(BEGUN.to_owned(), format!("{} {since}", manifest.id.run));
    note(manifest);
}

/// Notes in a manifest which run its epoch is of.
pub(super) fn note(manifest: &mut Manifest) {
    let before = manifest.parent.map(|parent| parent.run);
    if before != Some(manifest.id.run) {
        let mut known = runs(manifest, before);
        known.push((manifest.id.run.to_string(), manifest.id.epoch));
        noted::note(manifest, RUNS, &known, MOST);
    }
}

#[cfg(test)]
mod tests {
    use millpond_state::Timestamp;
    use millpond_state::store::{CheckpointId, PartitionState, SourceState};

    use super::*;
    use crate::DeadLetter;
    use crate::redrive::{LetterId, requests_of};

    fn letter(run: u64, epoch: u64) -> Letter {
        let (id, at, run, dead) = (LetterId::default(), Timestamp::EPOCH, RunId::new(run), DeadLetter::default());
        Letter { id, at, run: run.to_string(), epoch, dead }
    }

    fn went_on(manifest: &mut Manifest, run: u64, epoch: u64) {
        manifest.parent = Some(manifest.id);
        manifest.id = CheckpointId { run: RunId::new(run), epoch };
        note(manifest);
    }

    #[test]
    fn letters_count_from_the_first_epoch_of_a_life_to_the_newest_that_was_committed() {
        let mut manifest = Manifest::new(CheckpointId { run: RunId::new(1), epoch: 7 });
        let partitions = vec![PartitionState { next: 12, ..PartitionState::default() }];
        manifest.sources.insert(requests_of("in"), SourceState { partitions, policy: String::new() });
        begin(&mut manifest);
        // What its life began with stays when epochs follow.
        went_on(&mut manifest, 1, 9);
        let life = Life::of(&manifest);
        let has = [6, 7, 9, 10].map(|epoch| life.has(&letter(1, epoch)));
        assert_eq!(has, [false, true, true, false], "before run --new; after what is committed");
        assert_eq!((life.name.as_str(), life.since), ("7 0000000000000001", 12));
        assert!(Life::default().has(&letter(1, 3)), "nothing is known of it");
        let said = Life::said(&life.name, 8);
        let has = [6, 7, 8, 9].map(|epoch| said.has(&letter(1, epoch)));
        assert_eq!((has, said.known()), ([false, true, true, false], life.known()));
        assert_eq!(Life::said("", 8), Life::default());
    }

    #[test]
    fn of_an_epoch_that_several_runs_wrote_the_letters_of_the_one_that_committed_it_count() {
        let mut manifest = Manifest::new(CheckpointId { run: RunId::new(1), epoch: 0 });
        begin(&mut manifest);
        went_on(&mut manifest, 1, 1);
        went_on(&mut manifest, 2, 2);
        went_on(&mut manifest, 2, 3);
        let life = Life::of(&manifest);
        let has = [(1, 1), (1, 2), (2, 2), (1, 3), (2, 3), (2, 1)].map(|(run, epoch)| life.has(&letter(run, epoch)));
        assert_eq!(has, [true, false, true, false, true, false]);
    }

    #[test]
    fn a_checkpoint_of_an_earlier_release_has_all_letters_of_its_epochs() {
        let mut manifest = Manifest::new(CheckpointId { run: RunId::new(1), epoch: 5 });
        let has = |manifest: &Manifest, run, epoch| Life::of(manifest).has(&letter(run, epoch));
        assert_eq!((Life::of(&manifest).name.as_str(), Life::of(&manifest).since), ("0", 0));
        assert!(has(&manifest, 9, 5) && !has(&manifest, 1, 6));
        // From then on it is known who wrote what.
        went_on(&mut manifest, 2, 6);
        assert!(has(&manifest, 9, 5) && has(&manifest, 2, 6) && !has(&manifest, 1, 6));
        for run in 3..3 + MOST as u64 {
            went_on(&mut manifest, run, run + 10);
        }
        assert_eq!(Life::of(&manifest).runs.len(), MOST);
        assert!(has(&manifest, 9, 6), "so long ago that it is not known any more");
        // That release once more, which leaves what it does not know as it is.
        manifest.id = CheckpointId { run: RunId::new(500), epoch: 500 };
        assert!(has(&manifest, 500, 500) && has(&manifest, 9, 6));
        went_on(&mut manifest, 501, 501);
        assert!(has(&manifest, 500, 500) && has(&manifest, 501, 501) && !has(&manifest, 500, 501));
    }
}
