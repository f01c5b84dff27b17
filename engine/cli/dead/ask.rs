//! `dead-letters redrive` and `drop`: what is to become of letters.
//!
//! Letters are looked through to say what would be asked, and to ask it, in pieces, each of which is one atomic write under the fence of
//! the topic of requests. Under the fence it is read to its end, and what somebody has asked meanwhile is not asked again. So it may be broken
//! off, repeated, and called twice at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use millpond_state::Timestamp;

use super::choose::Choice;
use super::desk::{Desk, Life, Requests};
use super::show::unknown;
use crate::cli::options::{flag, id};
use crate::cli::{figures, terminal};
use crate::control::ask;
use crate::ledger::{Added, Own};
use crate::redrive::{Letter, LetterId, Marks, REQUEST, Request};
use crate::{Exit, Fault, clock, failpoint};

/// Letters are asked of in pieces of so many, and of so many bytes.
const PIECE: usize = 1_000;
const PIECE_BYTES: usize = 4 << 20;

pub(super) fn redrive(desk: &Desk<'_>) -> Result<Exit, Fault> {
    Asking::of(desk, false)?.run()
}

pub(super) fn drop_letters(desk: &Desk<'_>) -> Result<Exit, Fault> {
    Asking::of(desk, true)?.run()
}

/// One call.
struct Asking<'a> {
    desk: &'a Desk<'a>,
    choice: Choice,
    drop: bool,
    /// What tells this call's requests from those of others.
    by: String,
}

/// What would be asked.
#[derive(Default)]
struct Found {
    chosen: u64,
    /// Chosen ones whose records have timestamps before the watermark.
    behind: u64,
    /// Those of which something was asked before, by how they stand.
    before: BTreeMap<&'static str, u64>,
    /// Those that cannot be asked of, by the reason.
    hindered: BTreeMap<&'static str, u64>,
    /// The names that meant a letter.
    known: Vec<bool>,
}

impl<'a> Asking<'a> {
    fn of(desk: &'a Desk<'a>, drop: bool) -> Result<Self, Fault> {
        let choice = Choice::of(desk.matches);
        if !choice.says_which() {
            let text = "say which dead letters are meant: by their IDs, with a filter, or with --all";
            return Err(Fault::new(Exit::Usage, text));
        }
        Ok(Asking { desk, choice, drop, by: format!("{:016x}", clock::random()) })
    }

    fn run(&self) -> Result<Exit, Fault> {
        let (desk, life) = (self.desk, self.desk.life()?);
        desk.whole(&life)?;
        let mut requests = Requests::default();
        desk.read_on(&mut requests, &self.by, false)?;
        desk.letters(&life, &mut |letter| {
            requests.marks.letter(&letter);
            Ok(())
        })?;
        let found = self.look(&requests.marks, &life)?;
        let names = self.choice.named.iter().zip(&found.known).filter(|(_, known)| !**known);
        let names: Vec<_> = names.map(|(named, _)| named.to_string()).collect();
        if !names.is_empty() {
            return Err(unknown(desk, &names.join(", ")));
        }
        if !self.drop {
            self.refuse(&life, &found)?;
        }
        let mut words = self.words(&life, &found);
        if found.chosen == 0 {
            let what = format!("nothing to {}: no dead letter that is chosen is open", self.verb());
            terminal::print(&format!("{what}{words}\n"))?;
            return Ok(Exit::Finished);
        }
        let what = format!("{} dead letters of {}", figures::count(found.chosen), desk.env.identity());
        let what = if found.chosen == 1 { what.replace("letters", "letter") } else { what };
        if flag(desk.matches, id::DRY_RUN) {
            terminal::print(&format!("with --dry-run nothing is changed; this would {} {what}{words}\n", self.verb()))?;
            return Ok(Exit::Finished);
        }
        let question = format!("this is to {} {what}{words}", self.verb());
        if !flag(desk.matches, id::YES) && !terminal::agreed(&question)? {
            return Err(Fault::new(
                Exit::Refused,
                format!("nothing was asked of {what}: nobody said yes; --yes says it beforehand"),
            ));
        }
        self.ask_all(&life, &mut requests)?;
        let asked = figures::count(requests.mine);
        let others = found.chosen.saturating_sub(requests.mine);
        if others > 0 {
            let _ = write!(words, "\n  {} were asked of by somebody else meanwhile", figures::count(others));
        }
        let done = match self.drop {
            true => format!("dropped {asked} of {what}"),
            false => format!("asked for {asked} of {what} again, in topic {}; {}", desk.env.redrive(), self.when()?),
        };
        terminal::print(&format!("{done}{words}\n"))?;
        Ok(Exit::Finished)
    }

