//! Tables: outputs whose records are changes. They compare as what they add up to, once both versions have read the same input.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::processes::example;

/// `word_count` on a text of its own, which a second version may read with other words.
fn call(state: &std::path::Path, words: &str) -> Output {
    let mut command = Command::new(example("word_count"));
    command.args(words.split(' ')).args(["--state", "s"]).current_dir(state).output().unwrap()
}

#[test]
fn tables_compare_as_what_they_add_up_to_once_both_versions_have_read_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let run = |version: u32, line: &str, lines: usize| {
        let text = format!("text-{version}");
        fs::write(dir.path().join(&text), line.repeat(lines - 1) + "the end\n").unwrap();
        let run = call(
            dir.path(),
            &format!("run --until-end --checkpoint-interval 10ms --job-version {version} --text {text}"),
        );
        assert!(run.status.success(), "{run:?}");
    };
    run(1, "the mill the pond\n", 5_000);
    run(2, "the mill the pond\n", 5_000);
    run(3, "the mill the mill\n", 5_000);
    run(4, "the mill the pond\n", 4_000);
    let compare = |words: &str| -> (Option<i32>, Value) {
        let compared = call(dir.path(), &format!("compare {words} --json"));
        (
            compared.status.code(),
            serde_json::from_slice(&compared.stdout).unwrap_or_else(|_| format!("{compared:?}").into()),
        )
    };
    let (code, report) = compare("1 2");
    let output = &report["outputs"][0];
    assert_eq!((code, &output["table"], &output["equal"]), (Some(0), &Value::Bool(true), &Value::from(4)), "{report}");
    assert_eq!((&output["first"], &output["second"]), (&Value::from(4), &Value::from(4)), "{report}");
    let (code, report) = compare("1 3");
    let output = &report["outputs"][0];
    let counts = ["equal", "only_in_first", "only_in_second", "differing"].map(|count| output[count].as_u64().unwrap());
    assert_eq!((code, counts), (Some(2), [2, 1, 0, 1]), "{report}");
    let (code, report) = compare("1 4");
    assert_eq!(code, Some(4), "{report}");
    assert!(report.to_string().contains("have read the same input"), "{report}");
}
