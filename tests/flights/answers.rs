//! The answer is right, and a function of the log.

use std::fs;
use std::io::Write;

use crate::model::{answer, answer_of, month};
use crate::runs::{done, example, finished, flights, text};

#[test]
fn a_month_of_flights_is_what_a_plain_loop_computes() {
    let state = tempfile::tempdir().unwrap();
    let got = finished(state.path(), &[]);
    assert_eq!(got, answer(&month(), 30, 120));
    assert_eq!(got.late.len(), 174);
}

#[test]
fn the_number_of_workers_and_the_settings_of_time_change_what_they_should_and_nothing_else() {
    for (workers, bound, lateness) in [("2", 30, 120), ("3", 0, 0), ("8", 120, 0)] {
        let state = tempfile::tempdir().unwrap();
        let (b, l) = (bound.to_string(), lateness.to_string());
        let got = finished(state.path(), &["--workers", workers, "--bound-min", &b, "--lateness-min", &l]);
        assert_eq!(got, answer(&month(), bound, lateness), "{workers} workers, bound {bound}, lateness {lateness}");
    }
}

#[test]
fn a_finished_job_writes_its_output_again_on_request_and_does_nothing_else() {
    let state = tempfile::tempdir().unwrap();
    let first = finished(state.path(), &[]);
    fs::remove_dir_all(state.path().join("out")).unwrap();
    assert_eq!(finished(state.path(), &["--workers", "3"]), first);
}

#[test]
fn version_two_runs_beside_version_one_and_has_its_own_output() {
    let state = tempfile::tempdir().unwrap();
    let first = finished(state.path(), &[]);
    let second = finished(state.path(), &["--job-version", "2", "--bound-min", "0"]);
    assert_eq!(second, answer_of(2, &month(), 0, 120));
    assert_eq!(finished(state.path(), &[]), first, "version 1 is as it was");
    assert!(state.path().join("flights@2").is_dir());
}

#[test]
fn another_file_bound_or_lateness_on_the_same_state_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let first = finished(state.path(), &[]);
    for (option, value) in [("--bound-min", "31"), ("--lateness-min", "0")] {
        let output = done(flights(state.path(), &[option, value]));
        assert_eq!(output.status.code(), Some(78), "{}", text(&output));
        assert!(text(&output).contains("was"), "{}", text(&output));
    }
    let other = state.path().join("other.csv.gz");
    let lines: Vec<_> = month().lines().take(100).map(str::to_owned).collect();
    let mut zip = flate2::write::GzEncoder::new(fs::File::create(&other).unwrap(), flate2::Compression::fast());
    zip.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    zip.finish().unwrap();
    let output = done(flights(state.path(), &["--departures", other.to_str().unwrap()]));
    assert!(!output.status.success());
    assert!(text(&output).contains("another file"), "{}", text(&output));
    assert_eq!(finished(state.path(), &[]), first, "nothing was lost by any of this");
}

#[test]
fn the_plan_is_drawn_for_people_and_programs() {
    let plan = |more: &[&str]| {
        let output = done({
            let mut command = std::process::Command::new(example("flights"));
            command.arg("plan").args(more);
            command
        });
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let tree = plan(&[]);
    assert!(tree.contains("departures") && tree.contains("hours") && tree.contains("tumbling"), "{tree}");
    let json: serde_json::Value = serde_json::from_str(&plan(&["--json"])).unwrap();
    assert!(json.to_string().contains("departures/window"), "{json}");
    assert!(plan(&["--dot"]).starts_with("digraph"));
}