    fn verb(&self) -> &'static str {
        if self.drop { "drop" } else { "redrive" }
    }

    /// Whether something can be asked of a letter, for all that is known of it.
    fn may(&self, marks: &Marks, letter: LetterId) -> bool {
        if self.drop { marks.may_drop(letter) } else { marks.may_redrive(letter, !self.choice.named.is_empty()) }
    }

    fn look(&self, marks: &Marks, life: &Life) -> Result<Found, Fault> {
        let mut found = Found { known: vec![false; self.choice.named.len()], ..Found::default() };
        self.desk.letters(life, &mut |letter| {
            self.choice.names(&letter).for_each(|name| found.known[name] = true);
            let mark = marks.of(letter.id, &life.reach);
            if !self.choice.takes(&letter, mark, self.desk.topic_of(&letter.dead.source)) {
                return Ok(());
            }
            if !self.may(marks, letter.id) {
                *found.before.entry(mark.name()).or_default() += 1;
            } else if let Some(why) = self.desk.hindered(&letter).filter(|_| !self.drop) {
                *found.hindered.entry(why).or_default() += 1;
            } else {
                found.chosen += 1;
                found.behind += u64::from(letter.at < life.watermark);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// What has to be so before anything is sent again.
    fn refuse(&self, life: &Life, found: &Found) -> Result<(), Fault> {
        let job = self.desk.env.identity();
        let next = self.desk.env.version.saturating_add(1);
        let way = format!("a new version (`replay {next}`, without a savepoint) reads the records themselves");
        if life.finished || life.ends {
            let is = if life.finished { "has finished" } else { "ends where its input ended (--until-end)" };
            return Err(Fault::new(Exit::Refused, format!("{job} {is} and takes no records again; {way}")));
        }
        match found.hindered.iter().next() {
            // Who names a letter is told; of many, those are left out.
            Some((why, _)) if !self.choice.named.is_empty() => Err(Fault::new(
                Exit::Refused,
                format!("nothing was asked of {job}: a dead letter cannot be sent again: {why}"),
            )),
            _ => Ok(()),
        }
    }

    fn words(&self, life: &Life, found: &Found) -> String {
        let mut words = String::new();
        for (name, count) in &found.before {
            let _ = write!(words, "\n  {} more are {name} already", figures::count(*count));
        }
        for (why, count) in &found.hindered {
            let _ = write!(words, "\n  {} more cannot be sent again: {why}", figures::count(*count));
        }
        if !self.drop && found.chosen > 0 && life.watermark != Timestamp::MIN {
            let _ = write!(
                words,
                "\n  the watermark stands at {}, and {} of their records have earlier timestamps: where a window over a record is final, \
                 the record is late",
                life.watermark,
                figures::count(found.behind)
            );
        }
        if let Some(note) = &life.note {
            let _ = write!(words, "\n  note: {note}");
        }
        words
    }

    /// When the job takes them.
    fn when(&self) -> Result<&'static str, Fault> {
        Ok(match ask(&self.desk.env.home(), "status")? {
            Some(_) => "it runs, and takes them within seconds",
            None => "it does not run here, and takes them when it is started",
        })
    }

    fn ask_all(&self, life: &Life, requests: &mut Requests) -> Result<(), Fault> {
        let (mut piece, mut bytes) = (Vec::new(), 0);
        self.desk.letters(life, &mut |letter| {
            // How it stands was looked at before; what stands otherwise by now is found under the fence.
            let mark = requests.marks.of(letter.id, &Default::default());
            let taken = self.choice.takes(&letter, mark, self.desk.topic_of(&letter.dead.source));
            if !taken || !self.may(&requests.marks, letter.id) || (!self.drop && self.desk.hindered(&letter).is_some())
            {
                return Ok(());
            }
            bytes += letter.dead.value.as_ref().map_or(0, Vec::len) + letter.dead.error.len();
            piece.push(letter);
            if piece.len() < PIECE && bytes < PIECE_BYTES {
                return Ok(());
            }
            bytes = 0;
            self.append(requests, &std::mem::take(&mut piece))
        })?;
        self.append(requests, &piece)?;
        self.desk.read_on(requests, &self.by, false)
    }

    /// Asks of one piece: all of it, but for what somebody has asked, or nothing.
    fn append(&self, requests: &mut Requests, piece: &[Letter]) -> Result<(), Fault> {
        if piece.is_empty() {
            return Ok(());
        }
        let (topic, writer) = (self.desk.env.redrive(), self.desk.env.redriver());
        let own = Own { topic: &topic, writer: &writer, compacted: false };
        let mark = format!("{writer} {} 0", self.by);
        self.desk.ledger.append(own, &mut || {
            failpoint::hit("redrive fenced");
            self.desk.read_on(requests, &self.by, true)?;
            let fresh = piece.iter().filter(|letter| self.may(&requests.marks, letter.id));
            let added = fresh.map(|letter| self.added(letter, &mark)).collect();
            failpoint::hit("redrive decided");
            Ok(added)
        })?;
        failpoint::hit("redrive appended");
        Ok(())
    }

    fn added(&self, letter: &Letter, mark: &str) -> Added {
        let request = Request::new(letter, self.drop, &self.by, clock::wall());
        let mut headers = vec![("millpond".to_owned(), mark.as_bytes().to_owned())];
        let dead = &letter.dead;
        // What is dropped needs no copy.
        let (key, value) = match self.drop {
            true => (None, None),
            false => (dead.key.clone(), dead.value.clone()),
        };
        if !self.drop {
            headers.extend(dead.headers.iter().cloned());
        }
        headers.push((REQUEST.to_owned(), request.bytes()));
        Added { key, value, headers }
    }
}
