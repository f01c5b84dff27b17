//! Compares the committed outputs of two versions over the same stretch of event time.
//!
//! Rows are the same one when they have event time and key in common: of windows, that is window and key. Both sides are sorted
//! by (event time, key, value) with external merging, in bounded memory, and gone through side by side: equal rows, rows that differ and in
//! which columns, rows of one side only. Rows of one place that differ are paired in the order of their values.
//!
//! Of tables, whose records are changes, the rows are the newest values of keys.
//!
//! Modules: `rows` and `sorted` sort, `table` adds changes up; `columns` looks into values; `expect` says which differences are meant.

mod columns;
mod expect;
mod rows;
mod sorted;
mod table;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use millpond_state::Timestamp;
use serde::Serialize;

pub use columns::{Tolerance, Tolerances};
pub use expect::Expected;

use crate::Fault;
use crate::ledger::{CommittedRecord, Ledger};
use columns::Unseen;
use rows::Row;
use sorted::{Sorted, Sorter};
use table::{Changes, Table};

/// Rows of one place that are looked at column by column; more than so many are counted as rows of one side.
const PAIRED: usize = 1_024;

/// How to compare.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Rows of these event times; of a table all.
    pub times: Range<Timestamp>,
    /// Whether the outputs are tables: of each key only the newest value counts.
    pub table: bool,
    /// How far numbers may be off.
    pub tolerances: Tolerances,
    /// Where rows are written aside.
    pub scratch: PathBuf,
    /// Bytes of memory for sorting, both sides together.
    pub memory: usize,
    /// Differences to show.
    pub samples: usize,
}

/// What became of one output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputReport {
    /// Its name.
    pub output: String,
    /// Whether it is a table, whose rows are the newest values of keys.
    pub table: bool,
    /// Rows from this event time on were compared.
    pub since: Timestamp,
    /// Rows before this event time were compared.
    pub until: Timestamp,
    /// Rows of the first version.
    pub first: u64,
    /// Rows of the second.
    pub second: u64,
    /// Rows that are equal.
    pub equal: u64,
    /// Rows that are equal within the tolerances.
    pub tolerated: u64,
    /// Rows of the first version that the second has not.
    pub only_in_first: u64,
    /// Rows of the second version that the first has not.
    pub only_in_second: u64,
    /// Rows that both have, and that differ.
    pub differing: u64,
    /// In how many rows each column differs.
    pub columns: BTreeMap<String, u64>,
    /// Columns that have a tolerance, and that no row has which was looked into: the first ones, and all that differ.
    pub unseen: Vec<String>,
    /// What was not as expected.
    pub unexpected: Vec<String>,
    /// Some of the differences, in order.
    pub samples: Vec<Sample>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Event time; rows of a table have none.
    pub at: Option<String>,
    /// Its key, as text.
    pub key: Option<String>,
    /// The first version's value, as text.
    pub first: Option<String>,
    /// The second version's value.
    pub second: Option<String>,
    /// The columns that differ, when both are there.
    pub columns: Vec<String>,
}

