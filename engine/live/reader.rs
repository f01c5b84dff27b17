//! The reader: rows of the version that the line is at, until it has to go over to the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use millpond_state::Timestamp;

use super::reading::Reading;
use super::{Aside, Behind, Handed, LiveRow, Position, starts};
use crate::ledger::Ledger;
use crate::registry::{Entry, Next, Place};
use crate::{Exit, Fault, clock};

/// Between two looks for new rows.
const LOOK: Duration = Duration::from_millis(20);

/// A version whose rows below a switch are still taken.
pub(super) struct Leaving {
    pub(super) lower: Timestamp,
    pub(super) upper: Timestamp,
    pub(super) reading: Reading,
}

/// Follows the live line. Made by [`Live::on`](super::Live::on).
pub struct LiveReader {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) job: String,
    pub(super) output: String,
    pub(super) entry: Entry,
    pub(super) place: Place,
    pub(super) current: Reading,
    pub(super) aside: Option<Aside>,
    pub(super) handed: Vec<Handed>,
    pub(super) behind: Vec<Leaving>,
}

impl std::fmt::Debug for LiveReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (job, output, place) = (&self.job, &self.output, &self.place);
        f.debug_struct("LiveReader")
            .field("job", job)
            .field("output", output)
            .field("place", place)
            .finish_non_exhaustive()
    }
}

impl LiveReader {
    /// The next rows; none when there were none within `most`.
    ///
    /// # Errors
    /// [`Exit::Refused`] when the version it stood in was retired before it had gone over to the next; and when the registry or the output
    /// cannot be read.
    pub fn read(&mut self, most: Duration) -> Result<Vec<LiveRow>, Fault> {
        let begun = clock::instant();
        loop {
            let rows = self.look()?;
            let passed = clock::instant().saturating_duration_since(begun);
            if !rows.is_empty() || passed >= most {
                return Ok(rows.into());
            }
            self.ledger.wait(LOOK.min(most.saturating_sub(passed)));
        }
    }

