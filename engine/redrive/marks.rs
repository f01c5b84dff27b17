//! How letters stand, by the requests there are, the letters that came after, and how far the job has committed.

use std::collections::BTreeMap;

use millpond_state::Timestamp;
use millpond_state::store::Manifest;

use super::{Letter, LetterId, Request, requests_of};

/// How a letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// Nothing has been asked.
    Open,
    /// It is to go through the job again, and that is not committed yet.
    Asked,
    /// The job has committed past the request; in which epoch, where that is still known.
    Done(Option<u64>),
    /// It failed again, and this letter has taken its place.
    FailedAgain(LetterId),
    /// Somebody said that it may lie.
    Dropped,
}

impl Mark {
    /// The names of all, as they are written and asked for.
    pub const NAMES: [&'static str; 5] = ["open", "asked", "done", "failed-again", "dropped"];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mark::Open => "open",
            Mark::Asked => "asked",
            Mark::Done(_) => "done",
            Mark::FailedAgain(_) => "failed-again",
            Mark::Dropped => "dropped",
        }
    }
}

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
        let positions = manifest.sources.iter().filter(|(name, _)| super::is_requests(name));
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
    fn taken(&self, source: &str, offset: u64) -> Option<Option<u64>> {
        let (next, epochs) = self.sources.get(&requests_of(source))?;
        (offset < *next).then(|| {
            let first = epochs.iter().position(|(_, next)| offset < *next);
            // Of what lies before the first that is remembered the epoch is not known.
            first.filter(|first| *first > 0 || epochs.len() < EPOCHS).map(|first| epochs[first].0)
        })
    }
}

fn epochs(manifest: &Manifest, name: &str) -> Vec<(u64, u64)> {
    let text = manifest.extra.get(&format!("{EXTRA}{name}")).map(String::as_str).unwrap_or_default();
    let pair = |pair: &str| {
        let (epoch, next) = pair.split_once(':')?;
        Some((epoch.parse().ok()?, next.parse().ok()?))
    };
    text.split(' ').filter_map(pair).collect()
}

/// Where in a manifest the first epoch of the job's life stands.
const LIFE: &str = "life";

/// Notes in the first manifest of a life of the job that it is: letters of epochs before it are of records that this life reads itself.
pub(crate) fn begin_life(manifest: &mut Manifest) {
    manifest.extra.insert(LIFE.to_owned(), manifest.id.epoch.to_string());
}

/// The first epoch of a job's life; 0 where an earlier release began it.
pub(crate) fn first_epoch(manifest: &Manifest) -> u64 {
    manifest.extra.get(LIFE).and_then(|epoch| epoch.parse().ok()).unwrap_or(0)
}

/// Notes in a manifest which requests its epoch took: `epoch:next`, a pair for each epoch that took some.
pub(crate) fn note(manifest: &mut Manifest) {
    let positions = manifest.sources.iter().filter(|(name, _)| super::is_requests(name));
    let positions: Vec<_> =
        positions.filter_map(|(name, state)| Some((name.clone(), state.partitions.first()?.next))).collect();
    for (name, next) in positions {
        let mut known = epochs(manifest, &name);
        if next > known.last().map_or(0, |(_, next)| *next) {
            known.push((manifest.id.epoch, next));
            let from = known.len().saturating_sub(EPOCHS);
            let pairs: Vec<_> = known[from..].iter().map(|(epoch, next)| format!("{epoch}:{next}")).collect();
            manifest.extra.insert(format!("{EXTRA}{name}"), pairs.join(" "));
        }
    }
}

/// What was asked of letters, and which letters took the place of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    asked: BTreeMap<LetterId, Asked>,
    followed: BTreeMap<LetterId, LetterId>,
}

/// The newest word on a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    offset: u64,
    source: String,
    drop: bool,
    at: Timestamp,
}

impl Marks {
    /// Takes in a request, by its offset. Requests come in their order: the newest counts.
    pub fn request(&mut self, offset: u64, request: &Request) {
        let asked = Asked { offset, source: request.source.clone(), drop: request.drop, at: request.asked };
        self.asked.insert(request.id(), asked);
    }

    /// Takes in a letter: it may have taken the place of another.
    pub fn letter(&mut self, letter: &Letter) {
        if let Some(of) = letter.dead.letter.as_deref().and_then(|of| of.parse().ok()) {
            self.followed.insert(of, letter.id);
        }
    }

