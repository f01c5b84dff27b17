//! `page_views`' flow at least once: what exactly once costs is the difference.

use millpond::{Delivery, Flow, Job, Json, Kafka, Run, Untimed};

use crate::loops::Topics;
use crate::page_views::{self, Views};

/// Runs it to the end of its input, with one worker and a commit a second.
pub(crate) fn run(topics: &Topics) {
    let state = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo made this directory");
    let Topics { brokers, input, output, late } = topics;
    let kafka = Kafka::brokers(brokers);
    let (input, output, late) = (input.clone(), output.clone(), late.clone());
    let run = Run { until_end: true, ..Run::new(&output, 1, state.path()) };
    let ended = Job::new(&output).delivery(Delivery::AtLeastOnce).run(run, move |flow: &Flow<'_>| {
        let clicks = kafka.read(&input, Json).kept().event_time(page_views::time).out_of_order(page_views::BOUND);
        let (views, lost) = page_views::by_minute(flow.source("clicks", clicks));
        views.sink("views", kafka.write(&output, Json).key(|views: &Views| views.page.to_string()));
        lost.sink("late", kafka.write_kept(&late));
    });
    assert!(ended.is_ok_and(|ended| ended.finished), "the job finishes");
}