    /// The version it reads.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.place.version
    }

    /// Where it stands, after all rows that it has handed out.
    #[must_use]
    pub fn position(&self) -> Position {
        let behind = self.behind.iter().map(|leaving| Behind {
            version: leaving.reading.version,
            lower: leaving.lower,
            upper: leaving.upper,
            next: leaving.reading.next.clone(),
        });
        let (job, place, next) = (self.job.clone(), self.place, self.current.next.clone());
        let output = Some(self.output.clone());
        let (aside, handed) = (self.aside.clone(), self.handed.clone());
        Position { job, output, place, next, aside, handed, behind: behind.collect() }
    }

    /// Whether it has read all that its versions have committed by now.
    pub(crate) fn is_at_end(&self) -> Result<bool, Fault> {
        for reading in self.behind.iter().map(|leaving| &leaving.reading).chain([&self.current]) {
            let Some(output) = self.entry.output(reading.version, &self.output) else { continue };
            let kept = self.ledger.kept(&output.at)?.unwrap_or_default();
            let read = |(at, kept): (usize, &std::ops::Range<u64>)| {
                kept.is_empty() || reading.next.get(at).is_some_and(|next| *next >= kept.end)
            };
            if !kept.iter().enumerate().all(read) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn look(&mut self) -> Result<VecDeque<LiveRow>, Fault> {
        let (mut rows, lower, handed) = (VecDeque::new(), self.place.lower, &self.handed);
        let fresh = |partition: usize, offset: u64, at: Timestamp| {
            let was =
                |handed: &Handed| at < handed.upper && handed.before.get(partition).is_some_and(|end| offset < *end);
            at >= lower && !handed.iter().any(was)
        };
        let at = self.entry.output(self.place.version, &self.output).map_or("", |output| &output.at);
        let read = self.current.read(&*self.ledger, at, fresh, &mut rows);
        // After the rows were committed: what was decided before that is seen.
        self.refresh()?;
        let before = match read {
            Ok(before) => before,
            // Its topic is gone because it is being retired: that is the better word.
            Err(_) if self.entry.versions.get(&self.place.version).is_none_or(|version| version.retiring) => {
                return Err(self.gone());
            }
            Err(fault) => return Err(fault),
        };
        let upper = match self.entry.next(&self.output, &mut self.place) {
            Next::Gone => return Err(self.gone()),
            Next::Stay => Timestamp::MAX,
            Next::Until { upper, .. } => upper,
        };
        if self.aside.as_ref().is_some_and(|aside| aside.upper < upper) {
            // The switch was taken back or moved on: what lay behind it is this version's after all.
            self.take_up(before);
            return Ok(VecDeque::new());
        }
        let count = rows.len();
        rows.retain(|row| row.at < upper);
        if rows.len() < count || self.aside.is_some() {
            self.aside.get_or_insert(Aside { upper, from: before }).upper = upper;
        }
        if let Some(last) = rows.iter().map(|row| row.at).max() {
            self.place.beyond = self.place.beyond.max(last.plus_micros(1));
        }
        if let Next::Until { upper, leg, left } = self.entry.next(&self.output, &mut self.place)
            && self.entry.may_leave(&self.output, self.place.version, (upper, left), &self.current.next)
        {
            self.go_over(upper, leg)?;
        }
        self.read_behind(&mut rows)?;
        Ok(rows)
    }

    /// Reads again what was left aside. The rows of this look have not been handed out: it begins before them.
    fn take_up(&mut self, before: Vec<u64>) {
        let Some(aside) = self.aside.take() else { return };
        self.handed.push(Handed { upper: aside.upper, before });
        self.current = Reading::new(self.place.version, aside.from);
    }

    /// The version that it read is complete up to the switch: on with the next.
    fn go_over(&mut self, upper: Timestamp, leg: usize) -> Result<(), Fault> {
        let settled = self.entry.output(self.place.version, &self.output).is_some_and(|output| output.settled);
        let next = &self.entry.line[leg];
        let (version, since) = (next.version, next.from(&self.output));
        let starts = starts(&*self.ledger, &self.entry, &self.output, leg, Timestamp::MIN)?;
        let left = std::mem::replace(&mut self.current, Reading::new(version, starts));
        if !settled {
            self.behind.push(Leaving { lower: self.place.lower, upper, reading: left });
        }
        self.place = Place { version, since, lower: upper, beyond: Timestamp::MIN };
        (self.aside, self.handed) = (None, Vec::new());
        Ok(())
    }

    /// Rows below a switch that came after it: late records, and what met no window.
    fn read_behind(&mut self, rows: &mut VecDeque<LiveRow>) -> Result<(), Fault> {
        let (entry, output) = (&self.entry, &self.output);
        self.behind
            .retain(|leaving| entry.versions.get(&leaving.reading.version).is_some_and(|version| !version.retiring));
        for leaving in &mut self.behind {
            let Some(at) = entry.output(leaving.reading.version, output) else { continue };
            let (lower, upper) = (leaving.lower, leaving.upper);
            leaving.reading.read(&*self.ledger, &at.at, |_, _, time| time >= lower && time < upper, rows)?;
        }
        Ok(())
    }

    fn refresh(&mut self) -> Result<(), Fault> {
        if let Some(entry) = crate::registry::look(&*self.ledger, &self.job)? {
            self.entry = entry;
        }
        Ok(())
    }

    fn gone(&self) -> Fault {
        let (job, output, version) = (&self.job, &self.output, self.place.version);
        let until = self.place.lower.max(self.place.beyond);
        Fault::new(
            Exit::Refused,
            format!(
                "version {version} of job {job} was retired while this reader of {output} stood in it, or a switch to it was taken back. It \
                 has handed out rows before {until}, but not all of them where partitions were not read equally far; begin a new reader with \
                 `.since(..)` from a time up to which you have everything, or from the beginning"
            ),
        )
    }
}
