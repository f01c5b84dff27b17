//! What a kill does to output in each delivery mode, and that the state is right in all of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use millpond::Delivery;

use crate::runs::{done, killed_after, text};
use crate::seeded::Seeded;
use crate::trial::{Answer, answer, feed, process, undisturbed};

fn counts(lines: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line.as_str()).or_default() += 1;
    }
    counts
}

/// How many different lines are missing, and how many are there more than once. What nobody should have written fails the test: a sum
/// that is wrong, for a state that was lost or applied twice.
fn lost_and_doubled(got: &Answer, want: &Answer) -> (usize, usize) {
    let (mut lost, mut doubled) = (0, 0);
    for (got, want) in [(&got.copies, &want.copies), (&got.sums, &want.sums), (&got.late, &want.late)] {
        let (got, want) = (counts(got), counts(want));
        assert!(want.values().all(|count| *count == 1));
        let wrong: Vec<_> = got.keys().filter(|line| !want.contains_key(*line)).collect();
        assert!(wrong.is_empty(), "{} lines that the state cannot give, as {:?}", wrong.len(), wrong[0]);
        lost += want.keys().filter(|line| !got.contains_key(*line)).count();
        doubled += got.values().filter(|count| **count > 1).count();
    }
    (lost, doubled)
}

/// Runs the job until it is through; a start that is not killed must be.
fn finished(mode: Delivery, state: &Path) -> Answer {
    let output = done(process(mode, state));
    assert!(output.status.success(), "{}\n{}", output.status, text(&output));
    answer(state).unwrap()
}

/// Kills the job at a step, finishes it, and tells what was lost and doubled; nothing when it never reached the step.
fn killed_at(mode: Delivery, step: &str, time: u32, want: &Answer) -> Option<(usize, usize)> {
    let state = tempfile::tempdir().unwrap();
    feed(state.path());
    let mut command = process(mode, state.path());
    command.env("MILLPOND_FAILPOINT", format!("{step}:{time}"));
    if done(command).status.success() {
        return None;
    }
    Some(lost_and_doubled(&finished(mode, state.path()), want))
}

#[test]
fn exactly_once_loses_and_doubles_nothing_at_any_step() {
    let want = undisturbed();
    for step in millpond::failpoint::STEPS {
        for time in [1, 5] {
            let found = killed_at(Delivery::ExactlyOnce, step, time, &want);
            assert_eq!(found, Some((0, 0)), "killed at {step}, time {time}");
        }
    }
}

#[test]
fn at_least_once_doubles_what_was_visible_before_its_commit_and_loses_nothing() {
    let want = undisturbed();
    let doubles = |step: &str, time| {
        let (lost, doubled) = killed_at(Delivery::AtLeastOnce, step, time, &want)?;
        assert_eq!(lost, 0, "killed at {step}, time {time}");
        Some(doubled > 0)
    };
    for step in ["cut", "part", "vote", "committed", "released"] {
        doubles(step, 5).unwrap();
    }
    // Everything of an epoch is visible by the time its manifest is written, and its commit has not come yet. Not every epoch has output.
    for step in ["sealed", "manifest", "staged"] {
        assert!((1..).map_while(|time| doubles(step, time)).any(|doubled| doubled), "killed at {step}");
    }
}

#[test]
fn at_most_once_loses_what_was_not_written_after_its_commit_and_doubles_nothing() {
    let want = undisturbed();
    for step in ["cut", "part", "vote", "sealed", "manifest", "committed", "released"] {
        let found = killed_at(Delivery::AtMostOnce, step, 5, &want).unwrap();
        assert_eq!(found, (0, 0), "killed at {step}: only between the two writes is there something to lose");
    }
    // Not every epoch has output; the first that has loses it.
    let loses = |time| {
        let (lost, doubled) = killed_at(Delivery::AtMostOnce, "between", time, &want)?;
        assert_eq!(doubled, 0, "killed between the two writes, time {time}");
        Some(lost > 0)
    };
    assert!((1..).map_while(loses).any(|lost| lost), "a kill between the two writes loses something");
}

#[test]
fn kills_at_random_moments_do_to_each_mode_what_it_allows() {
    let want = undisturbed();
    let mut random = Seeded::new();
    let probe = tempfile::tempdir().unwrap();
    feed(probe.path());
    let began = Instant::now();
    finished(Delivery::ExactlyOnce, probe.path());
    let whole = began.elapsed().as_micros() as u64;
    for mode in [Delivery::ExactlyOnce, Delivery::AtLeastOnce, Delivery::AtMostOnce] {
        let state = tempfile::tempdir().unwrap();
        feed(state.path());
        let mut kills = 0;
        while kills < 10 && killed_after(process(mode, state.path()), Duration::from_micros(random.below(whole))) {
            kills += 1;
        }
        let (lost, doubled) = lost_and_doubled(&finished(mode, state.path()), &want);
        println!("{}: {kills} kills, {lost} lost, {doubled} doubled", mode.name());
        assert!(lost == 0 || mode == Delivery::AtMostOnce, "{lost} lost");
        assert!(doubled == 0 || mode == Delivery::AtLeastOnce, "{doubled} doubled");
    }
}
