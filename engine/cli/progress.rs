//! What a run shows while it runs: a block redrawn in place on a terminal, a line every few seconds elsewhere.

use std::time::{Duration, Instant};

use super::{figures, terminal};
use crate::status::lag;
use crate::{Status, clock};

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// The shown rate is that of about this long.
const MEMORY_SECS: f64 = 3.0;
const BAR: usize = 30;

/// How a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// As a block on the terminal.
    Block,
    /// As lines.
    Lines,
    /// Not at all: the job's output stands where the block would.
    Not,
}

/// What a run comes to when nothing is left to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Its end: the last windows fire.
    Finished,
    /// What is written just now; it stops there, or goes on with it.
    CaughtUp,
    /// Nothing of account: it has run long, and goes on.
    Not,
}

/// Follows a run.
#[derive(Debug)]
pub(super) struct Progress {
    shown: Shown,
    ends: Ends,
    began: Instant,
    /// When and where it was looked at last: records read, positions passed.
    last: (Instant, u64, u64),
    records: Rate,
    positions: Rate,
    /// The positions it went on from, added up.
    first: u64,
    line_due: Instant,
}

impl Progress {
    pub(super) fn new(shown: Shown, ends: Ends, status: &Status) -> Self {
        let (now, first) = (clock::instant(), position(status));
        let last = (now, status.records_read, first);
        let (records, positions) = (Rate::default(), Rate::default());
        Progress { shown, ends, began: now, last, records, positions, first, line_due: now + LINE_EVERY }
    }

    /// How long it has run.
    pub(super) fn elapsed(&self) -> Duration {
        clock::instant().saturating_duration_since(self.began)
    }

    /// Shows how the run stands now.
    pub(super) fn tick(&mut self, status: &Status) {
        let now = clock::instant();
        self.look(status, now);
        match self.shown {
            Shown::Block => terminal::draw(&self.block(status, now, clock::wall().micros())),
            Shown::Lines if now >= self.line_due => {
                self.line_due = now + LINE_EVERY;
                let [first, second, ..] = &self.block(status, now, clock::wall().micros())[..] else { return };
                terminal::say(&format!("{first}   {second}"));
            }
            _ => {}
        }
    }

    fn look(&mut self, status: &Status, now: Instant) {
        let (then, records, before) = self.last;
        let (secs, position) = (now.saturating_duration_since(then).as_secs_f64(), position(status));
        self.records.add(status.records_read.saturating_sub(records), secs);
        self.positions.add(position.saturating_sub(before), secs);
        self.last = (now, status.records_read, position);
    }

    /// Two lines, and a third in a run that comes to an end or catches up.
    fn block(&self, status: &Status, now: Instant, wall_micros: i64) -> Vec<String> {
        let lag = lag(&status.partitions);
        let behind = known_lag(status).map(|lag| format!("   lag {}", figures::count(lag))).unwrap_or_default();
        let rate = figures::count(self.records.per_sec as u64);
        let records = figures::count(status.records_read);
        let (job, version) = (&status.job, status.version);
        let holder = status.partitions.iter().find(|partition| partition.holds_watermark);
        let holder = holder.map(|held| format!(", held by {}/{}", held.source, held.partition)).unwrap_or_default();
        let commit = match status.last_commit {
            Some(at) => format!("epoch {} committed {} ago", status.epoch, figures::since(at, wall_micros)),
            None => "no commit yet".to_owned(),
        };
        let mut lines = vec![
            format!("{job}@{version}   {records} records   {rate}/s{behind}"),
            format!("watermark {}{holder}   {commit}", or_nothing(&status.watermark)),
        ];
        if let Some(what) = &status.waiting {
            let since =
                status.waiting_since.map_or(String::new(), |at| format!(" for {}", figures::since(at, wall_micros)));
            lines.push(format!("waiting: {what}{since}"));
        }
        if let (Ends::Finished | Ends::CaughtUp, Some(left)) = (self.ends, lag) {
            lines.push(self.end(left, now));
        }
        lines
    }

    fn end(&self, left: u64, now: Instant) -> String {
        let passed = self.last.2.saturating_sub(self.first);
        let all = passed.saturating_add(left);
        let share = if all == 0 { 1.0 } else { passed as f64 / all as f64 };
        let filled = (share * BAR as f64) as usize;
        // Rounded down: what is not done is never shown as 100 %.
        let percent = (share * 100.0) as u64;
        let (done, when) = match self.ends {
            Ends::Finished => ("the last windows fire", "ends"),
            Ends::CaughtUp | Ends::Not => ("caught up", "caught up"),
        };
        let estimate = if left == 0 {
            done.to_owned()
        } else if self.positions.per_sec < 1.0 || now.saturating_duration_since(self.began) < Duration::from_secs(1) {
            "the end cannot be estimated yet".to_owned()
        } else {
            let secs = (left as f64 / self.positions.per_sec).min(1e9);
            format!("{when} in about {}", figures::span(Duration::from_secs_f64(secs)))
        };
        format!("[{}{}] {percent:>3} %   {estimate}", "#".repeat(filled), ".".repeat(BAR - filled))
    }
}

