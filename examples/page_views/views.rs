//! Views of pages a minute: the flow, without its ends, and what goes in and comes out.

use std::time::Duration;

use compact_str::CompactString;
use millpond::{Kept, Pane, Stream, Timestamp, Tumbling};
use serde::{Deserialize, Serialize};

/// A click. Other fields of the JSON (`user`) are stepped over and cost no memory; short names of pages cost no allocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Click {
    pub(crate) page: CompactString,
    /// Milliseconds since 1970.
    pub(crate) at: i64,
    /// Milliseconds.
    pub(crate) dwell: u64,
}

/// How often a page was seen in one minute, and the longest that somebody stayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Views {
    pub(crate) page: CompactString,
    /// The minute's start, in milliseconds since 1970.
    pub(crate) start: i64,
    pub(crate) views: u64,
    pub(crate) max_dwell: u64,
}

/// How far behind the newest click of its partition one may come and still count.
pub(crate) const BOUND: Duration = Duration::from_secs(5);

/// When a click happened.
pub(crate) fn time(click: &Kept<Click>) -> Timestamp {
    Timestamp::from_millis(click.at)
}

/// Final views per page and minute, and the clicks that came too late for theirs, as they were.
pub(crate) fn by_minute<'s>(clicks: Stream<'s, Kept<Click>>) -> (Stream<'s, Views>, Stream<'s, Kept<Click>>) {
    let (views, late) = clicks
        .key_by(|click| click.page.clone())
        .window(Tumbling::of(Duration::from_mins(1)))
        .split_late()
        .aggregate(|w| (w.count(), w.max(|click| click.dwell)));
    (views.map(views_of), late)
}

fn views_of(pane: Pane<CompactString, (u64, u64)>) -> Views {
    let (views, max_dwell) = pane.value;
    Views { page: pane.key, start: pane.start.micros() / 1_000, views, max_dwell }
}
