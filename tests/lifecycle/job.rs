//! What goes into `page_views` and comes out of it: clicks by number, and views per page and minute. Version 2 leaves bots out.

use std::collections::BTreeMap;

use serde::Deserialize;

pub(crate) const JOB: &str = "page_views";
pub(crate) const CLICKS: &str = "clicks";
pub(crate) const VIEWS: &str = "page-views";
pub(crate) const MINUTE_MS: i64 = 60_000;

/// A click as the tests make it.
pub(crate) struct Click {
    pub(crate) page: u64,
    pub(crate) at_ms: i64,
    pub(crate) dwell_ms: u64,
}

/// The click of a number: eight a second of event time, a few seconds out of order. Every tenth is a bot's.
pub(crate) fn click(number: u64) -> Click {
    let at_ms = (number * 120 + number * 31 % 4 * 1_000) as i64;
    Click { page: number * 7 % 13, at_ms, dwell_ms: if number % 10 == 3 { 499 } else { 500 + number % 97 } }
}

impl Click {
    pub(crate) fn json(&self) -> String {
        let Click { page, at_ms, dwell_ms } = self;
        format!(r#"{{"user":"u","page":"p{page}","at":{at_ms},"dwell":{dwell_ms}}}"#)
    }
}

/// A result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Views {
    pub(crate) page: String,
    pub(crate) start: i64,
    pub(crate) views: u64,
    pub(crate) max_dwell: u64,
}

/// What a version says of the first clicks: views and the longest stay, by minute and page.
pub(crate) fn model(version: u32, clicks: u64) -> BTreeMap<(i64, String), (u64, u64)> {
    let mut minutes: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for click in (0..clicks).map(click).filter(|click| version == 1 || click.dwell_ms >= 500) {
        let start = click.at_ms - click.at_ms % MINUTE_MS;
        let (views, max) = minutes.entry((start, format!("p{}", click.page))).or_default();
        (*views, *max) = (*views + 1, click.dwell_ms.max(*max));
    }
    minutes
}
