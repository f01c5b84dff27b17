//! `status`: how a job stands. A running one is asked through its control socket, of a stopped one the files tell.

use std::fmt::Write as _;

use clap::ArgMatches;

use super::options::{self, flag, id};
use super::table::Table;
use super::{JobMain, figures, progress, recorded, stopped, terminal};
use crate::control::ask;
use crate::{Exit, Fault, Status, clock};

pub(super) fn status(job: &JobMain, matches: &ArgMatches) -> Result<Exit, Fault> {
    let env = options::env(job, matches);
    let status = match ask(&env.home(), "status")? {
        Some(answer) => serde_json::from_value(answer).map_err(|error| {
            Fault::new(Exit::Usage, format!("{} runs as another release of millpond", env.identity())).because(error)
        })?,
        None => stopped::status(job, &env, &*recorded::draw(job, matches, &env)?)?,
    };
    let text = if flag(matches, id::JSON) {
        serde_json::to_string_pretty(&status).expect("a status is plain data") + "\n"
    } else {
        page(&status, clock::wall().micros())
    };
    terminal::print(&text)?;
    Ok(Exit::Finished)
}

/// A page for people.
fn page(status: &Status, now: i64) -> String {
    let mut text = format!("{}@{}  {}, {}", status.job, status.version, status.state, status.delivery);
    if status.workers > 0 {
        let plural = if status.workers == 1 { "" } else { "s" };
        let _ = write!(text, ", {} worker{plural}, run {}", status.workers, status.run);
    }
    text.push('\n');
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10}  {value}");
    };
    let ago =
        status.last_commit.map_or("not yet in this run".to_owned(), |at| format!("{} ago", figures::since(at, now)));
    line(
        "committed",
        format!("epoch {}, {ago}; checkpoint of {}", status.epoch, figures::bytes(status.checkpoint_bytes)),
    );
    if let Some(savepoint) = &status.savepoint {
        line("began with", format!("the savepoint {savepoint}"));
    }
    if let Some(what) = &status.waiting {
        let since = status.waiting_since.map(|at| format!(" for {}", figures::since(at, now))).unwrap_or_default();
        line("waiting", format!("{what}{since}"));
    }
    let holder = status.partitions.iter().find(|partition| partition.holds_watermark);
    let holder = holder.map(|holder| {
        let since = holder.holds_since.map(|at| format!(" for {}", figures::since(at, now))).unwrap_or_default();
        format!(", held by {}/{}{since}", holder.source, holder.partition)
    });
    line("watermark", format!("{}{}", status.watermark, holder.unwrap_or_default()));
    if let Some(lag) = progress::known_lag(status) {
        line("lag", format!("{} records", figures::count(lag)));
    }
    if status.budget > 0 {
        let size = |bytes: i64| figures::bytes(u64::try_from(bytes).unwrap_or(0));
        let (now, most, peak) = (size(status.in_flight), size(status.budget), size(status.in_flight_peak));
        line("in flight", format!("{now} of {most}; {peak} at most so far"));
        let n = figures::count;
        let (read, written, late, bad) =
            (n(status.records_read), n(status.records_written), n(status.late), n(status.bad));
        line("this run", format!("{read} records read, {written} written, {late} late, {bad} bad"));
        if let (redriven @ 1.., failed) = status.redriven {
            line("redriven", format!("{} dead letters in this run, {} failed again", n(redriven), n(failed)));
        }
    }
    if status.partitions.is_empty() {
        return text;
    }
    let mut table = Table::new(["source", "partition>", "next>", "end>", "lag>", "watermark", "standing"]);
    let known = |n: Option<u64>| n.map_or("?".to_owned(), figures::count);
    for partition in &status.partitions {
        let holds = if partition.holds_watermark { ", holds the watermark" } else { "" };
        table.row([
            partition.source.clone(),
            partition.partition.to_string(),
            figures::count(partition.next),
            known(partition.end),
            known(partition.lag),
            partition.watermark.clone(),
            format!("{}{holds}", partition.standing),
        ]);
    }
    let _ = write!(text, "\n{table}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PartitionStatus;

    #[test]
    fn a_page_names_who_holds_the_watermark_and_since_when() {
        let partition = |number, watermark: &str, standing: &str| PartitionStatus {
            source: "departures".into(),
            partition: number,
            next: 12_345,
            end: Some(20_000),
            lag: Some(7_655),
            watermark: watermark.into(),
            standing: standing.into(),
            ..PartitionStatus::default()
        };
        let mut partitions = vec![
            partition(0, "2013-01-02T10:00:00Z", "reading"),
            partition(1, "2013-01-01T10:00:00Z", "reading"),
            partition(2, "-infinity", "idle"),
        ];
        partitions[1].holds_watermark = true;
        partitions[1].holds_since = Some(7_000_000);
        (partitions[2].end, partitions[2].lag) = (None, None);
        let status = Status {
            job: "flights".into(),
            version: 1,
            state: "running".into(),
            run: "00000000000000ab".into(),
            delivery: "exactly_once".into(),
            workers: 2,
            epoch: 12,
            last_commit: Some(9_600_000),
            waiting: Some("the brokers do not answer".into()),
            waiting_since: Some(5_000_000),
            watermark: "2013-01-01T10:00:00Z".into(),
            partitions,
            records_read: 27_004,
            records_written: 14,
            late: 2,
            in_flight: 1_258_291,
            budget: 64 << 20,
            in_flight_peak: 3 << 20,
            checkpoint_bytes: 2048,
            bad: 0,
            redriven: (1_003, 2),
            ..Status::default()
        };
        let page = page(&status, 10_000_000);
        let expected = "\
flights@1  running, exactly_once, 2 workers, run 00000000000000ab
  committed   epoch 12, 0.4 s ago; checkpoint of 2.0 KiB
  waiting     the brokers do not answer for 5.0 s
  watermark   2013-01-01T10:00:00Z, held by departures/1 for 3.0 s
  lag         15,310 records
  in flight   1.2 MiB of 64.0 MiB; 3.0 MiB at most so far
  this run    27,004 records read, 14 written, 2 late, 0 bad
  redriven    1,003 dead letters in this run, 2 failed again

source      partition    next     end    lag  watermark             standing
departures          0  12,345  20,000  7,655  2013-01-02T10:00:00Z  reading
departures          1  12,345  20,000  7,655  2013-01-01T10:00:00Z  reading, holds the watermark
departures          2  12,345       ?      ?  -infinity             idle
";
        assert_eq!(page, expected, "\n{page}");
    }
}
