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
    let (mut stopped, mut named) = (0, Vec::new());
    // Each of the first ones, and then some of the many that epochs make.
    for at in (0..30).chain((30..400).step_by(53)) {
        let state = tempfile::tempdir().unwrap();
        feed(state.path());
        let mut command = process(Delivery::ExactlyOnce, state.path());
        command.env("LD_PRELOAD", &library).env("MILLPOND_TEST_SYNC", at.to_string());
        let output = done(command);
        let said = text(&output);
        if !output.status.success() {
            stopped += 1;
            assert_eq!(output.status.code(), Some(i32::from(Exit::Retry.code())), "sync {at}: {said}");
            let error = said.lines().find(|line| line.contains("error: ")).unwrap_or_else(|| panic!("{said}"));
            assert!(error.contains("sync") && error.contains('/'), "sync {at}: it names the file: {error}");
            assert!(said.contains("help: start the job again"), "{said}");
            named.push(error.to_owned());
        }
        assert!(finish(state.path()).unwrap().finished);
        assert!(trial::answer(state.path()).unwrap() == want, "sync {at}: {said}");
    }
    // Checkpoints and the log both had their turn.
    assert!(stopped > 20, "{stopped}");
    for place in ["checkpoints", "topics", "writers"] {
        assert!(named.iter().any(|error| error.contains(place)), "no sync in {place} failed: {named:#?}");
    }
}
