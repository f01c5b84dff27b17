//! Where the letters of a job lie, what was asked of them, and how far the job has taken that.

use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;

use super::stands::Stands;
use crate::cli::{JobMain, options, recorded};
use crate::ledger::Ledger;
use crate::redrive::{Letter, Marks, REQUEST, Request};
use crate::run::start::drawn;
use crate::{DeadLetter, Draw, Env, Exit, Fault};

/// A source, as far as letters are concerned.
struct Of {
    uid: String,
    topic: String,
    /// Whether records can be asked of it again.
    asked: bool,
}

/// A job's letters.
pub(super) struct Desk<'a> {
    pub(super) matches: &'a ArgMatches,
    pub(super) env: Env,
    pub(super) ledger: Arc<dyn Ledger>,
    /// The topic of the letters.
    pub(super) letters: String,
    pub(super) draw: Arc<Draw>,
    sources: Vec<Of>,
}

/// What was asked of letters, as far as it was read.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) marks: Marks,
    pub(super) next: u64,
    /// How many of them this call has made.
    pub(super) mine: u64,
}

/// The letters, once they were read through: kept while they are few, else read again.
#[derive(Debug)]
pub(super) struct Letters {
    kept: Option<Vec<Letter>>,
    room: usize,
}

/// So many bytes of letters are kept.
const ROOM: usize = 64 << 20;

impl Letters {
    fn new(room: usize) -> Letters {
        Letters { kept: Some(Vec::new()), room }
    }

    fn keep(&mut self, letter: Letter) {
        let DeadLetter { key, value, headers, error, first_error, .. } = &letter.dead;
        let texts = [key.as_ref().map(Vec::len), value.as_ref().map(Vec::len), first_error.as_ref().map(String::len)];
        let headers: usize =
            headers.iter().map(|(name, value)| name.len() + value.len() + size_of::<Letter>() / 4).sum();
        let bytes = size_of::<Letter>() + headers + error.len() + texts.into_iter().flatten().sum::<usize>();
        match (self.room.checked_sub(bytes), &mut self.kept) {
            (Some(room), Some(kept)) => {
                self.room = room;
                kept.push(letter);
            }
            _ => self.kept = None,
        }
    }
}

/// How often a topic that has to be there is looked for, and how long is waited in between.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// Looks for what has to be there until it is, or it has been long enough.
fn known<T>(look: &dyn Fn() -> Result<Option<T>, Fault>, pause: Duration) -> Result<Option<T>, Fault> {
    for _ in 1..LOOKS {
        let found = look()?;
        if found.is_some() {
            return Ok(found);
        }
        std::thread::sleep(pause);
    }
    look()
}

impl<'a> Desk<'a> {
    /// # Errors
    /// When the job does not keep dead letters, or nobody can read them where they lie.
    pub(super) fn of(main: &'a JobMain, matches: &'a ArgMatches) -> Result<Self, Fault> {
        let env = options::env(main, matches);
        let draw = recorded::draw(main, matches, &env)?;
        Desk::open(matches, env, draw)
    }

    /// Of another version.
    ///
    /// # Errors
    /// As [`Desk::of`].
    pub(super) fn open(matches: &'a ArgMatches, env: Env, draw: Arc<Draw>) -> Result<Self, Fault> {
        let graph = drawn(&*draw, &env)?;
        let (to, system) = graph.dead().ok_or_else(|| {
            let text =
                "does not keep dead letters: it stops at a bad record, or skips it; `flow.dead_letters(..)` keeps them";
            Fault::new(Exit::Usage, format!("job {} {text}", env.identity()))
        })?;
        if let Some(sink) = graph.sinks.borrow().iter().find(|sink| env.output(&sink.outlet.to) == env.redrive()) {
            let (topic, uid) = (env.redrive(), &sink.uid);
            let text =
                format!("job {} writes to topic {topic} as {uid:?}, which is the name of what is asked again", env.job);
            return Err(Fault::new(Exit::FixJob, text + "; call the output something else"));
        }
        let ledger = system.ledger().ok_or_else(|| {
            let text = "lie where they cannot be read again; keep them in the embedded log or in Kafka";
            Fault::new(Exit::Usage, format!("the dead letters of {} ({}) {text}", env.identity(), system.identity()))
        })?;
        let inputs = graph.inputs();
        let asked = |uid: &str| inputs.iter().any(|input| input.asked_of.as_deref() == Some(uid));
        let sources = graph.sources.borrow();
        let sources = sources.iter().map(|source| Of {
            uid: source.uid.clone(),
            topic: source.from.clone(),
            asked: asked(&source.uid),
        });
        let sources = sources.collect();
        let letters = env.output(&to);
        Ok(Desk { matches, env, ledger, letters, draw, sources })
    }

    /// What a source reads.
    pub(super) fn topic_of(&self, source: &str) -> &str {
        self.sources.iter().find(|of| of.uid == source).map_or("", |of| of.topic.as_str())
    }

