//! A sync that fails, at the level of a whole job: after it nobody knows what is on the disk, so the job must stop, and what it starts
//! from the next time must be something that was synced.

use std::path::Path;
use std::process::Command;

use millpond::{Delivery, Exit};

use crate::runs::{done, text};
use crate::trial::{self, feed, finish, process, undisturbed};

/// Builds what makes the n-th sync of a process fail.
fn library(dir: &Path) -> std::path::PathBuf {
    let library = dir.join("failing_sync.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/flights/faults/failing_sync.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).args([source, "-ldl"]).status();
    assert!(built.expect("a C compiler is needed to build millpond, and so is there").success());
    library
}

#[test]
fn a_failed_sync_stops_the_job_which_loses_nothing_and_goes_on_when_started_again() {
    let want = undisturbed();
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path());
    // Each of the first ones wherever it is; then, in each place, some of the many that epochs make. How many there are of these, and in
    // which order those of several threads come, is the machine's business: each place's first ones are always there.
    let anywhere = (0..30).map(|at| ("", at));
    let places = ["/checkpoints/", "/topics/", "/writers/"];
    let each = places.iter().flat_map(|place| [0, 1, 2, 3, 5, 8, 13, 21].map(|at| (*place, at)));
    let mut stopped = std::collections::BTreeMap::<&str, u32>::new();
    for (place, at) in anywhere.chain(each) {
        let state = tempfile::tempdir().unwrap();
        feed(state.path());
        let mut command = process(Delivery::ExactlyOnce, state.path());
        command.env("LD_PRELOAD", &library).env("MILLPOND_TEST_SYNC", format!("{at}:{place}"));
        let output = done(command);
        let said = text(&output);
        if !output.status.success() {
            *stopped.entry(place).or_default() += 1;
            assert_eq!(output.status.code(), Some(i32::from(Exit::Retry.code())), "sync {at} {place}: {said}");
            let error = said.lines().find(|line| line.contains("error: ")).unwrap_or_else(|| panic!("{said}"));
            assert!(error.contains("sync") && error.contains(if place.is_empty() { "/" } else { place }), "{error}");
            assert!(said.contains("help: start the job again"), "{said}");
        }
        assert!(finish(state.path()).unwrap().finished);
        assert!(trial::answer(state.path()).unwrap() == want, "sync {at} {place}: {said}");
    }
    for place in ["", "/checkpoints/", "/topics/", "/writers/"] {
        assert!(stopped.get(place).is_some_and(|times| *times >= 2), "{place}: {stopped:?}");
    }
}