impl OutputReport {
    fn new(output: &str) -> Self {
        OutputReport {
            output: output.to_owned(),
            table: false,
            since: Timestamp::MIN,
            until: Timestamp::MIN,
            first: 0,
            second: 0,
            equal: 0,
            tolerated: 0,
            only_in_first: 0,
            only_in_second: 0,
            differing: 0,
            columns: BTreeMap::new(),
            unseen: Vec::new(),
            unexpected: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Rows that are not equal, even within the tolerances.
    #[must_use]
    pub fn differences(&self) -> u64 {
        self.only_in_first + self.only_in_second + self.differing
    }

    /// Notes what is not as it was expected.
    pub fn judge(&mut self, expected: &Expected) {
        self.unexpected = expected.check(self);
    }
}

/// Compares one output: `first` and `second` are what two versions call it.
///
/// # Errors
/// When an output cannot be read, or rows cannot be written aside. Nothing is changed in any case.
pub fn compare(
    ledger: &dyn Ledger,
    output: &str,
    [first, second]: [&str; 2],
    settings: &Settings,
) -> Result<OutputReport, Fault> {
    let Range { start: since, end: until } = settings.times;
    let report = OutputReport { table: settings.table, since, until, ..OutputReport::new(output) };
    let [left, right] = [side(ledger, first, settings)?, side(ledger, second, settings)?];
    let unseen = Unseen::new(&settings.tolerances);
    Pairing { left, right, settings, report, unseen }.run()
}

/// The rows of one version, in order.
enum Side {
    Rows(Sorted),
    Table(Table),
}

impl Side {
    fn current(&self) -> Option<Row<'_>> {
        match self {
            Side::Rows(rows) => rows.current(),
            Side::Table(table) => table.current(),
        }
    }

    fn next(&mut self) -> Result<(), Fault> {
        match self {
            Side::Rows(rows) => rows.next(),
            Side::Table(table) => table.next(),
        }
    }
}

fn side(ledger: &dyn Ledger, output: &str, settings: &Settings) -> Result<Side, Fault> {
    let (scratch, memory) = (&settings.scratch, (settings.memory / 2).max(1));
    if settings.table {
        let mut changes = Changes::new(scratch, memory);
        each(ledger, output, |record| changes.push(record))?;
        return Ok(Side::Table(changes.table()?));
    }
    let mut sorter = Sorter::new(scratch, memory);
    each(
        ledger,
        output,
        |CommittedRecord { at, key, value, .. }| {
            if settings.times.contains(&at) { sorter.push(Row { at, key, value }) } else { Ok(()) }
        },
    )?;
    Ok(Side::Rows(sorter.sorted()?))
}

/// Reads an output as it is now.
fn each(
    ledger: &dyn Ledger,
    output: &str,
    mut take: impl FnMut(CommittedRecord<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    for (partition, kept) in (0..).zip(ledger.kept(output)?.unwrap_or_default()) {
        let mut reader = ledger.read(output, partition, kept.start)?;
        let mut taken = Ok(());
        let mut more = true;
        while more && reader.next() < kept.end && taken.is_ok() {
            more = reader.read(&mut |record| {
                if record.offset < kept.end && taken.is_ok() {
                    taken = take(record);
                }
            })?;
        }
        taken?;
    }
    Ok(())
}

struct Pairing<'a> {
    left: Side,
    right: Side,
    settings: &'a Settings,
    report: OutputReport,
    unseen: Unseen,
}

/// A row without its time.
type Owned = (Option<Vec<u8>>, Option<Vec<u8>>);

impl Pairing<'_> {
    fn run(mut self) -> Result<OutputReport, Fault> {
        // Rows of one place that the other side has not got so far.
        let (mut lefts, mut rights): (Vec<Owned>, Vec<Owned>) = (Vec::new(), Vec::new());
        let mut place: Option<(Timestamp, Option<Vec<u8>>)> = None;
        loop {
            let order = match (self.left.current(), self.right.current()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => left.order(&right),
            };
            for row in [self.left.current(), self.right.current()].into_iter().flatten() {
                self.unseen.look(row.value, false);
            }
            if order == Ordering::Equal {
                self.report.equal += 1;
                self.report.first += 1;
                self.report.second += 1;
                self.left.next()?;
                self.right.next()?;
                continue;
            }
            let row = if order == Ordering::Less { self.left.current() } else { self.right.current() };
            let row = row.expect("the lesser side has a row");
            if !place.as_ref().is_some_and(|(at, key)| *at == row.at && key.as_deref() == row.key) {
                let next = (row.at, row.key.map(<[u8]>::to_owned));
                let entry = (next.1.clone(), row.value.map(<[u8]>::to_owned));
                if let Some((at, _)) = place.replace(next) {
                    self.pair(at, &mut lefts, &mut rights);
                }
                if order == Ordering::Less { lefts.push(entry) } else { rights.push(entry) }
            } else {
                let entry = (row.key.map(<[u8]>::to_owned), row.value.map(<[u8]>::to_owned));
                let side = if order == Ordering::Less { &mut lefts } else { &mut rights };
                if side.len() < PAIRED {
                    side.push(entry);
                } else if order == Ordering::Less {
                    self.report.only_in_first += 1;
                } else {
                    self.report.only_in_second += 1;
                }
            }
            if order == Ordering::Less {
                self.report.first += 1;
                self.left.next()?;
            } else {
                self.report.second += 1;
                self.right.next()?;
            }
        }
        if let Some((at, _)) = place {
            self.pair(at, &mut lefts, &mut rights);
        }
        self.report.unseen = self.unseen.columns();
        Ok(self.report)
    }

    /// Rows of one place that no row of the other side equals.
    fn pair(&mut self, at: Timestamp, lefts: &mut Vec<Owned>, rights: &mut Vec<Owned>) {
        let count = lefts.len().max(rights.len());
        let (mut left, mut right) = (lefts.drain(..), rights.drain(..));
        for _ in 0..count {
            let (left, right) = (left.next(), right.next());
            let columns = match (&left, &right) {
                (Some((_, left)), Some((_, right))) => {
                    self.unseen.look(left.as_deref(), true);
                    self.unseen.look(right.as_deref(), true);
                    let columns = columns::differing(left.as_deref(), right.as_deref(), &self.settings.tolerances);
                    if columns.is_empty() {
                        self.report.tolerated += 1;
                        continue;
                    }
                    self.report.differing += 1;
                    for column in &columns {
                        *self.report.columns.entry(column.clone()).or_default() += 1;
                    }
                    columns
                }
                (Some(_), None) => {
                    self.report.only_in_first += 1;
                    Vec::new()
                }
                _ => {
                    self.report.only_in_second += 1;
                    Vec::new()
                }
            };
            if self.report.samples.len() < self.settings.samples {
                let text =
                    |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                let key = left.as_ref().or(right.as_ref()).and_then(|(key, _)| text(key));
                let value = |side: &Option<Owned>| side.as_ref().and_then(|(_, value)| text(value));
                let (first, second) = (value(&left), value(&right));
                let at = (!self.settings.table).then(|| at.to_string());
                self.report.samples.push(Sample { at, key, first, second, columns });
            }
        }
    }
}

#[cfg(test)]
mod tests;
