//! A disk that is full: a limit on the size of files, and a file system of a few megabytes.

use std::process::Output;

use millpond::Delivery;

use crate::full::{Mounted, limited};
use crate::model::{answer, month};
use crate::runs::{done, finished, flights, text};
use crate::trial::{self, feed, finish, process, undisturbed};

fn refused(output: &Output) {
    let said = text(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error: ") && said.contains("help: start the job again"), "{said}");
    let error = said.lines().find(|line| line.contains("error: ")).unwrap();
    assert!(error.contains(".log") || error.contains("@1/"), "it names the file: {said}");
    println!("{error}");
}

#[test]
fn files_that_cannot_grow_stop_the_job_which_then_goes_on() {
    let want = undisturbed();
    let mut stopped = 0;
    for blocks in [0, 1, 2, 4, 8, 16, 32, 64] {
        let state = tempfile::tempdir().unwrap();
        feed(state.path());
        // Twice, so that a start on what the first left is tried as well.
        for _ in 0..2 {
            let output = done(limited(&process(Delivery::ExactlyOnce, state.path()), blocks));
            if !output.status.success() {
                refused(&output);
                stopped += 1;
            }
        }
        let ended = finish(state.path());
        assert!(ended.unwrap().finished);
        assert!(trial::answer(state.path()).unwrap() == want, "{blocks} blocks");
    }
    assert!(stopped >= 8, "{stopped}");
}

#[test]
fn a_log_that_cannot_grow_stops_the_feeding_and_holds_each_line_once_afterwards() {
    let want = answer(&month(), 30, 120);
    for blocks in [1, 64, 4096] {
        let state = tempfile::tempdir().unwrap();
        refused(&done(limited(&flights(state.path(), &[]), blocks)));
        assert_eq!(finished(state.path(), &[]), want, "{blocks} blocks");
    }
}

#[test]
fn a_full_disk_stops_the_job_which_goes_on_when_there_is_room() {
    let want = answer(&month(), 30, 120);
    // The fed log has about seven megabytes: the first sizes are too small for it, the later ones for the job.
    for kib in [256, 4_096, 8_192, 9_216] {
        let Some(disk) = Mounted::of(kib) else {
            println!("not root, or mounting is not allowed: only the limit on files was tried");
            return;
        };
        let output = done(flights(disk.path(), &[]));
        println!("{kib} KiB: {}", output.status);
        if !output.status.success() {
            refused(&output);
            assert!(text(&output).contains("No space left on device"), "{}", text(&output));
        }
        assert!(kib > 4_096 || !output.status.success(), "{kib} KiB are too few");
        disk.grow(65_536);
        assert_eq!(finished(disk.path(), &[]), want, "{kib} KiB");
    }
}
