//! The real month: version 2 of `flights` counts by actual departure.

use std::process::Command;

use serde_json::Value;

use crate::processes::example;

#[test]
fn the_month_by_actual_departure_differs_from_the_month_by_schedule_and_loses_no_flight() {
    let state = tempfile::tempdir().unwrap();
    let call = |words: &[&str]| {
        Command::new(example("flights")).args(words).arg("--state").arg(state.path()).output().unwrap()
    };
    for version in ["1", "2"] {
        let run = call(&["run", "--until-end", "--job-version", version]);
        assert!(run.status.success(), "{run:?}");
    }
    let compared = call(&["compare", "1", "2", "--json"]);
    assert_eq!(compared.status.code(), Some(2), "{compared:?}");
    let report: Value = serde_json::from_slice(&compared.stdout).unwrap();
    let outputs = report["outputs"].as_array().unwrap();
    let hours = outputs.iter().find(|output| output["output"] == "departures-per-hour").unwrap();
    assert!(hours["differing"].as_u64().unwrap() > 100 && hours["equal"].as_u64().unwrap() > 0, "{hours}");
    let total = |version: &str| -> u64 {
        let rows = call(&["tail", "departures-per-hour", "--version", version]);
        let rows = String::from_utf8(rows.stdout).unwrap();
        let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.map(|row| row["departures"].as_u64().unwrap() + row["cancelled"].as_u64().unwrap()).sum()
    };
    let late = |version: &str| -> u64 {
        let rows = call(&["tail", "late-departures", "--version", version]);
        String::from_utf8(rows.stdout).unwrap().lines().count() as u64
    };
    assert_eq!(total("1") + late("1"), 27_004);
    assert_eq!(total("2") + late("2"), 27_004);
    assert!(late("2") < late("1"), "a flight that is delayed is not late any more");
}
