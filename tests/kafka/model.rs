//! What `page_views` and `relay` must answer, computed from their input in one loop.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::reader::Record;

#[derive(Deserialize)]
struct Click {
    page: String,
    at: i64,
    dwell: u64,
}

fn click(record: &Record) -> Click {
    serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()
}

/// A record of an output as far as it is the answer: key, value and event time. Headers carry the run and the epoch.
pub(crate) type Line = (String, String, i64);

/// Sorted records of both outputs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Views {
    pub(crate) views: Vec<Line>,
    pub(crate) late: Vec<Line>,
}

const MINUTE: i64 = 60_000;
const BOUND: i64 = 5_000;

/// Views per page and minute, and the late clicks. A click is late by the watermark of its own partition, so that the order among
/// partitions does not matter.
pub(crate) fn page_views(input: &[Vec<Record>]) -> Views {
    let mut windows: BTreeMap<(String, i64), (u64, u64)> = BTreeMap::new();
    let mut late = Vec::new();
    for partition in input {
        let mut newest = i64::MIN / 2;
        for record in partition {
            let Click { page, at, dwell } = click(record);
            newest = newest.max(at);
            let start = at - at.rem_euclid(MINUTE);
            if start + MINUTE <= newest - BOUND {
                late.push(line(record));
            } else {
                let (views, max) = windows.entry((page, start)).or_default();
                (*views, *max) = (*views + 1, dwell.max(*max));
            }
        }
    }
    let view = |((page, start), (views, max)): ((String, i64), (u64, u64))| {
        let value = format!(r#"{{"page":"{page}","start":{start},"views":{views},"max_dwell":{max}}}"#);
        (page, value, start + MINUTE - 1)
    };
    let mut views: Vec<_> = windows.into_iter().map(view).collect();
    views.sort();
    late.sort();
    Views { views, late }
}

/// The clicks that `relay` lets through, sorted.
pub(crate) fn relay(input: &[Vec<Record>]) -> Vec<Line> {
    let mut lines: Vec<_> = input.iter().flatten().filter_map(relayed).collect();
    lines.sort();
    lines
}

/// What `relay` makes of a click, if anything.
pub(crate) fn relayed(record: &Record) -> Option<Line> {
    let Click { page, at, dwell } = click(record);
    let value = format!(r#"{{"page":"{page}","at":{at},"dwell":{dwell}}}"#);
    (dwell % 10 < 9).then_some((page, value, at))
}

/// A record as a line.
pub(crate) fn line(record: &Record) -> Line {
    let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
    (key, record.text(), record.timestamp)
}

/// A topic's records as sorted lines.
pub(crate) fn lines(topic: &[Vec<Record>]) -> Vec<Line> {
    let mut lines: Vec<_> = topic.iter().flatten().map(line).collect();
    lines.sort();
    lines
}