    /// Why a letter cannot go through the job again; `None` when it can.
    pub(super) fn hindered(&self, letter: &Letter) -> Option<&'static str> {
        match self.sources.iter().find(|of| of.uid == letter.dead.source) {
            None => Some("its source is no longer in the job"),
            Some(of) if !of.asked => Some(
                "its source does not read a topic of the system that keeps the dead letters, so that nothing can be asked of it again",
            ),
            Some(_) if !letter.dead.whole => Some(
                "a part of its record has gone on, or may have, and would be there twice; replay a new version from the beginning, which reads the record itself",
            ),
            Some(_) => None,
        }
    }

    /// All that is known of the letters: what was asked of them, and which of them belong together. How the job `stands` is looked at before:
    /// of what it has taken, those that failed again are there.
    pub(super) fn known(&self, stands: &Stands, by: &str) -> Result<(Requests, Letters), Fault> {
        let mut requests = Requests { marks: Marks::of_life(&stands.life), next: 0, mine: 0 };
        self.read_on(&mut requests, by, false)?;
        let mut letters = Letters::new(ROOM);
        self.each(stands, &mut |letter| {
            requests.marks.letter(&letter);
            letters.keep(letter);
            Ok(())
        })?;
        Ok((requests, letters))
    }

    /// Gives each letter once to `each`, with those that were written again left out.
    pub(super) fn letters(
        &self,
        stands: &Stands,
        letters: &Letters,
        marks: &Marks,
        each: &mut dyn FnMut(&Letter) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut once = |letter: &Letter| if marks.is_repeat(letter.id) { Ok(()) } else { each(letter) };
        match &letters.kept {
            Some(kept) => kept.iter().try_for_each(once),
            None => self.each(stands, &mut |letter| once(&letter)),
        }
    }

    /// Gives `each` letter of this life of the job@version, partition by partition: as long as it stands so the same ones, whatever is written
    /// meanwhile.
    fn each(&self, stands: &Stands, each: &mut dyn FnMut(Letter) -> Result<(), Fault>) -> Result<(), Fault> {
        let (kept, owner) = (self.ledger.kept(&self.letters)?.unwrap_or_default(), self.env.identity());
        for (partition, kept) in (0..).zip(&kept) {
            let mut reader = self.ledger.read(&self.letters, partition, kept.start)?;
            let mut taken = Ok(());
            while taken.is_ok()
                && reader.read_whole(&mut |record, headers| {
                    if taken.is_ok()
                        && let Some(letter) = Letter::read(partition, record, headers, &owner)
                        && stands.life.has(&letter)
                    {
                        taken = each(letter);
                    }
                })?
            {}
            taken?;
        }
        Ok(())
    }

    /// Reads on in what was asked. `by` is this call's own mark. Once there has been a topic of requests, as there is under its `fence`, one
    /// that is not there is a broker that does not know it yet, and never means that nothing was asked.
    pub(super) fn read_on(&self, requests: &mut Requests, by: &str, fence: bool) -> Result<(), Fault> {
        let topic = self.env.redrive();
        let look = || Ok(self.ledger.kept(&topic)?.and_then(|kept| kept.into_iter().next()));
        let kept = if fence || requests.next > 0 { known(&look, PAUSE)? } else { look()? };
        let Some(kept) = kept else {
            if !fence && requests.next == 0 {
                return Ok(());
            }
            let what = format!(
                "topic {topic} in {} is not known there just now, and nothing more was asked",
                self.ledger.name()
            );
            return Err(Fault::new(Exit::Retry, format!("{what}: ask again")));
        };
        if kept.start > 0 {
            return Err(Fault::new(
                Exit::Restore,
                format!(
                    "topic {topic} in {} has lost what lay before offset {}: which letters were sent again is not known any more",
                    self.ledger.name(),
                    kept.start
                ),
            ));
        }
        let mut reader = self.ledger.read(&topic, 0, requests.next)?;
        let Requests { marks, mine, .. } = requests;
        let mut each = |offset, last: Option<(&str, &[u8])>| {
            if let Some(request) = Request::parse(last) {
                marks.request(offset, &request);
                *mine += u64::from(request.by == by);
            }
        };
        while reader.read_whole(&mut |record, headers| {
            each(record.offset, headers.filter(|(name, _)| *name == REQUEST).last());
        })? {}
        requests.next = reader.next();
        Ok(())
    }

    /// Whether what was asked can still be read: of a job that has taken some there is a topic, and as much in it as it took.
    pub(super) fn whole(&self, stands: &Stands) -> Result<(), Fault> {
        let topic = self.env.redrive();
        let kept = self.ledger.kept(&topic)?.and_then(|kept| kept.into_iter().next()).unwrap_or_default();
        if stands.reach.furthest() <= kept.end {
            return Ok(());
        }
        Err(Fault::new(
            Exit::Restore,
            format!(
                "{} has taken requests up to offset {} of topic {topic}, and that is gone from {}: which letters were sent again is not \
                 known any more; restore the topic, or start a new version",
                self.env.identity(),
                stands.reach.furthest(),
                self.ledger.name()
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use millpond_state::Timestamp;

    use super::*;
    use crate::redrive::LetterId;

    #[test]
    fn what_has_to_be_there_is_looked_for_again_and_not_for_ever() {
        let looks = Cell::new(0);
        let after = |count: u32| {
            looks.set(0);
            let look = || {
                looks.set(looks.get() + 1);
                Ok((looks.get() > count).then_some(7))
            };
            (known(&look, Duration::ZERO).unwrap(), looks.get())
        };
        assert_eq!(after(0), (Some(7), 1));
        assert_eq!(after(3), (Some(7), 4), "a broker that has just started knows it a little later");
        assert_eq!(after(LOOKS), (None, LOOKS));
    }
    #[test]
    fn letters_are_kept_while_they_are_few() {
        let letter = |bytes: usize| {
            let dead = DeadLetter { value: Some(vec![0; bytes]), ..DeadLetter::default() };
            Letter { id: LetterId::default(), at: Timestamp::EPOCH, run: String::new(), epoch: 0, dead }
        };
        let mut letters = Letters::new(1 << 20);
        letters.keep(letter(1_000));
        letters.keep(letter(2_000));
        assert_eq!(letters.kept.as_ref().map(Vec::len), Some(2));
        letters.keep(letter(1 << 20));
        letters.keep(letter(1));
        assert_eq!(letters.kept, None, "then none, since some would be no list of all");
    }
}