fn position(status: &Status) -> u64 {
    status.partitions.iter().fold(0, |sum, partition| sum.saturating_add(partition.next))
}

/// Records that wait in the partitions of which it is known.
pub(super) fn known_lag(status: &Status) -> Option<u64> {
    let mut lags = status.partitions.iter().filter_map(|partition| partition.lag).peekable();
    lags.peek().is_some().then(|| status.partitions.iter().filter_map(|partition| partition.lag).sum())
}

fn or_nothing(watermark: &str) -> &str {
    if watermark.is_empty() { "none" } else { watermark }
}

/// A rate that forgets slowly.
#[derive(Debug, Default)]
struct Rate {
    per_sec: f64,
    known: bool,
}

impl Rate {
    fn add(&mut self, n: u64, secs: f64) {
        if secs <= 0.0 {
            return;
        }
        let now = n as f64 / secs;
        let weight = if std::mem::replace(&mut self.known, true) { 1.0 - (-secs / MEMORY_SECS).exp() } else { 1.0 };
        self.per_sec += (now - self.per_sec) * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PartitionStatus;

    fn status(read: u64, next: u64, end: u64) -> Status {
        let partition = PartitionStatus {
            source: "departures".into(),
            next,
            end: Some(end),
            lag: Some(end - next),
            holds_watermark: true,
            ..PartitionStatus::default()
        };
        let watermark = "2013-01-01T10:00:00Z".to_owned();
        let (job, last_commit) = ("flights".to_owned(), Some(1_000_000));
        let partitions = vec![partition];
        Status {
            job,
            version: 1,
            epoch: 3,
            records_read: read,
            watermark,
            last_commit,
            partitions,
            ..Status::default()
        }
    }

    #[test]
    fn a_bounded_run_says_how_far_it_is_and_when_it_ends() {
        let mut progress = Progress::new(Shown::Not, Ends::Finished, &status(0, 1_000, 11_000));
        let at = |secs| progress.began + Duration::from_secs(secs);
        let (first, second) = (at(0), at(10));
        let early = progress.block(&status(0, 1_000, 11_000), first, 1_400_000);
        assert_eq!(early[2], format!("[{}]   0 %   the end cannot be estimated yet", ".".repeat(30)));
        let later = status(2_500, 3_500, 11_000);
        progress.look(&later, second);
        let lines = progress.block(&later, second, 1_400_000);
        assert_eq!(lines[0], "flights@1   2,500 records   250/s   lag 7,500");
        assert_eq!(lines[1], "watermark 2013-01-01T10:00:00Z, held by departures/0   epoch 3 committed 0.4 s ago");
        assert_eq!(lines[2], format!("[{}{}]  25 %   ends in about 30 s", "#".repeat(7), ".".repeat(23)));
        let done = status(10_000, 11_000, 11_000);
        progress.look(&done, second);
        assert!(progress.block(&done, second, 0)[2].ends_with("100 %   the last windows fire"));
        let replay = Progress { ends: Ends::CaughtUp, ..progress };
        assert!(replay.block(&done, second, 0)[2].ends_with("100 %   caught up"), "its windows stay open");
    }

    #[test]
    fn nothing_is_said_of_a_lag_before_each_partition_is_known() {
        let mut status = status(5, 5, 5);
        assert_eq!(lag(&status.partitions), Some(0));
        status.partitions.push(PartitionStatus { lag: None, ..status.partitions[0].clone() });
        assert_eq!(
            (lag(&status.partitions), known_lag(&status)),
            (None, Some(0)),
            "the gate of promote does not open for it"
        );
        status.partitions[1].standing = "finished".into();
        assert_eq!(lag(&status.partitions), Some(0));
        assert_eq!(lag(&[]), None);
    }

    #[test]
    fn a_run_without_end_shows_none_and_one_without_input_no_lag() {
        let progress = Progress::new(Shown::Not, Ends::Not, &status(5, 5, 5));
        let now = progress.began;
        assert_eq!(progress.block(&status(5, 5, 5), now, 0).len(), 2);
        let empty = Status { job: "j".into(), version: 1, ..Status::default() };
        let lines = progress.block(&empty, now, 0);
        assert_eq!(lines, ["j@1   0 records   0/s", "watermark none   no commit yet"]);
    }
}