    /// How a letter stands.
    #[must_use]
    pub fn of(&self, id: LetterId, reach: &Reach) -> Mark {
        let Some(asked) = self.asked.get(&id) else { return Mark::Open };
        if asked.drop {
            return Mark::Dropped;
        }
        if let Some(next) = self.followed.get(&id) {
            return Mark::FailedAgain(*next);
        }
        match reach.taken(&asked.source, asked.offset) {
            Some(epoch) => Mark::Done(epoch),
            None => Mark::Asked,
        }
    }

    /// The offset of the newest request of a letter, and when that was made.
    #[must_use]
    pub fn asked(&self, id: LetterId) -> Option<(u64, Timestamp)> {
        self.asked.get(&id).map(|asked| (asked.offset, asked.at))
    }

    /// Whether a letter may be sent through the job again: nobody has asked for that yet. Of a dropped one only who `names` it may.
    #[must_use]
    pub fn may_redrive(&self, id: LetterId, named: bool) -> bool {
        self.asked.get(&id).is_none_or(|asked| asked.drop && named)
    }

    /// Whether a letter may be dropped: nobody has asked anything of it.
    #[must_use]
    pub fn may_drop(&self, id: LetterId) -> bool {
        !self.asked.contains_key(&id)
    }
}

#[cfg(test)]
mod tests {
    use millpond_state::store::{CheckpointId, PartitionState, RunId, SourceState};

    use super::*;
    use crate::DeadLetter;

    fn id(offset: u64) -> LetterId {
        LetterId { partition: 0, offset }
    }

    fn letter(offset: u64, of: Option<u64>) -> Letter {
        let dead = DeadLetter { source: "in".into(), letter: of.map(|of| id(of).to_string()), ..DeadLetter::default() };
        Letter { id: id(offset), at: Timestamp::EPOCH, epoch: 1, dead }
    }

    fn ask(marks: &mut Marks, offset: u64, letter: &Letter, drop: bool) {
        marks.request(offset, &Request::new(letter, drop, "a", Timestamp::EPOCH));
    }

    fn manifest(epoch: u64, next: u64, before: Option<&Manifest>) -> Manifest {
        let mut manifest = Manifest::new(CheckpointId { run: RunId::new(1), epoch });
        manifest.extra = before.map(|before| before.extra.clone()).unwrap_or_default();
        let partitions = vec![PartitionState { next, ..PartitionState::default() }];
        manifest.sources.insert(requests_of("in"), SourceState { partitions, policy: String::new() });
        note(&mut manifest);
        manifest
    }

    #[test]
    fn a_letter_stands_by_its_request_by_who_followed_it_and_by_what_was_committed() {
        let mut marks = Marks::default();
        let letters: Vec<_> = (0..5).map(|offset| letter(offset, None)).collect();
        ask(&mut marks, 10, &letters[1], false);
        ask(&mut marks, 11, &letters[2], false);
        ask(&mut marks, 12, &letters[3], false);
        ask(&mut marks, 13, &letters[4], true);
        marks.letter(&letter(7, Some(2)));
        let reach = Reach::of(&manifest(5, 12, Some(&manifest(4, 11, None))));
        let found: Vec<_> = (0..5).chain([7]).map(|offset| marks.of(id(offset), &reach)).collect();
        let want = [Mark::Open, Mark::Done(Some(4)), Mark::FailedAgain(id(7)), Mark::Asked, Mark::Dropped, Mark::Open];
        assert_eq!(found, want);
        assert_eq!(marks.of(id(1), &Reach::default()), Mark::Asked, "a job that has committed nothing");
        assert_eq!(marks.of(id(1), &Reach::default().with("in/redrive", 11)), Mark::Done(None));
        let may: Vec<_> = (0..5).map(|offset| marks.may_redrive(id(offset), false)).collect();
        assert_eq!(may, [true, false, false, false, false]);
        assert!(marks.may_redrive(id(4), true) && !marks.may_redrive(id(1), true));
        assert!(marks.may_drop(id(0)) && !marks.may_drop(id(1)) && !marks.may_drop(id(4)));
        ask(&mut marks, 14, &letters[4], false);
        assert_eq!(marks.of(id(4), &reach), Mark::Asked, "it was dropped, and then somebody named it");
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
