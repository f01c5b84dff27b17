//! How letters stand, by the requests there are, the letters that came after, and how far the job has committed.
//!
//! A request is of a letter, and of a try of a record: where the topic of the letters was made anew, another letter has the first one's place,
//! and the request says nothing of it. Two letters of which each is a whole record and the same try are one, written twice by a crash, since
//! a source gives a record on once; what is asked of one is asked of both. Of a record that was taken apart each part is a letter.

use std::collections::BTreeMap;

use millpond_state::Timestamp;

use super::{Letter, LetterId, Life, Origin, Reach, Request};

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

/// What was asked of the letters of a life, which of them took the place of others, and which are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    life: Life,
    asked: BTreeMap<(LetterId, Origin), Asked>,
    /// Of whole letters that were asked of in this life: the letter that was meant by the newest request.
    meant: BTreeMap<Once, LetterId>,
    followed: BTreeMap<Origin, LetterId>,
    firsts: BTreeMap<Once, LetterId>,
    /// Letters that were written again, by the first.
    again: BTreeMap<LetterId, Vec<LetterId>>,
    /// The first of each of these.
    repeats: BTreeMap<LetterId, LetterId>,
    others: Option<(u64, String)>,
}

/// What a life has one letter of: a try of a record with this timestamp, which tells records apart where an input was made anew.
type Once = (Origin, Timestamp);

/// The newest word on a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    offset: u64,
    source: String,
    drop: bool,
    at: Timestamp,
}

impl Marks {
    /// Of a life, before anything is known of its letters.
    #[must_use]
    pub fn of_life(life: &Life) -> Self {
        Marks { life: life.clone(), ..Marks::default() }
    }

    /// Takes in a request, by its offset. Requests come in their order: the newest counts. Those of another life say nothing.
    pub fn request(&mut self, offset: u64, request: &Request) {
        if offset < self.life.since || self.life.known().is_some_and(|life| !request.is_of(life)) {
            return;
        }
        let asked = Asked { offset, source: request.source.clone(), drop: request.drop, at: request.asked };
        let origin = request.origin();
        if request.life.is_some() && !request.part {
            self.meant.insert((origin.clone(), request.stamp), request.id());
        }
        self.asked.insert((request.id(), origin), asked);
    }

    /// Takes in a letter: it may have taken the place of another, or be one that was written before.
    pub fn letter(&mut self, letter: &Letter) {
        let origin = letter.origin();
        if letter.dead.letter.is_some() {
            let before = Origin { attempt: origin.attempt.saturating_sub(1), ..origin.clone() };
            self.followed.insert(before, letter.id);
        }
        let least = (letter.id, Origin::default());
        let others = self.asked.range(least..).take_while(|((id, _), _)| *id == letter.id);
        if let Some(((_, other), asked)) = others.filter(|((_, of), _)| *of != origin).last() {
            let Origin { source, partition, offset, .. } = other;
            let what = format!("that of {} for letter {} of {source}/{partition}/{offset}", asked.at, letter.id);
            self.others.get_or_insert((0, what)).0 += 1;
        }
        if !letter.dead.whole {
            return;
        }
        let first = *self.firsts.entry((origin, letter.at)).or_insert(letter.id);
        if first != letter.id && self.repeats.insert(letter.id, first).is_none() {
            self.again.entry(first).or_default().push(letter.id);
        }
    }

    /// Whether a letter was written before, and is no other one.
    #[must_use]
    pub fn is_repeat(&self, letter: LetterId) -> bool {
        self.repeats.contains_key(&letter)
    }

    /// How many of the letters are.
    #[must_use]
    pub fn repeats(&self) -> usize {
        self.repeats.len()
    }

    /// Under which names a letter was written again.
    #[must_use]
    pub fn again(&self, letter: LetterId) -> &[LetterId] {
        self.again.get(&letter).map_or(&[], Vec::as_slice)
    }

    /// How many requests name the place of a letter and are of another record, and the first of them: the topic of letters was made anew.
    #[must_use]
    pub fn others(&self) -> Option<(u64, &str)> {
        self.others.as_ref().map(|(count, first)| (*count, first.as_str()))
    }

    /// The newest request of a letter.
    fn newest(&self, letter: &Letter) -> Option<&Asked> {
        let origin = letter.origin();
        let meant = self.meant.get(&(origin.clone(), letter.at)).filter(|_| letter.dead.whole);
        let first = self.repeats.get(&letter.id).copied().unwrap_or(letter.id);
        let names = meant.into_iter().chain(self.again(first)).copied().chain([first]);
        names.filter_map(|id| self.asked.get(&(id, origin.clone()))).max_by_key(|asked| asked.offset)
    }

