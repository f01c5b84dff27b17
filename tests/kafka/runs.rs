//! A job as a process that is stopped, resumed, killed and waited for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long any run may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running job. Killed when the test lets go of it.
pub(crate) struct Process {
    child: Child,
    said: PathBuf,
}

impl Process {
    /// Starts it; what it says goes to a file below `dir`.
    pub(crate) fn start(mut command: Command, dir: &Path) -> Process {
        let said = dir.join(format!("said-{}.txt", crate::world::nanos()));
        let file = File::create(&said).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Process { child: command.spawn().unwrap(), said }
    }

    /// What it has said so far, on stdout and stderr.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "{signal}");
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// SIGTERM.
    pub(crate) fn stop(&self) {
        self.signal("-TERM");
    }

    /// SIGKILL. False when it had ended before.
    pub(crate) fn kill(&mut self) -> bool {
        let ended = self.child.try_wait().unwrap().is_some();
        self.child.kill().ok();
        self.child.wait().unwrap();
        !ended
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has ended, for at most two minutes.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "the job does not end; it says\n{}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for a good end.
    pub(crate) fn succeed(&mut self) {
        let status = self.wait();
        assert!(status.success(), "{status}\n{}", self.said());
    }

    /// Waits for an end with this exit code; what it said.
    pub(crate) fn fail(&mut self, code: millpond::Exit) -> String {
        let status = self.wait();
        assert_eq!(status.code(), Some(code.code().into()), "{status}\n{}", self.said());
        self.said()
    }

    /// Waits until something is so.
    pub(crate) fn until(&mut self, what: &str, mut so: impl FnMut() -> bool) {
        let began = Instant::now();
        while !so() {
            assert!(!self.ended(), "the job has ended before {what}: it says\n{}", self.said());
            assert!(began.elapsed() < PATIENCE, "not {what} after two minutes; the job says\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
