//! Running the binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::model::Answer;

/// An example's binary, built once a test run: `cargo test` itself builds only the examples' tests.
pub(crate) fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--examples", "--target-dir"]).arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
        assert!(built.success(), "the examples build");
    });
    profile.join("examples").join(name)
}

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

/// Numbers that look random and are the same for the same seed (Steele, Lea, Flood: SplitMix64).
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
