//! Running the binary.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::model::Answer;
pub(crate) use crate::processes::example;

/// `flights run --until-end` with quick checkpoints, on a state directory.
pub(crate) fn flights(state: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(example("flights"));
    command.args(["run", "--until-end", "--state"]).arg(state).args(more).env("MILLPOND_CHECKPOINT_INTERVAL", "10ms");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub(crate) fn done(mut command: Command) -> Output {
    command.output().unwrap()
}

/// Runs it to its end, which must be a good one, and reads what it wrote to `out`.
pub(crate) fn finished(state: &Path, more: &[&str]) -> Answer {
    let out = state.join("out");
    let output = done(flights(state, &[&["--out", out.to_str().unwrap()], more].concat()));
    assert!(output.status.success(), "{}\n{}", output.status, text(&output));
    read(&out)
}

/// The sorted lines of both results.
pub(crate) fn read(out: &Path) -> Answer {
    let lines = |name: &str| {
        let text = fs::read_to_string(out.join(name)).unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    Answer { hours: lines("departures-per-hour.jsonl"), late: lines("late-departures.jsonl") }
}

/// What it printed.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Starts it and kills it after `delay`. True when it was still running.
pub(crate) fn killed_after(mut command: Command, delay: Duration) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let until = Instant::now() + delay;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return false;
        }
        std::thread::sleep(Duration::from_micros(500).min(until - Instant::now().min(until)));
    }
    // SIGKILL on Unix: nothing is flushed, nothing is said.
    child.kill().unwrap();
    !child.wait().unwrap().success()
}
