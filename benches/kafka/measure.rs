//! Runs of a process: wall time, and processor time of all its threads.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What a run took, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
}

/// Runs a program to its end, which must be a good one. The shell's `time` counts what the kernel counted for the process, the start
/// and the end included.
pub(crate) fn run(dir: &Path, program: &Path, args: &[String]) -> Took {
    let (said, times) = (dir.join("said.txt"), dir.join("times.txt"));
    let script = r#"TIMEFORMAT='%R %U %S'; { time "$@" >"$SAID" 2>&1; } 2>"$TIMES""#;
    let mut shell = Command::new("bash");
    shell.args(["-c", script, "bash"]).arg(program).args(args).env("SAID", &said).env("TIMES", &times);
    let status = shell.status().expect("bash runs");
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    assert!(status.success(), "{} {args:?}: {status}\n{}", program.display(), read(&said));
    let times = read(&times);
    let seconds: Vec<f64> = times.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [wall, user, system] = seconds[..] else { panic!("bash says {times:?}") };
    Took { wall, cpu: user + system }
}
