//! `dead-letters redrive` and `drop`: what is to become of letters.
//!
//! Letters are looked through to say what would be asked, and to ask it, in pieces, each of which is one atomic write under the fence of
//! the topic of requests. Under the fence it is read to its end, and what somebody has asked meanwhile is not asked again. So it may be broken
//! off, repeated, and called twice at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use millpond_state::Timestamp;

use super::choose::Choice;
use super::desk::{Desk, Letters, Requests};
use super::notes;
use super::show::unknown;
use super::stands::{Stands, replay, untaken};
use crate::cli::options::{flag, id};
use crate::cli::{figures, terminal};
use crate::ledger::{Added, Own};
use crate::redrive::{Letter, Marks, REQUEST, Request};
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
        let (desk, stands) = (self.desk, self.desk.stands()?);
        desk.whole(&stands)?;
        let (mut requests, letters) = desk.known(&stands, &self.by)?;
        let found = self.look(&stands, &letters, &requests.marks)?;
        let names = self.choice.named.iter().zip(&found.known).filter(|(_, known)| !**known);
        let names: Vec<_> = names.map(|(named, _)| named.to_string()).collect();
        if !names.is_empty() {
            return Err(unknown(desk, &names.join(", ")));
        }
        if !self.drop {
            self.refuse(&stands, &found)?;
        }
        let mut words = self.words(&stands, &requests.marks, &found);
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
        self.ask_all(&stands, &letters, &mut requests)?;
        let asked = figures::count(requests.mine);
        let others = found.chosen.saturating_sub(requests.mine);
        if others > 0 {
            let _ = write!(words, "\n  {} were asked of by somebody else meanwhile", figures::count(others));
        }
        let done = match self.drop {
            true => format!("dropped {asked} of {what}"),
            false => format!(
                "asked for {asked} of {what} again, in topic {}; {}",
                desk.env.redrive(),
                self.when(&stands, &requests)?
            ),
        };
        terminal::print(&format!("{done}{words}\n"))?;
        Ok(Exit::Finished)
    }

    fn verb(&self) -> &'static str {
        if self.drop { "drop" } else { "redrive" }
    }

    /// Whether something can be asked of a letter, for all that is known of it.
    fn may(&self, marks: &Marks, letter: &Letter) -> bool {
        if self.drop { marks.may_drop(letter) } else { marks.may_redrive(letter, !self.choice.named.is_empty()) }
    }

    fn look(&self, stands: &Stands, letters: &Letters, marks: &Marks) -> Result<Found, Fault> {
        let mut found = Found { known: vec![false; self.choice.named.len()], ..Found::default() };
        self.desk.letters(stands, letters, marks, &mut |letter| {
            let again = marks.again(letter.id);
            self.choice.names(letter, again).for_each(|name| found.known[name] = true);
            let mark = marks.of(letter, &stands.reach);
            if !self.choice.takes(letter, again, mark, self.desk.topic_of(&letter.dead.source)) {
                return Ok(());
            }
            if !self.may(marks, letter) {
                *found.before.entry(mark.name()).or_default() += 1;
            } else if let Some(why) = self.desk.hindered(letter).filter(|_| !self.drop) {
                *found.hindered.entry(why).or_default() += 1;
            } else {
                found.chosen += 1;
                found.behind += u64::from(letter.at < stands.watermark);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// What has to be so before anything is sent again.
    fn refuse(&self, stands: &Stands, found: &Found) -> Result<(), Fault> {
        let job = self.desk.env.identity();
        let way = replay(&self.desk.env);
        if stands.finished || stands.until.is_some() {
            let is = match (stands.finished, stands.runs) {
                (true, _) => "has finished",
                (false, true) => "runs to where its input ended (--until-end)",
                (false, false) => "was to end where its input ended (--until-end)",
            };
            let first = stands.way();
            return Err(Fault::new(Exit::Refused, format!("{job} {is} and takes no records again; {first}{way}")));
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

    fn words(&self, stands: &Stands, marks: &Marks, found: &Found) -> String {
        let mut words = String::new();
        for (name, count) in &found.before {
            let _ = write!(words, "\n  {} more are {name} already", figures::count(*count));
        }
        for (why, count) in &found.hindered {
            let _ = write!(words, "\n  {} more cannot be sent again: {why}", figures::count(*count));
        }
        if !self.drop && found.chosen > 0 && stands.watermark != Timestamp::MIN {
            let _ = write!(
                words,
                "\n  the watermark stands at {}, and {} of their records have earlier timestamps: where a window over a record is final, \
                 the record is late",
                stands.watermark,
                figures::count(found.behind)
            );
        }
        for note in notes(stands, marks) {
            let _ = write!(words, "\n  note: {note}");
        }
        words
    }

    /// When the job takes them. It may have been started while they were asked for.
    fn when(&self, before: &Stands, requests: &Requests) -> Result<&'static str, Fault> {
        let now = self.desk.stands()?;
        self.same(before, &now)?;
        if let Some(left) = untaken(&now, requests, &self.desk.env) {
            return Err(Fault::new(Exit::Refused, format!("this was asked, but meanwhile it was started: {left}")));
        }
        Ok(match now.runs {
            true => "it runs, and takes them within seconds",
            false => "it does not run here, and takes them when it is started from now on",
        })
    }

    /// Whether it is still the same life of the job.
    fn same(&self, before: &Stands, now: &Stands) -> Result<(), Fault> {
        if before.life.known() == now.life.known() {
            return Ok(());
        }
        Err(Fault::new(
            Exit::Retry,
            format!(
                "{} was begun again with --new while this was asked, and takes nothing that was asked before; ask again for what is a dead \
                 letter now",
                self.desk.env.identity()
            ),
        ))
    }

    fn ask_all(&self, stands: &Stands, letters: &Letters, requests: &mut Requests) -> Result<(), Fault> {
        let (mut piece, mut bytes) = (Vec::new(), 0);
        let marks = requests.marks.clone();
        self.desk.letters(stands, letters, &marks, &mut |letter| {
            // How it stands was looked at before; what stands otherwise by now is found under the fence.
            let mark = marks.of(letter, &stands.reach);
            let again = marks.again(letter.id);
            let taken = self.choice.takes(letter, again, mark, self.desk.topic_of(&letter.dead.source));
            if !taken || !self.may(&marks, letter) || (!self.drop && self.desk.hindered(letter).is_some()) {
                return Ok(());
            }
            bytes += letter.dead.value.as_ref().map_or(0, Vec::len) + letter.dead.error.len();
            piece.push(letter.clone());
            if piece.len() < PIECE && bytes < PIECE_BYTES {
                return Ok(());
            }
            bytes = 0;
            self.append(stands, requests, &std::mem::take(&mut piece))
        })?;
        self.append(stands, requests, &piece)?;
        self.desk.read_on(requests, &self.by, false)
    }

    /// Asks of one piece: all of it, but for what somebody has asked, or nothing.
    fn append(&self, stands: &Stands, requests: &mut Requests, piece: &[Letter]) -> Result<(), Fault> {
        if piece.is_empty() {
            return Ok(());
        }
        let (topic, writer) = (self.desk.env.redrive(), self.desk.env.redriver());
        let own = Own { topic: &topic, writer: &writer, compacted: false };
        let mark = format!("{writer} {} 0", self.by);
        self.desk.ledger.append(own, &mut || {
            failpoint::hit("redrive fenced");
            self.desk.read_on(requests, &self.by, true)?;
            self.same(stands, &self.desk.stands()?)?;
            let fresh = piece.iter().filter(|letter| self.may(&requests.marks, letter));
            let added = fresh.map(|letter| self.added(stands, letter, &mark)).collect();
            failpoint::hit("redrive decided");
            Ok(added)
        })?;
        failpoint::hit("redrive appended");
        Ok(())
    }

    fn added(&self, stands: &Stands, letter: &Letter, mark: &str) -> Added {
        let request = Request::new(letter, stands.life.known(), self.drop, &self.by, clock::wall());
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