    /// How a letter stands.
    #[must_use]
    pub fn of(&self, letter: &Letter, reach: &Reach) -> Mark {
        let Some(asked) = self.newest(letter) else { return Mark::Open };
        if asked.drop {
            return Mark::Dropped;
        }
        if let Some(next) = self.followed.get(&letter.origin()) {
            return Mark::FailedAgain(*next);
        }
        match reach.taken(&asked.source, asked.offset) {
            Some(epoch) => Mark::Done(epoch),
            None => Mark::Asked,
        }
    }

    /// The offset of the newest request of a letter, and when that was made.
    #[must_use]
    pub fn asked(&self, letter: &Letter) -> Option<(u64, Timestamp)> {
        self.newest(letter).map(|asked| (asked.offset, asked.at))
    }

    /// Whether a letter may be sent through the job again: nobody has asked for that yet. Of a dropped one only who `names` it may.
    #[must_use]
    pub fn may_redrive(&self, letter: &Letter, named: bool) -> bool {
        self.newest(letter).is_none_or(|asked| asked.drop && named)
    }

    /// Whether a letter may be dropped: nobody has asked anything of it.
    #[must_use]
    pub fn may_drop(&self, letter: &Letter) -> bool {
        self.newest(letter).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeadLetter;
    use crate::redrive::reach::tests::manifest;

    fn id(offset: u64) -> LetterId {
        LetterId { partition: 0, offset }
    }

    /// A letter of the record at this offset, tried for the first time.
    fn letter(offset: u64, of: u64) -> Letter {
        let dead = DeadLetter { source: "in".into(), offset: of, whole: true, attempt: 1, ..DeadLetter::default() };
        Letter { id: id(offset), at: Timestamp::EPOCH, run: "a".into(), epoch: 1, dead }
    }

    fn tried(attempt: u32, before: u64, letter: Letter) -> Letter {
        let dead = DeadLetter { attempt, letter: Some(id(before).to_string()), ..letter.dead };
        Letter { dead, ..letter }
    }

    fn life() -> Life {
        Life { name: "0 a".into(), ..Life::default() }
    }

    fn ask(marks: &mut Marks, offset: u64, letter: &Letter, drop: bool) {
        marks.request(offset, &Request::new(letter, Some("0 a"), drop, "a", Timestamp::EPOCH));
    }

    #[test]
    fn a_letter_stands_by_its_request_by_who_followed_it_and_by_what_was_committed() {
        let mut marks = Marks::of_life(&life());
        let letters: Vec<_> = (0..5).map(|offset| letter(offset, offset)).collect();
        ask(&mut marks, 10, &letters[1], false);
        ask(&mut marks, 11, &letters[2], false);
        ask(&mut marks, 12, &letters[3], false);
        ask(&mut marks, 13, &letters[4], true);
        let followed = tried(2, 2, letter(7, 2));
        marks.letter(&followed);
        let reach = Reach::of(&manifest(5, 12, Some(&manifest(4, 11, None))));
        let found: Vec<_> = letters.iter().chain([&followed]).map(|letter| marks.of(letter, &reach)).collect();
        let want = [Mark::Open, Mark::Done(Some(4)), Mark::FailedAgain(id(7)), Mark::Asked, Mark::Dropped, Mark::Open];
        assert_eq!(found, want);
        assert_eq!(marks.of(&letters[1], &Reach::default()), Mark::Asked, "a job that has committed nothing");
        assert_eq!(marks.of(&letters[1], &Reach::default().with("in/redrive", 11)), Mark::Done(None));
        let may: Vec<_> = letters.iter().map(|letter| marks.may_redrive(letter, false)).collect();
        assert_eq!(may, [true, false, false, false, false]);
        assert!(marks.may_redrive(&letters[4], true) && !marks.may_redrive(&letters[1], true));
        let may: Vec<_> = letters.iter().map(|letter| marks.may_drop(letter)).collect();
        assert_eq!(may, [true, false, false, false, false]);
        ask(&mut marks, 14, &letters[4], false);
        assert_eq!(marks.of(&letters[4], &reach), Mark::Asked, "it was dropped, and then somebody named it");
    }

    #[test]
    fn of_a_letter_that_was_written_twice_what_was_asked_of_either_is_asked_of_both() {
        for (asked, old) in [(0, false), (1, false), (0, true), (1, true)] {
            let both = [letter(3, 8), letter(9, 8)];
            let mut marks = Marks::of_life(&life());
            let known = (!old).then_some("0 a");
            marks.request(0, &Request::new(&both[asked], known, false, "a", Timestamp::EPOCH));
            both.iter().for_each(|letter| marks.letter(letter));
            assert_eq!((marks.is_repeat(id(3)), marks.is_repeat(id(9)), marks.repeats()), (false, true, 1));
            assert_eq!((marks.again(id(3)), marks.again(id(9))), (&[id(9)][..], &[][..]));
            assert!(both.iter().all(|letter| !marks.may_redrive(letter, true)), "{asked} {old}");
            assert_eq!(marks.of(&both[0], &Reach::default().with("in/redrive", 1)), Mark::Done(None));
            // Read again it is no third one.
            both.iter().for_each(|letter| marks.letter(letter));
            assert_eq!(marks.repeats(), 1);
        }
    }

    #[test]
    fn what_is_not_the_same_try_of_the_same_whole_record_is_another_letter() {
        let first = letter(0, 8);
        let part = |offset| {
            let dead = DeadLetter { whole: false, ..first.dead.clone() };
            Letter { id: id(offset), dead, ..first.clone() }
        };
        let mut elsewhere = letter(1, 8);
        elsewhere.dead.partition = 1;
        let later = Letter { at: Timestamp::from_secs(1), ..letter(2, 8) };
        let other = Letter { dead: DeadLetter { source: "on".into(), ..first.dead.clone() }, ..letter(3, 8) };
        let all = [elsewhere, later, other, tried(2, 0, letter(4, 8)), letter(5, 9), part(6), part(7)];
        let mut marks = Marks::of_life(&life());
        all.iter().chain([&first]).for_each(|letter| marks.letter(letter));
        assert_eq!(marks.repeats(), 0);
        // What is asked of one says nothing of the others.
        ask(&mut marks, 0, &first, false);
        ask(&mut marks, 1, &part(6), true);
        let marked: Vec<_> = all.iter().filter(|letter| !marks.may_drop(letter)).map(|letter| letter.id).collect();
        assert_eq!(marked, [id(6)]);
    }

    #[test]
    fn a_request_says_nothing_of_another_letter_in_the_same_place() {
        for known in [Some("0 a"), None] {
            let mut marks = Marks::of_life(&life());
            marks.request(0, &Request::new(&letter(0, 8), known, false, "a", Timestamp::EPOCH));
            marks.request(1, &Request::new(&letter(1, 9), known, true, "a", Timestamp::EPOCH));
            // The topic was made anew.
            let letters = [letter(0, 20), letter(1, 21), tried(2, 0, letter(2, 30))];
            letters.iter().for_each(|letter| marks.letter(letter));
            let reach = Reach::default().with("in/redrive", 2);
            assert_eq!(letters.each_ref().map(|letter| marks.of(letter, &reach)), [Mark::Open; 3], "{known:?}");
            let (count, first) = marks.others().unwrap();
            assert_eq!((count, first), (2, "that of 1970-01-01T00:00:00Z for letter 0:0 of in/0/8"));
        }
    }

    #[test]
    fn what_was_asked_of_another_life_says_nothing_of_this_one() {
        let same = letter(0, 8);
        let request = |life| Request::new(&same, life, false, "a", Timestamp::EPOCH);
        let stands = |life: Life, offset, request: &Request| {
            let mut marks = Marks::of_life(&life);
            marks.request(offset, request);
            marks.letter(&same);
            marks.of(&same, &Reach::default().with("in/redrive", 50))
        };
        let begun = Life { since: 10, ..life() };
        assert_eq!(stands(begun.clone(), 10, &request(Some("0 a"))), Mark::Done(None));
        assert_eq!(
            stands(begun.clone(), 9, &request(None)),
            Mark::Open,
            "as an earlier release asked, before it began"
        );
        assert_eq!(stands(begun.clone(), 10, &request(None)), Mark::Done(None));
        assert_eq!(
            stands(begun, 10, &request(Some("0 b"))),
            Mark::Open,
            "asked of the one before while this one began"
        );
        assert_eq!(stands(Life::default(), 10, &request(Some("0 b"))), Mark::Done(None), "which life is not known");
    }
}
